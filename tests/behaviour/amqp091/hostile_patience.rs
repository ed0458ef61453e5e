//! What ends only after a while, measured in the broker's own time (abuse rows 4, 17, 44, 45, 46).
//! All of it runs at the same time, whichever test comes first, so the whole takes as long as its
//! longest part: a bit more than a minute.

use std::sync::{Once, OnceLock};
use std::time::{Duration, Instant};

use ringmq::protocol::amqp091::wire::frame::{self, HEARTBEAT_FRAME};
use ringmq::protocol::amqp091::wire::method::{Connection, basic, queue};
use ringmq::protocol::amqp091::wire::properties::NO_PROPERTIES;
use ringmq::value::Value;

use crate::support::broker::Options;
use crate::support::client::Event;
use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::methods::{arguments, consume, declare, publish};
use crate::support::raw::content_header;
use crate::support::siege::{NOTHING_MIB, Siege, unique};
use crate::support::{Client, Login};

/// How much later than due something may be on a busy machine.
const LATE: Duration = Duration::from_secs(8);

/// What one test waits for.
struct Part {
    run: fn(),
    /// Set when it is over: whether all was as it should be.
    is_well: OnceLock<bool>,
}

impl Part {
    const fn new(run: fn()) -> Self {
        Self { run, is_well: OnceLock::new() }
    }

    /// Starts all parts if they do not run yet, and waits for this one.
    fn must_be_well(&self) {
        static STARTED: Once = Once::new();
        STARTED.call_once(|| {
            for part in [&HANDSHAKE, &ASSEMBLY, &PUBLISHER, &CONSUMER, &HEARTBEATS] {
                std::thread::spawn(|| part.is_well.set(std::panic::catch_unwind(part.run).is_ok()));
            }
        });
        assert!(self.is_well.wait(), "it panicked: the test that came first has its output");
    }
}

static HANDSHAKE: Part = Part::new(handshake);
static ASSEMBLY: Part = Part::new(assembly);
static PUBLISHER: Part = Part::new(publisher);
static CONSUMER: Part = Part::new(consumer);
static HEARTBEATS: Part = Part::new(heartbeats);

/// Abuse row 4
#[test]
fn a_handshake_takes_ten_seconds_at_most() {
    HANDSHAKE.must_be_well();
}

/// Abuse row 17
#[test]
fn a_body_that_does_not_go_on_for_half_a_minute_ends_the_connection() {
    ASSEMBLY.must_be_well();
}

/// Abuse row 45
#[test]
fn a_publisher_that_reads_nothing_for_a_minute_is_cut_off() {
    PUBLISHER.must_be_well();
}

/// Abuse row 44
#[test]
fn a_consumer_that_reads_nothing_is_given_up_with_its_heart() {
    CONSUMER.must_be_well();
}

/// S75, abuse row 46
#[test]
fn a_peer_without_a_sign_of_life_is_given_up() {
    HEARTBEATS.must_be_well();
}

/// The time until the broker closes; one of these octets goes out each second, the last again and
/// again.
fn time_to_end(mut client: Client, start: Instant, drip: &[u8]) -> Option<Duration> {
    let mut drip = drip.iter();
    while start.elapsed() < Duration::from_secs(10) + LATE {
        match client.next_event(Duration::from_secs(1)) {
            Event::End => return Some(start.elapsed()),
            Event::Frame(_) => {}
            Event::Silence => {
                if let Some(octet) = drip.next() {
                    client.send_raw(&[*octet]);
                }
            }
        }
    }
    None
}

/// What it is called, how a client gets there, and what it says from there on, an octet a second.
type Stage<'a> = (&'static str, fn(&mut Client, &Login<'_>), &'a [u8]);

/// Who stops, or says an octet a second, at any stage of the handshake.
fn handshake() {
    let mut siege = Siege::own(Options::default());
    let login = Login::default();
    let heartbeat_twice = HEARTBEAT_FRAME.repeat(2);
    let stages: [Stage<'_>; 6] = [
        ("nothing", |_, _| {}, b""),
        ("a slow header", |_, _| {}, PROTOCOL_HEADER),
        ("a header", |client, _| client.send_raw(PROTOCOL_HEADER), b""),
        (
            "a slow start-ok",
            |client, _| client.send_raw(PROTOCOL_HEADER),
            b"\x01\0\0\0\0\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09",
        ),
        (
            "a login",
            |client, login| {
                client.send_raw(PROTOCOL_HEADER);
                client.expect_start();
                client.send_start_ok(login, "PLAIN", &login.plain());
            },
            b"",
        ),
        ("all but open", |client, login| client.begin(login), &heartbeat_twice),
    ];
    let waiting: Vec<_> = stages
        .into_iter()
        .map(|(stage, go, drip)| {
            let start = Instant::now();
            let mut client = siege.stranger();
            go(&mut client, &login);
            let drip = drip.to_vec();
            (stage, std::thread::spawn(move || time_to_end(client, start, &drip)))
        })
        .collect();
    let mut failures = Vec::new();
    for (stage, thread) in waiting {
        let took = thread.join().expect("it waited");
        let in_time = took.is_some_and(|took| {
            (Duration::from_secs(9)..Duration::from_secs(10) + LATE).contains(&took)
        });
        if !in_time {
            failures.push(format!("{stage}: closed after {took:?}"));
        }
        siege.canary_sings();
    }
    assert!(failures.is_empty(), "{failures:#?}");
    siege.lift(NOTHING_MIB);
}

/// One body that stalls, and one that creeps.
fn assembly() {
    let mut siege = Siege::own(Options::default());
    let header = content_header(60, 0, 100, &NO_PROPERTIES);
    let (mut stalled, mut creeping) = (siege.attacker(), siege.attacker());
    for client in [&mut stalled, &mut creeping] {
        client.begin_content(1, "q", &header);
        client.send_body(1, b"the beginning");
    }
    let start = Instant::now();
    // Octets on other channels are no progress of this one.
    stalled.open_channel(2);
    let mut closed = None;
    while start.elapsed() < Duration::from_secs(38) + LATE {
        creeping.send_body(1, b".");
        creeping.expect_silence_for(Duration::from_millis(500));
        if closed.is_none() {
            stalled.send_raw(&HEARTBEAT_FRAME);
            if let Event::Frame(received) = stalled.next_event(Duration::from_millis(500)) {
                let text = received.describe();
                assert!(text.contains("506") && text.contains("does not go on"), "{text}");
                stalled.send(0, &Connection::CloseOk);
                closed = Some(start.elapsed());
                stalled.expect_eof();
            }
        } else {
            std::thread::sleep(Duration::from_millis(500));
        }
        siege.canary_sings();
    }
    let took = closed.expect("the connection with the stalled body is closed");
    assert!(took > Duration::from_secs(29) && took < Duration::from_secs(32) + LATE, "{took:?}");
    drop(creeping);
    siege.lift(NOTHING_MIB);
}

/// Waits until the broker has given up the connection, by writing to it.
fn expect_cut_off(siege: &mut Siege, since: Instant, client: &Client) {
    use std::io::{ErrorKind, Write};
    let mut socket = client.stream();
    socket.set_nonblocking(true).expect("a socket that does not wait");
    loop {
        siege.canary_sings();
        match socket.write(&HEARTBEAT_FRAME) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        let waited = since.elapsed();
        assert!(waited < Duration::from_secs(62) + LATE, "still connected after {waited:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
    let took = since.elapsed();
    assert!(took > Duration::from_secs(55), "cut off after {took:?} already");
}

/// Row 45: returns and confirms pile up.
fn publisher() {
    let mut siege = Siege::own(Options { shards: 1, ..Options::default() });
    let mut attacker = siege.attacker();
    attacker.confirm_select(1);
    let mut one = Vec::new();
    let method = basic::Publish { mandatory: true, ..publish("", "nowhere") };
    frame::put_content(&mut one, 1, &method, &NO_PROPERTIES, &[7; 8192], 131_072);
    let batch = one.repeat(100);
    let full =
        |attacker: &mut Client| attacker.send_some(&batch, Duration::from_secs(1)) < batch.len();
    assert!((0..200).any(|_| full(&mut attacker)), "it is read although it reads nothing");
    expect_cut_off(&mut siege, Instant::now(), &attacker);
    siege.lift(NOTHING_MIB);
}

/// Row 44: deliveries pile up. Who is slow may be slow as long as its heart beats, and is given up
/// when it does not, though there is always something on its way to it.
fn consumer() {
    let mut siege = Siege::own(Options::default());
    let mut publisher = siege.attacker();
    let table = arguments(&[("x-max-length-bytes", Value::I32(4 << 20))]);
    let beating = Login { heartbeat: 1, ..Login::default() };
    let (mut dead, mut slow) = (siege.attacker_as(&beating), siege.attacker_as(&beating));
    let queues = [unique("dead"), unique("slow")];
    for (queue, reader) in queues.iter().zip([&mut dead, &mut slow]) {
        publisher.declare_with(1, &queue::Declare { arguments: table.view(), ..declare(queue) });
        reader.consume_with(1, &basic::Consume { no_ack: true, ..consume(queue, "") });
    }
    let start = Instant::now();
    let body = [7; 64 * 1024];
    let mut given_up = None;
    // Fifteen seconds show that the slow one stays; a loaded machine gets twice that.
    while start.elapsed() < Duration::from_secs(15)
        || given_up.is_none() && start.elapsed() < Duration::from_secs(30)
    {
        for queue in &queues {
            publisher.publish(1, "", queue, &body);
        }
        slow.send_raw(&HEARTBEAT_FRAME);
        let beaten = Instant::now();
        siege.canary_sings();
        let consumers = queues.each_ref().map(|queue| publisher.counts(1, queue).1);
        // A machine that kept this test from beating for so long says nothing about the broker.
        if beaten.elapsed() < Duration::from_secs(4) {
            assert_eq!(consumers[1], 1, "who is slow is given up after {:?}", start.elapsed());
        }
        if consumers[0] == 0 && given_up.is_none() {
            given_up = Some(start.elapsed());
        }
        for _ in 0..20 {
            for queue in &queues {
                publisher.publish(1, "", queue, &body);
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let took = given_up.expect("who neither reads nor beats is given up");
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(29), "{took:?}");
    drop(dead);
    assert!(slow.expect_delivery(1).body == body);
    drop(slow);
    for queue in &queues {
        publisher.delete(1, queue);
    }
    siege.lift(2 * 4 + 8 + NOTHING_MIB);
}

/// Row 46: a second of interval and five of grace (S6), for who agreed on heartbeats.
fn heartbeats() {
    let mut siege = Siege::own(Options::default());
    let beating = Login { heartbeat: 1, ..Login::default() };
    let mut silent = siege.attacker_as(&beating);
    let mut alive = siege.attacker_as(&beating);
    let mut without = siege.attacker();
    let start = Instant::now();
    let queue = unique("held");
    silent.declare(1, &queue);
    silent.publish(1, "", &queue, b"mine");
    silent.wait_ready(1, &queue, 1);
    silent.get(1, &queue, false).expect("a message that it never settles");
    let mut closed = None;
    let mut beats = 0;
    while start.elapsed() < Duration::from_secs(12) {
        alive.send_raw(&HEARTBEAT_FRAME);
        alive.expect_silence_for(Duration::from_millis(250));
        without.expect_silence_for(Duration::from_millis(10));
        if closed.is_none() {
            match silent.next_event(Duration::from_millis(250)) {
                Event::Frame(received) => {
                    assert_eq!(received.kind, frame::HEARTBEAT, "{}", received.describe());
                    beats += 1;
                }
                Event::End => closed = Some(start.elapsed()),
                Event::Silence => {}
            }
        }
        siege.canary_sings();
    }
    let took = closed.expect("the silent connection is closed");
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(9), "{took:?}");
    assert!(beats >= 4, "the broker beats too: {beats}");
    // What the dead had out is back.
    assert!(alive.get_when_there(1, &queue).redelivered);
    alive.delete(1, &queue);
    alive.close();
    without.close();
    siege.broker().wait_for_line(&["missed heartbeats from client"]);
    siege.lift(NOTHING_MIB);
}
