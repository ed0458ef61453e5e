//! Where things stand below the data directory. May import `ids`.

use super::ids::{LogFile, QueueUid, SegmentId};

/// The ballast file.
pub const RESERVE: &str = "RESERVE";

/// The directory of all shards.
pub const SHARDS: &str = "shards";

/// The directory of all queues.
pub const QUEUES: &str = "queues";

/// What a file is called while it is not complete. Such names are removed when the directory is opened.
pub const UNFINISHED: &str = ".tmp";

/// The directory of a shard.
#[must_use]
pub fn shard_dir(shard: u32) -> String {
    format!("{SHARDS}/{shard:02}")
}

/// The shard that a directory below [`SHARDS`] belongs to.
#[must_use]
pub fn shard_from_name(name: &str) -> Option<u32> {
    let shard = name.parse().ok()?;
    (format!("{shard:02}") == name).then_some(shard)
}

/// A log file of a shard.
#[must_use]
pub fn log(shard: u32, file: LogFile) -> String {
    format!("{SHARDS}/{shard:02}/{}", file.name())
}

/// A checkpoint of a shard.
#[must_use]
pub fn checkpoint(shard: u32, file: LogFile) -> String {
    format!("{SHARDS}/{shard:02}/{}", file.checkpoint_name())
}

/// The directory of a queue.
#[must_use]
pub fn queue_dir(queue: QueueUid) -> String {
    format!("{QUEUES}/{queue}")
}

/// A segment.
#[must_use]
pub fn segment(segment: SegmentId) -> String {
    format!("{QUEUES}/{}/seg.{}", segment.queue, segment.number)
}

/// The file of settled entries of a segment.
#[must_use]
pub fn settled(segment: SegmentId) -> String {
    format!("{QUEUES}/{}/settled.{}", segment.queue, segment.number)
}

/// The name of something while it is being written.
#[must_use]
pub fn unfinished(path: &str) -> String {
    format!("{path}{UNFINISHED}")
}

/// The number in a name that begins with `prefix` (`"seg."`, `"settled."`).
#[must_use]
pub fn segment_number(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_only_in_the_name_it_gave() {
        let id = SegmentId { queue: QueueUid(7), number: 12 };
        assert_eq!(segment(id), "queues/0000000000000007/seg.12");
        assert_eq!(settled(id), "queues/0000000000000007/settled.12");
        assert_eq!(segment_number("seg.12", "seg."), Some(12));
        assert_eq!(shard_dir(3), "shards/03");
        assert_eq!(shard_dir(123), "shards/123");
        assert_eq!(shard_from_name("03"), Some(3));
        for wrong in ["seg.012", "seg.+12", "seg.12.tmp", "seg.", "settled.12"] {
            assert_eq!(segment_number(wrong, "seg."), None, "{wrong}");
        }
        for wrong in ["3", "003", "+3", "", "03.tmp"] {
            assert_eq!(shard_from_name(wrong), None, "{wrong}");
        }
    }
}
