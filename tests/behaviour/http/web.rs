//! WebSockets where HTTP is: a request that asks for one goes to the protocol at its path.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::Asker;
use crate::support::Broker;

fn upgrade(path: &str, protocol: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )
}

fn first_line(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut octet = [0];
    while !read.ends_with(b"\r\n") {
        assert_eq!(stream.read(&mut octet).expect("an answer"), 1);
        read.push(octet[0]);
    }
    String::from_utf8(read).expect("text")
}

/// amqp.md L108
#[test]
fn protocols_are_spoken_over_websockets_on_the_port_of_http() {
    let broker = Broker::start(2);
    for (path, protocol) in [("/ws/amqp", "amqp"), ("/mqtt", "mqtt")] {
        // In two pieces, as a slow network brings them; several, so that each shard has some.
        for _ in 0..4 {
            let mut stream = TcpStream::connect(broker.http_addr()).unwrap();
            let request = upgrade(path, protocol);
            let (begin, rest) = request.split_at(40);
            stream.write_all(begin.as_bytes()).unwrap();
            stream.flush().unwrap();
            std::thread::yield_now();
            stream.write_all(rest.as_bytes()).unwrap();
            assert_eq!(first_line(&mut stream), "HTTP/1.1 101 Switching Protocols\r\n", "{path}");
        }
    }
    let mut stream = TcpStream::connect(broker.http_addr()).unwrap();
    stream.write_all(upgrade("/none", "mqtt").as_bytes()).unwrap();
    assert_eq!(first_line(&mut stream), "HTTP/1.1 404 Not Found\r\n");
    assert_eq!(Asker::guest(broker.http_addr()).get("/api/connections"), serde_json::json!([]));
}
