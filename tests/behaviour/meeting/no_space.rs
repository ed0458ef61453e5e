//! A disk without space: nothing gets in, whichever way it is published.

use ringmq::protocol::amqp091::wire::method::{basic, queue};
use ringmq::value::Value;

use crate::http::Asker;
use crate::mqtt::client::Client as Device;
use crate::mqtt::octets::{Hello, Letter, V4, V5, Will};
use crate::support::broker::{Ending, Options};
use crate::support::methods::{arguments, declare, publish};
use crate::support::setup::Stage;
use crate::support::{Broker, properties};

use super::{TOPICS, service};

on_every_setup!(without_disk_space_no_way_of_publishing_takes_anything);

/// S21
fn without_disk_space_no_way_of_publishing_takes_anything(stage: &Stage) {
    let options = stage.setup.options();
    let broker = Broker::with(options);
    let mut owner = service(broker.addr());
    let dead = arguments(&[
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text("all")),
    ]);
    let kept = queue::Declare { durable: true, ..declare("all") };
    owner.declare_with(1, &kept);
    let dying = queue::Declare { durable: true, arguments: dead.view(), ..declare("dying") };
    owner.declare_with(1, &dying);
    owner.bind(1, "all", TOPICS, "#");
    let persistent = properties(|p| p.delivery_mode = Some(2));
    owner.publish_with(1, "", "dying", &persistent, b"dead");
    owner.wait_ready(1, "dying", 1);
    owner.close();
    let broker = broker.again(Ending::Term, Options { config: "free_disk_min = 1000T", ..options });
    let log = || broker.log().matches("disk space is short").count();
    crate::http::until("every shard has measured", || {
        (log() == usize::from(options.shards)).then_some(())
    });
    let mut client = service(broker.addr());
    client.send_content(
        1,
        &basic::Publish { mandatory: true, ..publish("", "all") },
        &[0, 0],
        b"x",
    );
    client.expect_channel_close(1, 406, "low disk space");
    for (exchange, key) in [("", "all"), (TOPICS, "a.b"), ("amq.fanout", ""), ("", "nowhere")] {
        client.open_channel(1);
        client.confirm_select(1);
        client.publish(1, exchange, key, b"x");
        client.expect_channel_close(1, 406, "low disk space");
    }
    client.open_channel(1);
    // MQTT: told in version 5; what is retained, and what goes to a queue by its name, as well.
    let mut device = Device::connect(broker.mqtt_addr(), &Hello::new(V5, "device"));
    for (topic, qos, retain) in
        [("a/b", 1, false), ("a/b", 2, false), ("a/b", 1, true), ("$q/all", 1, false)]
    {
        let id = device.id();
        let letter = Letter { topic, id, payload: b"x", qos, retain, ..Letter::default() };
        device.publish(&letter);
        let answer = if qos == 1 { 0x40 } else { 0x50 };
        assert_eq!(device.expect_answer(answer, id), 0x97, "{topic} with QoS {qos}");
    }
    device.tell_retained("a/b", "x");
    device.ping();
    let mut old = Device::connect(broker.mqtt_addr(), &Hello::new(V4, "old"));
    old.tell("a/b", "x");
    old.ping();
    // A will is a publish like any other.
    let will = Will::of("a/will", "x");
    Device::connect(broker.mqtt_addr(), &Hello::new(V5, "mortal").leaving(will)).vanish();
    // HTTP publishes by its check of a virtual host.
    let guest = Asker::guest(broker.http_addr());
    let failed = guest.ask("GET", "/api/aliveness-test/%2F", "");
    assert_eq!(failed.status, 503, "{}", failed.text);
    assert!(failed.text.contains("disk"), "{}", failed.text);
    // What dies is not published anew.
    let got = client.get(1, "dying", false).expect("what was there");
    client.nack(1, got.delivery_tag, false);
    assert_eq!(client.counts(1, "all").0, 0);
    drop((device, old));
    client.close();
    let broker = broker.again(Ending::Term, options);
    let mut owner = service(broker.addr());
    let dead = owner.get(1, "all", true).map(|got| got.body);
    assert!(
        dead.is_none() || dead.as_deref() == Some(b"dead"),
        "nothing but what was there: {dead:?}"
    );
    assert!(owner.get(1, "all", true).is_none());
    let mut device = Device::connect(broker.mqtt_addr(), &Hello::new(V5, "reader"));
    device.subscribe("a/#", 1);
    device.expect_silence();
    owner.close();
}
