//! What waits for its time when the broker ends: persistent messages of durable delayed exchanges
//! that were confirmed come after the next start, in the order in which they are due.

use ringmq::protocol::amqp091::wire::method::{Exchange, Method, exchange};
use ringmq::value::Value;

use crate::support::broker::Ending;
use crate::support::methods::{arguments, declare_exchange};
use crate::support::setup::Stage;
use crate::support::{Client, properties};

use super::bounds_gauge::client;
use super::durability::{declare_durable, settle_down};

on_every_setup!(confirmed_delayed_messages_survive);

/// Exchanges, each with a queue: they live on different shards.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn delayed(delivery_mode: u8, delay_ms: i32) -> Vec<u8> {
    let headers = arguments(&[("x-delay", Value::I32(delay_ms))]);
    properties(|p| {
        p.delivery_mode = Some(delivery_mode);
        p.headers = Some(headers.view());
    })
}

fn declare_delayed(owner: &mut Client, name: &str) {
    let table = arguments(&[("x-delayed-type", Value::text("direct"))]);
    let usual = declare_exchange(name, "x-delayed-message");
    let method = exchange::Declare { durable: true, arguments: table.view(), ..usual };
    owner.send(1, &method);
    owner.expect(1, "exchange.declare-ok", |method| {
        matches!(method, Method::Exchange(Exchange::DeclareOk)).then_some(())
    });
}

fn confirmed_delayed_messages_survive(stage: &Stage) {
    let mut setup = stage.setup;
    let broker = setup.own("");
    let mut owner = client(broker.addr());
    for name in NAMES {
        declare_delayed(&mut owner, name);
        declare_durable(&mut owner, name, &[]);
        owner.bind(1, name, name, "k");
    }
    owner.confirm_select(1);
    for name in NAMES {
        owner.publish_with(1, name, "k", &delayed(2, 2_000), b"second");
        owner.publish_with(1, name, "k", &delayed(1, 1_500), b"transient");
        owner.publish_with(1, name, "k", &delayed(2, 1_000), b"first");
        owner.publish_with(1, name, "k", &delayed(2, i32::MAX), b"not in this life");
    }
    owner.expect_confirms(1, 1, 4 * NAMES.len() as u64);
    setup = setup.next();
    let broker = broker.again(Ending::Kill, setup.options());
    let mut owner = client(broker.addr());
    for name in NAMES {
        for body in ["first", "second"] {
            assert_eq!(owner.get_when_there(1, name).body, body.as_bytes(), "in {name}");
        }
    }
    // The next life has nothing of it left.
    for name in NAMES {
        settle_down(&mut owner, name);
    }
    let broker = broker.again(Ending::Term, setup.next().options());
    let mut owner = client(broker.addr());
    for name in NAMES {
        assert_eq!(owner.get_when_there(1, name).body, b"last", "in {name}");
        assert_eq!(owner.get(1, name, true), None, "in {name}");
    }
    owner.close();
    broker.terminate();
}
