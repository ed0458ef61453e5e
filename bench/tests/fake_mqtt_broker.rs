//! ringmqperf against an MQTT broker that does what the test says: that good brokers pass, and
//! that each kind of fault of a bad one is found. May import RingMQ's codec.
#![cfg(test)]

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};

use ringmq::protocol::mqtt::wire::ack::{Ack, AckKind};
use ringmq::protocol::mqtt::wire::connack::{Connack, ConnackProperties};
use ringmq::protocol::mqtt::wire::header;
use ringmq::protocol::mqtt::wire::packet::Packet;
use ringmq::protocol::mqtt::wire::properties::Diagnostics;
use ringmq::protocol::mqtt::wire::publish::{Promise, Publish, PublishHead};
use ringmq::protocol::mqtt::wire::reason_code::ReasonCode;
use ringmq::protocol::mqtt::wire::suback::{AnswerKind, Suback};
use ringmq::protocol::mqtt::wire::{PACKET_BYTES_MAX, PacketId, Qos, Version};
use ringmq::protocol::octets::Decoded;

/// What the broker makes of message number n: the bodies it delivers to each subscriber.
type Fault = fn(u64, Vec<u8>) -> Vec<Vec<u8>>;

/// What is wrong with a broker.
#[derive(Clone, Copy)]
struct Habits {
    fault: Fault,
    /// PUBACK and PUBREC are sent.
    has_answers: bool,
    /// PUBCOMP is sent.
    has_last_words: bool,
    /// Retained messages say so.
    marks_retained: bool,
    /// Sessions outlive connections.
    keeps_sessions: bool,
    /// Subscriptions are granted.
    grants: bool,
}

const GOOD: Habits = Habits {
    fault: |_, body| vec![body],
    has_answers: true,
    has_last_words: true,
    marks_retained: true,
    keeps_sessions: true,
    grants: true,
};

enum Event {
    Connected(usize, TcpStream),
    Octets(usize, Vec<u8>),
    Ended(usize),
}

/// What is known of a client beyond a connection.
#[derive(Default)]
struct Session {
    filters: Vec<(String, Qos)>,
    /// Messages for when it is there again: topic, QoS, body.
    waiting: Vec<(String, Qos, Vec<u8>)>,
    /// Its connection.
    connection: Option<usize>,
    is_kept: bool,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    version: Version,
    client_id: String,
    packet_ids: u16,
}

/// One thread has it all; a thread per connection does nothing but read.
struct Broker {
    habits: Habits,
    connections: HashMap<usize, Connection>,
    sessions: BTreeMap<String, Session>,
    retained: BTreeMap<String, (Qos, Vec<u8>)>,
    published: u64,
    shared: usize,
}

/// Starts to listen, and tells where.
fn start(habits: Habits) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (events, inbox) = channel();
    std::thread::Builder::new().spawn(move || accept(&listener, &events)).unwrap();
    let broker = Broker {
        habits,
        connections: HashMap::new(),
        sessions: BTreeMap::new(),
        retained: BTreeMap::new(),
        published: 0,
        shared: 0,
    };
    std::thread::Builder::new().spawn(move || broker.serve(&inbox)).unwrap();
    format!("mqtt://127.0.0.1:{port}")
}

fn accept(listener: &TcpListener, events: &Sender<Event>) {
    for number in 0.. {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let writer = stream.try_clone().unwrap();
        events.send(Event::Connected(number, writer)).unwrap();
        let events = events.clone();
        let read_all = move || {
            let mut octets = vec![0; 65_536];
            while let Ok(count @ 1..) = stream.read(&mut octets) {
                events.send(Event::Octets(number, octets[..count].to_vec())).unwrap();
            }
            let _ = events.send(Event::Ended(number));
        };
        std::thread::Builder::new().spawn(read_all).unwrap();
    }
}

/// `#` at the end, and a share that has been taken off.
fn matches(filter: &str, topic: &str) -> bool {
    filter == topic || filter.strip_suffix('#').is_some_and(|start| topic.starts_with(start))
}

impl Broker {
    fn serve(mut self, inbox: &Receiver<Event>) {
        for event in inbox {
            match event {
                Event::Connected(number, stream) => {
                    let version = Version::V4;
                    let connection = Connection {
                        stream,
                        input: Vec::new(),
                        version,
                        client_id: String::new(),
                        packet_ids: 0,
                    };
                    self.connections.insert(number, connection);
                }
                Event::Octets(number, octets) => self.on_octets(number, &octets),
                Event::Ended(number) => self.end(number),
            }
        }
    }

    fn end(&mut self, number: usize) {
        let Some(connection) = self.connections.remove(&number) else { return };
        let _ = connection.stream.shutdown(Shutdown::Both);
        if let Some(session) = self.sessions.get_mut(&connection.client_id) {
            session.connection = None;
            if !session.is_kept {
                self.sessions.remove(&connection.client_id);
            }
        }
    }

    fn on_octets(&mut self, number: usize, octets: &[u8]) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.input.extend_from_slice(octets);
        let input = std::mem::take(&mut connection.input);
        let mut rest = input.as_slice();
        while let Decoded::Frame { frame, taken } = header::split(rest, PACKET_BYTES_MAX).unwrap() {
            let Some(connection) = self.connections.get(&number) else { return };
            let sender = ringmq::protocol::mqtt::wire::Sender::Client;
            let packet = Packet::decode(&frame, connection.version, sender).unwrap();
            self.on_packet(number, &packet);
            rest = &rest[taken..];
        }
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.input = rest.to_vec();
        }
    }

    fn send(&mut self, number: usize, packet: &Packet<'_>) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let mut out = Vec::new();
        packet.put(&mut out, connection.version, PACKET_BYTES_MAX).unwrap();
        let _ = connection.stream.write_all(&out);
    }

    fn acknowledge(&mut self, number: usize, kind: AckKind, id: PacketId) {
        self.send(number, &Packet::Ack(Ack::new(kind, id, ReasonCode::Success)));
    }

    fn on_packet(&mut self, number: usize, packet: &Packet<'_>) {
        match packet {
            Packet::Connect(connect) => {
                let is_kept = match connect.version {
                    Version::V5 => connect.properties.session_expiry_s > 0,
                    Version::V3 | Version::V4 => !connect.clean_start,
                };
                let client_id = connect.client_id.to_owned();
                if connect.clean_start || !self.habits.keeps_sessions {
                    self.sessions.remove(&client_id);
                }
                let connection = self.connections.get_mut(&number).unwrap();
                connection.version = connect.version;
                connection.client_id.clone_from(&client_id);
                let session_present = self.sessions.contains_key(&client_id);
                let session = self.sessions.entry(client_id).or_default();
                (session.is_kept, session.connection) = (is_kept, Some(number));
                let waiting = std::mem::take(&mut session.waiting);
                let properties = ConnackProperties { receive_max: 10, ..Default::default() };
                let code = ReasonCode::Success;
                self.send(number, &Packet::Connack(Connack { session_present, code, properties }));
                for (topic, qos, body) in waiting {
                    self.deliver(number, (&topic, qos, false), &body);
                }
            }
            Packet::Publish(publish) => self.on_publish(number, publish),
            Packet::Ack(Ack { kind: AckKind::Pubrel, packet_id, .. }) => {
                if self.habits.has_last_words {
                    self.acknowledge(number, AckKind::Pubcomp, *packet_id);
                }
            }
            Packet::Ack(Ack { kind: AckKind::Pubrec, packet_id, .. }) => {
                self.acknowledge(number, AckKind::Pubrel, *packet_id);
            }
            Packet::Subscribe(subscribe) => {
                let asked: Vec<(String, Qos)> = subscribe
                    .filters
                    .iter()
                    .map(|(filter, options)| (filter.to_owned(), options.qos))
                    .collect();
                let code = |(_, qos): &(String, Qos)| {
                    if self.habits.grants { qos.bits() } else { 0x80 }
                };
                let codes: Vec<u8> = asked.iter().map(code).collect();
                let (kind, packet_id) = (AnswerKind::Suback, subscribe.packet_id);
                let diagnostics = Diagnostics::default();
                self.send(
                    number,
                    &Packet::Suback(Suback { kind, packet_id, diagnostics, codes: &codes }),
                );
                for (filter, qos) in asked {
                    self.send_retained(number, &filter, qos);
                    let client_id = &self.connections[&number].client_id;
                    self.sessions.get_mut(client_id).unwrap().filters.push((filter, qos));
                }
            }
            Packet::Pingreq => self.send(number, &Packet::Pingresp),
            Packet::Disconnect(_) => self.end(number),
            Packet::Ack(_) => {}
            Packet::Connack(_)
            | Packet::Suback(_)
            | Packet::Unsubscribe(_)
            | Packet::Pingresp
            | Packet::Auth(_) => panic!("{packet:?} is not in the script"),
        }
    }

    fn on_publish(&mut self, number: usize, publish: &Publish<'_>) {
        let qos = publish.promise.qos();
        if let Some(id) = publish.promise.packet_id()
            && self.habits.has_answers
        {
            let is_first = qos == Qos::AtLeastOnce;
            self.acknowledge(number, if is_first { AckKind::Puback } else { AckKind::Pubrec }, id);
        }
        if publish.retain {
            let body = publish.payload.to_vec();
            if body.is_empty() {
                self.retained.remove(publish.topic);
            } else {
                self.retained.insert(publish.topic.to_owned(), (qos, body));
            }
        }
        let bodies = (self.habits.fault)(self.published, publish.payload.to_vec());
        self.published += 1;
        let mut sharing = Vec::new();
        for (client_id, session) in &self.sessions {
            for (filter, granted) in &session.filters {
                match filter.strip_prefix("$share/ringmqperf/") {
                    Some(filter) if matches(filter, publish.topic) => {
                        sharing.push((client_id.clone(), qos.min(*granted)));
                    }
                    Some(_) | None => {}
                }
            }
        }
        let matching = |session: &Session| {
            let mut found = session.filters.iter();
            found.find(|(filter, _)| matches(filter, publish.topic)).map(|(_, granted)| *granted)
        };
        let mut targets: Vec<(String, Qos)> = self
            .sessions
            .iter()
            .filter_map(|(id, session)| Some((id.clone(), qos.min(matching(session)?))))
            .collect();
        if !sharing.is_empty() {
            self.shared += 1;
            targets.push(sharing[self.shared % sharing.len()].clone());
        }
        for (client_id, qos) in targets {
            for body in &bodies {
                let session = self.sessions.get_mut(&client_id).unwrap();
                match session.connection {
                    Some(number) => self.deliver(number, (publish.topic, qos, false), body),
                    None if qos > Qos::AtMostOnce => {
                        session.waiting.push((publish.topic.to_owned(), qos, body.clone()));
                    }
                    None => {}
                }
            }
        }
    }

    fn send_retained(&mut self, number: usize, filter: &str, granted: Qos) {
        let retained = self.retained.clone();
        for (topic, (qos, body)) in retained.iter().filter(|(topic, _)| matches(filter, topic)) {
            let is_retained = self.habits.marks_retained;
            self.deliver(number, (topic, granted.min(*qos), is_retained), body);
        }
    }

    fn deliver(&mut self, number: usize, (topic, qos, retain): (&str, Qos, bool), body: &[u8]) {
        let connection = self.connections.get_mut(&number).unwrap();
        connection.packet_ids = connection.packet_ids % 65_535 + 1;
        let id = PacketId::new(connection.packet_ids).unwrap();
        let promise = match qos {
            Qos::AtMostOnce => Promise::AtMostOnce,
            Qos::AtLeastOnce => Promise::AtLeastOnce(id),
            Qos::ExactlyOnce => Promise::ExactlyOnce(id),
        };
        let head = PublishHead {
            dup: false,
            retain,
            promise,
            topic,
            alias: None,
            expiry_s: None,
            subscription_ids: &[],
            forwarded: &[],
        };
        let mut out = Vec::new();
        head.put(&mut out, connection.version, body, PACKET_BYTES_MAX).unwrap();
        let _ = connection.stream.write_all(&out);
    }
}

/// The output of ringmqperf's scenario with these arguments.
fn perf(habits: Habits, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmqperf"));
    command.args(["mqtt", "--quiet", "--drain-timeout", "1", "--uri", &start(habits)]);
    command.args(line.split_whitespace()).output().unwrap()
}

#[track_caller]
fn assert_passes(line: &str) {
    let output = perf(GOOD, line);
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{line}: {text} {error}");
    assert!(text.contains("verified"), "{line}: {text}");
}

#[track_caller]
fn assert_finds(habits: Habits, line: &str, words: &str) {
    let output = perf(habits, line);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {text}");
    assert!(text.contains(words), "{line}: {words} in {text}");
}

#[test]
fn a_good_broker_passes_in_every_version_and_quality_of_service() {
    for version in [3, 4, 5] {
        for qos in 0..=2 {
            assert_passes(&format!("throughput -C 500 -V {version} -q {qos} -s 100"));
        }
    }
    assert_passes("throughput -C 5 -q 1 -s 300000");
    assert_passes("throughput -C 600 -q 2 --subscribe-qos 1 -x 4 -y 6 --topics 2");
    assert_passes("throughput -C 600 -q 1 -V 5 -x 3 -y 4 --share");
}

#[test]
fn a_good_broker_passes_in_every_shape() {
    assert_passes("latency -r 500 -z 1 --warm-up 0 -q 1");
    assert_passes("fanout -C 50 -y 20");
    assert_passes("fanin -C 500 -x 20 -q 1");
    assert_passes("subscriptions --others 0,120 --others-connections 3 -z 1 --warm-up 0 -r 100");
    assert_passes("connections --count 50 --keep-alive 1 -z 1");
    assert_passes("churn -C 200 --connecting 10 -q 1");
    assert_passes("churn -C 200 --connecting 10 --only-connect -V 5");
}

#[test]
fn retained_messages_and_sessions_of_a_good_broker_pass() {
    for version in [4, 5] {
        assert_passes(&format!("retained --count 300 -x 2 -y 3 -V {version}"));
        assert_passes(&format!("sessions -C 300 -y 5 -V {version}"));
    }
    assert_passes("retained --count 300 -q 2");
    assert_passes("sessions -C 300 -y 6 -x 3 -q 2");
}

#[test]
fn a_lost_message_is_found() {
    let fault: Fault = |number, body| if number == 70 { vec![] } else { vec![body] };
    for line in ["throughput -C 100", "throughput -C 100 -q 2 -V 5", "sessions -C 100 -y 2"] {
        assert_finds(Habits { fault, ..GOOD }, line, "VIOLATION: 1 lost");
    }
}

#[test]
fn a_message_that_is_delivered_twice_is_found() {
    let fault: Fault = |number, body| if number == 99 { vec![body; 2] } else { vec![body] };
    for line in ["throughput -C 100 -q 1", "sessions -C 100 -y 2", "fanout -C 100 -y 1"] {
        assert_finds(Habits { fault, ..GOOD }, line, "VIOLATION: 1 duplicated");
    }
}

#[test]
fn a_changed_body_is_found() {
    let fault: Fault = |number, mut body| {
        let last = body.len() - 1;
        body[last] ^= u8::from(number == 3);
        vec![body]
    };
    for line in ["throughput -C 10", "throughput -C 10 -s 5000 -q 2"] {
        assert_finds(Habits { fault, ..GOOD }, line, "VIOLATION: 1 corrupt");
    }
}

#[test]
fn an_answer_that_never_comes_is_found() {
    let silent = Habits { has_answers: false, ..GOOD };
    assert_finds(silent, "throughput -C 10 -q 1", "VIOLATION: 10 unconfirmed");
    let unfinished = Habits { has_last_words: false, ..GOOD };
    assert_finds(unfinished, "throughput -C 10 -q 2", "VIOLATION: 10 unconfirmed");
    assert_finds(unfinished, "sessions -C 10 -q 2 -y 1", "no progress while publishing");
}

#[test]
fn a_retained_message_that_does_not_say_so_is_found() {
    let habits = Habits { marks_retained: false, ..GOOD };
    assert_finds(habits, "retained --count 20", "VIOLATION: 20 protocol");
}

#[test]
fn a_forgotten_session_is_found() {
    let habits = Habits { keeps_sessions: false, ..GOOD };
    assert_finds(habits, "sessions -C 20 -y 2", "2 sessions forgotten");
}

#[test]
fn a_refused_subscription_ends_the_run() {
    let output = perf(Habits { grants: false, ..GOOD }, "throughput -C 1");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("refuses a subscription: code 0x80"), "{text}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for line in [
        "throughput -s 15",
        "throughput --topics 2",
        "throughput -x 2 --topics 2 -y 3",
        "retained -q 0",
        "sessions -q 0",
        "sessions -z 5",
        "churn -x 2",
        "subscriptions --others 5,1",
    ] {
        assert_eq!(perf(GOOD, line).status.code(), Some(2), "{line}");
    }
}
