//! Channels: opening, errors that close them or the connection, what is skipped afterwards.

use super::client::{Client, Said, consume, declare, method, publish};
use crate::command::Event;
use crate::protocol::amqp091::wire::field_table::TableRef;
use crate::protocol::amqp091::wire::method::{
    Channel, Connection, Method, basic, channel, connection, exchange, queue,
};
use crate::protocol::{Context, Next, Session as _};

fn close() -> channel::Close<'static> {
    channel::Close { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 }
}

fn get(queue: &str) -> basic::Get<'_> {
    basic::Get { ticket: 0, queue, no_ack: false }
}

#[test]
fn queues_are_declared_counted_purged_and_deleted() {
    let mut client = Client::open();
    client.method(1, &declare("q"));
    client.publish(1, "", "q", b"one");
    client.publish(1, "", "q", b"two");
    // An empty name is the queue declared last (P31).
    client.method(1, &queue::Declare { passive: true, ..declare("") });
    client.method(1, &queue::Purge { ticket: 0, queue: "", no_wait: false });
    client.method(
        1,
        &queue::Delete { ticket: 0, queue: "q", if_unused: false, if_empty: false, no_wait: false },
    );
    assert_eq!(
        client.heard(),
        [
            method(1, "queue.declare-ok q 0 0"),
            method(1, "queue.declare-ok q 2 0"),
            method(1, "queue.purge-ok 2"),
            method(1, "queue.delete-ok 0"),
        ]
    );
}

/// P31, P60
#[test]
fn a_refused_method_closes_its_channel_with_its_own_id_even_without_wait() {
    let mut client = Client::open();
    client.method(1, &queue::Declare { passive: true, ..declare("") });
    let text = "channel.close 404 NOT_FOUND - no previously declared queue (50, 10)";
    assert_eq!(client.heard(), [method(1, text)]);
    client.method(1, &Method::Channel(Channel::CloseOk));
    client.open_channel(1);
    let bind = queue::Bind {
        ticket: 0,
        queue: "missing",
        exchange: "amq.direct",
        routing_key: "",
        no_wait: true,
        arguments: TableRef::EMPTY,
    };
    client.method(1, &bind);
    let text = "channel.close 404 NOT_FOUND - no queue 'missing' in vhost '/' (50, 20)";
    assert_eq!(client.heard(), [method(1, text)]);
}

/// P72: the frames of a publish that comes after the error are skipped to the last octet.
#[test]
fn after_an_error_everything_on_the_channel_is_discarded_until_close_ok() {
    let mut client = Client::open();
    client.open_channel(2);
    let mut octets = publish(1, "missing", "", &[0, 0], b"lost");
    octets.extend(publish(1, "", "q", &[0, 0], &[9; 300_000]));
    octets.extend([1, 0, 1, 0, 0, 0, 2, 9, 9, 0xCE]);
    client.say(&octets);
    let text = "channel.close 404 NOT_FOUND - no exchange 'missing' in vhost '/' (60, 40)";
    assert_eq!(client.heard(), [method(1, text)]);
    client.method(2, &declare("q"));
    assert_eq!(client.heard(), [method(2, "queue.declare-ok q 0 0")]);
    client.method(1, &Method::Channel(Channel::CloseOk));
    client.open_channel(1);
}

/// P19, P66
#[test]
fn a_channel_closed_by_its_client_gives_back_what_was_out_before_close_ok() {
    let mut client = Client::open();
    client.method(1, &declare("q"));
    client.publish(1, "", "q", b"body");
    client.method(1, &get("q"));
    client.method(1, &close());
    client.open_channel_after_close();
    client.method(1, &get("q"));
    assert_eq!(
        client.heard(),
        [
            method(1, "basic.get-ok 1 true 0"),
            Said::Header(1, vec![0, 0], 4),
            Said::Body(1, b"body".into()),
        ]
    );
}

impl Client {
    fn open_channel_after_close(&mut self) {
        assert_eq!(self.heard().last(), Some(&method(1, "channel.close-ok")));
        self.open_channel(1);
    }
}

/// S62, P16, L9, abuse row 13
#[test]
fn a_channel_must_be_opened_once_and_late_frames_for_a_closed_one_are_dropped() {
    let error = |octets: &dyn Fn(&mut Client)| {
        let mut client = Client::open();
        octets(&mut client);
        client.heard().pop()
    };
    let expected = "connection.close 504 CHANNEL_ERROR - expected 'channel.open'";
    let declared = error(&|client| client.method(7, &declare("q")));
    assert_eq!(declared, Some(method(0, &format!("{expected} (50, 10)"))));
    let published = error(&|client| client.publish(7, "", "q", b""));
    assert_eq!(published, Some(method(0, &format!("{expected} (60, 40)"))));
    let twice = error(&|client| client.method(1, &channel::Open { out_of_band: "" }));
    let text = "connection.close 504 CHANNEL_ERROR - second 'channel.open' seen (20, 10)";
    assert_eq!(twice, Some(method(0, text)));
    let late = error(&|client| {
        client.method(1, &close());
        client.publish(1, "", "q", b"late");
        client.method(1, &basic::Ack { delivery_tag: 1, multiple: false });
    });
    assert_eq!(late, Some(method(1, "channel.close-ok")));
}

/// S62, abuse rows 8, 9, 11, 12, 14, 16, 21
#[test]
fn broken_frames_close_the_connection_with_the_code_of_the_fault() {
    let cases: [(&[u8], &str); 9] = [
        (&[1, 0, 1, 0, 0, 0, 0, 0xCD], "501"),
        (&[5, 0, 1, 0, 0, 0, 0, 0xCE], "501"),
        (&[1, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF], "501"),
        (&[1, 0, 0, 0, 0, 0, 4, 0, 60, 0, 11, 0xCE], "503"),
        (&[1, 0, 1, 0, 0, 0, 4, 0, 10, 0, 51, 0xCE], "503"),
        (&[1, 0, 1, 0, 0, 0, 4, 0, 99, 0, 51, 0xCE], "503"),
        (&[8, 0, 1, 0, 0, 0, 0, 0xCE], "505"),
        (&[3, 0, 1, 0, 0, 0, 1, 9, 0xCE], "505"),
        (&[1, 0, 1, 0, 0, 0, 5, 0, 50, 0, 10, 0, 0xCE], "502"),
    ];
    for (octets, code) in cases {
        let mut client = Client::open();
        client.say(octets);
        let said = client.heard();
        let expected = format!("connection.close {code} ");
        assert!(
            matches!(&said[..], [Said::Method(0, text)] if text.starts_with(&expected)),
            "{octets:?}: {said:?}"
        );
        client.method(0, &Method::Connection(Connection::CloseOk));
        assert_eq!(client.next, Next::Close);
    }
}

#[test]
fn more_body_than_announced_and_methods_within_content_close_the_connection() {
    let mut whole = publish(1, "", "q", &[0, 0], b"12345");
    let header_at = whole.iter().position(|o| *o == 0xCE).unwrap() + 1;
    whole[header_at + 7 + 11] = 4;
    let mut client = Client::open();
    client.say(&whole);
    let said = client.heard();
    assert!(matches!(&said[..], [Said::Method(0, text)] if text.contains(" 501 FRAME_ERROR")));

    let mut client = Client::open();
    client.say(&whole[..header_at]);
    client.method(1, &declare("q"));
    let said = client.heard();
    assert!(matches!(&said[..], [Said::Method(0, text)] if text.contains(" 505 UNEXPECTED_FRAME")));
}

/// P26, P21, P24
#[test]
fn exchanges_are_refused_in_known_words() {
    let declare = |name, kind| exchange::Declare {
        ticket: 0,
        exchange: name,
        kind,
        passive: false,
        durable: false,
        auto_delete: false,
        internal: false,
        no_wait: false,
        arguments: TableRef::EMPTY,
    };
    for (name, kind, text) in [
        ("", "direct", "403 ACCESS_REFUSED - operation not permitted on the default exchange"),
        (
            "amq.mine",
            "direct",
            "403 ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
        ),
    ] {
        let mut client = Client::open();
        client.method(1, &declare(name, kind));
        assert_eq!(client.heard(), [method(1, &format!("channel.close {text} (40, 10)"))]);
    }
    let mut client = Client::open();
    client.method(1, &declare("x", "nonsense"));
    let text = "channel.close 406 PRECONDITION_FAILED - unknown exchange type 'nonsense' (40, 10)";
    assert_eq!(client.heard(), [method(1, text)]);
}

/// P34, S35, S74
#[test]
fn connection_close_is_confirmed_when_everything_is_given_back() {
    let mut client = Client::open();
    client.method(1, &queue::Declare { exclusive: true, ..declare("mine") });
    client.method(1, &consume("mine", "c"));
    client.heard();
    client.method(
        0,
        &connection::Close { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 },
    );
    assert_eq!(client.heard(), [method(0, "connection.close-ok")]);
    assert_eq!(client.next, Next::Close);
}

#[test]
fn a_stopping_broker_says_so() {
    let mut client = Client::open();
    client.stop();
    client.work();
    let text = "connection.close 320 CONNECTION_FORCED - broker is shutting down (0, 0)";
    assert_eq!(client.heard(), [method(0, text)]);
    let mut client = Client::open();
    client.event(Event::Close { reason: "closed by operator".into() });
    client.work();
    let text = "connection.close 320 CONNECTION_FORCED - closed by operator (0, 0)";
    assert_eq!(client.heard(), [method(0, text)]);
}

impl Client {
    fn stop(&mut self) {
        self.tick(1);
        let mut out = ringmq_shards::Output::new(&ringmq_shards::Buffers::new());
        std::mem::swap(&mut out, self.out());
        let mut cx = Context { broker: &mut self.broker, out: &mut out, now: self.now };
        self.next = self.session.on_stop(&mut cx);
        std::mem::swap(&mut out, self.out());
    }
}
