//! ringmqperf against a broker that does what the test says: that good brokers pass, and that
//! each kind of fault of a bad one is found. May import RingMQ's codec.
#![cfg(test)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use ringmq::protocol::amqp091::wire::field_table::TableRef;
use ringmq::protocol::amqp091::wire::frame::{self, Frame};
use ringmq::protocol::amqp091::wire::method::{
    Basic, Channel, Confirm, Connection, Encode, Exchange, Method, Queue, basic, channel,
    connection, queue,
};
use ringmq::protocol::octets::Decoded;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};

const FRAME_BYTES_MAX: u32 = 131_072;

/// What the broker makes of message number n: the bodies it delivers.
type Fault = fn(u64, Vec<u8>) -> Vec<Vec<u8>>;

/// One queue; the messages of all producers go to one connection.
struct Fake {
    fault: Fault,
    has_confirms: bool,
    /// Number of the connection that may consume, from 0 on.
    consumer: usize,
}

/// Control, consumer, producer.
const CONSUMER_OF_THROUGHPUT: usize = 1;
/// Control and producer of the fill, control and consumer of the drain.
const CONSUMER_OF_BACKLOG: usize = 3;

/// One connection of the fake.
struct Peer {
    stream: TcpStream,
    out: Vec<u8>,
    fault: Fault,
    has_confirms: bool,
    is_confirming: bool,
    published: u64,
    confirmed: u64,
    body: Vec<u8>,
    body_bytes: u64,
    queue: Sender<Vec<u8>>,
    deliveries: Option<Receiver<Vec<u8>>>,
}

impl Fake {
    /// Starts to listen, and tells where.
    fn start(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::Builder::new().spawn(move || self.serve(&listener)).unwrap();
        format!("amqp://127.0.0.1:{port}/")
    }

    fn serve(&self, listener: &TcpListener) {
        let (queue, deliveries) = channel();
        let mut deliveries = Some(deliveries);
        for number in 0..=self.consumer.max(2) {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            let peer = Peer {
                stream,
                out: Vec::new(),
                fault: self.fault,
                has_confirms: self.has_confirms,
                is_confirming: false,
                published: 0,
                confirmed: 0,
                body: Vec::new(),
                body_bytes: 0,
                queue: queue.clone(),
                deliveries: if number == self.consumer { deliveries.take() } else { None },
            };
            std::thread::Builder::new().spawn(move || peer.serve()).unwrap();
        }
    }
}

impl Peer {
    fn serve(mut self) {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).unwrap();
        let start = connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: TableRef::EMPTY,
            mechanisms: b"PLAIN",
            locales: b"en_US",
        };
        self.answer(0, &start);
        let mut input = Vec::new();
        let mut octets = vec![0; 65_536];
        loop {
            self.stream.write_all(&std::mem::take(&mut self.out)).unwrap();
            let Ok(count @ 1..) = self.stream.read(&mut octets) else { return };
            input.extend_from_slice(&octets[..count]);
            let mut taken_total = 0;
            while let Decoded::Frame { frame, taken } =
                frame::decode(&input[taken_total..], FRAME_BYTES_MAX).unwrap()
            {
                match frame {
                    Frame::Method { payload, .. } => self.on_method(payload),
                    Frame::Header { payload, .. } => {
                        self.body_bytes = u64::from_be_bytes(payload[4..12].try_into().unwrap());
                    }
                    Frame::Body { payload, .. } => self.on_body(payload),
                    Frame::Heartbeat { .. } => {}
                }
                taken_total += taken;
            }
            input.drain(..taken_total);
            if self.is_confirming && self.has_confirms && self.published > self.confirmed {
                let delivery_tag = self.published;
                self.confirmed = delivery_tag;
                self.answer(1, &basic::Ack { delivery_tag, multiple: true });
            }
        }
    }

    fn answer(&mut self, channel: u16, method: &impl Encode) {
        frame::put_method(&mut self.out, channel, method);
    }

    fn on_body(&mut self, piece: &[u8]) {
        self.body.extend_from_slice(piece);
        if u64::try_from(self.body.len()).unwrap() == self.body_bytes {
            let body = std::mem::take(&mut self.body);
            for body in (self.fault)(self.published, body) {
                self.queue.send(body).unwrap();
            }
            self.published += 1;
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a script, not a state machine")]
    fn on_method(&mut self, payload: &[u8]) {
        let queue = "ringmqperf";
        match Method::decode(payload).unwrap() {
            Method::Connection(Connection::StartOk(_)) => {
                let (channel_max, frame_max, heartbeat) = (9, FRAME_BYTES_MAX, 60);
                self.answer(0, &connection::Tune { channel_max, frame_max, heartbeat });
            }
            Method::Connection(Connection::Open(_)) => {
                self.answer(0, &connection::OpenOk { known_hosts: "" });
            }
            Method::Connection(Connection::Close(_)) => self.answer(0, &Connection::CloseOk),
            Method::Channel(Channel::Open(_)) => {
                self.answer(1, &channel::OpenOk { channel_id: b"" });
            }
            Method::Exchange(Exchange::Declare(_)) => self.answer(1, &Exchange::DeclareOk),
            Method::Queue(Queue::Declare(_)) => {
                // Whoever looks for queues in a test has published to each of them once.
                let message_count = u32::from(self.published > 0);
                let consumer_count = 0;
                self.answer(1, &queue::DeclareOk { queue, message_count, consumer_count });
            }
            Method::Queue(Queue::Purge(_)) => self.answer(1, &queue::PurgeOk { message_count: 0 }),
            Method::Queue(Queue::Delete(_)) => {
                self.answer(1, &queue::DeleteOk { message_count: 1 });
            }
            Method::Confirm(Confirm::Select(_)) => {
                self.is_confirming = true;
                self.answer(1, &Confirm::SelectOk);
            }
            Method::Basic(Basic::Consume(consume)) => {
                let consumer_tag = consume.consumer_tag;
                self.answer(1, &basic::ConsumeOk { consumer_tag });
                self.deliver(consumer_tag.to_owned());
            }
            Method::Basic(Basic::Publish(_) | Basic::Ack(_))
            | Method::Connection(Connection::TuneOk(_)) => {}
            Method::Basic(Basic::Qos(_)) => self.answer(1, &Basic::QosOk),
            other => panic!("{} is not in the script", other.name()),
        }
    }

    /// Delivers from a thread of its own, since this one reads.
    fn deliver(&mut self, consumer_tag: String) {
        let deliveries = self.deliveries.take().unwrap();
        let mut stream = self.stream.try_clone().unwrap();
        // The answer to basic.consume must not wait for a message.
        stream.write_all(&std::mem::take(&mut self.out)).unwrap();
        let mut out = Vec::new();
        let deliver_all = move || {
            for (delivery_tag, body) in (1..).zip(deliveries) {
                let consumer_tag = consumer_tag.as_str();
                let deliver = basic::Deliver {
                    consumer_tag,
                    delivery_tag,
                    redelivered: false,
                    exchange: "",
                    routing_key: "ringmqperf",
                };
                let channel = 1;
                frame::put_content(&mut out, channel, &deliver, &[0, 0], &body, FRAME_BYTES_MAX);
                if stream.write_all(&std::mem::take(&mut out)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().spawn(deliver_all).unwrap();
    }
}

/// The output of ringmqperf's scenario with these arguments.
fn scenario(name: &str, uri: &str, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmqperf"));
    command.args(["amqp", name, "-q", "--drain-timeout", "1", "--uri", uri]);
    command.args(arguments.split_whitespace()).output().unwrap()
}

/// The output of the throughput scenario with these arguments.
fn perf(fake: Fake, arguments: &str) -> Output {
    scenario("throughput", &fake.start(), arguments)
}

/// The outputs of a backlog filled by one process and drained by another.
fn fill_and_drain(fault: Fault, fill: &str, drain: &str) -> [String; 2] {
    let uri = Fake { fault, has_confirms: true, consumer: CONSUMER_OF_BACKLOG }.start();
    let filled = scenario("backlog", &uri, &format!("--fill-only -u q {fill}"));
    let drained = scenario("backlog", &uri, &format!("--drain-only -u q {drain}"));
    [filled, drained].map(|output| {
        let text = String::from_utf8(output.stdout).unwrap();
        let has_violation = text.contains("VIOLATION");
        assert_eq!(output.status.code(), Some(i32::from(has_violation)), "{text}");
        text
    })
}

fn good(number: u64, body: Vec<u8>) -> Vec<Vec<u8>> {
    let _ = number;
    vec![body]
}

#[track_caller]
fn assert_finds(fault: Fault, arguments: &str, words: &str) {
    let output =
        perf(Fake { fault, has_confirms: true, consumer: CONSUMER_OF_THROUGHPUT }, arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(words), "{words} in {text}");
}

#[test]
fn a_good_broker_passes() {
    for arguments in ["-C 3000", "-C 500 -s 1000 -c 10 -a 7 -P 50 -p", "-C 5 -s 300000 --threads 2"]
    {
        let fake = Fake { fault: good, has_confirms: true, consumer: CONSUMER_OF_THROUGHPUT };
        let output = perf(fake, arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments}: {text}");
        assert!(text.contains("verified"), "{text}");
    }
}

#[test]
fn a_lost_message_is_found() {
    let fault: Fault = |number, body| if number == 700 { vec![] } else { vec![body] };
    assert_finds(fault, "-C 1000", "VIOLATION: 1 lost");
}

#[test]
fn a_message_that_is_delivered_twice_is_found() {
    let fault: Fault =
        |number, body| if number == 999 { vec![body.clone(), body] } else { vec![body] };
    assert_finds(fault, "-C 1000", "VIOLATION: 1 duplicated");
}

#[test]
fn a_changed_body_is_found_and_its_message_counts_as_lost() {
    let fault: Fault = |number, mut body| {
        let last = body.len() - 1;
        body[last] ^= u8::from(number == 3);
        vec![body]
    };
    for arguments in ["-C 10 -s 16", "-C 10 -s 5000", "-C 10 -s 200000"] {
        assert_finds(fault, arguments, "VIOLATION: 1 corrupt");
        assert_finds(fault, arguments, "VIOLATION: 1 lost");
    }
}

#[test]
fn a_confirm_that_never_comes_is_found() {
    let fake = Fake { fault: good, has_confirms: false, consumer: CONSUMER_OF_THROUGHPUT };
    let output = perf(fake, "-C 10 -c 10");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("VIOLATION: 10 unconfirmed"), "{text}");
}

#[test]
fn a_backlog_that_comes_out_as_it_went_in_passes() {
    for arguments in ["-C 3000", "-C 500 -s 1000 -c 10 -a 7 -P 50", "-C 5 -s 300000 --threads 2"] {
        let fake = Fake { fault: good, has_confirms: true, consumer: CONSUMER_OF_BACKLOG };
        let output = scenario("backlog", &fake.start(), arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments}: {text}");
        for part in ["fill\n", "drain\n", "confirm, us", "verified: nothing lost"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}

#[test]
fn a_fault_in_a_backlog_is_found() {
    let lost: Fault = |number, body| if number == 700 { vec![] } else { vec![body] };
    let twice: Fault =
        |number, body| if number == 999 { vec![body.clone(), body] } else { vec![body] };
    for (fault, words) in [(lost, "VIOLATION: 1 lost"), (twice, "VIOLATION: 1 duplicated")] {
        let fake = Fake { fault, has_confirms: true, consumer: CONSUMER_OF_BACKLOG };
        let output = scenario("backlog", &fake.start(), "-C 1000");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn a_backlog_without_confirms_is_not_a_good_one() {
    let fake = Fake { fault: good, has_confirms: false, consumer: CONSUMER_OF_BACKLOG };
    let output = scenario("backlog", &fake.start(), "-C 10");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("VIOLATION: 10 unconfirmed") && !text.contains("lost"), "{text}");
}

#[test]
fn another_process_may_drain_a_backlog() {
    let [filled, drained] = fill_and_drain(good, "-C 2000 -s 100", "-D 2000 -s 100");
    assert!(filled.contains("verified: every message confirmed"), "{filled}");
    assert!(filled.contains("--drain-only -u q -s 100 -D 2000"), "{filled}");
    assert!(drained.contains("2000 in all") && drained.contains("verified"), "{drained}");
}

#[test]
fn another_process_finds_what_is_wrong_with_a_backlog() {
    let gap: Fault = |number, body| if number == 700 { vec![] } else { vec![body] };
    let short: Fault = |number, body| if number >= 990 { vec![] } else { vec![body] };
    let twice: Fault = |number, body| if number == 5 { vec![body; 2] } else { vec![body] };
    for (fault, words) in [
        (gap, "VIOLATION: 1 lost"),
        (short, "VIOLATION: 10 lost"),
        (twice, "VIOLATION: 1 duplicated"),
    ] {
        let [_, drained] = fill_and_drain(fault, "-C 1000", "-D 1000");
        assert!(drained.contains(words), "{words} in {drained}");
    }
}

#[test]
fn many_queues_are_declared_filled_found_and_deleted() {
    let fake = Fake { fault: good, has_confirms: true, consumer: CONSUMER_OF_THROUGHPUT };
    let output = scenario("queues", &fake.start(), "--count 250");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in ["declare\n", "publish\n", "find\n", "delete\n", "250 in all", "verified: every"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

/// Speaks TLS before a fake that does not; tells where.
fn behind_tls(uri: &str) -> String {
    let inner = uri.trim_start_matches("amqp://").trim_end_matches('/').to_owned();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let chain = vec![params.self_signed(&key).unwrap().der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        for outside in listener.incoming() {
            let (outside, inside) = (outside.unwrap(), TcpStream::connect(&inner).unwrap());
            let tls = ServerConnection::new(config.clone()).unwrap();
            std::thread::Builder::new().spawn(move || carry(outside, inside, tls)).unwrap();
        }
    };
    std::thread::Builder::new().spawn(serve).unwrap();
    format!("amqps://localhost:{port}/")
}

/// Carries octets both ways until one side ends.
fn carry(mut outside: TcpStream, mut inside: TcpStream, mut tls: ServerConnection) {
    // Each side is listened to for a moment, in turn.
    let moment = Some(std::time::Duration::from_millis(1));
    outside.set_read_timeout(moment).unwrap();
    inside.set_read_timeout(moment).unwrap();
    let mut octets = vec![0; 64 * 1024];
    let is_over = |result: &std::io::Result<usize>| match result {
        Ok(count) => *count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    };
    loop {
        let read = tls.read_tls(&mut outside);
        if is_over(&read) || tls.process_new_packets().is_err() {
            return;
        }
        while let Ok(count @ 1..) = tls.reader().read(&mut octets) {
            inside.write_all(&octets[..count]).unwrap();
        }
        let read = inside.read(&mut octets);
        if is_over(&read) {
            return;
        }
        if let Ok(count) = read {
            tls.writer().write_all(&octets[..count]).unwrap();
        }
        while tls.wants_write() {
            tls.write_tls(&mut outside).unwrap();
        }
    }
}

#[test]
fn a_good_broker_passes_through_tls() {
    for arguments in ["-C 1000 -c 100", "-C 5 -s 100000 --threads 2", "-C 100 --tls-version 1.2"] {
        let fake = Fake { fault: good, has_confirms: true, consumer: CONSUMER_OF_THROUGHPUT };
        let uri = behind_tls(&fake.start());
        let output = scenario("throughput", &uri, &format!("--insecure {arguments}"));
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments}: {text}");
        assert!(text.contains("handshakes of TLS: 3 full, 0 resumed"), "{text}");
    }
}

#[test]
fn connections_that_do_nothing_and_those_that_come_and_go_are_served() {
    let fake = || Fake { fault: good, has_confirms: true, consumer: 20 };
    for uri in [fake().start(), behind_tls(&fake().start())] {
        let output =
            scenario("connections", &uri, "--count 10 --heartbeat 0 -z 1 --insecure --rounds 2");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains("verified: every connection stayed"), "{text}");
    }
    let output = scenario("churn", &fake().start(), "-C 20 --connecting 3");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("20 in all") && text.contains("verified"), "{text}");
}
