//! MQTT through whatever leads to the broker, by packets written by hand: its connections move to
//! the shard of their session.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::support::Broker;
use crate::support::broker::Options;
use crate::support::client::PATIENCE;

use super::web::{Frame, Web, frame, request};

const PINGREQ: [u8; 2] = [0xC0, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// Text with its length.
fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

/// CONNECT of guest with a clean session, in this version.
fn connect(version: u8, client: &str) -> Vec<u8> {
    let mut body = [text("MQTT"), vec![version, 0xC2, 0, 0]].concat();
    if version == 5 {
        body.push(0);
    }
    body.extend([text(client), text("guest"), text("guest")].concat());
    [&[0x10, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

/// PUBLISH at QoS 1 of version 3.1.1.
fn publish(topic: &str, id: u16) -> Vec<u8> {
    let body = [&text(topic)[..], &id.to_be_bytes(), b"payload"].concat();
    [&[0x32, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

/// Where the broker listens, as the line of its start says: everything behind these words.
fn listening(broker: &Broker, words: &str) -> String {
    let log = broker.log();
    let line = log.lines().find_map(|line| line.strip_prefix(words));
    line.unwrap_or_else(|| panic!("no '{words}' in:\n{log}")).to_owned()
}

fn port_of(broker: &Broker) -> SocketAddr {
    listening(broker, "listening mqtt ").parse().expect("an address")
}

fn tcp(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the broker accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream
}

/// All that is said in one conversation, and all that has to come back.
fn conversation(client: &str, publishes: u16) -> (Vec<u8>, Vec<u8>) {
    let (mut said, mut expected) = (connect(4, client), vec![0x20, 2, 0, 0]);
    for id in 1..=publishes {
        said.extend(publish("some/topic", id));
        expected.extend([&[0x40, 2][..], &id.to_be_bytes()].concat());
    }
    said.extend(PINGREQ);
    expected.extend(PINGRESP);
    (said, expected)
}

fn expect(stream: &mut impl Read, expected: &[u8]) {
    let mut came = vec![0; expected.len()];
    stream.read_exact(&mut came).expect("an answer to each packet");
    // Answers to publishes may come in another order than the one to the ping.
    let sorted = |octets: &[u8]| {
        let (head, rest) = octets.split_at(4);
        let ping = rest.windows(2).position(|two| two == PINGRESP).expect("one of them");
        [head, &rest[..ping], &rest[ping + 2..]].concat()
    };
    assert!(sorted(&came) == sorted(expected), "not what was expected, in its order");
}

/// Nothing is lost and nothing is seen twice, wherever the session lives and however it comes.
#[test]
fn connections_move_to_their_sessions_with_all_that_they_have_sent() {
    for shards in [1, 2, 5] {
        let broker = Broker::start(shards);
        for number in 0..12 {
            let (said, expected) = conversation(&format!("mover-{number}"), 1000);
            let mut stream = tcp(port_of(&broker));
            let connect_bytes = connect(4, &format!("mover-{number}")).len();
            let (first, rest) = said.split_at(if number % 2 == 0 { connect_bytes } else { 0 });
            for octet in first {
                stream.write_all(&[*octet]).expect("the broker reads");
            }
            let mut writer = stream.try_clone().expect("a second handle");
            let rest = rest.to_vec();
            // Beside the reading: what is not read by anybody must not stop both sides.
            let writing = std::thread::spawn(move || writer.write_all(&rest));
            expect(&mut stream, &expected);
            writing.join().expect("no panic").expect("the broker reads");
            stream.write_all(&DISCONNECT).expect("the broker reads");
            assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
        }
        broker.terminate();
    }
}

/// MQTT-6.0.0-1 to MQTT-6.0.0-4: binary frames, in which packets begin and end anywhere.
#[test]
fn mqtt_works_through_a_websocket() {
    for shards in [1, 2] {
        let options = Options { shards, config: "[mqtt]\nws_port = 0\n", ..Options::new() };
        let broker = Broker::with(options);
        let at = listening(&broker, "listening mqtt ws://");
        let addr = at.strip_suffix("/mqtt").expect("the usual path").parse().expect("an address");
        for (number, most) in [1, 3, 7, 50, 10_000].into_iter().enumerate() {
            let mut web = Web::connect(addr);
            web.say(request("/mqtt", "Sec-WebSocket-Protocol: mqtt\r\n").as_bytes());
            let answer = web.answer();
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            assert!(answer.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{answer}");
            let (said, expected) = conversation(&format!("web-{number}"), 100);
            for piece in said.chunks(most) {
                web.say(&frame(0x82, piece));
            }
            let mut came = Vec::new();
            while came.len() < expected.len() {
                let Frame::Binary(octets) = web.next() else { panic!("only binary frames") };
                came.extend(octets);
            }
            expect(&mut &came[..], &expected);
            web.say(&frame(0x82, &DISCONNECT));
            assert_eq!(web.next(), Frame::Close(Some(1000)));
        }
        let mut without = Web::connect(addr);
        without.say(request("/mqtt", "").as_bytes());
        assert!(without.rest().starts_with("HTTP/1.1 400 "));
        broker.terminate();
    }
}

#[test]
fn mqtt_works_through_a_unix_socket() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mqtt-{}", std::process::id()));
    let config = format!("[mqtt]\nunix_path = {}\n", path.display());
    let broker = Broker::with(Options { shards: 2, config: &config, ..Options::new() });
    for number in 0..6 {
        let (said, expected) = conversation(&format!("unix-{number}"), 100);
        let mut stream = UnixStream::connect(&path).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.write_all(&said).expect("the broker reads");
        expect(&mut stream, &expected);
    }
    broker.terminate();
    assert!(!path.exists());
}

/// mqtt.md V-091, V-092, V-095: what is said of one listener holds for that one.
#[test]
fn listeners_with_names_have_limits_of_their_own() {
    let config = "[mqtt]\nlistener.tcp.old = 127.0.0.1:0\n\
        listener.tcp.old.allowed_protocol_versions = 4\nlistener.tcp.old.max_connections = 2\n\
        listener.tcp.new = 127.0.0.1:0\nlistener.tcp.new.allowed_protocol_versions = 5\n";
    let broker = Broker::with(Options { shards: 2, config, ..Options::new() });
    let log = broker.log();
    let ports = log.lines().filter_map(|line| line.strip_prefix("listening mqtt "));
    let ports: Vec<SocketAddr> = ports.filter_map(|port| port.parse().ok()).collect();
    let [_, old, new] = ports[..] else { panic!("three of them: {log}") };
    let answer = |addr, version| {
        let mut stream = tcp(addr);
        stream.write_all(&connect(version, &format!("v{version}"))).expect("the broker reads");
        let mut head = [0; 4];
        (stream.read_exact(&mut head).is_ok().then_some(head[3]), stream)
    };
    assert_eq!(answer(old, 4).0, Some(0));
    assert_eq!(answer(old, 5).0, Some(0x84));
    assert_eq!(answer(new, 5).0, Some(0));
    assert_eq!(answer(new, 4).0, Some(1));
    // A limit is reached by those who are there.
    let mut there = Vec::new();
    // Who was here before may still be counted for a moment.
    for number in 0..10_000 {
        let mut stream = tcp(old);
        let said = stream.write_all(&connect(4, &format!("there-{number}")));
        if said.is_ok() && stream.read_exact(&mut [0; 4]).is_ok() {
            there.push(stream);
        }
        if there.len() == 2 {
            break;
        }
    }
    assert_eq!(there.len(), 2);
    assert_eq!(answer(old, 4).0, None, "the third is closed");
    assert_eq!(answer(new, 5).0, Some(0));
    drop(there);
    broker.terminate();
}
