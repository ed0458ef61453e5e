//! What a check has found. Plain data; `text` and `json` show it. May import the log's numbers.

use std::collections::BTreeMap;

use ringmq_shards::log::{BootInfo, Lsn, QueueUid};

/// All that was found in a data directory.
#[derive(Debug, Default)]
pub struct Report {
    pub(super) root: String,
    /// `None`: it cannot be believed.
    pub(super) boot: Option<BootInfo>,
    /// `None`: there is nothing that can be read.
    pub(super) control: Option<ControlContent>,
    /// By boot, then shard.
    pub(super) logs: Vec<ShardLog>,
    pub(super) checkpoints: Vec<Checkpoint>,
    /// By name.
    pub(super) vhosts: BTreeMap<Box<str>, Vhost>,
    /// Definitions that count no more since what they name is gone; the next checkpoint is without.
    pub(super) dangling: u64,
    /// By virtual host and name.
    pub(super) queues: Vec<QueueContent>,
    pub(super) segments: Segments,
    /// Records that were durable and are gone, and those that refer to them.
    pub(super) lost_records: u64,
    pub(super) findings: Vec<Finding>,
}

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// Below the data directory.
    pub(super) path: String,
    /// Completes a sentence that the path begins.
    pub(super) what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// Something that was written is not as it was written.
    Damage,
    /// What a crash leaves, or somebody else.
    Note,
}

/// What the control thread keeps.
#[derive(Debug)]
pub(super) struct ControlContent {
    /// The number of the snapshot that counts.
    pub(super) snapshot: Option<u64>,
    /// Records of changes since.
    pub(super) changes: u64,
    pub(super) users: u64,
    pub(super) vhosts: u64,
    pub(super) permissions: u64,
    pub(super) topic_permissions: u64,
    pub(super) global_parameters: u64,
}

/// The log of one shard in one boot.
#[derive(Debug)]
pub(super) struct ShardLog {
    pub(super) boot: u64,
    pub(super) shard: u32,
    pub(super) files: Vec<LogFileContent>,
    /// Everything up to here was durable.
    pub(super) durable: Lsn,
    /// How many of each of [`super::logs::KINDS`], in their order.
    pub(super) kinds: Vec<u64>,
}

/// The records of one file that count.
#[derive(Debug)]
pub(super) struct LogFileContent {
    pub(super) path: String,
    pub(super) file_bytes: u64,
    /// The log's own included.
    pub(super) records: u64,
    pub(super) record_bytes: u64,
    /// The first and the last.
    pub(super) range: Option<(Lsn, Lsn)>,
}

#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) path: String,
    pub(super) definitions: u64,
}

/// Durable things of one virtual host. Its queues are in [`Report::queues`].
#[derive(Debug, Default)]
pub(super) struct Vhost {
    pub(super) queues: u64,
    /// Name and type.
    pub(super) exchanges: Vec<(Box<str>, Box<str>)>,
    pub(super) bindings: Vec<Binding>,
}

#[derive(Debug)]
pub(super) struct Binding {
    pub(super) exchange: Box<str>,
    pub(super) key: Box<str>,
    /// A queue, or else an exchange.
    pub(super) to_queue: bool,
    pub(super) to: Box<str>,
}

/// What the next start would find of a queue.
#[derive(Debug)]
pub(super) struct QueueContent {
    pub(super) uid: QueueUid,
    pub(super) vhost: Box<str>,
    pub(super) name: Box<str>,
    /// Not settled.
    pub(super) messages: u64,
    /// Octets of their bodies.
    pub(super) body_bytes: u64,
    /// Its segments, damaged ones included.
    pub(super) segments: u64,
    pub(super) segment_bytes: u64,
    /// Entries of segments that are settled and still stand there.
    pub(super) settled: u64,
}

/// All segments, those of queues that are gone included.
#[derive(Debug, Default)]
pub(super) struct Segments {
    pub(super) files: u64,
    pub(super) file_bytes: u64,
    /// Entries that are as they were written.
    pub(super) entries_good: u64,
}

impl Report {
    pub(super) fn new(root: &str) -> Self {
        Self { root: root.to_owned(), ..Self::default() }
    }

    /// No octet is missing or changed that was on the disk for good.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }

    pub(super) fn damage(&mut self, path: &str, what: &str) {
        self.find(Severity::Damage, path, what);
    }

    pub(super) fn note(&mut self, path: &str, what: &str) {
        self.find(Severity::Note, path, what);
    }

    pub(super) fn find(&mut self, severity: Severity, path: &str, what: &str) {
        self.findings.push(Finding { severity, path: path.to_owned(), what: what.to_owned() });
    }
}

impl ShardLog {
    pub(super) fn records(&self) -> u64 {
        self.files.iter().map(|file| file.records).sum()
    }

    /// Records of the log itself.
    pub(super) fn marks(&self) -> u64 {
        self.records().saturating_sub(self.kinds.iter().sum())
    }

    pub(super) fn record_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.record_bytes).sum()
    }

    /// The first and the last record.
    pub(super) fn range(&self) -> Option<(Lsn, Lsn)> {
        let ranges = self.files.iter().filter_map(|file| file.range);
        ranges.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    }
}
