//! What a listener does when no file descriptor is left. A program of its own, since the limit holds for the whole process.
#![expect(unsafe_code, reason = "lowers a resource limit")]

mod support;

use ringmq_shards::{AcceptError, BindOptions, Listener, Shard, Socket};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::net::TcpStream;

fn main() -> io::Result<()> {
    let _watchdog = support::Watchdog::new("open files");
    let address = "127.0.0.1:0".parse().map_err(io::Error::other)?;
    let running = ringmq_shards::start(&support::options(1), move |shard: Shard<()>| async move {
        let told = out_of_files(&shard, address).await;
        assert!(told.is_ok(), "{told:?}");
    });
    running.map_err(io::Error::other)?.join().map_err(io::Error::other)
}

async fn out_of_files(shard: &Shard<()>, address: std::net::SocketAddr) -> io::Result<()> {
    let listener = Listener::bind(address, BindOptions::default())?;
    let address = listener.local_addr()?;
    let mut refused = TcpStream::connect(address)?;
    let waiting = Socket::connect_blocking(address)?;
    lower_limit(256)?;
    let mut files = Vec::new();
    while let Ok(file) = OpenOptions::new().read(true).open("/dev/null") {
        files.push(file);
    }

    // The first newcomer is refused and learns it at once; the one behind is still there.
    let told = listener.accept().await;
    let Err(AcceptError::OpenFiles { refused: Some(peer) }) = told else {
        return Err(io::Error::other(format!("not refused: {told:?}")));
    };
    assert_eq!(peer, refused.local_addr()?);
    assert!(matches!(refused.read(&mut [0]), Ok(0) | Err(_)), "closed");

    // Room again: accepting goes on as if nothing had happened.
    drop(files);
    let socket = listener.accept().await.map_err(io::Error::other)?;
    assert_eq!(socket.peer_addr()?, waiting.local_addr()?);
    shard.sleep(1).await;
    Ok(())
}

fn lower_limit(open_files: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: open_files, rlim_max: open_files };
    // SAFETY: the kernel reads one initialised rlimit.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
