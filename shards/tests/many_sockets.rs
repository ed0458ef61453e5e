//! As many sockets as the process may have. A program of its own, since it counts the descriptors of the whole process.
#![expect(clippy::expect_used, reason = "a test stops at what it did not expect")]

mod support;

use ringmq_shards::{BindOptions, Listener, ReadBuffer, Shard, Stream, raise_nofile};
use std::future::poll_fn;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use support::{Watchdog, run};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Both ends are in this process; some descriptors are needed for other things.
fn socket_count() -> usize {
    let limit = raise_nofile().expect("a limit").soft;
    (usize::try_from(limit).unwrap_or(usize::MAX).min(38_500) - 500) / 2
}

/// Descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

fn read_all(shard: &Shard<()>, mut stream: Stream) {
    let buffers = shard.buffers().clone();
    shard.spawn(async move {
        let mut input = ReadBuffer::new(&buffers);
        while let Ok(1..) = poll_fn(|context| stream.poll_fill(context, &mut input)).await {
            input.consume(input.len());
        }
    });
}

#[test]
fn nothing_is_left_of_thousands_that_were_quiet_or_busy() {
    let _watchdog = Watchdog::new("thousands");
    run(1, |shard: Shard<()>| async move {
        let sockets = socket_count();
        let busy = sockets.min(500);
        let listener = Listener::bind(ANY_PORT, BindOptions::default()).expect("binds");
        let address = listener.local_addr().expect("bound");
        let mut before = None;
        for _ in 0..2 {
            let mut clients = Vec::new();
            for _ in 0..sockets {
                let client = TcpStream::connect(address).expect("connects");
                client.set_nodelay(true).expect("nodelay");
                clients.push(client);
                let socket = listener.accept().await.expect("accepts");
                // The listener has its own by now.
                before.get_or_insert_with(|| (shard.task_count(), descriptors() - 2));
                read_all(&shard, Stream::from_socket(socket, shard.quiet()));
            }
            while shard.quiet().busy_count() < busy {
                for mut client in clients.iter().take(busy) {
                    client.write_all(b"x").expect("writes");
                }
                shard.after_look().await;
            }
            assert_eq!(shard.quiet().socket_count(), sockets);
            drop(clients);
            while shard.quiet().socket_count() > 0
                || Some((shard.task_count(), descriptors())) > before
            {
                shard.sleep(5).await;
            }
            assert_eq!(shard.quiet().busy_count(), 0);
        }
    });
}
