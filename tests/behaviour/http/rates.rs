//! What has happened, and how fast.

use serde_json::Value;

use super::{Asker, until};
use crate::mqtt::client::Client as Device;
use crate::mqtt::octets::{Hello, Letter, V5};
use crate::support::broker::Options;
use crate::support::{Broker, Client, Login};

/// Samples are old soon.
const OFTEN: &str = "stats_interval = 200";

fn connected(broker: &Broker) -> Client {
    let mut client = Client::connect(broker.addr());
    client.log_in(&Login::default());
    client.open_channel(1);
    client
}

fn broker() -> Broker {
    Broker::with(Options { config: OFTEN, ..Options::default() })
}

fn rate(of: &Value, name: &str) -> f64 {
    let rate = &of[format!("{name}_details")]["rate"];
    rate.as_f64().unwrap_or_else(|| panic!("no rate of {name}: {of}"))
}

/// S51
#[test]
fn connections_channels_and_queues_that_come_and_go_have_rates() {
    let broker = broker();
    let guest = Asker::guest(broker.http_addr());
    let names = [
        "connection_created",
        "connection_closed",
        "channel_created",
        "channel_closed",
        "queue_declared",
        "queue_created",
        "queue_deleted",
    ];
    let mut seen = [false; 7];
    until("all rates are seen", || {
        for _ in 0..5 {
            let mut client = connected(&broker);
            client.declare(1, "passes");
            client.delete(1, "passes");
            client.close_channel(1);
            client.close();
        }
        for of in [guest.get("/api/overview"), guest.get("/api/nodes")[0].clone()] {
            let churn = &of["churn_rates"];
            for (seen, name) in seen.iter_mut().zip(names) {
                *seen |= rate(churn, name) > 0.0 && churn[name].as_u64() > Some(4);
            }
        }
        seen.iter().all(|seen| *seen).then_some(())
    });
    until("all is quiet again", || {
        let churn = guest.get("/api/overview")["churn_rates"].clone();
        names.iter().all(|name| rate(&churn, name) == 0.0).then_some(())
    });
}

/// S53, S54
#[test]
fn descriptors_and_sockets_are_told_with_their_limits() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    let node = || guest.get("/api/nodes")[0].clone();
    let number = |node: &Value, name: &str| node[name].as_u64().unwrap_or_default();
    let before = node();
    let clients: Vec<Client> = (0..20).map(|_| connected(&broker)).collect();
    // Figures are as old as it pays to know them.
    let after = until("they are told", || {
        let after = node();
        let is_told = |name: &&str| number(&after, name) >= number(&before, name) + 20;
        ["fd_used", "sockets_used"].iter().all(is_told).then_some(after)
    });
    for (used, total) in [("fd_used", "fd_total"), ("sockets_used", "sockets_total")] {
        assert!(number(&after, used) < number(&after, total), "{after}");
    }
    let value_in = |metrics: &str, name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    };
    let metrics = until("all are counted", || {
        let metrics = guest.ask("GET", "/metrics", "").text;
        (value_in(&metrics, "rabbitmq_connections") == 20).then_some(metrics)
    });
    let value = |name: &str| value_in(&metrics, name);
    for prefix in ["rabbitmq", "lavinmq"] {
        let (open, max) = ("process_open_fds", "process_max_fds");
        assert!(value(&format!("{prefix}_{open}")) < value(&format!("{prefix}_{max}")));
        let sockets = value(&format!("{prefix}_process_open_tcp_sockets"));
        assert!(sockets >= 20 && sockets <= value("rabbitmq_process_max_tcp_sockets"));
    }
    drop(clients);
    until("they are given back", || {
        (number(&node(), "fd_used") < number(&after, "fd_used")).then_some(())
    });
}

fn stats(guest: &Asker<'_>, list: &str) -> Value {
    let all = guest.get(&format!("/api/{list}"));
    let all = all.as_array().expect("a list");
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]["message_stats"].clone()
}

/// amqp.md R104, R108
#[test]
fn the_messages_of_a_channel_are_counted_and_have_rates() {
    let broker = broker();
    let guest = Asker::guest(broker.http_addr());
    let mut client = connected(&broker);
    client.declare(1, "q");
    client.confirm_select(1);
    for _ in 0..10 {
        client.publish(1, "", "q", b"x");
    }
    client.expect_confirms(1, 1, 10);
    client.send_content(
        1,
        &ringmq::protocol::amqp091::wire::method::basic::Publish {
            mandatory: true,
            ..crate::support::methods::publish("", "nowhere")
        },
        &[0, 0],
        b"x",
    );
    client.expect_return(1);
    client.expect_confirms(1, 11, 11);
    assert!(client.get(1, "q", true).is_some());
    let got = client.get(1, "q", false).expect("a message");
    client.nack(1, got.delivery_tag, true);
    let tag = client.consume(1, "q");
    let last = client.expect_deliveries(1, 9).last().expect("nine").delivery_tag;
    client.ack(1, last, true);
    client.cancel(1, &tag);
    assert!(client.get(1, "q", false).is_none());
    for list in ["channels", "connections"] {
        let stats = stats(&guest, list);
        for (name, count) in [
            ("publish", 11),
            ("confirm", 11),
            ("return_unroutable", 1),
            ("deliver", 9),
            ("deliver_no_ack", 0),
            ("get", 1),
            ("get_no_ack", 1),
            ("get_empty", 1),
            ("deliver_get", 11),
            ("redeliver", 1),
            ("ack", 9),
        ] {
            assert_eq!(stats[name], count, "{list}: {name}: {stats}");
        }
        assert!(rate(&stats, "publish") > 0.0, "{stats}");
    }
    let row = guest.get("/api/connections")[0].clone();
    assert!(rate(&row, "recv_oct") > 0.0 && rate(&row, "send_oct") > 0.0, "{row}");
    until("rates go down when nothing happens", || {
        let stats = stats(&guest, "channels");
        (rate(&stats, "publish") == 0.0 && stats["publish"] == 11).then_some(())
    });
    client.close_channel(1);
    let connection = stats(&guest, "connections");
    assert_eq!(connection["publish"], 11, "what a closed channel has done was done");
}

/// amqp.md R104: a connection without channels has counts of its own.
#[test]
fn the_messages_of_a_device_are_counted() {
    let broker = broker();
    let guest = Asker::guest(broker.http_addr());
    let mut device = Device::connect(broker.mqtt_addr(), &Hello::new(V5, "device"));
    device.subscribe("t", 1);
    for id in 1..=5 {
        let letter = Letter { topic: "t", id, payload: b"x", qos: 1, ..Letter::default() };
        device.publish(&letter);
        let (mut acked, mut message) = (false, None);
        while !acked || message.is_none() {
            let packet = device.expect_packet();
            match packet.first >> 4 {
                4 => acked = true,
                _ => message = Some(device.message_of(&packet)),
            }
        }
        let id = message.expect("a message").id;
        device.send(&[&[0x40, 2][..], &id.to_be_bytes()].concat());
    }
    device.ping();
    let stats = stats(&guest, "connections");
    for (name, count) in [("publish", 5), ("confirm", 5), ("deliver", 5), ("ack", 5)] {
        assert_eq!(stats[name], count, "{name}: {stats}");
    }
}

/// reliability.md row 92
#[test]
fn ages_of_samples_are_taken_within_bounds() {
    let broker = Broker::start(1);
    let guest = Asker::guest(broker.http_addr());
    let ages = "lengths_age=60&lengths_incr=5&msg_rates_age=60&msg_rates_incr=5";
    for path in ["overview", "nodes", "connections", "channels", "vhosts"] {
        assert_eq!(guest.ask("GET", &format!("/api/{path}?{ages}"), "").status, 200, "{path}");
        for bad in ["lengths_age=0", "msg_rates_incr=x", "msg_rates_age=18446744073709551616"] {
            assert_eq!(guest.ask("GET", &format!("/api/{path}?{bad}"), "").status, 400, "{path}");
        }
    }
}
