//! Descriptors that connections leave to files. A program of its own, since the limit holds for the whole process.
#![expect(unsafe_code, reason = "lowers a resource limit")]

mod support;

use ringmq_shards::{AcceptError, BindOptions, Listener, Shard, Socket, keep_files};
use std::fs::{File, OpenOptions};
use std::io;

/// Abuse row 113
fn main() -> io::Result<()> {
    let _watchdog = support::Watchdog::new("kept files");
    let address = "127.0.0.1:0".parse().map_err(io::Error::other)?;
    let running = ringmq_shards::start(&support::options(1), move |shard: Shard<()>| async move {
        let told = connections_leave_some(&shard, address).await;
        assert!(told.is_ok(), "{told:?}");
    });
    running.map_err(io::Error::other)?.join().map_err(io::Error::other)
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).open("/dev/null")
}

async fn connections_leave_some(
    shard: &Shard<()>,
    address: std::net::SocketAddr,
) -> io::Result<()> {
    let listener = Listener::bind(address, BindOptions::default())?;
    let address = listener.local_addr()?;
    lower_limit(400)?;
    keep_files(1);
    let mut inside = Vec::new();
    let refused = loop {
        assert!(inside.len() < 400, "nobody is refused");
        let client = Socket::connect_blocking(address)?;
        match listener.accept().await {
            Ok(socket) => inside.push((client, socket)),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AcceptError::OpenFiles { refused: Some(_) }), "{refused:?}");
    // A quarter of 400 is more than what one shard keeps.
    let mut files = Vec::new();
    while let Ok(file) = open() {
        files.push(file);
    }
    assert!((60..=68).contains(&files.len()), "{} are left for files", files.len());
    drop(files);

    // Room again when somebody goes.
    inside.truncate(inside.len() / 2);
    let client = Socket::connect_blocking(address)?;
    let socket = listener.accept().await.map_err(io::Error::other)?;
    assert_eq!(socket.peer_addr()?, client.local_addr()?);
    shard.sleep(1).await;
    Ok(())
}

fn lower_limit(open_files: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: open_files, rlim_max: open_files };
    // SAFETY: the kernel reads one initialised rlimit.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
