//! What a process has used, read from /proc; imports std and the tick length of the kernel.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a process has used up to a moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Usage {
    /// Processor time in user code, all threads, those that ended included.
    pub(crate) user_seconds: f64,
    /// The same in the kernel.
    pub(crate) system_seconds: f64,
    /// Resident memory.
    pub(crate) resident_kib: u64,
    /// Of this, what no file is behind: heap and stacks.
    pub(crate) anonymous_kib: u64,
    /// The most it ever was.
    pub(crate) resident_kib_max: u64,
    /// Switches because a thread waited, threads of the moment.
    pub(crate) voluntary_switches: u64,
    /// Switches because the kernel wanted the processor.
    pub(crate) involuntary_switches: u64,
}

impl Usage {
    /// User and system time.
    pub(crate) const fn cpu_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }

    /// Reads the numbers of a process.
    ///
    /// # Errors
    /// Those of /proc: most likely there is no such process.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let root = PathBuf::from(format!("/proc/{pid}"));
        let (user, system) = ticks(&fs::read_to_string(root.join("stat"))?)
            .ok_or_else(|| io::Error::other("/proc/PID/stat has another form"))?;
        let status = fs::read_to_string(root.join("status"))?;
        let (voluntary_switches, involuntary_switches) = switches(&root)?;
        Ok(Self {
            user_seconds: seconds(user),
            system_seconds: seconds(system),
            resident_kib: field(&status, "VmRSS:"),
            anonymous_kib: field(&status, "RssAnon:"),
            resident_kib_max: field(&status, "VmHWM:"),
            voluntary_switches,
            involuntary_switches,
        })
    }
}

/// Files that a process has open, sockets among them.
///
/// # Errors
/// Those of /proc: most likely it is somebody else's process.
pub(crate) fn files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53 ticks")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// utime and stime: fields 14 and 15 of proc_pid_stat(5). The second field is a name that may
/// hold spaces and parentheses, so counting starts behind the last one.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The number behind a name in /proc/PID/status; 0 if there is none.
fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let digits = value.and_then(|value| value.split_ascii_whitespace().next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Voluntary and involuntary context switches of all threads.
fn switches(root: &Path) -> io::Result<(u64, u64)> {
    let mut sums = (0, 0);
    for thread in fs::read_dir(root.join("task"))? {
        // A thread may end between the listing and the reading.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else { continue };
        sums.0 += field(&status, "voluntary_ctxt_switches:");
        sums.1 += field(&status, "nonvoluntary_ctxt_switches:");
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 1234 567 0 0 20";
        assert_eq!(ticks(stat), Some((1234, 567)));
        assert_eq!(ticks("7 (cut) S 1"), None);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status =
            "nonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t5\nVmRSS:\t 77 kB\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), 5);
        assert_eq!(field(status, "VmRSS:"), 77);
        assert_eq!(field(status, "VmHWM:"), 0);
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident_kib > 0 && usage.resident_kib_max >= usage.resident_kib);
    }
}
