//! What crosses where a setting says so: mqtt.md.

use ringmq::value::{Table, Value};

use crate::mqtt::client::Client as Subscriber;
use crate::mqtt::octets::{BOTH, Hello, Letter, V5, Will, message_expiry};
use crate::support::Client;
use crate::support::broker::{Ending, Options};
use crate::support::content::{Content, properties};
use crate::support::setup::Stage;
use crate::support::siege::unique;

use super::properties::pairs;
use super::{TOPICS, listening, listening_at, service, subscriber, subscriber_at};

on_every_setup!(
    topics_of_the_servers_own_become_keys_where_it_is_set,
    who_wrote_a_message_is_known_on_the_other_side_where_it_is_set,
    what_a_session_has_no_room_for_goes_where_it_is_set,
    what_expires_in_a_session_goes_where_it_is_set,
);

///
fn topics_of_the_servers_own_become_keys_where_it_is_set(stage: &Stage) {
    let broker = stage.setup.own("[mqtt]\nexpose_dollar_topics = on");
    let (mut service, queue) = listening_at(broker.addr(), "#");
    for version in BOTH {
        let mut all = subscriber_at(broker.mqtt_addr(), version);
        all.subscribe("#", 1);
        let mut own = subscriber_at(broker.mqtt_addr(), version);
        own.subscribe("$app/+", 1);
        let mut publisher = subscriber_at(broker.mqtt_addr(), version);
        publisher.tell_surely("$app/a", "there");
        let got = service.get_when_there(1, &queue);
        assert_eq!((&*got.routing_key, &*got.body), ("$app.a", &b"there"[..]));
        assert_eq!(own.expect_text("there").topic, "$app/a");
        // The other way round it is a topic like those that its clients publish.
        service.publish(1, TOPICS, "$app.b", b"back");
        assert_eq!(own.expect_text("back").topic, "$app/b");
        assert_eq!(service.get_when_there(1, &queue).body, b"back");
        // Wildcards of subscribers pass them over (4.7.2-1), whoever publishes them.
        publisher.tell_surely("last", "last");
        all.expect_text("last");
        assert_eq!(service.get_when_there(1, &queue).body, b"last");
        [all, own, publisher].into_iter().for_each(Subscriber::leave);
    }
    broker.terminate();
    // Else they stay where they are.
    let word = unique("$app");
    let (mut service, queue) = listening(stage, &format!("{word}.#"));
    let mut publisher = subscriber(stage, V5);
    let letter = Letter { topic: &format!("{word}/a"), payload: b"m", ..Letter::default() };
    assert_eq!(publisher.publish_surely(&letter), 0x10);
    service.publish(1, TOPICS, &format!("{word}.b"), b"last");
    assert_eq!(service.get_when_there(1, &queue).body, b"last");
}

/// X-12 and the last line of the table of 5.3
fn who_wrote_a_message_is_known_on_the_other_side_where_it_is_set(stage: &Stage) {
    let block = properties(|p| {
        p.message_id = Some(b"m1");
        p.kind = Some(b"order");
        p.app_id = Some(b"shop");
        p.user_id = Some(b"guest");
        p.timestamp = Some(951_782_400);
        p.priority = Some(3);
    });
    let (topic, key) = ("who/a", "who.a");
    let broker = stage.setup.own("[mqtt]\nexpose_amqp_properties = on\nallow_anonymous = on");
    let (mut service, queue) = listening_at(broker.addr(), "who.#");
    let mut client = subscriber_at(broker.mqtt_addr(), V5);
    client.subscribe("who/#", 1);
    service.publish_with(1, TOPICS, key, &block, b"from a service");
    service.get_when_there(1, &queue);
    let told = [
        ("amqp-message-id", "m1"),
        ("amqp-type", "order"),
        ("amqp-app-id", "shop"),
        ("amqp-user-id", "guest"),
        ("amqp-timestamp", "2000-02-29T00:00:00Z"),
        ("amqp-priority", "3"),
    ];
    let message = client.expect_text("from a service");
    assert_eq!(pairs(&message), told.map(|(n, v)| (n.to_owned(), v.to_owned())));
    for version in BOTH {
        let mut device = subscriber_at(broker.mqtt_addr(), version);
        device.tell_surely(topic, "from a device");
        let got = service.get_when_there(1, &queue);
        let decoded = got.decoded();
        assert_eq!(decoded.user_id, Some(&b"guest"[..]));
        assert!(decoded.timestamp.is_some_and(|seconds| seconds > 1_600_000_000));
        assert!(pairs(&client.expect_text("from a device")).is_empty());
        // Who has no name is nobody.
        let hello = Hello { user: Vec::new(), password: Vec::new(), ..Hello::new(version, "none") };
        let mut nobody = Subscriber::connect(broker.mqtt_addr(), &hello);
        nobody.tell_surely(topic, "from nobody");
        assert_eq!(service.get_when_there(1, &queue).decoded().user_id, None);
        client.expect_text("from nobody");
        let hello = Hello::new(version, &unique("dies")).leaving(Will::sure(topic, "will"));
        Subscriber::connect(broker.mqtt_addr(), &hello).vanish();
        assert_eq!(service.get_when_there(1, &queue).decoded().user_id, Some(&b"guest"[..]));
        client.expect_text("will");
        device.leave();
        nobody.leave();
    }
    broker.terminate();
    // Else nobody hears who it was.
    let base = unique("who");
    let (mut service, queue) = listening(stage, &base);
    let mut client = subscriber(stage, V5);
    client.subscribe(&base, 1);
    service.publish_with(1, TOPICS, &base, &block, b"m");
    assert!(pairs(&client.expect_text("m")).is_empty());
    service.get_when_there(1, &queue);
    subscriber(stage, V5).tell_surely(&base, "n");
    let got = service.get_when_there(1, &queue);
    assert_eq!((got.decoded().user_id, got.decoded().timestamp), (None, None));
}

/// A session with this filter whose client is away.
fn absent(addr: std::net::SocketAddr, version: u8, filter: &str) -> Hello {
    let hello = Hello::lasting(version, &unique("away"));
    let mut client = Subscriber::connect(addr, &hello);
    client.subscribe(filter, 1);
    client.leave();
    hello
}

/// Queue and reason of the first line of a dead message's history.
fn death(got: &Content) -> (String, String) {
    let headers = got.headers();
    let Some(Value::Array(lines)) = headers.get("x-death") else { panic!("{headers:?}") };
    let Some(Value::Table(line)) = lines.first() else { panic!("{headers:?}") };
    let text = |line: &Table, name| line.get(name).and_then(Value::as_text).map(str::to_owned);
    (text(line, "queue").expect("a queue"), text(line, "reason").expect("a reason"))
}

/// A queue that dead messages go to.
fn graveyard(addr: std::net::SocketAddr) -> Client {
    let mut service = service(addr);
    service.declare_exchange(1, "dead", "topic");
    service.declare(1, "grave");
    service.bind(1, "grave", "dead", "#");
    service
}

///
fn what_a_session_has_no_room_for_goes_where_it_is_set(stage: &Stage) {
    for (order, kept, dead) in [("fifo", ["0", "1"], ["2", "3"]), ("lifo", ["2", "3"], ["0", "1"])]
    {
        let config = format!(
            "[mqtt]\ndead_letter_exchange = dead\nmax_offline_messages = 2\nqueue_type = {order}"
        );
        let broker = stage.setup.own(&config);
        let mut service = graveyard(broker.addr());
        for version in BOTH {
            let away = absent(broker.mqtt_addr(), version, "t/#");
            let mut writer = subscriber_at(broker.mqtt_addr(), version);
            (0..4).for_each(|n| writer.tell_surely("t/a", &n.to_string()));
            // What is not stored has not died.
            writer.tell("t/a", "unsure");
            for body in dead {
                let got = service.get_when_there(1, "grave");
                assert_eq!(String::from_utf8_lossy(&got.body), body);
                assert_eq!((&*got.exchange, &*got.routing_key), ("dead", "t.a"));
                let name = String::from_utf8_lossy(&away.client).into_owned();
                let queue = format!("mqtt-subscription-{name}qos1");
                assert_eq!(death(&got), (queue, "maxlen".to_owned()));
            }
            let (mut back, is_present) = Subscriber::resume(broker.mqtt_addr(), &away);
            assert!(is_present);
            kept.iter().for_each(|body| drop(back.expect_text(body)));
            back.ping();
            // Its session is over, or it would take more of them.
            back.unsubscribe(&["t/#"]);
            back.leave();
            assert_eq!(service.counts(1, "grave"), (0, 0));
        }
        broker.terminate();
    }
}

///
fn what_expires_in_a_session_goes_where_it_is_set(stage: &Stage) {
    let config = "[mqtt]\ndead_letter_exchange = dead\ndead_letter_routing_key = late";
    let broker = stage.setup.own("");
    absent(broker.mqtt_addr(), V5, "t/#");
    // A session that was there before the setting obeys it as well.
    let options = Options { config, ..stage.setup.next().options() };
    let broker = broker.again(Ending::Kill, options);
    let mut service = graveyard(broker.addr());
    let mut writer = subscriber_at(broker.mqtt_addr(), V5);
    let life = message_expiry(1);
    let letter = Letter { topic: "t/a", payload: b"m", properties: &life, ..Letter::default() };
    assert_eq!(writer.publish_surely(&letter), 0);
    let got = service.get_when_there(1, "grave");
    assert_eq!((&*got.routing_key, &*got.body), ("late", &b"m"[..]));
    assert_eq!(death(&got).1, "expired");
    assert_eq!(got.decoded().expiration, None);
    broker.terminate();
}
