//! What belongs to somebody else: users without rights, exclusive queues, reserved names (abuse rows
//! 41 and 51).

use ringmq::protocol::amqp091::wire::method::{Tx, basic, exchange, queue};
use ringmq::value::Value;

use crate::support::broker::Options;
use crate::support::methods::{arguments, consume, declare, declare_exchange};
use crate::support::setup::Setup;
use crate::support::siege::{NOTHING_MIB, Siege, definitions, unique};
use crate::support::{Client, Login};

fn siege() -> Siege {
    Siege::shared(Setup::Apart)
}

/// What a user without rights is refused, and each of the ways to ask for it.
struct Way {
    /// For the message of a failure.
    name: &'static str,
    ask: fn(&mut Client),
}

const WAYS: &[Way] = &[
    Way { name: "declare", ask: |c| c.send(1, &declare("secret")) },
    Way { name: "declare another", ask: |c| c.send(1, &declare("secret-too")) },
    Way {
        name: "declare exchange",
        ask: |c| c.send(1, &declare_exchange("secret-exchange", "fanout")),
    },
    Way {
        name: "get",
        ask: |c| c.send(1, &basic::Get { ticket: 0, queue: "secret", no_ack: true }),
    },
    Way { name: "consume", ask: |c| c.send(1, &consume("secret", "")) },
    Way {
        name: "purge",
        ask: |c| c.send(1, &queue::Purge { ticket: 0, queue: "secret", no_wait: false }),
    },
    Way {
        name: "delete",
        ask: |c| {
            let (ticket, queue) = (0, "secret");
            let (if_unused, if_empty, no_wait) = (false, false, false);
            c.send(1, &queue::Delete { ticket, queue, if_unused, if_empty, no_wait });
        },
    },
    Way {
        name: "delete exchange",
        ask: |c| {
            let (ticket, exchange) = (0, "secret-exchange");
            let (if_unused, no_wait) = (false, false);
            c.send(1, &exchange::Delete { ticket, exchange, if_unused, no_wait });
        },
    },
    Way { name: "bind from", ask: |c| c.send_bind(1, "mine", "secret-exchange", "") },
    Way { name: "bind to", ask: |c| c.send_bind(1, "secret", "mine-exchange", "") },
    Way {
        name: "unbind",
        ask: |c| {
            let table = arguments(&[]);
            let (ticket, queue, exchange, routing_key) = (0, "secret", "secret-exchange", "");
            let arguments = table.view();
            c.send(1, &queue::Unbind { ticket, queue, exchange, routing_key, arguments });
        },
    },
    Way {
        name: "bind exchange from",
        ask: |c| c.send_bind_exchange(1, "secret-exchange", "mine-exchange", ""),
    },
    Way {
        name: "bind exchange to",
        ask: |c| c.send_bind_exchange(1, "mine-exchange", "secret-exchange", ""),
    },
    Way { name: "publish", ask: |c| c.publish(1, "secret-exchange", "", b"x") },
    Way { name: "publish to nothing", ask: |c| c.publish(1, "secret-nothing", "", b"x") },
    Way {
        name: "dead-letter exchange",
        ask: |c| {
            let table = arguments(&[("x-dead-letter-exchange", Value::text("secret-exchange"))]);
            c.send(1, &queue::Declare { arguments: table.view(), ..declare("mine-dead") });
        },
    },
    Way {
        name: "alternate exchange",
        ask: |c| {
            let table = arguments(&[("alternate-exchange", Value::text("secret-exchange"))]);
            let method = declare_exchange("mine-alternate", "direct");
            c.send(1, &exchange::Declare { arguments: table.view(), ..method });
        },
    },
];

/// S41, abuse row 41
#[test]
fn who_has_no_right_is_refused_on_every_way() {
    let users = definitions(&[("mallory", ["^mine", "^mine", "^mine"])]);
    let config = format!("load_definitions = {}", users.display());
    let mut siege = Siege::own(Options { config: &config, ..Options::default() });
    let mut owner = siege.attacker();
    owner.declare(1, "secret");
    owner.declare_exchange(1, "secret-exchange", "fanout");
    owner.bind(1, "secret", "secret-exchange", "");
    owner.publish(1, "", "secret", b"for my eyes only");
    owner.wait_ready(1, "secret", 1);
    let mallory = Login { user: "mallory", ..Login::default() };
    let mut client = siege.attacker_as(&mallory);
    client.declare(1, "mine");
    client.declare_exchange(1, "mine-exchange", "fanout");
    client.bind(1, "mine", "mine-exchange", "");
    for Way { name, ask } in WAYS {
        println!("way: {name}");
        ask(&mut client);
        client.expect_channel_close(1, 403, "refused for user 'mallory'");
        client.open_channel(1);
    }
    // In a transaction it shows at the publish or at the commit.
    client.tx_select(1);
    client.publish(1, "secret-exchange", "", b"x");
    client.send(1, &Tx::Commit);
    client.expect_channel_close(1, 403, "refused for user 'mallory'");
    client.open_channel(1);
    // A passive declaration asks for no right in RabbitMQ either, and tells no content.
    siege.canary_sings();
    assert_eq!(owner.get_when_there(1, "secret").body, b"for my eyes only");
    assert_eq!(owner.counts(1, "secret"), (0, 0));
    assert_eq!(client.counts(1, "mine"), (0, 0));
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 41: a vhost is closed to who has no permission there at all.
#[test]
fn a_user_without_permissions_does_not_enter() {
    let users = definitions(&[("nobody", ["", "", ""])]);
    let config = format!("load_definitions = {}", users.display());
    let siege = Siege::own(Options { config: &config, ..Options::default() });
    let mut client = siege.attacker_as(&Login { user: "nobody", ..Login::default() });
    client.send(1, &declare("anything"));
    client.expect_channel_close(1, 403, "configure access to queue 'anything'");
    client.open_channel(1);
    // The name that the broker makes is no name of theirs either.
    client.send(1, &declare(""));
    client.expect_channel_close(1, 403, "ACCESS_REFUSED");
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 51
#[test]
fn what_belongs_to_a_connection_or_to_the_broker_is_not_for_others() {
    let siege = siege();
    let (mut owner, mut client) = (siege.attacker(), siege.attacker());
    let queue = unique("exclusive");
    owner.declare_exclusive(1, &queue);
    let (ticket, name, no_wait) = (0, queue.as_str(), false);
    let asks: [&dyn Fn(&mut Client); 7] = [
        &|c| c.send(1, &declare(name)),
        &|c| c.send(1, &queue::Declare { passive: true, ..declare(name) }),
        &|c| c.send(1, &basic::Get { ticket, queue: name, no_ack: true }),
        &|c| c.send(1, &consume(name, "")),
        &|c| c.send(1, &queue::Purge { ticket, queue: name, no_wait }),
        &|c| {
            let (if_unused, if_empty) = (false, false);
            c.send(1, &queue::Delete { ticket, queue: name, if_unused, if_empty, no_wait });
        },
        &|c| c.send_bind(1, name, "amq.fanout", ""),
    ];
    for ask in asks {
        ask(&mut client);
        client.expect_channel_close(1, 405, "RESOURCE_LOCKED - cannot obtain exclusive access");
        client.open_channel(1);
    }
    let reserved = format!("amq.{}", unique("mine"));
    client.send(1, &declare(&reserved));
    client.expect_channel_close(1, 403, "reserved prefix");
    client.open_channel(1);
    client.send(1, &declare_exchange(&reserved, "fanout"));
    client.expect_channel_close(1, 403, "reserved prefix");
    client.open_channel(1);
    let (if_unused, exchange) = (false, "amq.fanout");
    client.send(1, &exchange::Delete { ticket, exchange, if_unused, no_wait });
    client.expect_channel_close(1, 403, "not allowed");
    client.open_channel(1);
    client.send_bind(1, "", "", "");
    client.expect_channel_close(1, 404, "");
    client.close();
    owner.close();
    siege.lift(NOTHING_MIB);
}
