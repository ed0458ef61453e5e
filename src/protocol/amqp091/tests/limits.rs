//! What a peer can make grow, and what happens at the bound.

use ringmq_shards::{Buffers, Output};

use super::client::{Client, Said, method};
use crate::command::Event;
use crate::limits::{
    ASSEMBLY_IDLE_MS_MAX, CHANNEL_OPENS_PER_SECOND_MAX, EMPTY_BODY_FRAMES_MAX,
    HEARTBEATS_PER_SECOND_MAX, TRANSACTION_BYTES_MAX,
};
use crate::protocol::amqp091::wire::frame;
use crate::protocol::amqp091::wire::method::{Channel, Method, Tx, basic, channel};
use crate::protocol::{Context, Next, Session};

fn begun(number: u16, body_bytes: u64) -> Vec<u8> {
    let mut octets = Vec::new();
    let method = basic::Publish {
        ticket: 0,
        exchange: "",
        routing_key: "q",
        mandatory: false,
        immediate: false,
    };
    frame::put_method(&mut octets, number, &method);
    frame::put_header_frame(&mut octets, number, body_bytes, &[0, 0]);
    octets
}

/// P6, abuse row 15
#[test]
fn a_body_larger_than_allowed_is_refused_by_its_header() {
    let mut client = Client::open();
    client.say(&begun(1, 134_217_729));
    let text = "channel.close 406 PRECONDITION_FAILED - message size 134217729 is larger than \
                configured max size 134217728 (60, 40)";
    assert_eq!(client.heard(), [method(1, text)]);
    assert_eq!(client.session.link.assemblies, 0, "nothing is looked after any more");
    let mut client = Client::open();
    client.say(&begun(1, 1 << 63));
    let said = client.heard();
    assert!(matches!(&said[..], [Said::Method(1, text)] if text.starts_with("channel.close 311")));
}

/// Abuse row 17: who is refused once may go on, and nothing of it counts.
#[test]
fn a_publish_that_is_refused_half_way_is_no_longer_under_assembly() {
    let mut client = Client::open();
    client.say(&begun(1, 134_217_729));
    assert_eq!(client.session.link.assemblies, 0);
    client.heard();
    client.open_channel(2);
    client.say(&[begun(2, 10), vec![3, 0, 2, 0, 0, 0, 3, 1, 2, 3, 0xCE]].concat());
    assert_eq!((client.session.link.assemblies, client.session.link.assembly_bytes), (1, 5));
    // A second header where a body is due ends the connection.
    client.say(&begun(2, 10));
    assert_eq!((client.session.link.assemblies, client.session.link.assembly_bytes), (0, 0));
}

/// Abuse row 18
#[test]
fn body_frames_without_octets_come_to_an_end() {
    let mut client = Client::open();
    client.say(&begun(1, 10));
    for _ in 0..EMPTY_BODY_FRAMES_MAX {
        client.say(&[3, 0, 1, 0, 0, 0, 0, 0xCE]);
    }
    assert_eq!(client.heard(), []);
    client.say(&[3, 0, 1, 0, 0, 0, 0, 0xCE]);
    let said = client.heard();
    assert!(
        matches!(&said[..], [Said::Method(0, text)] if text.starts_with("connection.close 501"))
    );
}

/// Abuse row 17: memory grows with what came, and not for ever.
#[test]
fn bodies_under_assembly_share_a_limit_and_must_go_on() {
    let mut client = Client::open();
    for number in 2..=4 {
        client.open_channel(number);
    }
    let piece = vec![0; 131_064];
    for number in 1..=4_u16 {
        client.say(&begun(number, 100_000_000));
    }
    let mut frames = 0;
    'all: loop {
        for number in 1..=4 {
            let mut octets = Vec::new();
            frame::put_body_frames(&mut octets, number, &piece, 131_072);
            client.say(&octets);
            frames += 1;
            let said = client.heard();
            if !said.is_empty() {
                assert!(
                    matches!(&said[..], [Said::Method(0, text)] if text.contains("506 RESOURCE_ERROR"))
                );
                break 'all;
            }
        }
    }
    assert_eq!(frames, 134_217_728 / 131_064 + 1);

    let mut client = Client::open();
    client.say(&begun(1, 131_072 * 2));
    client.say(&[3, 0, 1, 0, 0, 0, 1, 9, 0xCE]);
    client.tick(ASSEMBLY_IDLE_MS_MAX);
    assert_eq!(client.heard(), []);
    client.tick(1_001);
    let said = client.heard();
    assert!(matches!(&said[..], [Said::Method(0, text)] if text.contains("does not go on")));
}

/// Abuse row 27
#[test]
fn a_channel_above_the_negotiated_number_is_refused() {
    let mut client = Client::open();
    client.method(2048, &channel::Open { out_of_band: "" });
    let text = "connection.close 530 NOT_ALLOWED - number of channels opened (1) has reached the \
                negotiated channel_max (2047) (20, 10)";
    assert_eq!(client.heard(), [method(0, text)]);
}

/// Abuse row 47
#[test]
fn a_flood_of_heartbeats_ends_the_connection() {
    let mut client = Client::open();
    for _ in 0..=HEARTBEATS_PER_SECOND_MAX {
        client.say(&frame::HEARTBEAT_FRAME);
    }
    let said = client.heard();
    assert!(matches!(&said[..], [Said::Method(0, text)] if text.contains("too many heartbeats")));
}

/// Abuse row 28: a client that waits for each answer can be that fast.
#[test]
fn who_opens_channels_too_often_is_not_read_for_the_rest_of_the_second() {
    let mut client = Client::open();
    let close = channel::Close { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 };
    for _ in 1..CHANNEL_OPENS_PER_SECOND_MAX {
        client.method(1, &close);
        client.method(1, &channel::Open { out_of_band: "" });
    }
    assert_eq!(client.heard().last(), Some(&method(1, "channel.open-ok")));
    assert_eq!(client.next, Next::Wait);
    client.method(1, &close);
    client.tick(999);
    assert_eq!(client.heard(), []);
    client.tick(1);
    assert_eq!(client.heard(), [method(1, "channel.close-ok")]);
    client.open_channel(1);
}

/// Abuse row 52
#[test]
fn a_transaction_holds_so_much_and_no_more() {
    let mut client = Client::open();
    client.method(1, &Method::Tx(Tx::Select));
    client.heard();
    let body = vec![0; 1 << 20];
    for _ in 0..(TRANSACTION_BYTES_MAX >> 20) {
        client.publish(1, "", "q", &body);
    }
    let text = "channel.close 406 PRECONDITION_FAILED - transaction is too large (60, 40)";
    assert_eq!(client.heard(), [method(1, text)]);
    assert_eq!(client.session.link.transaction_bytes, 0);
    client.method(1, &Method::Channel(Channel::CloseOk));
    client.open_channel(1);
}

/// A tick that asked for one octet more would find the same cut frame again, and nobody would wait
/// for the rest of it.
#[test]
fn ticks_and_events_do_not_forget_how_much_is_missing() {
    let mut client = Client::open();
    client.say(&begun(1, 131_072 * 2));
    client.say(&[3, 0, 1, 0, 0, 0, 9, b'x']);
    let missing = Next::Read { bytes_min: 7 + 9 + 1 };
    assert_eq!(client.next, missing);
    let mut cx = Context {
        broker: &mut client.broker,
        out: &mut Output::new(&Buffers::new()),
        now: client.now,
    };
    assert_eq!(client.session.on_tick(&mut cx).0, missing);
    client.event(Event::PublishResumed);
    assert_eq!(client.next, missing);
}
