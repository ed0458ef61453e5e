//! What the tests of running shards share.
#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::expect_used,
    reason = "each test program uses its own part"
)]

use ringmq_shards::{Options, Running, Shard, start};
use std::future::Future;
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

/// Ends the program if the test has not dropped this within a minute: a lost wake-up would otherwise hang for ever.
pub(crate) struct Watchdog {
    _held: mpsc::Sender<()>,
}

impl Watchdog {
    pub(crate) fn new(what: &'static str) -> Self {
        let (held, ended) = mpsc::channel::<()>();
        let watch = move || {
            if ended.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = writeln!(std::io::stderr(), "watchdog: {what} hangs");
                std::process::abort();
            }
        };
        drop(std::thread::Builder::new().spawn(watch));
        Self { _held: held }
    }
}

pub(crate) fn options(shards: usize) -> Options {
    Options { shards, ..Options::default() }
}

/// Runs the same future on each shard and waits for all.
pub(crate) fn run<M, F, Fut>(shards: usize, make: F)
where
    M: Send + 'static,
    F: Fn(Shard<M>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    begin(shards, make).join().expect("no shard panics");
}

pub(crate) fn begin<M, F, Fut>(shards: usize, make: F) -> Running<M>
where
    M: Send + 'static,
    F: Fn(Shard<M>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    start(&options(shards), make).expect("shards start here")
}
