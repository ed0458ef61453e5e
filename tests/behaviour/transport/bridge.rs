//! A TCP port in front of something else, so that every client of these tests can go there.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use super::web::{Frame, Web};

/// A port of this machine; what connects there first goes on as `carry` says.
fn port(carry: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("its number");
    thread::spawn(move || {
        let (client, _) = listener.accept().expect("the test connects");
        client.set_nodelay(true).expect("TCP_NODELAY");
        carry(client);
    });
    addr
}

/// Copies one way until it ends, in pieces of at most `most` octets.
fn copy(mut from: impl Read, most: usize, mut to: impl FnMut(&[u8]) -> bool) {
    let mut piece = vec![0; most];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if !to(&piece[..count]) {
            break;
        }
    }
}

/// To a socket in the file system.
pub(crate) fn to_unix(path: &Path) -> SocketAddr {
    let server = UnixStream::connect(path).expect("the broker listens");
    port(move |client| {
        let (mut up, mut down) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let upward = thread::spawn(move || {
            copy(client, 64 * 1024, |octets| up.write_all(octets).is_ok());
            drop(up.shutdown(Shutdown::Write));
        });
        copy(server, 64 * 1024, |octets| down.write_all(octets).is_ok());
        drop(down.shutdown(Shutdown::Both));
        upward.join().unwrap();
    })
}

/// To a WebSocket, in frames of at most `most` octets, some of them in fragments.
pub(crate) fn to_web(web: Web, most: usize) -> SocketAddr {
    port(move |client| {
        let (mut up, mut web, mut down) = (web.writer(), web, client.try_clone().unwrap());
        let upward = thread::spawn(move || {
            let mut count = 0_u32;
            copy(client, most, |octets| {
                count += 1;
                let (first, second) = octets.split_at(octets.len() / 2);
                if count.is_multiple_of(3) {
                    up.send(0x02, first) && up.send(0x89, b"ping") && up.send(0x80, second)
                } else {
                    up.send(0x82, octets)
                }
            });
            up.send(0x88, &1000_u16.to_be_bytes());
        });
        loop {
            match web.next() {
                Frame::Binary(octets) => {
                    if down.write_all(&octets).is_err() {
                        break;
                    }
                }
                Frame::Pong(octets) => assert_eq!(octets, b"ping"),
                Frame::Close(_) | Frame::End => break,
            }
        }
        drop(down.shutdown(Shutdown::Both));
        upward.join().unwrap();
    })
}
