//! Whatever works without TLS works with it.

use std::io::{Read, Write};

use rustls::HandshakeKind;

use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::{Client, Login};

#[cfg(feature = "mqtt")]
use super::ground::both_over_websockets;
use super::ground::{Authority, BOTH, connect, port_of, stranger, through};

/// S31, S38, S47
#[test]
fn a_client_of_amqp_works_with_tls() {
    let authority = Authority::new();
    for shards in [1, 2] {
        let broker = authority.broker(shards, "", "");
        for version in BOTH {
            let addr = through(port_of(&broker, "amqps"), &authority.trusted(version, None));
            let mut client = Client::connect(addr);
            client.log_in(&Login::default());
            client.open_channel(1);
            let queue = format!("q-{version}");
            client.declare(1, &queue);
            client.confirm_select(1);
            let bodies = [0, 1, 1000, 16_384, 70_000, 3_000_000];
            for length in bodies {
                client.publish(1, "", &queue, &vec![b'b'; length]);
            }
            client.expect_confirms(1, 1, bodies.len() as u64);
            for length in bodies {
                assert!(client.get_when_there(1, &queue).body == vec![b'b'; length], "{length}");
            }
            client.close();
        }
        let mut plain = Client::connect(broker.addr());
        plain.log_in(&Login::default());
        plain.close();
        broker.terminate();
    }
}

/// More than any buffer on the way holds, read late.
#[test]
fn a_consumer_that_is_slow_to_read_gets_everything_in_order() {
    let authority = Authority::new();
    let broker = authority.broker(2, "", "");
    let mut publisher = Client::connect(broker.addr());
    publisher.log_in(&Login::default());
    publisher.open_channel(1);
    publisher.declare(1, "slow");
    publisher.confirm_select(1);
    for number in 0..400_u32 {
        publisher.publish(1, "", "slow", &number.to_be_bytes().repeat(25_000));
    }
    publisher.expect_confirms(1, 1, 400);
    let addr = through(port_of(&broker, "amqps"), &authority.trusted("1.3", None));
    let mut consumer = Client::connect(addr);
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

/// Connections move to the shard of their session, and take TLS along.
#[cfg(feature = "mqtt")]
#[test]
fn a_client_of_mqtt_works_with_tls_wherever_its_session_is() {
    use crate::mqtt::client::Client as Mqtt;
    use crate::mqtt::octets::{Hello, Letter, V4, V5};
    let authority = Authority::new();
    for shards in [1, 2] {
        let broker = authority.broker(shards, "", "");
        for (number, version) in BOTH.iter().cycle().take(8).enumerate() {
            let addr = through(port_of(&broker, "mqtts"), &authority.trusted(version, None));
            let id = format!("client-{number}");
            let spoken = if number < 4 { V4 } else { V5 };
            let mut client = Mqtt::connect(addr, &Hello::new(spoken, &id));
            client.subscribe(&id, 0);
            for length in [1, 100, 100_000] {
                let payload = vec![b'x'; length];
                client.publish(&Letter { topic: &id, payload: &payload, ..Letter::default() });
                let came = client.expect_packet();
                assert!(came.body.ends_with(&payload), "{length}");
            }
            client.ping();
        }
        broker.terminate();
    }
}

/// V-101
#[cfg(feature = "mqtt")]
#[test]
fn a_websocket_may_be_inside_of_tls() {
    let authority = Authority::new();
    let broker = authority.broker(2, "", "listener.wss.web = 127.0.0.1:0\n");
    let port = port_of(&broker, "amqp wss");
    assert_eq!(port, port_of(&broker, "mqtt wss"), "told apart by their paths");
    both_over_websockets(&authority, port);
    broker.terminate();
}

#[test]
fn a_handshake_may_come_octet_by_octet() {
    let authority = Authority::new();
    let broker = authority.broker(2, "", "");
    for version in BOTH {
        let config = authority.trusted(version, None);
        let mut stream = stranger(port_of(&broker, "amqps"), &config, "localhost");
        while stream.conn.is_handshaking() {
            let mut octets = Vec::new();
            while stream.conn.wants_write() {
                stream.conn.write_tls(&mut octets).unwrap();
            }
            for octet in &octets {
                stream.sock.write_all(&[*octet]).unwrap();
            }
            if stream.conn.is_handshaking() {
                stream.conn.read_tls(&mut stream.sock).unwrap();
                stream.conn.process_new_packets().unwrap();
            }
        }
        stream.write_all(PROTOCOL_HEADER).unwrap();
        let mut start = [0; 7];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(start[..3], [1, 0, 0], "connection.start");
    }
    broker.terminate();
}

/// Tickets are good on every shard, and both ends say goodbye.
#[test]
fn a_connection_may_go_on_with_the_keys_of_an_earlier_one() {
    let authority = Authority::new();
    let broker = authority.broker(2, "", "");
    for version in BOTH {
        let config = authority.trusted(version, None);
        for number in 0..6 {
            let mut stream = connect(port_of(&broker, "amqps"), &config);
            stream.write_all(PROTOCOL_HEADER).unwrap();
            stream.read_exact(&mut [0; 8]).unwrap();
            let expected = if number == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
            assert_eq!(stream.conn.handshake_kind(), Some(expected), "{version} {number}");
            // Not a frame: the broker answers, and closes as TLS wants it.
            stream.write_all(b"XXXXXXXX").unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("close_notify before the end");
        }
    }
    broker.terminate();
}
