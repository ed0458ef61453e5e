//! What the operating system says of this process. Read when somebody asks, on the control thread:
//! none of it waits for a disk.
//!
//! May import nothing.

use std::fs;

/// Parts of a second in which the kernel counts the time of processes, everywhere on Linux.
const TICKS_PER_S: u64 = 100;

/// The process at one moment. What cannot be read is 0.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Machine {
    pub(super) files_open: u64,
    pub(super) files_max: u64,
    pub(super) sockets_open: u64,
    pub(super) resident_bytes: u64,
    pub(super) user_ms: u64,
    pub(super) system_ms: u64,
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
}

impl Machine {
    pub(super) fn now() -> Self {
        let (files_open, sockets_open) = open_files();
        let (user_ms, system_ms) = times();
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        Self {
            files_open,
            files_max: files_max(),
            sockets_open,
            resident_bytes: resident_bytes(),
            user_ms,
            system_ms,
            read_bytes: field(&io, "read_bytes:"),
            written_bytes: field(&io, "write_bytes:"),
        }
    }
}

fn open_files() -> (u64, u64) {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return (0, 0) };
    entries.flatten().fold((0, 0), |(files, sockets), entry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let is_socket = target.to_str().is_some_and(|target| target.starts_with("socket:"));
        (files + 1, sockets + u64::from(is_socket))
    })
}

fn files_max() -> u64 {
    ringmq_shards::limits().map_or(0, |limits| limits.nofile.soft)
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "VmRSS:").saturating_mul(1024)
}

/// Milliseconds of the process on a processor: its own, and the kernel's for it.
fn times() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the process stands in brackets and may have blanks.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut numbers = rest.split_whitespace().skip(11).map(|n| n.parse::<u64>().unwrap_or(0));
    let mut next_ms = || numbers.next().unwrap_or(0).saturating_mul(1000 / TICKS_PER_S);
    (next_ms(), next_ms())
}

/// The name of this machine.
pub(super) fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".into() } else { name.trim().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_files_memory_and_a_name() {
        let machine = Machine::now();
        assert!(machine.files_open >= 3 && machine.files_max >= machine.files_open);
        assert!(machine.resident_bytes > 100_000);
        assert!(!host_name().is_empty());
    }
}
