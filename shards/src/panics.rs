//! What happens when something panics. Imports the standard library.

use std::io::Write;
use std::panic::PanicHookInfo;

/// From now on a panic on any thread prints one line on standard error and aborts the process: the state of one shard is lost,
/// and a broker that went on without it would lie to its clients. The next start recovers from the disk.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        // Nothing can be done about an error here.
        let _ = std::io::stderr().write_all(line(info).as_bytes());
        std::process::abort();
    }));
}

fn line(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let place = info.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
    let thread = std::thread::current();
    format(thread.name().unwrap_or("unnamed"), &place, text)
}

fn format(thread: &str, place: &str, text: &str) -> String {
    let text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    format!("ringmq: stopped by a panic on thread {thread} at {place}: {text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_several_lines_becomes_one() {
        assert_eq!(
            format("ringmq-1", "a.rs:3:7", "left\n  right"),
            "ringmq: stopped by a panic on thread ringmq-1 at a.rs:3:7: left right\n"
        );
    }
}
