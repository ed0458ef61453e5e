//! Sockets of running shards against plain blocking clients on the loopback interface.
#![expect(clippy::expect_used, reason = "a test stops at what it did not expect")]

mod support;

use bytes::Bytes;
use ringmq_shards::{
    BindOptions, Bound, Buffers, Listener, Output, ReadBuffer, Shard, ShardId, Socket, Stream,
    port_is_free,
};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Poll;
use support::{Watchdog, begin, run};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn listener() -> Listener {
    Listener::bind(ANY_PORT, BindOptions::default()).expect("binds")
}

fn spawn_client(
    address: SocketAddr,
    act: impl FnOnce(TcpStream) + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let client = move || act(TcpStream::connect(address).expect("connects"));
    std::thread::Builder::new().spawn(client).expect("a thread")
}

/// Bytes that differ from one another at every scale.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Sends back what comes until `count` bytes were echoed or the peer ends; the bytes.
async fn echo(stream: &mut Stream, buffers: &Buffers, count: usize) -> usize {
    let (mut input, mut output) = (ReadBuffer::new(buffers), Output::new(buffers));
    let mut echoed = 0;
    while echoed < count {
        let read = poll_fn(|context| stream.poll_fill(context, &mut input)).await.expect("reads");
        if read == 0 {
            break;
        }
        echoed += input.len();
        output.put(input.filled());
        input.consume(input.len());
        poll_fn(|context| stream.poll_flush(context, &mut output)).await.expect("writes");
    }
    echoed
}

#[test]
fn a_connection_moves_to_another_shard_and_back_without_losing_a_byte() {
    let _watchdog = Watchdog::new("moved socket");
    run(2, |shard: Shard<Socket>| async move {
        if shard.id() == ShardId(0) {
            let listener = listener();
            let client = spawn_client(listener.local_addr().expect("bound"), |mut client| {
                let bytes = pattern(300_000);
                // All at once: what one shard has not read stays in the kernel for the next.
                let mut writer = client.try_clone().expect("dup");
                let sent = bytes.clone();
                let writing = std::thread::Builder::new().spawn(move || writer.write_all(&sent));
                let mut back = vec![0; bytes.len()];
                client.read_exact(&mut back).expect("echo");
                assert_eq!(back, bytes);
                writing.expect("a thread").join().expect("no panic").expect("written");
            });
            let socket = listener.accept().await.expect("accepts");
            socket.set_nodelay(true).expect("nodelay");
            let mut stream = Stream::from_socket(socket, shard.quiet());
            let mut left = 300_000 - echo(&mut stream, shard.buffers(), 1).await;
            // A read that is pending when the stream leaves takes nothing with it.
            let mut input = ReadBuffer::new(shard.buffers());
            poll_fn(|context| match stream.poll_fill(context, &mut input) {
                Poll::Pending => Poll::Ready(()),
                Poll::Ready(read) => {
                    left -= read.expect("reads");
                    Poll::Ready(())
                }
            })
            .await;
            let mut output = Output::new(shard.buffers());
            output.put(input.filled());
            poll_fn(|context| stream.poll_flush(context, &mut output)).await.expect("writes");
            shard.mesh().send(ShardId(1), stream.into_socket().expect("dup"));
            let mut returned = None;
            while returned.is_none() {
                shard.mesh().wait().await;
                shard.mesh().try_drain(|_, socket| returned = Some(socket));
            }
            let mut stream = Stream::from_socket(returned.expect("returned"), shard.quiet());
            echo(&mut stream, shard.buffers(), usize::MAX).await;
            while !client.is_finished() {
                shard.sleep(1).await;
            }
            client.join().expect("the client is content");
        } else {
            let mut socket = None;
            while socket.is_none() {
                shard.mesh().wait().await;
                shard.mesh().try_drain(|_, mail| socket = Some(mail));
            }
            let mut stream = Stream::from_socket(socket.expect("mailed"), shard.quiet());
            echo(&mut stream, shard.buffers(), 50_000).await;
            shard.mesh().send(ShardId(0), stream.into_socket().expect("dup"));
        }
    });
}

#[test]
fn shards_that_share_a_port_serve_every_client_once() {
    const CLIENTS: usize = 64;
    let _watchdog = Watchdog::new("shared port");
    let first = Bound::new(ANY_PORT, BindOptions::default()).expect("binds");
    let address = first.local_addr().expect("bound");
    let (sender, served) = mpsc::channel();

    let taken = port_is_free(address, BindOptions::default()).expect_err("somebody listens");
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);

    let (listening_sender, listening) = mpsc::channel();
    let running = begin(2, move |shard: Shard<()>| {
        let (sender, listening) = (sender.clone(), listening_sender.clone());
        async move {
            let listener = Listener::bind(address, BindOptions::default()).expect("joins the port");
            listening.send(()).expect("the test waits");
            let tasks = shard.clone();
            shard.spawn(async move {
                loop {
                    let socket = listener.accept().await.expect("accepts");
                    let (sender, buffers) = (sender.clone(), tasks.buffers().clone());
                    let quiet = tasks.quiet().clone();
                    tasks.spawn(async move {
                        let mut stream = Stream::from_socket(socket, &quiet);
                        echo(&mut stream, &buffers, usize::MAX).await;
                        sender.send(()).expect("the test waits");
                    });
                }
            });
            shard.mesh().wait().await;
        }
    });
    (0..2).for_each(|_| listening.recv().expect("shards listen"));
    // Leaves the group, so that the kernel gives all newcomers to the shards.
    drop(first);
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(address).expect("connects");
        client.write_all(b"hello").expect("writes");
        let mut back = [0; 5];
        client.read_exact(&mut back).expect("echo");
        assert_eq!(&back, b"hello");
    }
    (0..CLIENTS).for_each(|_| served.recv().expect("served"));
    (0..2).for_each(|shard| running.remote().send(ShardId(shard), ()));
    running.join().expect("no shard panics");
    assert!(port_is_free(address, BindOptions::default()).is_ok(), "all listeners are closed");
}

#[test]
fn connections_that_wait_hold_no_buffer() {
    const CONNECTIONS: usize = 200;
    let _watchdog = Watchdog::new("idle connections");
    run(1, |shard: Shard<()>| async move {
        let listener = listener();
        let address = listener.local_addr().expect("bound");
        let mut clients = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(Socket::connect_blocking(address).expect("connects"));
            let stream =
                Stream::from_socket(listener.accept().await.expect("accepts"), shard.quiet());
            connections.push((stream, ReadBuffer::new(shard.buffers())));
        }
        poll_fn(|context| {
            for (stream, input) in &mut connections {
                assert!(stream.poll_fill(context, input).is_pending());
                assert_eq!(input.capacity(), 0);
            }
            Poll::Ready(())
        })
        .await;
        assert_eq!(shard.buffers().idle_blocks(), 1, "one block served them all");
    });
}

#[test]
fn a_slow_reader_gets_every_byte_of_a_large_output() {
    const LENGTH: usize = 24 * 1024 * 1024;
    let _watchdog = Watchdog::new("slow reader");
    run(1, |shard: Shard<()>| async move {
        let listener = listener();
        let bytes = pattern(LENGTH);
        let expected = bytes.clone();
        let client = spawn_client(listener.local_addr().expect("bound"), move |mut client| {
            let mut received = Vec::new();
            let mut piece = vec![0; 10_007];
            loop {
                let count = client.read(&mut piece).expect("reads");
                received.extend_from_slice(&piece[..count]);
                if count == 0 {
                    break;
                }
            }
            assert!(received == expected, "the same bytes in the same order");
        });
        let socket = listener.accept().await.expect("accepts");
        let mut stream = Stream::from_socket(socket, shard.quiet());
        let mut output = Output::new(shard.buffers());
        // Small and large pieces, copied and shared, one behind the other.
        let shared = Bytes::from(bytes);
        let mut at = 0;
        for size in [1, 100, 5_000, 70_000, 3, 900_000].into_iter().cycle() {
            let end = LENGTH.min(at + size);
            if size % 2 == 0 {
                output.put_shared(shared.slice(at..end));
            } else {
                output.put(&shared[at..end]);
            }
            at = end;
            if at == LENGTH {
                break;
            }
        }
        assert_eq!(output.len(), LENGTH);
        poll_fn(|context| stream.poll_flush(context, &mut output)).await.expect("writes");
        assert!(output.is_empty());
        stream.shutdown(Shutdown::Write).expect("ends");
        while !client.is_finished() {
            shard.sleep(1).await;
        }
        client.join().expect("the client is content");
    });
}

/// Both directions and another source of wake-ups in one poll function: the shape of a connection's task.
#[test]
fn reading_and_writing_at_once_between_other_wake_ups_loses_nothing() {
    const LENGTH: usize = 8 * 1024 * 1024;
    let _watchdog = Watchdog::new("duplex");
    let running = begin(1, |shard: Shard<()>| async move {
        let listener = listener();
        let client = spawn_client(listener.local_addr().expect("bound"), |mut client| {
            let bytes = pattern(LENGTH);
            let mut writer = client.try_clone().expect("dup");
            let sent = bytes.clone();
            let writing = std::thread::Builder::new().spawn(move || writer.write_all(&sent));
            let mut back = vec![0; LENGTH];
            client.read_exact(&mut back).expect("echo");
            assert!(back == bytes);
            writing.expect("a thread").join().expect("no panic").expect("written");
        });
        let mut stream =
            Stream::from_socket(listener.accept().await.expect("accepts"), shard.quiet());
        let mut input = ReadBuffer::new(shard.buffers());
        let mut output = Output::new(shard.buffers());
        let (mut ended, mut polls) = (false, 0_u64);
        poll_fn(|context| {
            polls += 1;
            // Wakes of other tasks come at any time: half of the polls are caused by nothing of this socket.
            if polls.is_multiple_of(2) {
                context.waker().wake_by_ref();
            }
            shard.mesh().try_drain(|_, ()| {});
            let _ = shard.mesh().poll_wait(context);
            while !ended && output.len() < 1_000_000 {
                match stream.poll_fill(context, &mut input) {
                    Poll::Ready(count) => ended = count.expect("reads") == 0,
                    Poll::Pending => break,
                }
                output.put(input.filled());
                input.consume(input.len());
            }
            match stream.poll_flush(context, &mut output) {
                Poll::Ready(result) => result.expect("writes"),
                Poll::Pending => return Poll::Pending,
            }
            if ended {
                return Poll::Ready(());
            }
            if output.len() < 1_000_000 {
                // Room again: read in the next poll, as a connection with a full output would.
                context.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        client.join().expect("the client is content");
    });
    let remote = running.remote();
    for _ in 0..10_000 {
        remote.send(ShardId(0), ());
    }
    running.join().expect("no shard panics");
}

#[test]
fn a_connection_dropped_while_it_waits_is_closed_for_its_peer() {
    let _watchdog = Watchdog::new("close");
    run(1, |shard: Shard<()>| async move {
        let listener = listener();
        let client = spawn_client(listener.local_addr().expect("bound"), |mut client| {
            assert_eq!(client.read(&mut [0]).expect("an orderly end"), 0);
        });
        let mut stream =
            Stream::from_socket(listener.accept().await.expect("accepts"), shard.quiet());
        poll_fn(|context| {
            assert!(stream.poll_read(context, &mut [0]).is_pending());
            Poll::Ready(())
        })
        .await;
        shard.sleep(1).await;
        drop(stream);
        while !client.is_finished() {
            shard.sleep(1).await;
        }
        client.join().expect("the client is content");
    });
}

#[test]
fn an_accept_that_is_given_up_loses_no_connection() {
    let _watchdog = Watchdog::new("accept");
    run(1, |shard: Shard<()>| async move {
        let listener = listener();
        let address = listener.local_addr().expect("bound");
        for _ in 0..20 {
            poll_fn(|context| {
                assert!(listener.poll_accept(context).is_pending());
                Poll::Ready(())
            })
            .await;
            // The request for readiness is in the ring when the client comes, and nobody polls.
            shard.sleep(1).await;
            let client = Socket::connect_blocking(address).expect("connects");
            shard.sleep(1).await;
            let socket = listener.accept().await.expect("accepts");
            assert_eq!(
                socket.peer_addr().expect("connected"),
                client.local_addr().expect("connected")
            );
        }
    });
}

#[test]
fn socket_options_are_taken_by_the_kernel() {
    let options = BindOptions {
        recv_buffer: Some(65_536),
        send_buffer: Some(65_536),
        ..BindOptions::default()
    };
    let bound = Bound::new(ANY_PORT, options).expect("binds");
    let socket = Socket::connect_blocking(bound.local_addr().expect("bound")).expect("connects");

    socket.set_nodelay(true).expect("nodelay");
    socket.set_keepalive(60, 10, 3).expect("keepalive");
    socket.set_user_timeout_ms(Some(30_000)).expect("user timeout");
    socket.set_user_timeout_ms(None).expect("user timeout");
    socket.set_congestion_control("reno").expect("reno is always there");
    assert!(socket.set_congestion_control("no such thing").is_err());
}

#[test]
fn what_a_socket_had_received_has_been_read_after_a_look() {
    let _watchdog = Watchdog::new("after a look");
    run(1, |shard: Shard<()>| async move {
        let listener = listener();
        let address = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(address).expect("connects");
        client.set_nodelay(true).expect("nodelay");
        let mut stream =
            Stream::from_socket(listener.accept().await.expect("accepts"), shard.quiet());
        let read = Rc::new(Cell::new(0));
        let (count, buffers) = (Rc::clone(&read), shard.buffers().clone());
        shard.spawn(async move {
            let mut input = ReadBuffer::new(&buffers);
            while let Ok(1..) = poll_fn(|context| stream.poll_fill(context, &mut input)).await {
                count.set(count.get() + input.len());
                input.consume(input.len());
            }
        });
        for round in 0..500 {
            if round % 2 == 0 {
                // The task has asked the kernel to be told; otherwise it may be about to.
                shard.after_look().await;
            }
            client.write_all(&[1]).expect("writes");
            shard.after_look().await;
            assert_eq!(read.get(), round + 1);
        }
    });
}
