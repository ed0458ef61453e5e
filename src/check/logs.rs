//! The logs of all shards and their checkpoints: every record's checksums, and whether what it says
//! is understood. May import `report`, the broker's records and definitions, and of `ringmq_shards`
//! the log.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use ringmq_shards::log::recover::{FileReport, Finding as LogFinding};
use ringmq_shards::log::{Files as _, Image, Known, LogFile, Lsn, Record, paths, record, recover};

use super::Checking;
use super::report::{Checkpoint, LogFileContent, Severity, ShardLog};
use crate::broker::definitions::Definition;
use crate::broker::entry::{self, Saying};

/// The kinds of records, and what people call them.
pub(super) const KINDS: [(u16, &str); 15] = [
    (entry::MESSAGE, "messages"),
    (entry::AGAIN, "copies"),
    (entry::SETTLED, "settlements"),
    (entry::RETURNED, "returns"),
    (entry::HANDED_OUT, "deliveries"),
    (entry::RESTS, "rests"),
    (entry::DEFINITION, "definitions"),
    (entry::DELAYED, "delayed"),
    (entry::RECEIVED, "received"),
    (entry::RECEIPTS, "receipts"),
    (entry::WILL, "wills"),
    (entry::MESSAGE_OF, "messages_once"),
    (entry::ENDED, "ends"),
    (entry::OPEN, "open"),
    (entry::LINE, "lines"),
];

/// The log files of one shard and boot.
type Logs = Vec<(LogFile, String)>;

/// Whose log: by boot, then shard.
type Whose = (u64, u32);

/// Records of one kind in one file that nobody understands.
struct Strange {
    first: Lsn,
    count: u64,
}

impl Checking {
    pub(super) fn check_logs(&mut self) -> io::Result<()> {
        let mut logs: BTreeMap<Whose, Logs> = BTreeMap::new();
        for dir in self.files.list(paths::SHARDS)? {
            let path = format!("{}/{}", paths::SHARDS, dir.name);
            let shard = paths::shard_from_name(&dir.name).filter(|_| dir.is_dir);
            let Some(shard) = shard else {
                self.stranger(&path, dir.is_dir);
                continue;
            };
            for file in self.files.list(&path)? {
                let path = format!("{path}/{}", file.name);
                let log = LogFile::from_name(&file.name, "log.");
                let checkpoint = LogFile::from_name(&file.name, "check.");
                if let Some(log) = log {
                    self.see_boot(log.boot());
                    logs.entry((log.boot(), shard)).or_default().push((log, path));
                } else if let Some(checkpoint) = checkpoint {
                    self.see_boot(checkpoint.boot());
                    self.check_checkpoint(checkpoint, shard, path);
                } else {
                    self.stranger(&path, file.is_dir);
                }
            }
        }
        let total = logs.len();
        for (done, (whose, found)) in logs.into_iter().enumerate() {
            self.check_log(whose, &found);
            self.progress.step(done + 1, total, &paths::shard_dir(whose.1));
        }
        Ok(())
    }

    /// All files of one shard and boot: only together they say what is missing.
    fn check_log(&mut self, (boot, shard): Whose, logs: &Logs) {
        let mut contents = Vec::new();
        for (file, path) in logs {
            match self.files.read(path) {
                Ok(octets) => contents.push((*file, octets)),
                Err(error) => self.report.damage(path, &format!("cannot be read: {error}")),
            }
        }
        let images: Vec<Image<'_>> =
            contents.iter().map(|(file, octets)| Image { file: *file, bytes: octets }).collect();
        let mut kinds = vec![0; KINDS.len()];
        let mut strange: BTreeMap<(LogFile, u16), Strange> = BTreeMap::new();
        let found = recover(&images, Known::of(self.dir_id, shard), &mut |record, file| {
            let kind = record.head.kind;
            let known = KINDS.iter().zip(&mut kinds).find(|((known, _), _)| *known == kind);
            if let Some((_, count)) = known.filter(|_| is_understood(record)) {
                *count += 1;
            } else {
                let first = record.head.lsn;
                strange.entry((file, kind)).or_insert(Strange { first, count: 0 }).count += 1;
            }
        });
        for finding in &found.findings {
            self.add_log_finding((boot, shard), finding);
        }
        for ((file, kind), Strange { first, count }) in strange {
            let what =
                format!("{count} records of kind {kind} are not understood, from {}", first.0);
            self.report.damage(&paths::log(shard, file), &what);
        }
        let files = found.files.iter().map(|file| content_of(shard, file)).collect();
        let durable = found.boots.iter().map(|boot| boot.durable).max().unwrap_or_default();
        self.report.logs.push(ShardLog { boot, shard, files, durable, kinds });
    }

    fn add_log_finding(&mut self, (boot, shard): Whose, finding: &LogFinding) {
        let (file, severity) = match finding {
            LogFinding::TornTail { file, .. } if self.ended_cleanly(boot) => {
                let what = format!("{}, although its run ended cleanly", without(*file, finding));
                self.report.damage(&paths::log(shard, *file), &what);
                return;
            }
            LogFinding::MissingFile { .. } => {
                let text = finding.to_string();
                let what = text.strip_prefix("log: ").unwrap_or(&text);
                self.report.damage(&paths::shard_dir(shard), what);
                return;
            }
            LogFinding::TornTail { file, .. } | LogFinding::NotBegun { file } => {
                (*file, Severity::Note)
            }
            LogFinding::Corruption { file, .. }
            | LogFinding::BadHeader { file, .. }
            | LogFinding::Foreign { file, .. }
            | LogFinding::Sequence { file, .. }
            | LogFinding::ScanGivenUp { file, .. } => (*file, Severity::Damage),
        };
        self.report.find(severity, &paths::log(shard, file), &without(file, finding));
    }

    /// Everything of this boot was on the disk when its process ended: nothing can be unfinished.
    fn ended_cleanly(&self, boot: u64) -> bool {
        self.boot.is_some_and(|found| found.was_clean && u64::from(found.boot) == boot)
    }

    /// Definitions as records back to back, without anything behind: it is written whole.
    fn check_checkpoint(&mut self, file: LogFile, shard: u32, path: String) {
        let key = record::Key::of(self.dir_id, shard);
        let octets = match self.files.read(&path) {
            Ok(octets) => octets,
            Err(error) => {
                self.report.damage(&path, &format!("cannot be read: {error}"));
                return;
            }
        };
        let mut rest = &*octets;
        let mut definitions = 0;
        while !rest.is_empty() {
            let at = octets.len() - rest.len();
            let (record, taken) = match record::decode(rest, key) {
                record::Decoded::Record { record, taken } => (record, taken),
                record::Decoded::End => {
                    self.report.damage(&path, &format!("has zeros at offset {at}"));
                    break;
                }
                record::Decoded::Invalid(why) => {
                    self.report.damage(&path, &format!("is damaged at offset {at}: {why}"));
                    break;
                }
            };
            if u64::from(record.head.boot) != file.boot() {
                let what = format!("has a record of boot {} at offset {at}", record.head.boot);
                self.report.damage(&path, &what);
            } else if Definition::read(record.payload).is_none() {
                self.report.damage(&path, &format!("has no definition at offset {at}"));
            }
            definitions += 1;
            rest = rest.get(taken..).unwrap_or_default();
        }
        self.report.checkpoints.push(Checkpoint { path, definitions });
    }
}

/// Whether a start can do something with it.
fn is_understood(record: &Record<'_>) -> bool {
    let group = u16::try_from(record.head.group).unwrap_or(u16::MAX);
    match entry::read(record.head.kind, group, record.payload) {
        Some(
            Saying::Message { message, .. }
            | Saying::MessageOf { message, .. }
            | Saying::Delayed { message, .. }
            | Saying::Will { message, .. },
        ) => entry::read_message(message, &mut |name| Rc::from(name)).is_some(),
        Some(Saying::Definition(octets)) => Definition::read(octets).is_some(),
        Some(
            Saying::Again { .. }
            | Saying::Settled(_)
            | Saying::Returned { .. }
            | Saying::HandedOut { .. }
            | Saying::Rests { .. }
            | Saying::Received { .. }
            | Saying::Receipts { .. }
            | Saying::Ended(_)
            | Saying::Open(_)
            | Saying::Line(_),
        ) => true,
        None => false,
    }
}

/// What a finding says, without the file that it names: the path says more.
fn without(file: LogFile, finding: &LogFinding) -> String {
    let text = finding.to_string();
    text.strip_prefix(&format!("log {file}: ")).unwrap_or(&text).to_owned()
}

fn content_of(shard: u32, file: &FileReport) -> LogFileContent {
    LogFileContent {
        path: paths::log(shard, file.file),
        file_bytes: file.file_bytes,
        records: file.records,
        record_bytes: file.octets,
        range: file.first.zip(file.last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_kinds_of_records_have_one_name_or_number() {
        let names: BTreeSet<&str> = KINDS.iter().map(|(_, name)| *name).collect();
        let numbers: BTreeSet<u16> = KINDS.iter().map(|(number, _)| *number).collect();
        assert_eq!((names.len(), numbers.len()), (KINDS.len(), KINDS.len()));
    }
}
