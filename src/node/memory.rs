//! How much memory there is for the broker: that of the machine, or of the tightest of the control
//! groups it is in (abuse row 114). A container or a unit with `MemoryMax` has less than the machine,
//! and whoever goes by the machine is killed long before its watermark.
//!
//! May import the standard library.

use std::path::{Path, PathBuf};

/// Where nothing can be read.
const FALLBACK_BYTES: u64 = 1 << 30;

/// Levels of groups that are looked at; systemd makes some six.
const LEVELS_MAX: usize = 64;

/// Octets of memory that this process may have.
pub(super) fn memory_bytes() -> u64 {
    memory_below(Path::new("/"))
}

/// The same, as the files of the system below a root say.
fn memory_below(root: &Path) -> u64 {
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let meminfo = read(root.join("proc/meminfo"));
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|t| t.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let machine = kib.map_or(FALLBACK_BYTES, |kib| kib.saturating_mul(1024));
    let groups = read(root.join("proc/self/cgroup"));
    let limits = groups.lines().filter_map(|line| {
        // `number:controllers:path`; version 2 has the number 0 and names no controllers.
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (top, files): (_, &[&str]) = if controllers.is_empty() {
            ("sys/fs/cgroup", &["memory.max", "memory.high"])
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("sys/fs/cgroup/memory", &["memory.limit_in_bytes"])
        } else {
            return None;
        };
        tightest(&root.join(top), path, files)
    });
    limits.fold(machine, u64::min)
}

/// The least that these files say in the group at `path` and those above it. Within a container the
/// path may be one that only the host sees, and the files of the container are at the top.
fn tightest(top: &Path, path: &str, files: &[&str]) -> Option<u64> {
    let path = Path::new(path.trim_start_matches('/'));
    let groups = path.ancestors().take(LEVELS_MAX).map(|group| top.join(group));
    let said = groups.flat_map(|group| {
        files.iter().filter_map(move |file| std::fs::read_to_string(group.join(file)).ok())
    });
    // `max` is no limit, and neither is a number larger than any machine has.
    said.filter_map(|text| text.trim().parse::<u64>().ok()).filter(|bytes| *bytes > 0).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of 8 GiB with these files.
    fn machine(name: &str, files: &[(&str, &str)]) -> u64 {
        let root =
            std::env::temp_dir().join(format!("ringmq-groups-{}-{name}", std::process::id()));
        let meminfo = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");
        for (path, text) in files.iter().chain([&meminfo]) {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let bytes = memory_below(&root);
        std::fs::remove_dir_all(root).unwrap();
        bytes
    }

    const GIB: u64 = 1 << 30;

    /// Abuse row 114
    #[test]
    fn the_tightest_group_of_version_2_counts_whichever_level_it_is_on() {
        let service = "sys/fs/cgroup/system.slice/ringmq.service/memory.max";
        let slice = "sys/fs/cgroup/system.slice/memory.max";
        let own = ("proc/self/cgroup", "0::/system.slice/ringmq.service\n");
        assert_eq!(machine("none", &[own]), 8 * GIB);
        assert_eq!(machine("max", &[own, (service, "max\n"), (slice, "max\n")]), 8 * GIB);
        assert_eq!(machine("unit", &[own, (service, "1073741824\n"), (slice, "max\n")]), GIB);
        assert_eq!(machine("slice", &[own, (service, "max\n"), (slice, "2147483648\n")]), 2 * GIB);
        let high = "sys/fs/cgroup/system.slice/ringmq.service/memory.high";
        let both = [own, (service, "2147483648\n"), (high, "1073741824\n")];
        assert_eq!(machine("high", &both), GIB, "above it the kernel slows us down");
        let inside = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "1073741824\n")];
        assert_eq!(machine("container", &inside), GIB);
        assert_eq!(machine("more", &[own, (service, "99999999999999\n")]), 8 * GIB);
    }

    /// Abuse row 114
    #[test]
    fn so_does_that_of_version_1() {
        let groups = "12:cpuset:/\n5:memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n";
        let own = ("proc/self/cgroup", groups);
        let group = "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes";
        let top = "sys/fs/cgroup/memory/memory.limit_in_bytes";
        assert_eq!(machine("v1", &[own, (group, "1073741824\n")]), GIB);
        assert_eq!(machine("v1-none", &[own, (top, "9223372036854771712\n")]), 8 * GIB);
        assert_eq!(machine("v1-container", &[own, (top, "1073741824\n")]), GIB);
    }

    #[test]
    fn nonsense_is_no_limit() {
        let nonsense = [("proc/self/cgroup", "0\n::\n0::../../..\n9:memory\n")];
        assert_eq!(machine("nonsense", &nonsense), 8 * GIB);
        assert_eq!(memory_below(Path::new("/nonexistent")), FALLBACK_BYTES);
    }
}
