//! Sockets of running shards that go from the list of quiet ones to a request of their own and back.
#![expect(clippy::expect_used, reason = "a test stops at what it did not expect")]

mod support;

use ringmq_shards::{BindOptions, Buffers, Listener, Output, ReadBuffer, Shard, Socket, Stream};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::task::Poll;
use support::{Watchdog, run};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// More than a quiet socket reads.
const OFTEN: usize = 100;

/// A client that does not wait, and the other end of its connection.
async fn pair(shard: &Shard<()>) -> (TcpStream, Stream) {
    let listener = Listener::bind(ANY_PORT, BindOptions::default()).expect("binds");
    let address = listener.local_addr().expect("bound");
    let client = TcpStream::connect(address).expect("connects");
    client.set_nodelay(true).expect("nodelay");
    let socket = listener.accept().await.expect("accepts");
    (client, Stream::from_socket(socket, shard.quiet()))
}

async fn read_some(stream: &mut Stream, buffers: &Buffers) -> usize {
    let mut input = ReadBuffer::new(buffers);
    poll_fn(|context| stream.poll_fill(context, &mut input)).await.expect("reads")
}

/// One byte there and one back.
async fn exchange(stream: &mut Stream, client: &mut TcpStream, buffers: &Buffers) {
    client.write_all(b"?").expect("writes");
    assert_eq!(read_some(stream, buffers).await, 1);
    let mut output = Output::new(buffers);
    output.put(b"!");
    poll_fn(|context| stream.poll_flush(context, &mut output)).await.expect("writes");
    let mut back = [0];
    client.read_exact(&mut back).expect("reads");
    assert_eq!(&back, b"!");
}

/// Reads all the time and counts what has come; `None` when the stream is over.
fn count_bytes(shard: &Shard<()>, mut stream: Stream) -> Rc<Cell<Option<usize>>> {
    let count = Rc::new(Cell::new(Some(0)));
    let (counted, buffers) = (Rc::clone(&count), shard.buffers().clone());
    shard.spawn(async move {
        loop {
            let read = read_some(&mut stream, &buffers).await;
            counted.set(counted.get().map(|before| before + read).filter(|_| read > 0));
            if read == 0 {
                return;
            }
        }
    });
    count
}

async fn until(shard: &Shard<()>, mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        shard.sleep(1).await;
    }
}

#[test]
fn a_socket_is_busy_while_it_reads_often_and_quiet_before_and_after() {
    let _watchdog = Watchdog::new("quiet, busy, quiet");
    run(2, |shard: Shard<()>| async move {
        let (mut client, mut stream) = pair(&shard).await;
        let quiet = shard.quiet().clone();
        assert_eq!((quiet.socket_count(), quiet.busy_count()), (1, 0));
        for _ in 0..3 {
            exchange(&mut stream, &mut client, shard.buffers()).await;
            assert_eq!(quiet.busy_count(), 0, "a few steps of a handshake");
        }
        for _ in 0..OFTEN {
            exchange(&mut stream, &mut client, shard.buffers()).await;
        }
        assert_eq!(quiet.busy_count(), 1);

        let bytes = count_bytes(&shard, stream);
        until(&shard, || quiet.busy_count() == 0).await;
        for round in 1..=3 {
            client.write_all(b"x").expect("writes");
            until(&shard, || bytes.get() == Some(round)).await;
        }
        assert_eq!((quiet.socket_count(), quiet.busy_count()), (1, 0));
        drop(client);
        until(&shard, || bytes.get().is_none()).await;
        assert_eq!(quiet.socket_count(), 0);
    });
}

#[test]
fn what_comes_just_when_a_socket_goes_quiet_is_read() {
    let _watchdog = Watchdog::new("going quiet");
    run(1, |shard: Shard<()>| async move {
        let (mut client, mut stream) = pair(&shard).await;
        while shard.quiet().busy_count() == 0 {
            exchange(&mut stream, &mut client, shard.buffers()).await;
        }
        // Whatever else has woken this task is over.
        shard.sleep(1).await;
        let mut input = ReadBuffer::new(shard.buffers());
        let mut polls = 0;
        poll_fn(|context| {
            polls += 1;
            if polls == 1 {
                assert!(stream.poll_fill(context, &mut input).is_pending());
                return Poll::Pending;
            }
            if polls == 2 {
                // Woken since it was silent for long. The ring has not been looked at since this.
                client.write_all(b"x").expect("writes");
                assert!(stream.poll_fill(context, &mut input).is_pending());
                assert_eq!(shard.quiet().busy_count(), 0);
                return Poll::Pending;
            }
            stream.poll_fill(context, &mut input).map(|count| assert_eq!(count.expect("reads"), 1))
        })
        .await;
        exchange(&mut stream, &mut client, shard.buffers()).await;
    });
}

#[test]
fn a_quiet_socket_wakes_its_task_for_each_byte_and_for_the_end() {
    let _watchdog = Watchdog::new("quiet wakes");
    run(2, |shard: Shard<()>| async move {
        let mut clients = Vec::new();
        for _ in 0..300 {
            let (client, stream) = pair(&shard).await;
            clients.push((client, count_bytes(&shard, stream)));
        }
        // More than one call tells of.
        for round in 1..=5 {
            clients.iter().for_each(|(client, _)| {
                let mut client = client;
                client.write_all(b"x").expect("writes");
            });
            until(&shard, || clients.iter().all(|(_, bytes)| bytes.get() == Some(round))).await;
        }
        assert_eq!(shard.quiet().busy_count(), 0);
        let (ends, counts): (Vec<_>, Vec<_>) = clients.into_iter().unzip();
        drop(ends);
        until(&shard, || counts.iter().all(|bytes| bytes.get().is_none())).await;
        assert_eq!(shard.quiet().socket_count(), 0);
    });
}

#[test]
fn bytes_and_the_end_that_come_together_are_both_read() {
    let _watchdog = Watchdog::new("bytes and end");
    run(1, |shard: Shard<()>| async move {
        for _ in 0..50 {
            let (mut client, mut stream) = pair(&shard).await;
            poll_fn(|context| {
                assert!(stream.poll_read(context, &mut [0]).is_pending());
                Poll::Ready(())
            })
            .await;
            client.write_all(b"last words").expect("writes");
            drop(client);
            assert_eq!(read_some(&mut stream, shard.buffers()).await, 10);
            assert_eq!(read_some(&mut stream, shard.buffers()).await, 0);
        }
    });
}

#[test]
fn a_quiet_socket_whose_peer_does_not_read_writes_on_when_it_does() {
    const LENGTH: usize = 24 * 1024 * 1024;
    let _watchdog = Watchdog::new("stuck and quiet");
    run(1, |shard: Shard<()>| async move {
        let (client, mut stream) = pair(&shard).await;
        let (mut input, mut output) =
            (ReadBuffer::new(shard.buffers()), Output::new(shard.buffers()));
        output.put(&vec![7; LENGTH]);
        let mut reader = None;
        let mut said = false;
        poll_fn(|context| {
            // As a connection's task does it: input first.
            match stream.poll_fill(context, &mut input) {
                Poll::Ready(count) => said |= count.expect("reads") > 0,
                Poll::Pending => {}
            }
            let flushed = stream.poll_flush(context, &mut output);
            if reader.is_none() {
                assert!(flushed.is_pending(), "more than the kernel takes");
                let mut client = client.try_clone().expect("dup");
                reader = std::thread::Builder::new()
                    .spawn(move || {
                        // It is heard although nobody reads its output.
                        client.write_all(b"x").expect("writes");
                        let mut all = vec![0; LENGTH];
                        client.read_exact(&mut all).expect("reads");
                        assert!(all.iter().all(|byte| *byte == 7));
                    })
                    .ok();
            }
            if output.is_empty() && said { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let reader = reader.expect("a thread");
        until(&shard, || reader.is_finished()).await;
        reader.join().expect("the client is content");
        let bytes = count_bytes(&shard, stream);
        until(&shard, || shard.quiet().busy_count() == 0).await;
        (&client).write_all(b"x").expect("writes");
        until(&shard, || bytes.get() == Some(1)).await;
    });
}

#[test]
fn a_quiet_socket_leaves_for_another_owner_with_what_it_has_not_read() {
    let _watchdog = Watchdog::new("quiet moves");
    run(1, |shard: Shard<()>| async move {
        let (mut client, mut stream) = pair(&shard).await;
        for _ in 0..10 {
            exchange(&mut stream, &mut client, shard.buffers()).await;
            client.write_all(b"left").expect("writes");
            let socket: Socket = stream.into_socket().expect("moves");
            assert_eq!(shard.quiet().socket_count(), 0);
            stream = Stream::from_socket(socket, shard.quiet());
            assert_eq!(read_some(&mut stream, shard.buffers()).await, 4);
        }
    });
}

#[test]
fn a_place_that_is_used_again_wakes_its_new_owner_only() {
    let _watchdog = Watchdog::new("places");
    run(1, |shard: Shard<()>| async move {
        for _ in 0..100 {
            let (mut old_client, mut old) = pair(&shard).await;
            poll_fn(|context| {
                assert!(old.poll_read(context, &mut [0]).is_pending());
                Poll::Ready(())
            })
            .await;
            // Told to the kernel, not taken from it yet.
            old_client.write_all(b"x").expect("writes");
            drop(old);
            let (mut client, mut stream) = pair(&shard).await;
            assert_eq!(shard.quiet().socket_count(), 1);
            exchange(&mut stream, &mut client, shard.buffers()).await;
        }
    });
}
