//! Publisher confirms, returns, and publishing held back.

use super::client::{Client, Said, declare, method, publish};
use crate::command::{AlarmReason, Event};
use crate::ids::{ChannelId, PublishSeq};
use crate::protocol::Next;
use crate::protocol::amqp091::channel::Mode;
use crate::protocol::amqp091::wire::frame;
use crate::protocol::amqp091::wire::method::{basic, confirm};

fn confirming() -> Client {
    let mut client = Client::open();
    client.method(1, &declare("q"));
    client.method(1, &confirm::Select { no_wait: false });
    client.heard();
    client
}

#[test]
fn publishes_of_one_turn_are_confirmed_by_one_method() {
    let mut client = confirming();
    let mut octets = Vec::new();
    for _ in 0..100 {
        octets.extend(publish(1, "", "q", &[0, 0], b"body"));
    }
    client.say(&octets);
    assert_eq!(client.heard(), [method(1, "basic.ack 100 true")]);
    client.publish(1, "", "nowhere", b"");
    assert_eq!(client.heard(), [method(1, "basic.ack 101 false")]);
}

#[test]
fn a_publish_is_confirmed_however_its_octets_are_cut() {
    let octets = publish(1, "", "q", &[0, 0], b"body");
    for cut in 0..octets.len() {
        let mut client = confirming();
        client.say(&octets[..cut]);
        assert_eq!(client.heard(), [], "cut at {cut}");
        client.say(&octets[cut..]);
        assert_eq!(client.heard(), [method(1, "basic.ack 1 false")], "cut at {cut}");
    }
}

/// R45, P50
#[test]
fn a_message_that_comes_back_comes_before_its_confirm() {
    let mut client = confirming();
    let mut octets = Vec::new();
    let method_ = basic::Publish {
        ticket: 0,
        exchange: "",
        routing_key: "nowhere",
        mandatory: true,
        immediate: false,
    };
    let block = [0x10, 0, 2];
    frame::put_content(&mut octets, 1, &method_, &block, b"body", 4096);
    client.say(&octets);
    assert_eq!(
        client.heard(),
        [
            method(1, "basic.return 312 nowhere"),
            Said::Header(1, block.into(), 4),
            Said::Body(1, b"body".into()),
            method(1, "basic.ack 1 false"),
        ]
    );
}

/// What is stored out of order is confirmed in order; what a full queue refused is a nack.
#[test]
fn pending_publishes_are_confirmed_in_order() {
    let mut client = confirming();
    if let Mode::Confirm(confirms) = &mut client.session.channel(1).unwrap().mode {
        for _ in 0..3 {
            confirms.assign();
        }
    }
    let mut stored = |seq, accepted| {
        client.event(Event::Stored { channel: ChannelId(1), seq: PublishSeq(seq), accepted });
        client.work();
        client.heard()
    };
    assert_eq!(stored(2, false), []);
    assert_eq!(stored(3, true), []);
    assert_eq!(
        stored(1, true),
        [
            method(1, "basic.ack 1 false"),
            method(1, "basic.nack 2 false"),
            method(1, "basic.ack 3 false")
        ]
    );
}

/// News of a channel that had the number before confirms nothing of the present one.
#[test]
fn late_news_of_a_closed_channel_confirms_nothing_on_its_successor() {
    let mut client = confirming();
    client.publish(1, "", "q", b"");
    client.heard();
    client.method(
        1,
        &crate::protocol::amqp091::wire::method::channel::Close {
            reply_code: 200,
            reply_text: "",
            class_id: 0,
            method_id: 0,
        },
    );
    client.heard();
    client.open_channel(1);
    client.method(1, &confirm::Select { no_wait: true });
    if let Mode::Confirm(confirms) = &mut client.session.channel(1).unwrap().mode {
        confirms.assign();
    }
    client.event(Event::Stored { channel: ChannelId(1), seq: PublishSeq(1), accepted: true });
    client.work();
    assert_eq!(client.heard(), []);
    client.event(Event::Stored { channel: ChannelId(1), seq: PublishSeq(2), accepted: true });
    client.work();
    assert_eq!(client.heard(), [method(1, "basic.ack 1 false")]);
}

/// R47
#[test]
fn a_publisher_that_is_held_back_by_an_alarm_is_told_and_goes_on_afterwards() {
    let mut client = Client::open();
    client.session.is_paused = true;
    client.event(Event::Alarm(Some(AlarmReason::Memory)));
    client.event(Event::Alarm(Some(AlarmReason::Memory)));
    assert_eq!(client.heard(), [method(0, "connection.blocked low on memory")]);
    assert_eq!(client.next, Next::ReadAhead { bytes_min: 1 });
    client.event(Event::Alarm(None));
    client.event(Event::PublishResumed);
    assert_eq!(client.heard(), [method(0, "connection.unblocked")]);
    assert_eq!(client.next, Next::Read { bytes_min: 1 });
}
