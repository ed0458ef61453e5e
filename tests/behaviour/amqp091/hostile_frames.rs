//! Frames that are none, or that come where they must not (abuse rows 5 to 19, 25, 47). Each is
//! answered as the table says, and another client is served meanwhile.

use ringmq::protocol::amqp091::wire::frame::{self, HEARTBEAT_FRAME};
use ringmq::protocol::amqp091::wire::method::{Channel, Method, basic, channel, connection};

use crate::support::client::{Client, Event, GLANCE, PATIENCE, frame_octets};
use crate::support::methods::{declare, publish};
use crate::support::raw::{content_header, head, method_octets};
use crate::support::setup::Setup;
use crate::support::siege::{NOTHING_MIB, Siege, unique};

fn siege() -> Siege {
    Siege::shared(Setup::TwoShards)
}

/// Each of these inputs ends its connection with this code.
fn each_closes(siege: &mut Siege, inputs: &[Vec<u8>], code: u16) {
    for (number, input) in inputs.iter().enumerate() {
        let mut attacker = siege.attacker();
        attacker.send_raw(input);
        let text = attacker.expect_close(code, "");
        assert!(text.contains(" - "), "input {number} is answered without a reason: {text}");
        siege.canary_sings();
    }
}

/// Abuse row 5
#[test]
fn a_frame_above_the_negotiated_size_is_refused_before_its_body() {
    let mut siege = siege();
    // Payloads of exactly frame_max are tolerated (P5).
    let heads = [1, 2, 3].map(|kind| head(kind, 1, 131_073));
    each_closes(&mut siege, &heads, 501);
    siege.lift(NOTHING_MIB);
}

/// Abuse row 6
#[test]
fn a_frame_of_four_gigabytes_overflows_nothing() {
    let mut siege = siege();
    let sizes = [u32::MAX, u32::MAX - 7, 1 << 31];
    let heads = sizes.map(|size| head(frame::BODY, 1, size));
    each_closes(&mut siege, &heads, 501);
    siege.lift(NOTHING_MIB);
}

/// Abuse row 8
#[test]
fn a_frame_with_a_wrong_end_is_refused() {
    let mut siege = siege();
    let queue = unique("queue");
    let spoiled = |mut octets: Vec<u8>| {
        *octets.last_mut().expect("an end") = 0xCD;
        octets
    };
    let begun = method_octets(1, &publish("", &queue));
    let header = frame_octets(frame::HEADER, 1, &content_header(60, 0, 5, &[0, 0]));
    let inputs = [
        spoiled(begun.clone()),
        spoiled(HEARTBEAT_FRAME.to_vec()),
        [begun.clone(), spoiled(header.clone())].concat(),
        [begun, header, spoiled(frame_octets(frame::BODY, 1, b"12345"))].concat(),
    ];
    each_closes(&mut siege, &inputs, 501);
    siege.lift(NOTHING_MIB);
}

/// Abuse row 9
#[test]
fn a_frame_of_an_unknown_type_is_refused() {
    let mut siege = siege();
    let inputs = [0, 4, 5, 7, 9, 255].map(|kind| frame_octets(kind, 1, b"payload"));
    each_closes(&mut siege, &inputs, 501);
    siege.lift(NOTHING_MIB);
}

/// Abuse row 11
#[test]
fn methods_on_the_wrong_kind_of_channel_are_refused() {
    let mut siege = siege();
    let open = connection::Open { virtual_host: "/", capabilities: "", insist: false };
    let inputs = [
        method_octets(0, &declare("q")),
        method_octets(0, &channel::Open { out_of_band: "" }),
        method_octets(0, &publish("", "q")),
        method_octets(5, &open),
        method_octets(1, &open),
        // In order on channel 0, but not now.
        method_octets(0, &open),
        // What only a server says, and what nobody says.
        method_octets(0, &connection::OpenOk { known_hosts: "" }),
        method_octets(1, &Method::Basic(ringmq::protocol::amqp091::wire::method::Basic::QosOk)),
        frame_octets(frame::METHOD, 0, &[0, 10, 0, 99]),
        frame_octets(frame::METHOD, 1, &[0, 99, 0, 10]),
    ];
    each_closes(&mut siege, &inputs, 503);
    // Content has no place there at all.
    let content = [frame_octets(frame::BODY, 0, b"x"), frame_octets(frame::HEADER, 0, b"x")];
    each_closes(&mut siege, &content, 505);
    siege.lift(NOTHING_MIB);
}

/// Abuse row 12
#[test]
fn a_heartbeat_is_empty_and_on_channel_0() {
    let mut siege = siege();
    each_closes(&mut siege, &[frame_octets(frame::HEARTBEAT, 1, b"")], 505);
    each_closes(&mut siege, &[frame_octets(frame::HEARTBEAT, 0, b"x")], 501);
    siege.lift(NOTHING_MIB);
}

/// Abuse row 13
#[test]
fn a_channel_that_is_not_open_or_opened_twice_ends_the_connection() {
    let mut siege = siege();
    let again = method_octets(1, &channel::Open { out_of_band: "" });
    let inputs = [
        method_octets(2, &declare("q")),
        method_octets(2, &publish("", "q")),
        frame_octets(frame::BODY, 2, b"x"),
        frame_octets(frame::HEADER, 2, &content_header(60, 0, 5, &[0, 0])),
        again,
    ];
    each_closes(&mut siege, &inputs, 504);
    siege.lift(NOTHING_MIB);
}

/// Abuse row 13
#[test]
fn what_comes_between_an_error_and_close_ok_is_dropped() {
    let mut siege = siege();
    let mut attacker = siege.attacker();
    let queue = unique("queue");
    attacker.declare_exclusive(1, &queue);
    attacker.open_channel(2);
    let missing = unique("missing");
    attacker.send(2, &basic::Get { ticket: 0, queue: &missing, no_ack: true });
    // All of this was on its way before the news arrived.
    for _ in 0..100 {
        attacker.publish(2, "", &queue, b"late");
        attacker.send(2, &declare(&missing));
        attacker.send(2, &basic::Ack { delivery_tag: 9, multiple: false });
    }
    attacker.expect_channel_close(2, 404, &missing);
    attacker.publish(2, "", &queue, b"after close-ok");
    assert_eq!(attacker.counts(1, &queue), (0, 0));
    attacker.open_channel(2);
    attacker.publish(2, "", &queue, b"fresh");
    attacker.wait_ready(1, &queue, 1);
    // The client closes; what follows is no more than late, unless it asks for an answer.
    attacker.close_channel(2);
    attacker.publish(2, "", &queue, b"later still");
    attacker.send(2, &Method::Channel(Channel::CloseOk));
    attacker.expect_silence();
    assert_eq!(attacker.counts(1, &queue), (1, 0));
    attacker.send(2, &declare(&missing));
    attacker.expect_close(504, "CHANNEL_ERROR");
    siege.canary_sings();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 14
#[test]
fn content_out_of_order_is_refused() {
    let mut siege = siege();
    let begun = method_octets(1, &publish("", "q"));
    let header =
        |class, weight| frame_octets(frame::HEADER, 1, &content_header(class, weight, 5, &[0, 0]));
    let body = frame_octets(frame::BODY, 1, b"12345");
    let inputs = [
        header(60, 0),
        body.clone(),
        [begun.clone(), body].concat(),
        [begun.clone(), header(50, 0)].concat(),
        [begun.clone(), header(60, 1)].concat(),
        [begun.clone(), header(60, 0), header(60, 0)].concat(),
        [begun.clone(), begun.clone()].concat(),
        [begun.clone(), header(60, 0), method_octets(1, &declare("q"))].concat(),
        [begun, header(60, 0), method_octets(1, &publish("", "q"))].concat(),
    ];
    each_closes(&mut siege, &inputs, 505);
    siege.lift(NOTHING_MIB);
}

/// Abuse row 16
#[test]
fn a_body_beyond_its_declared_size_is_refused() {
    let mut siege = siege();
    let watcher_queue = unique("queue");
    let mut watcher = siege.attacker();
    watcher.declare_exclusive(1, &watcher_queue);
    let begun = |bytes| {
        let header = frame_octets(frame::HEADER, 1, &content_header(60, 0, bytes, &[0, 0]));
        [method_octets(1, &publish("", "q")), header].concat()
    };
    let body = |octets: &[u8]| frame_octets(frame::BODY, 1, octets);
    let inputs = [
        [begun(3), body(b"1234")].concat(),
        [begun(8), body(b"1234"), body(b"12345")].concat(),
        [begun(200_000), body(&vec![0; 131_064]), body(&vec![0; 131_064])].concat(),
    ];
    each_closes(&mut siege, &inputs, 501);
    // No octet of body was announced, so the body that comes belongs to nothing.
    each_closes(&mut siege, &[[begun(0), body(b"1")].concat()], 505);
    assert_eq!(watcher.counts(1, &watcher_queue), (0, 0));
    siege.lift(NOTHING_MIB);
}

/// Abuse row 18
#[test]
fn body_frames_without_octets_come_to_an_end() {
    let mut siege = siege();
    let mut attacker = siege.attacker();
    attacker.begin_content(1, "q", &content_header(60, 0, 10, &[0, 0]));
    for _ in 0..1000 {
        attacker.send_body(1, b"");
    }
    attacker.expect_silence();
    siege.canary_sings();
    attacker.send_body(1, b"");
    attacker.expect_close(501, "empty body frames");
    siege.lift(NOTHING_MIB);
}

/// Abuse row 19
#[test]
fn a_publish_cut_off_in_its_middle_stores_nothing() {
    let mut siege = siege();
    let queue = unique("queue");
    let mut watcher = siege.attacker();
    watcher.declare_exclusive(1, &queue);
    let block = [0, 0];
    let whole = [
        method_octets(1, &publish("amq.fanout", &queue)),
        frame_octets(frame::HEADER, 1, &content_header(60, 0, 200_000, &block)),
        frame_octets(frame::BODY, 1, &vec![7; 100_000]),
        frame_octets(frame::BODY, 1, &vec![7; 100_000]),
    ]
    .concat();
    watcher.bind(1, &queue, "amq.fanout", "");
    for cut in [1, 20, 45, 60, 70_000, 100_060, 100_080, whole.len() - 1] {
        let mut attacker = siege.attacker();
        attacker.send_raw(&whole[..cut]);
        attacker.shut_down_writing();
        attacker.expect_eof();
        let mut attacker = siege.attacker();
        attacker.send_raw(&whole[..cut]);
        drop(attacker);
    }
    siege.canary_sings();
    assert_eq!(watcher.counts(1, &queue), (0, 0));
    let mut honest = siege.attacker();
    honest.send_raw(&whole);
    assert_eq!(watcher.get_when_there(1, &queue).body, vec![7; 200_000]);
    siege.lift(NOTHING_MIB);
}

/// Abuse row 25
#[test]
fn property_flags_that_go_on_are_refused() {
    let mut siege = siege();
    let begun = method_octets(1, &publish("", "q"));
    let with = |flags: &[u8]| {
        let header = content_header(60, 0, 0, flags);
        [begun.clone(), frame_octets(frame::HEADER, 1, &header)].concat()
    };
    let inputs = [
        with(&[0, 1].repeat(20_000)),
        with(&[0, 1, 0, 1, 0, 0]),
        with(&[0, 1, 0x80, 0]),
        // The bit that means nothing, and values that are missing.
        with(&[0, 2]),
        with(&[0xFF, 0xFC]),
        with(&[0]),
        // Octets behind the last value.
        with(&[0, 0, 9]),
    ];
    each_closes(&mut siege, &inputs, 502);
    siege.lift(NOTHING_MIB);
}

/// Abuse row 47
#[test]
fn a_flood_of_heartbeats_ends_the_connection() {
    let siege = siege();
    let mut attacker = siege.attacker();
    // As many as the limit allows at once are no harm.
    for _ in 0..20 {
        attacker.send_raw(&HEARTBEAT_FRAME);
    }
    attacker.expect_silence();
    attacker.send_raw(&HEARTBEAT_FRAME.repeat(100_000));
    attacker.expect_close(530, "too many heartbeats");
    siege.lift(NOTHING_MIB);
}

/// Noise of all kinds, where a client that is logged in would speak: it is always answered with a
/// close of the connection, or waited for.
#[test]
fn noise_harms_only_its_sender() {
    let mut siege = siege();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..40 {
        let mut attacker = siege.attacker();
        for _ in 0..10 {
            let length = usize::try_from(random() % 60).expect("small");
            let payload: Vec<u8> = (0..length).map(|_| random().to_le_bytes()[0] % 100).collect();
            let kind = [1, 1, 1, 2, 3, 8][usize::try_from(random() % 6).expect("small")];
            let channel = u16::try_from(random() % 3).expect("small");
            attacker.send_frame(kind, channel, &payload);
        }
        loop {
            match attacker.next_event(GLANCE) {
                Event::Frame(received) if is_close(&received.method()) => break,
                Event::Frame(_) => {}
                Event::End | Event::Silence => break,
            }
        }
    }
    siege.canary_sings();
    siege.lift(NOTHING_MIB);
}

fn is_close(method: &Option<Method<'_>>) -> bool {
    use ringmq::protocol::amqp091::wire::method::Connection;
    matches!(method, Some(Method::Connection(Connection::Close(_))))
}

/// After connection.close of the broker only its answer counts; without one the socket goes
/// within a second (heading of the abuse table).
#[test]
fn a_close_that_is_not_answered_ends_all_the_same() {
    let mut siege = siege();
    let mut attacker: Client = siege.attacker();
    attacker.send_frame(99, 1, b"");
    attacker.skip_until(0, "connection.close 501", |method| is_close(&Some(method)).then_some(()));
    let start = std::time::Instant::now();
    for _ in 0..10 {
        attacker.publish(1, "", "q", b"still talking");
    }
    assert_eq!(attacker.next_event(PATIENCE), Event::End);
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    siege.canary_sings();
    siege.lift(NOTHING_MIB);
}
