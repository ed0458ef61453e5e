//! Names of things on disk. May import nothing.

use std::fmt;

/// Bits of a position or sequence number that count within one boot of the process; those above are
/// the boot number. 2^44 last for 203 days of a million a second, and leave a million starts.
pub const BOOT_SHIFT: u32 = 44;

/// The highest boot number, 1,048,575: what fits above [`BOOT_SHIFT`]. Number 0 is never used.
pub const BOOT_MAX: u32 = (1 << (u64::BITS - BOOT_SHIFT)) - 1;

/// How far positions and sequence numbers count within one boot. One more is still a number, and of no
/// other boot: a range may end behind its last.
pub const COUNT_MAX: u64 = (1 << BOOT_SHIFT) - 2;

/// Bits of a file number or queue uid that count within one boot of the process.
pub const FILE_BOOT_SHIFT: u32 = 32;

const _: () = assert!(BOOT_MAX == 1_048_575, "as the documentation says");
const _: () =
    assert!(BOOT_MAX as u64 == u64::MAX >> BOOT_SHIFT, "each boot has numbers of its own");
const _: () = assert!(BOOT_MAX as u64 <= u64::MAX >> FILE_BOOT_SHIFT, "and files of its own");
const _: () = assert!(
    ((BOOT_MAX as u64) << BOOT_SHIFT).checked_add(COUNT_MAX + 1).is_some(),
    "what is behind the last position of the last boot fits into 64 bits"
);
const _: () = assert!(
    COUNT_MAX / 1_000_000 / 86_400 > 200,
    "numbers last for so many days of a million records a second"
);

/// Log sequence number: the place of a record in its shard's log, strictly one more than the one
/// before within one boot. 0 is before every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The first of a boot.
    #[must_use]
    pub const fn first_of(boot: u32) -> Self {
        Self(((boot as u64) << BOOT_SHIFT) + 1)
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// No record of its boot may come after it.
    #[must_use]
    pub const fn is_last_of_boot(self) -> bool {
        self.0 & ((1 << BOOT_SHIFT) - 1) >= COUNT_MAX
    }
}

/// A log file of one shard: boot number, then a count. Later files have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogFile(pub u64);

impl LogFile {
    /// The first of a boot.
    #[must_use]
    pub const fn first_of(boot: u32) -> Self {
        Self((boot as u64) << FILE_BOOT_SHIFT)
    }

    /// The boot it was written in.
    #[must_use]
    pub const fn boot(self) -> u64 {
        self.0 >> FILE_BOOT_SHIFT
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// `log.BBBBBBBB-NNNNNNNN`.
    #[must_use]
    pub fn name(self) -> String {
        format!("log.{self}")
    }

    /// `check.BBBBBBBB-NNNNNNNN`.
    #[must_use]
    pub fn checkpoint_name(self) -> String {
        format!("check.{self}")
    }

    /// The number in a file name that begins with `prefix` (`"log."`, `"check."`).
    #[must_use]
    pub fn from_name(name: &str, prefix: &str) -> Option<Self> {
        let (boot, count) = name.strip_prefix(prefix)?.split_once('-')?;
        if boot.len() != 8 || count.len() != 8 {
            return None;
        }
        let boot = u32::from_str_radix(boot, 16).ok()?;
        let count = u32::from_str_radix(count, 16).ok()?;
        Some(Self((u64::from(boot) << FILE_BOOT_SHIFT) | u64::from(count)))
    }
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}", self.0 >> FILE_BOOT_SHIFT, self.0 & 0xffff_ffff)
    }
}

/// What a queue is called on disk, never its name: one that is deleted and declared again meets no
/// old file. Made of boot number, shard and a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueUid(pub u64);

impl fmt::Display for QueueUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl QueueUid {
    /// The uid a directory under `queues/` is named after.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name.len() != 16 {
            return None;
        }
        u64::from_str_radix(name, 16).ok().map(Self)
    }
}

/// A segment of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId {
    /// Whose.
    pub queue: QueueUid,
    /// Which; later ones have higher numbers and later positions.
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_of_a_boot_has_one_behind_it_that_is_of_the_same_boot() {
        for boot in [1, 2, BOOT_MAX] {
            let last = Lsn((u64::from(boot) << BOOT_SHIFT) + COUNT_MAX);
            assert!(last.is_last_of_boot());
            assert!(!Lsn(last.0 - 1).is_last_of_boot());
            assert!(!Lsn::first_of(boot).is_last_of_boot());
            assert!(last.next().is_last_of_boot());
            assert_eq!(last.next().0 >> BOOT_SHIFT, u64::from(boot));
        }
    }

    #[test]
    fn a_file_is_found_by_the_name_it_gave() {
        let file = LogFile::first_of(3).next();
        assert_eq!(file.name(), "log.00000003-00000001");
        assert_eq!(LogFile::from_name(&file.name(), "log."), Some(file));
        assert_eq!(LogFile::from_name(&file.checkpoint_name(), "check."), Some(file));
        assert_eq!(LogFile::from_name("log.3-1", "log."), None);
        assert_eq!(file.boot(), 3);
        let uid = QueueUid(0x0123_4567_89ab_cdef);
        assert_eq!(QueueUid::from_name(&uid.to_string()), Some(uid));
    }
}
