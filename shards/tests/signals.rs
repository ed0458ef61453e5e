//! Signals arrive as calls. A program of its own: the signals are blocked before any other thread exists.
#![expect(unsafe_code, reason = "raises a signal")]

use ringmq_shards::{Signal, Signals};
use std::io;
use std::sync::mpsc;
use std::time::Duration;

fn main() -> io::Result<()> {
    let signals = Signals::block()?;
    let (sender, receiver) = mpsc::channel();
    signals.watch(move |signal| {
        let _ = sender.send(signal);
    })?;

    for (number, signal) in [
        (libc::SIGHUP, Signal::HangUp),
        (libc::SIGTERM, Signal::Terminate),
        (libc::SIGINT, Signal::Interrupt),
    ] {
        // SAFETY: getpid has no precondition.
        let this_process = unsafe { libc::getpid() };
        // SAFETY: signals this process, which has blocked them.
        let sent = unsafe { libc::kill(this_process, number) };
        assert_eq!(sent, 0);
        assert_eq!(receiver.recv_timeout(Duration::from_secs(30)), Ok(signal));
    }
    Ok(())
}
