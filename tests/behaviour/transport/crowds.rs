//! How many connections may be open from one address (`max_connections_per_ip`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::support::Broker;
use crate::support::broker::Options;
use crate::support::client::PATIENCE;
use crate::support::handshake::PROTOCOL_HEADER;
use crate::transport::web::{Web, request};

/// A client at an address, known by what its proxy says; `None`: it is refused.
fn from(broker: &Broker, ip: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(broker.addr()).expect("the broker accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
    let line = format!("PROXY TCP4 {ip} 127.0.0.1 40001 5672\r\n");
    stream.write_all(&[line.as_bytes(), PROTOCOL_HEADER].concat()).expect("one write");
    // Served, or closed; a reset closes as well.
    matches!(stream.read(&mut [0; 1]), Ok(1)).then_some(stream)
}

/// Comes in as soon as there is room: that others have left is noticed a moment later.
fn comes_in(broker: &Broker, ip: &str) -> TcpStream {
    for _ in 0..500 {
        if let Some(stream) = from(broker, ip) {
            return stream;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("no room for {ip} within 10 s");
}

/// Is refused as soon as whichever shard accepts it knows of the others.
fn is_refused(broker: &Broker, ip: &str) {
    let is_in = |_| from(broker, ip).is_some();
    assert!((0..10).map(is_in).any(|is_in| !is_in), "{ip} comes in and in");
}

/// Abuse row 80
#[test]
fn an_address_has_so_many_connections_open_and_no_more() {
    for shards in [1, 2] {
        let broker = Broker::with(Options {
            shards,
            config: "[main]\nmax_connections_per_ip = 4\n[amqp]\ntcp_proxy_protocol = on\n\
                     proxy_protocol_trusted_sources = 127.0.0.1\n",
            ..Options::new()
        });
        let mut held: Vec<_> = (0..4).map(|_| comes_in(&broker, "192.0.2.1")).collect();
        is_refused(&broker, "192.0.2.1");
        broker.wait_for_line(&["connections are refused", "max_connections_per_ip is reached"]);
        // Others have a share of their own; one that leaves makes room.
        let other = comes_in(&broker, "192.0.2.2");
        drop(held.pop());
        held.push(comes_in(&broker, "192.0.2.1"));
        drop((held, other));
        for _ in 0..4 {
            drop(comes_in(&broker, "192.0.2.1"));
        }
        broker.terminate();
    }
}

/// WebSockets that come through the HTTP server count as well, and so does this machine.
#[test]
fn connections_through_the_http_server_count_as_well() {
    let broker = Broker::with(Options {
        shards: 2,
        config: "[main]\nmax_connections_per_ip = 2\n",
        ..Options::new()
    });
    let held: Vec<Web> = (0..2).map(|_| Web::open(broker.http_addr())).collect();
    let mut third = Web::connect(broker.http_addr());
    third.say(request("/ws/amqp", "Sec-WebSocket-Protocol: amqp\r\n").as_bytes());
    broker.wait_for_line(&["connections are refused", "max_connections_per_ip is reached"]);
    drop(held);
    broker.terminate();
}
