//! What there is no room for: who publishes it with MQTT 3 cannot be told, and is not left waiting
//! for ever. mqtt.md V-041; MQTT 5 is told (0x97).

use ringmq::protocol::amqp091::wire::method::queue;
use ringmq::value::Value;

use crate::support::broker::Options;
use crate::support::methods::{arguments, declare};
use crate::support::setup::Stage;
use crate::support::siege::unique;
use crate::support::{Broker, Client as Service, Login};

use super::client::Client;
use super::octets::{Hello, Letter, V3, V4, V5};

on_every_setup!(
    a_client_of_version_3_repeats_what_a_queue_had_no_room_for,
    on_a_full_disk_a_client_of_version_3_is_closed_after_a_while,
);

fn letter<'a>(topic: &'a str, id: u16, payload: &'a [u8], qos: u8) -> Letter<'a> {
    Letter { topic, id, payload, qos, ..Letter::default() }
}

/// V-041
fn a_client_of_version_3_repeats_what_a_queue_had_no_room_for(stage: &Stage) {
    let mqtt = stage.setup.shared().mqtt_addr();
    for (version, qos) in [(V3, 1), (V4, 1), (V4, 2)] {
        let (name, topic) = (unique("full"), unique("full"));
        let mut service = Service::connect(stage.addr());
        service.log_in(&Login::default());
        service.open_channel(1);
        let table = arguments(&[
            ("x-max-length", Value::I32(1)),
            ("x-overflow", Value::text("reject-publish")),
        ]);
        let full = queue::Declare { exclusive: true, arguments: table.view(), ..declare(&name) };
        service.declare_with(1, &full);
        service.bind(1, &name, "amq.topic", &topic);
        let hello = Hello { clean: false, ..Hello::new(version, &unique("keeps")) };
        let mut client = Client::connect(mqtt, &hello);
        let answer = if qos == 1 { 0x40 } else { 0x50 };
        client.publish(&letter(&topic, 1, b"1", qos));
        client.expect_answer(answer, 1);
        client.publish(&letter(&topic, 2, b"2", qos));
        client.publish(&letter(&topic, 3, b"3", qos));
        // Everything else goes on, until it is asked to come again.
        client.ping();
        client.expect_end();
        assert_eq!(service.get_when_there(1, &name).body, b"1");
        let (mut client, _) = Client::resume(mqtt, &hello);
        client.publish(&Letter { dup: true, ..letter(&topic, 2, b"2", qos) });
        client.expect_answer(answer, 2);
        assert_eq!(service.get_when_there(1, &name).body, b"2");
        client.publish(&Letter { dup: true, ..letter(&topic, 3, b"3", qos) });
        client.expect_answer(answer, 3);
        assert_eq!(service.get_when_there(1, &name).body, b"3", "none twice, none out of order");
        service.delete(1, &name);
    }
}

/// V-041, abuse row 68
fn on_a_full_disk_a_client_of_version_3_is_closed_after_a_while(stage: &Stage) {
    let options = stage.setup.options();
    let broker = Broker::with(Options { config: "free_disk_min = 1000T", ..options });
    let mut client = Client::connect(broker.mqtt_addr(), &Hello::new(V4, "old"));
    let mut newer = Client::connect(broker.mqtt_addr(), &Hello::new(V5, "new"));
    client.publish(&letter("t", 1, b"m", 1));
    client.publish(&letter("t", 2, b"m", 2));
    client.publish(&letter("t", 0, b"m", 0));
    client.ping();
    assert_eq!(newer.publish_surely(&letter("t", 1, b"m", 1)), 0x97);
    client.expect_end();
    newer.ping();
    broker.terminate();
}
