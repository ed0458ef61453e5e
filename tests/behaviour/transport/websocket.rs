//! AMQP through WebSockets (RFC 6455), by a client written by hand.

use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::{Client, Login};

use super::bridge::to_web;
use super::web::{Frame, Web, broker, frame, port_of, request};

/// Everything passes through, in frames of any size, with pings and fragments in between.
#[test]
fn a_client_works_through_a_websocket() {
    for shards in [1, 2] {
        let broker = broker(shards, "");
        for most in [1, 100, 100_000] {
            let mut client = Client::connect(to_web(Web::open(port_of(&broker)), most));
            client.log_in(&Login::default());
            client.open_channel(1);
            let queue = format!("web-{most}");
            client.declare(1, &queue);
            client.confirm_select(1);
            let bodies = [0, 1, 125, 126, 70_000, if most == 1 { 1 } else { 3_000_000 }];
            for length in bodies {
                client.publish(1, "", &queue, &vec![b'b'; length]);
            }
            client.expect_confirms(1, 1, bodies.len() as u64);
            for length in bodies {
                assert!(client.get_when_there(1, &queue).body == vec![b'b'; length], "{length}");
            }
            client.close();
        }
        broker.terminate();
    }
}

/// More than any buffer on the way holds, read late.
#[test]
fn a_consumer_that_is_slow_to_read_gets_everything_in_order() {
    let broker = broker(2, "");
    let mut publisher = Client::connect(broker.addr());
    publisher.log_in(&Login::default());
    publisher.open_channel(1);
    publisher.declare(1, "slow");
    publisher.confirm_select(1);
    for number in 0..400_u32 {
        publisher.publish(1, "", "slow", &number.to_be_bytes().repeat(25_000));
    }
    publisher.expect_confirms(1, 1, 400);
    let mut consumer = Client::connect(to_web(Web::open(port_of(&broker)), 1000));
    consumer.log_in(&Login::default());
    consumer.open_channel(1);
    consumer.consume(1, "slow");
    for number in 0..400_u32 {
        let delivery = consumer.expect_delivery(1);
        assert!(delivery.body == number.to_be_bytes().repeat(25_000), "{number}");
        consumer.ack(1, u64::from(number) + 1, false);
    }
    consumer.close();
    broker.terminate();
}

/// What follows the request in the same segment is not lost, and neither is what comes in octets.
#[test]
fn frames_may_come_with_the_request_and_octet_by_octet() {
    let broker = broker(2, "");
    let whole = [request("/ws/amqp", "").as_bytes(), &frame(0x82, PROTOCOL_HEADER)].concat();
    for pieces in [whole.chunks(whole.len()), whole.chunks(1)] {
        let mut web = Web::connect(port_of(&broker));
        pieces.for_each(|piece| web.say(piece));
        let answer = web.answer();
        assert!(!answer.contains("Sec-WebSocket-Protocol"), "none was offered: {answer}");
        let Frame::Binary(start) = web.next() else { panic!("connection.start comes first") };
        assert_eq!(start[..3], [1, 0, 0], "a method on channel 0");
    }
    broker.terminate();
}

/// MQTT-6.0.0-1 for text; RFC 6455 5.1, 5.5.1, 5.5.2; abuse row 108
#[test]
fn the_end_of_a_websocket_says_why() {
    let broker = broker(2, "");
    for (octets, code) in [
        (frame(0x81, b"text"), Some(1003)),
        (vec![0x82, 1, b'x'], Some(1002)),
        (frame(0xC2, b"reserved"), Some(1002)),
        (frame(0x88, &1000_u16.to_be_bytes()), Some(1000)),
        (frame(0x88, &[]), None),
    ] {
        let mut web = Web::open(port_of(&broker));
        web.say(&frame(0x89, b"before"));
        assert_eq!(web.next(), Frame::Pong(b"before".to_vec()));
        web.say(&octets);
        assert_eq!(web.next(), Frame::Close(code), "{octets:?}");
        assert_eq!(web.next(), Frame::End);
    }
    // What the session says last comes before the last frame.
    let mut web = Web::open(port_of(&broker));
    web.say(&frame(0x82, b"NOTAMQP!"));
    assert_eq!(web.next(), Frame::Binary(PROTOCOL_HEADER.to_vec()));
    assert_eq!(web.next(), Frame::Close(Some(1000)));
    assert_eq!(web.next(), Frame::End);
    broker.terminate();
}

/// Abuse rows 2, 110, 111
#[test]
fn whoever_wants_something_else_is_told_and_seen_off() {
    let broker = broker(1, "");
    for (said, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "404 Not Found"),
        (request("/elsewhere", ""), "404 Not Found"),
        ("GET /ws/amqp HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "426 Upgrade Required"),
        (request("/ws/amqp", "Sec-WebSocket-Protocol: chat\r\n"), "400 Bad Request"),
        ("POST /ws/amqp HTTP/1.1\r\n\r\n".to_owned(), "405 Method Not Allowed"),
        ("AMQP\0\0\u{9}\u{1}\r\n\r\n".to_owned(), "400 Bad Request"),
        (request("/ws/amqp", &format!("X: {}\r\n", "x".repeat(9000))), "431 Request Header"),
    ] {
        let mut web = Web::connect(port_of(&broker));
        web.say(said.as_bytes());
        let answer = web.rest();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{said:?}: {answer}");
    }
    assert!(broker.log().contains("no WebSocket"), "{}", broker.log());
    broker.terminate();
}

/// Abuse row 4
#[test]
fn a_request_that_does_not_come_is_waited_for_in_vain() {
    let broker = broker(1, "");
    let mut silent = Web::connect(port_of(&broker));
    let mut slow = Web::connect(port_of(&broker));
    slow.say(b"GET /ws/amqp HTTP/1.1\r\n");
    let mut open = Web::open(port_of(&broker));
    assert!(silent.rest().starts_with("HTTP/1.1 408 "));
    assert!(slow.rest().starts_with("HTTP/1.1 408 "));
    // The login has no more time than without a WebSocket.
    assert!(matches!(open.next(), Frame::Close(_) | Frame::End));
    broker.terminate();
}

#[test]
fn a_stopping_broker_says_goodbye_in_frames() {
    let broker = broker(2, "");
    let port = port_of(&broker);
    let mut request = Web::connect(port);
    let mut web = Web::open(port);
    web.say(&frame(0x82, PROTOCOL_HEADER));
    assert!(matches!(web.next(), Frame::Binary(_)), "connection.start");
    broker.signal("TERM");
    assert!(matches!(web.next(), Frame::Binary(_) | Frame::Close(_)));
    assert!(request.rest().starts_with("HTTP/1.1 503 "));
    let mut broker = broker;
    assert!(broker.wait().success(), "{}", broker.log());
}
