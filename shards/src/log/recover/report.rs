//! What recovery says of the files it has read. Plain data. May import `ids`, `record` and
//! `file_header`.

use crate::log::file_header::{FileHeader, HeaderError};
use crate::log::ids::{LogFile, Lsn};
use crate::log::record::{Record, record_bytes};

/// What was found in all log files of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Boots in order.
    pub boots: Vec<BootReport>,
    /// Files in order.
    pub files: Vec<FileReport>,
    /// What is wrong, boot by boot, in the order of the numbers.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many records are known to be lost to corruption: exactly, unless a finding says that it is
    /// not exact; then at most. Marks count too, since what is lost cannot be told apart.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.findings.iter().map(Finding::lost).fold(0, u64::saturating_add)
    }

    /// Nothing is wrong but what a crash leaves behind.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| matches!(finding, Finding::TornTail { .. } | Finding::NotBegun { .. }))
    }
}

/// What was found of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootReport {
    /// Which.
    pub boot: u64,
    /// The last record, delivered or lost.
    pub last: Lsn,
    /// W: everything up to here was durable.
    pub durable: Lsn,
    /// Records that were delivered, without marks.
    pub records: u64,
}

/// What was found in one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileReport {
    /// Which.
    pub file: LogFile,
    /// Its header. It may be another file's, see [`Finding::Foreign`] and [`Finding::BadHeader`].
    pub header: Result<FileHeader, HeaderError>,
    /// Its length.
    pub file_bytes: u64,
    /// Records that count, marks included.
    pub records: u64,
    /// Their octets.
    pub octets: u64,
    /// The first of them.
    pub first: Option<Lsn>,
    /// The last of them.
    pub last: Option<Lsn>,
}

impl FileReport {
    pub(super) fn new(
        file: LogFile,
        header: Result<FileHeader, HeaderError>,
        file_bytes: usize,
    ) -> Self {
        let file_bytes = u64::try_from(file_bytes).unwrap_or(u64::MAX);
        Self { file, header, file_bytes, records: 0, octets: 0, first: None, last: None }
    }

    pub(super) fn count(&mut self, record: &Record<'_>) {
        let octets = u64::try_from(record_bytes(record.payload.len())).unwrap_or(u64::MAX);
        self.records += 1;
        self.octets = self.octets.saturating_add(octets);
        self.first = self.first.or(Some(record.head.lsn));
        self.last = Some(record.head.lsn);
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// The last batch of a boot was not finished: a crash, nothing that was promised is missing.
    #[error(
        "log {file}: unfinished batch at offset {offset} after record {}, {later_fragments} later \
         records ignored", after.0
    )]
    TornTail {
        /// Where the last record is.
        file: LogFile,
        /// Where it ends.
        offset: u64,
        /// The last record.
        after: Lsn,
        /// Intact records of the unfinished batch, which are ignored.
        later_fragments: u64,
    },
    /// Records that were durable are not there any more.
    #[error(
        "log {file}: damaged at offset {offset}, records {} to {} are lost ({}{lost})",
        lost_from.0, lost_to.0, if *is_exact { "" } else { "at most " }
    )]
    Corruption {
        /// Where the record before is, or else the one behind.
        file: LogFile,
        /// Where the former ends, or else the latter begins.
        offset: u64,
        /// The first that is lost.
        lost_from: Lsn,
        /// The last that is lost.
        lost_to: Lsn,
        /// How many.
        lost: u64,
        /// `false`: at most so many, since nothing says what the log began with.
        is_exact: bool,
    },
    /// As [`Finding::Corruption`], and there is no file where they could have been.
    #[error(
        "log: no file between {after} and {before}, records {} to {} are lost ({lost})",
        lost_from.0, lost_to.0
    )]
    MissingFile {
        /// The file before.
        after: LogFile,
        /// The file behind.
        before: LogFile,
        /// The first that is lost.
        lost_from: Lsn,
        /// The last that is lost.
        lost_to: Lsn,
        /// How many.
        lost: u64,
    },
    /// A header is damaged or another file's. The records were looked for nevertheless, unless its
    /// format is another one.
    #[error("log {file}: bad header: {}", why.map_or_else(|| "of another file".to_owned(), |why| why.to_string()))]
    BadHeader {
        /// Which.
        file: LogFile,
        /// Why, if it is none.
        why: Option<HeaderError>,
    },
    /// The header is one of another log: the file strayed in, or only its first block did. Records of
    /// this log were looked for nevertheless; those of others are none here.
    #[error("log {file}: of another shard or data directory: shard {shard} of {dir_id:016x}")]
    Foreign {
        /// Which.
        file: LogFile,
        /// The shard in its header.
        shard: u32,
        /// The data directory in its header.
        dir_id: u64,
    },
    /// A file was about to be made when a crash came: harmless.
    #[error("log {file}: was not finished being made")]
    NotBegun {
        /// Which.
        file: LogFile,
    },
    /// The numbers of a group contradict those of the log: a mistake of the writer, or a record that
    /// is not ours.
    #[error("log {file}: record {} at offset {offset} is {found} of group {group}, not {expected}", lsn.0)]
    Sequence {
        /// Which.
        file: LogFile,
        /// Where.
        offset: u64,
        /// Which record.
        lsn: Lsn,
        /// Of which group.
        group: u32,
        /// Its number within the group should be.
        expected: u64,
        /// And is.
        found: u64,
    },
    /// Damage that was made on purpose: searching on would take too long.
    #[error("log {file}: searched no further than offset {offset}")]
    ScanGivenUp {
        /// Which.
        file: LogFile,
        /// Where.
        offset: u64,
    },
}

impl Finding {
    /// Records that are lost to corruption.
    #[must_use]
    pub fn lost(&self) -> u64 {
        match self {
            Self::Corruption { lost, .. } | Self::MissingFile { lost, .. } => *lost,
            Self::TornTail { .. }
            | Self::BadHeader { .. }
            | Self::Foreign { .. }
            | Self::NotBegun { .. }
            | Self::Sequence { .. }
            | Self::ScanGivenUp { .. } => 0,
        }
    }
}
