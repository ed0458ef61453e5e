//! What outlives the broker: definitions, persistent messages, their order and place, what was
//! settled, committed or confirmed; after SIGTERM and after SIGKILL, with another number of shards
//! each time.

use ringmq::protocol::amqp091::wire::method::{Basic, Exchange, Method, exchange, queue};
use ringmq::value::Value;

use crate::support::broker::{Ending, Options};
use crate::support::methods::{arguments, declare, declare_exchange};
use crate::support::setup::{Setup, Stage};
use crate::support::{Broker, Client, properties};

use super::bounds_gauge::{client, fill_with, number_of, numbered};

on_every_setup!(
    durable_things_and_persistent_messages_survive,
    what_was_settled_stays_settled,
    a_backlog_on_the_disk_survives_in_order,
    a_committed_transaction_survives,
);

/// A property block of a persistent message.
pub(super) fn persistent() -> Vec<u8> {
    properties(|p| p.delivery_mode = Some(2))
}

/// Declares a durable queue with these arguments.
pub(super) fn declare_durable(client: &mut Client, name: &str, table: &[(&str, Value)]) {
    let table = arguments(table);
    let method = queue::Declare { durable: true, arguments: table.view(), ..declare(name) };
    client.declare_with(1, &method);
}

/// Everything that was sent before on this channel to a queue is on the disk when this returns: a
/// confirm is for all that its queue's shard did before, too. Leaves a message in it.
pub(super) fn settle_down(owner: &mut Client, queue: &str) {
    owner.open_channel(9);
    owner.confirm_select(9);
    owner.publish_with(9, "", queue, &persistent(), b"last");
    owner.expect_confirms(9, 1, 1);
    owner.close_channel(9);
}

fn is_there(client: &mut Client, channel: u16, method: &queue::Declare<'_>) -> bool {
    client.open_channel(channel);
    client.send(channel, &queue::Declare { passive: true, ..*method });
    let received = client.next("queue.declare-ok or channel.close");
    if received.describe().contains("DeclareOk") {
        client.close_channel(channel);
        return true;
    }
    assert!(received.describe().contains("404"), "{}", received.describe());
    client.send(channel, &ringmq::protocol::amqp091::wire::method::Channel::CloseOk);
    false
}

fn exchange_is_there(client: &mut Client, channel: u16, name: &str) -> bool {
    client.open_channel(channel);
    let kind = "direct";
    client.send(channel, &exchange::Declare { passive: true, ..declare_exchange(name, kind) });
    let received = client.next("exchange.declare-ok or channel.close");
    if matches!(received.method(), Some(Method::Exchange(Exchange::DeclareOk))) {
        client.close_channel(channel);
        return true;
    }
    assert!(received.describe().contains("404"), "{}", received.describe());
    client.send(channel, &ringmq::protocol::amqp091::wire::method::Channel::CloseOk);
    false
}

fn declare_durable_exchange(client: &mut Client, name: &str, kind: &str) {
    client.send(1, &exchange::Declare { durable: true, ..declare_exchange(name, kind) });
    client.expect(1, "exchange.declare-ok", |method| {
        matches!(method, Method::Exchange(Exchange::DeclareOk)).then_some(())
    });
}

/// One life after another, each on other shards than the one before.
fn durable_things_and_persistent_messages_survive(stage: &Stage) {
    const COUNT: u64 = 200;
    let mut setup = stage.setup;
    let mut broker = setup.own("");
    let mut owner = client(broker.addr());
    declare_durable_exchange(&mut owner, "from", "topic");
    declare_durable_exchange(&mut owner, "to", "fanout");
    owner.declare_exchange(1, "passing", "direct");
    declare_durable(&mut owner, "kept", &[]);
    declare_durable(&mut owner, "other", &[("x-max-length", Value::I32(1_000_000))]);
    owner.bind(1, "kept", "to", "");
    owner.bind(1, "other", "from", "a.*");
    owner.send_bind_exchange(1, "from", "to", "a.#");
    owner.expect(1, "exchange.bind-ok", |method| {
        matches!(method, Method::Exchange(Exchange::BindOk)).then_some(())
    });
    for ending in [Ending::Term, Ending::Kill, Ending::Kill, Ending::Term] {
        owner.declare(1, "gone");
        owner.publish_with(1, "", "gone", &persistent(), b"gone");
        owner.confirm_select(1);
        for number in 0..COUNT {
            owner.publish_with(1, "from", "a.b", &persistent(), &numbered(number, 300));
            let transient = properties(|p| p.delivery_mode = Some(1));
            owner.publish_with(1, "from", "a.c", &transient, b"transient");
        }
        owner.expect_confirms(1, 1, 2 * COUNT);
        setup = setup.next();
        broker = broker.again(ending, setup.options());
        owner = client(broker.addr());
        assert!(!is_there(&mut owner, 2, &declare("gone")), "{ending:?}");
        assert!(!exchange_is_there(&mut owner, 2, "passing"), "{ending:?}");
        assert!(exchange_is_there(&mut owner, 2, "from") && exchange_is_there(&mut owner, 2, "to"));
        // The confirms of the next life are for these settlements as well.
        for queue in ["kept", "other"] {
            assert_eq!(owner.counts(1, queue).0, u32::try_from(COUNT).expect("a few"), "{queue}");
            for number in 0..COUNT {
                let got = owner.get(1, queue, true).expect("a message that was confirmed");
                assert_eq!(number_of(&got.body), number, "{queue} after {ending:?}");
                assert_eq!((got.exchange.as_str(), got.routing_key.as_str()), ("from", "a.b"));
                assert_eq!(got.properties, persistent());
                assert!(!got.redelivered, "{number} of {queue} after {ending:?}");
            }
            assert_eq!(owner.get(1, queue, true), None);
        }
    }
    // What is deleted stays deleted.
    owner.delete(1, "kept");
    broker = broker.again(Ending::Kill, setup.options());
    owner = client(broker.addr());
    assert!(!is_there(&mut owner, 2, &declare("kept")));
    assert!(is_there(&mut owner, 2, &declare("other")));
    owner.close();
    broker.terminate();
}

/// A settlement is never confirmed to anybody; but whatever is confirmed later comes after it.
fn what_was_settled_stays_settled(stage: &Stage) {
    const COUNT: u64 = 3000;
    for ending in Ending::ALL {
        let broker = stage.setup.own("");
        let mut owner = client(broker.addr());
        declare_durable(&mut owner, "q", &[]);
        fill_with(&mut owner, "q", &persistent(), COUNT, 100);
        owner.consume(1, "q");
        for number in 0..COUNT {
            let delivery = owner.expect_delivery(1);
            assert_eq!(number_of(&delivery.body), number);
            // Every third stays.
            match number % 3 {
                0 => {}
                1 => owner.ack(1, delivery.delivery_tag, false),
                _ => owner.nack(1, delivery.delivery_tag, false),
            }
        }
        owner.close_channel(1);
        owner.open_channel(1);
        settle_down(&mut owner, "q");
        let broker = broker.again(ending, stage.setup.next().options());
        let mut owner = client(broker.addr());
        for number in (0..COUNT).step_by(3) {
            let got = owner.get(1, "q", true).expect("a message that was not settled");
            assert_eq!(number_of(&got.body), number, "after {ending:?}");
            assert!(got.redelivered, "{number} after {ending:?}");
        }
        assert_eq!(owner.get(1, "q", true).expect("the last one").body, b"last");
        assert_eq!(owner.get(1, "q", true), None);
        owner.close();
        broker.terminate();
    }
}

/// Most of it is in segments, some of which are half settled.
fn a_backlog_on_the_disk_survives_in_order(stage: &Stage) {
    const COUNT: u64 = 4000;
    const SETTLED: u64 = 700;
    const BYTES: usize = 10_000;
    let config = "max_memory = 8M\nsegment_size = 1M\nlog_file_size = 4M\nlog_size_max = 16M";
    let mut setup = stage.setup;
    let mut broker = setup.own(config);
    let mut owner = client(broker.addr());
    declare_durable(&mut owner, "q", &[]);
    owner.close();
    let mut publisher = Client::connect(broker.addr());
    let login = crate::support::Login { capabilities: &[], ..Default::default() };
    publisher.log_in(&login);
    publisher.open_channel(1);
    fill_with(&mut publisher, "q", &persistent(), COUNT, BYTES);
    let (mut first, mut last) = (0, COUNT);
    for ending in [Ending::Kill, Ending::Term, Ending::Kill] {
        setup = setup.next();
        broker = broker.again(ending, Options { config, ..setup.options() });
        let mut owner = client(broker.addr());
        let left = u32::try_from(last - first).expect("a few");
        assert_eq!(owner.counts(1, "q").0, left, "after {ending:?}");
        for number in first..first + SETTLED {
            let got = owner.get(1, "q", true).expect("a message that was confirmed");
            assert_eq!(number_of(&got.body), number, "after {ending:?}");
            assert_eq!(got.body.len(), BYTES);
        }
        first += SETTLED;
        // Its confirm is for the settlements before it as well.
        owner.confirm_select(1);
        owner.publish_with(1, "", "q", &persistent(), &numbered(last, BYTES));
        owner.expect_confirms(1, 1, 1);
        last += 1;
        owner.close();
    }
    let mut owner = client(broker.addr());
    for number in first..last {
        assert_eq!(number_of(&owner.get(1, "q", true).expect("a message").body), number);
    }
    assert_eq!(owner.get(1, "q", true), None);
    owner.close();
    broker.terminate();
}

/// tx.commit-ok is a promise as a confirm is; what was not committed never was.
fn a_committed_transaction_survives(stage: &Stage) {
    let broker = stage.setup.own("");
    let mut trader = client(broker.addr());
    let queues = ["one", "two", "three"];
    for queue in queues {
        declare_durable(&mut trader, queue, &[]);
    }
    trader.tx_select(1);
    for number in 10..20 {
        for queue in queues {
            trader.publish_with(1, "", queue, &persistent(), &numbered(number, 50));
        }
    }
    trader.tx_commit(1);
    trader.publish_with(1, "", "two", &persistent(), b"never committed");
    let broker = broker.again(Ending::Kill, stage.setup.next().options());
    let mut owner = client(broker.addr());
    for queue in queues {
        for number in 10..20 {
            assert_eq!(number_of(&owner.get(1, queue, true).expect("committed").body), number);
        }
        assert_eq!(owner.get(1, queue, true), None);
    }
    owner.close();
    broker.terminate();
}

/// The same for what a transaction settled, also if it published nothing.
#[test]
#[ignore = "tx.commit-ok waits for publishes only: settlements of its last 50 ms may come again"]
fn settlements_that_were_committed_survive_a_kill() {
    for setup in [Setup::OneShard, Setup::TwoShards, Setup::FiveShards, Setup::Apart] {
        let broker = setup.own("");
        let mut trader = client(broker.addr());
        declare_durable(&mut trader, "q", &[]);
        trader.tx_select(1);
        for number in 0..4 {
            trader.publish_with(1, "", "q", &persistent(), &numbered(number, 50));
        }
        trader.tx_commit(1);
        for _ in 0..3 {
            let got = trader.get(1, "q", false).expect("a message");
            trader.ack(1, got.delivery_tag, false);
        }
        trader.tx_commit(1);
        let broker = broker.again(Ending::Kill, setup.next().options());
        let mut owner = client(broker.addr());
        assert_eq!(number_of(&owner.get(1, "q", true).expect("the fourth").body), 3, "{setup:?}");
        assert_eq!(owner.get(1, "q", true), None);
        owner.close();
        broker.terminate();
    }
}

/// Confirms mean at least that the system has it: SIGKILL takes nothing.
#[test]
fn messages_confirmed_by_the_system_only_survive_a_kill() {
    for durability in ["os", "interval:3600000", "sync"] {
        let config = format!("durability = {durability}");
        let options = Options { config: &config, ..Setup::TwoShards.options() };
        let broker = Broker::with(options);
        let mut owner = client(broker.addr());
        declare_durable(&mut owner, "q", &[]);
        fill_with(&mut owner, "q", &persistent(), 500, 1000);
        let broker = broker.again(Ending::Kill, options);
        let mut owner = client(broker.addr());
        for number in 0..500 {
            let got = owner.get(1, "q", true).expect("a message that was confirmed");
            assert_eq!(number_of(&got.body), number, "{durability}");
        }
        owner.close();
        broker.terminate();
    }
}

/// Messages that nobody waits for are not confirmed, but they are written before long; an orderly
/// stop writes all.
#[test]
fn an_orderly_stop_keeps_what_nobody_waited_for() {
    for setup in [Setup::OneShard, Setup::Apart] {
        let broker = setup.own("");
        let mut owner = client(broker.addr());
        declare_durable(&mut owner, "q", &[]);
        for number in 0..500 {
            owner.publish_with(1, "", "q", &persistent(), &numbered(number, 100));
        }
        owner.wait_ready(1, "q", 500);
        let got = owner.get(1, "q", true).expect("the first");
        assert_eq!(number_of(&got.body), 0);
        let broker = broker.again(Ending::Term, setup.next().options());
        let mut owner = client(broker.addr());
        for number in 1..500 {
            assert_eq!(number_of(&owner.get(1, "q", true).expect("a message").body), number);
        }
        assert_eq!(owner.get(1, "q", true), None);
        owner.close();
        broker.terminate();
    }
}

/// A queue that goes with its connection goes with the broker as well, durable or not.
#[test]
fn exclusive_queues_do_not_survive() {
    for ending in Ending::ALL {
        let broker = Broker::start(2);
        let mut owner = client(broker.addr());
        owner
            .declare_with(1, &queue::Declare { durable: true, exclusive: true, ..declare("mine") });
        fill_with(&mut owner, "mine", &persistent(), 10, 100);
        let broker = broker.again(ending, Options::default());
        let mut owner = client(broker.addr());
        assert!(!is_there(&mut owner, 2, &declare("mine")), "after {ending:?}");
        owner.close();
        broker.terminate();
    }
}

/// basic.return of a mandatory publish before its confirm, with a disk in between.
#[test]
fn an_unroutable_persistent_message_is_confirmed_at_once() {
    let broker = Broker::start(2);
    let mut owner = client(broker.addr());
    owner.confirm_select(1);
    owner.publish_with(1, "", "nowhere", &persistent(), b"lost");
    owner.expect(1, "basic.ack", |method| {
        matches!(method, Method::Basic(Basic::Ack(_))).then_some(())
    });
    owner.close();
    broker.terminate();
}
