//! What is there again after the broker was killed or stopped, with another number of shards:
//! mqtt.md H-04 to H-06, H-13, H-18, H-19, H-35, H-37.

use crate::support::Broker;
use crate::support::broker::Ending;
use crate::support::setup::{Setup, Stage};
use crate::support::siege::unique;

use super::client::{Client, Message};
use super::octets::{
    BOTH, Hello, Letter, V4, V5, Will, message_expiry, numbered, session_expiry, varint, will_delay,
};

on_every_setup!(
    what_is_to_last_is_there_after_a_restart_and_nothing_else,
    wills_outlive_the_broker_unless_it_was_stopped,
    packet_ids_go_on_after_a_stop_and_later_after_a_crash,
);

/// Ends it and starts another with other shards.
fn again(broker: Broker, ending: Ending, setup: Setup) -> Broker {
    broker.again(ending, setup.next().options())
}

/// Both ways to end, at the same time.
fn with_both(run: impl Fn(Ending) + Sync) {
    let run = &run;
    std::thread::scope(|scope| {
        for ending in Ending::ALL {
            scope.spawn(move || run(ending));
        }
    });
}

fn back(broker: &Broker, hello: &Hello) -> Client {
    let (client, is_present) = Client::resume(broker.mqtt_addr(), hello);
    assert!(is_present, "the session is there: {hello:?}");
    client
}

/// Publishes with QoS 2 and waits until it is over.
fn tell_once(client: &mut Client, topic: &str, payload: &str) {
    let id = client.id();
    let payload = payload.as_bytes();
    client.publish(&Letter { topic, payload, qos: 2, id, ..Letter::default() });
    client.expect_answer(0x50, id);
    client.send(&numbered(0x62, id));
    client.expect_answer(0x70, id);
}

/// A client with deliveries in all stages.
struct Subject {
    hello: Hello,
    topic: String,
    /// Two with QoS 2 of which the second is received, one with QoS 1.
    out: Vec<Message>,
}

impl Subject {
    fn of(broker: &Broker, version: u8) -> Self {
        let (hello, topic) = (Hello::lasting(version, &unique("restart")), unique("restart"));
        let addr = broker.mqtt_addr();
        let mut client = Client::connect(addr, &hello);
        let identifier = [&[0x0B][..], &varint(77)].concat();
        let properties = if version == V5 { &identifier[..] } else { &[] };
        client.subscribe_with(&format!("{topic}/#"), 2, properties);
        let mut publisher = Client::connect(addr, &Hello::new(V5, &unique("publisher")));
        tell_once(&mut publisher, &format!("{topic}/a"), "sent");
        tell_once(&mut publisher, &format!("{topic}/a"), "received");
        publisher.tell_surely(&format!("{topic}/a"), "once");
        publisher.tell_surely(&format!("{topic}/a"), "settled");
        let mut out: Vec<Message> = (0..4).map(|_| client.expect_message()).collect();
        client.send(&numbered(0x50, out[1].id));
        client.expect_answer(0x62, out[1].id);
        let settled = out.pop().expect("four");
        client.send(&numbered(0x40, settled.id));
        // Two of its own, of which one is let go.
        let own = |id: u16| Letter { topic: "own", qos: 2, id, ..Letter::default() };
        for id in [1, 2] {
            client.publish(&own(id));
            client.expect_answer(0x50, id);
        }
        client.send(&numbered(0x62, 1));
        client.expect_answer(0x70, 1);
        client.ping();
        client.leave();
        // What is handed to a connection that is about to go counts as sent.
        std::thread::sleep(super::client::SILENCE);
        for number in 0..20 {
            publisher.tell_surely(&format!("{topic}/b"), &number.to_string());
        }
        let properties = &message_expiry(1000);
        let topic_c = format!("{topic}/c");
        let letter =
            Letter { topic: &topic_c, payload: b"living", properties, ..Letter::default() };
        publisher.publish_surely(&letter);
        publisher.leave();
        Self { hello, topic, out }
    }

    fn check(&self, broker: &Broker, ending: Ending) {
        let version = self.hello.version;
        let mut client = back(broker, &self.hello);
        assert_eq!(client.expect_answer(0x62, self.out[1].id), 0);
        client.send(&numbered(0x70, self.out[1].id));
        for old in [&self.out[0], &self.out[2]] {
            let new = client.expect_message();
            assert_eq!(new, Message { dup: true, ..old.clone() });
            client.send(&numbered(if new.qos == 1 { 0x40 } else { 0x50 }, new.id));
        }
        let ids: &[u64] = if version == V5 { &[77] } else { &[] };
        let mut released = false;
        let mut next = 0;
        while next < 21 || !released {
            let said = client.expect_packet();
            if said.first == 0x62 {
                client.send(&numbered(0x70, self.out[0].id));
                released = true;
                continue;
            }
            let message = client.message_of(&said);
            client.send(&numbered(0x40, message.id));
            assert_eq!(message.subscription_ids(), ids);
            // After a crash nobody knows whether it was sent: DUP says that it may have been.
            assert!(!message.dup || ending == Ending::Kill, "{message:?}");
            if next == 20 {
                assert_eq!(message.text(), "living");
                let left = message.property(2).map(|octets| octets.to_vec());
                assert_eq!(left.is_some(), version == V5, "what is left of its life");
            } else {
                assert_eq!(message.text(), next.to_string());
            }
            next += 1;
        }
        // One that is known, and one that is not: after a restart that is no error (2.4 of 5.0).
        for id in [1, 2] {
            client.send(&numbered(0x62, id));
            assert_eq!(client.expect_answer(0x70, id), 0, "PUBREL of {id}");
        }
        client.tell(&format!("{}/d", self.topic), "live");
        client.expect_text("live");
        client.ping();
        client.leave();
    }
}

/// Retained messages: some cleared, some replaced, some with an end.
struct Kept;

impl Kept {
    const COUNT: usize = 100;

    fn of(broker: &Broker) -> Self {
        let mut publisher = Client::connect(broker.mqtt_addr(), &Hello::new(V5, "keeper"));
        for number in 0..Self::COUNT {
            let (topic, payload) = (format!("kept/{number}"), number.to_string());
            let payload = payload.as_bytes();
            let letter = Letter { topic: &topic, payload, retain: true, ..Letter::default() };
            publisher.publish_surely(&letter);
            match number % 4 {
                0 => drop(publisher.publish_surely(&Letter { payload: b"", ..letter })),
                1 => drop(publisher.publish_surely(&Letter { payload: b"replaced", ..letter })),
                2 => {
                    let properties = &message_expiry(1000);
                    publisher.publish_surely(&Letter { properties, ..letter });
                }
                _ => {}
            }
        }
        publisher.leave();
        Self
    }

    fn check(&self, broker: &Broker) {
        for version in BOTH {
            let mut reader = Client::connect(broker.mqtt_addr(), &Hello::new(version, "reader"));
            reader.subscribe("kept/#", 0);
            let mut came: Vec<usize> = Vec::new();
            for _ in 0..Self::COUNT - Self::COUNT / 4 {
                let message = reader.expect_message();
                let number: usize =
                    message.topic.rsplit('/').next().expect("a word").parse().expect("a number");
                let replaced = number % 4 == 1;
                let expected = if replaced { "replaced".into() } else { number.to_string() };
                assert_eq!((message.text(), message.retain), (&*expected, true));
                let is_mortal = message.property(2).is_some();
                assert_eq!(is_mortal, number % 4 == 2 && version == V5);
                came.push(number);
            }
            came.sort_unstable();
            assert!(came.into_iter().eq((0..Self::COUNT).filter(|number| number % 4 != 0)));
            reader.ping();
            reader.leave();
        }
    }
}

/// Sessions that are not to last: of connected clients, and one that was ended.
struct Passing {
    hellos: Vec<Hello>,
    /// So that they are connected when the broker ends.
    _clients: Vec<Client>,
}

impl Passing {
    fn of(broker: &Broker) -> Self {
        let addr = broker.mqtt_addr();
        let mut hellos: Vec<Hello> =
            BOTH.map(|version| Hello::new(version, &unique("clean"))).into();
        let mut clients: Vec<Client> =
            hellos.iter().map(|hello| Client::connect(addr, hello)).collect();
        for client in &mut clients {
            client.subscribe("gone", 1);
        }
        let ended = Hello::lasting(V5, "ended");
        Client::connect(addr, &ended).leave();
        Client::connect(addr, &Hello { clean: true, ..Hello::new(V5, "ended") }).leave();
        hellos.push(ended);
        // Its time is over when the broker is there again, or soon afterwards.
        let short = Hello::new(V5, "short").with(&session_expiry(1));
        Client::connect(addr, &short).leave();
        Self { hellos, _clients: clients }
    }

    fn check(&self, broker: &Broker) {
        for hello in &self.hellos {
            let hello = Hello { clean: false, ..hello.clone() };
            let (mut client, is_present) = Client::resume(broker.mqtt_addr(), &hello);
            assert!(!is_present, "{hello:?}");
            client.tell_surely("gone", "nobody");
            client.ping();
        }
    }
}

/// H-04 to H-07, H-18, H-19, H-22, H-37; MQTT-3.1.2-6 (v3.1.1), MQTT-3.1.2-23 (v5)
fn what_is_to_last_is_there_after_a_restart_and_nothing_else(stage: &Stage) {
    with_both(|ending| {
        let broker = stage.setup.own("");
        let (kept, passing) = (Kept::of(&broker), Passing::of(&broker));
        let subjects = BOTH.map(|version| Subject::of(&broker, version));
        let broker = again(broker, ending, stage.setup);
        kept.check(&broker);
        passing.check(&broker);
        for subject in &subjects {
            subject.check(&broker, ending);
        }
        // What was settled then is settled for good.
        let broker = again(broker, ending, stage.setup.next());
        for subject in &subjects {
            back(&broker, &subject.hello).ping();
        }
        // A crash may have forgotten when its client left: then its time counts from this start.
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        let short = Hello { clean: false, ..Hello::new(V5, "short") };
        assert!(!Client::resume(broker.mqtt_addr(), &short).1, "its second is over");
        broker.terminate();
    });
}

/// H-13, H-35: whoever was cut off by a crash leaves its will, whoever was told to go does not.
fn wills_outlive_the_broker_unless_it_was_stopped(stage: &Stage) {
    with_both(|ending| {
        let broker = stage.setup.own("");
        let addr = broker.mqtt_addr();
        let witness = Hello::lasting(V5, "witness");
        let mut client = Client::connect(addr, &witness);
        client.subscribe("will/#", 1);
        client.leave();
        let will = |name: &str| Will::sure(&format!("will/{name}"), name);
        let old = Hello::lasting(V4, "old").leaving(will("connected"));
        let gone = Hello::lasting(V5, "gone")
            .leaving(Will { properties: will_delay(1), ..will("delayed") });
        let back_in_time =
            Hello::lasting(V5, "back").leaving(Will { properties: will_delay(60), ..will("no") });
        let mut connected = Client::connect(addr, &old);
        Client::connect(addr, &gone).vanish();
        Client::connect(addr, &back_in_time).vanish();
        // The broker knows that they are gone when it has dealt with this.
        std::thread::sleep(super::client::SILENCE);
        connected.ping();
        let broker = again(broker, ending, stage.setup);
        let mut client = back(&broker, &witness);
        let mut came = vec![client.expect_text_of_any()];
        if ending == Ending::Kill {
            came.push(client.expect_text_of_any());
        }
        came.sort();
        let expected: &[&str] =
            if ending == Ending::Kill { &["connected", "delayed"] } else { &["delayed"] };
        assert_eq!(came, expected, "{ending:?}");
        back(&broker, &Hello::lasting(V5, "back")).leave();
        let mut publisher = Client::connect(broker.mqtt_addr(), &Hello::new(V4, "last"));
        publisher.tell_surely("will/last", "last");
        client.expect_text("last");
        client.ping();
        broker.terminate();
    });
}

/// MQTT-2.3.1-4 (v3.1.1), MQTT-2.2.1-4 (v5): a client may hold a packet id that a crash has taken.
fn packet_ids_go_on_after_a_stop_and_later_after_a_crash(stage: &Stage) {
    with_both(|ending| {
        let mut broker = stage.setup.own("");
        let hello = Hello::lasting(V5, &unique("ids"));
        let topic = unique("ids");
        let mut client = Client::connect(broker.mqtt_addr(), &hello);
        client.subscribe(&topic, 1);
        let mut ids = Vec::new();
        for round in 0..3 {
            for _ in 0..2 {
                let mut publisher =
                    Client::connect(broker.mqtt_addr(), &Hello::new(V5, &unique("publisher")));
                publisher.tell_surely(&topic, "m");
                let message = client.expect_message();
                client.send(&numbered(0x40, message.id));
                client.ping();
                ids.push(message.id);
                publisher.leave();
            }
            if round < 2 {
                broker = again(broker, ending, stage.setup);
                client = back(&broker, &hello);
            }
        }
        match ending {
            Ending::Kill => {
                assert_eq!(ids[..2], [1, 2]);
                // Whatever was lost: the next begins far from all that may have been shown.
                assert!(ids[2] > 4_000 && ids[4] > ids[3] + 4_000, "{ids:?}");
            }
            Ending::Term => assert_eq!(ids, [1, 2, 3, 4, 5, 6]),
        }
        broker.terminate();
    });
}
