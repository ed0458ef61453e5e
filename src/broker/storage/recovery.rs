//! What a start finds on the disk: the definitions, and per queue what is alive of its messages.
//! Reads through [`Files`] only, so that a simulated disk does as well; runs before any shard does.
//!
//! All logs of all earlier boots are replayed, boots in order, within a boot shard by shard (a queue
//! lives on one shard per boot). A checkpoint of a boot comes before its records: it has what
//! records that are gone said, and whatever records that are still there say again is said later.
//!
//! May import `entry`, `definitions` and of `ringmq_shards` the log.

mod open;
mod segments;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use ringmq_shards::log::ids::BOOT_SHIFT;
#[cfg(test)]
use ringmq_shards::log::planted::{Bug, is_planted};
use ringmq_shards::log::{
    DiskError, Done, Files, Finding, Image, Job, Key, Known, LogFile, Lsn, QueueUid, Record,
    Report, Run, SegmentId, SegmentSummary, Settled, paths, record, recover, run_job,
};

use self::open::Numbers;
use super::delayed::{FoundDelayed, FoundWill};
use super::entry::{self, DELAYED_UID, Place, Saying};
use super::origin::{Open, Origin};
use super::queues::ShardRemains;
use crate::broker::definitions::catalogue::{Catalogue, Replay};
use crate::broker::definitions::{Definition, ExchangeUid};
use crate::broker::placement::Placement;
use crate::subscriber::group_of;

/// A message that was found in the log.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) arrived_ms: u64,
    pub(crate) octets: Bytes,
    /// Another queue has these very octets.
    pub(crate) is_shared: bool,
}

/// A segment that was found.
#[derive(Debug)]
pub(crate) struct FoundSegment {
    pub(crate) summary: SegmentSummary,
    pub(crate) settled: Settled,
    /// No log says of more than its file does.
    pub(crate) is_saved: bool,
    /// What is not settled: neighbours of one class.
    pub(crate) runs: Vec<Run>,
}

/// What is left of a queue's messages.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    pub(crate) messages: BTreeMap<u64, Found>,
    pub(crate) segments: Vec<FoundSegment>,
    pub(crate) counts: BTreeMap<u64, u32>,
    pub(crate) handed_below: u64,
    /// That is exact: nobody took more.
    pub(crate) rests: bool,
    /// Positions that their consumer has, some of them of messages that are gone.
    pub(crate) received: BTreeSet<u64>,
    /// Numbers of messages that its client has published.
    pub(crate) receipts: BTreeSet<u16>,
    /// Those of them that are open.
    pub(crate) open: Vec<Open>,
    settled: Vec<(u64, u64)>,
}

/// What is reported of a recovery.
#[derive(Debug, Default)]
pub struct RecoveryReport {
    /// One line for each thing that was wrong.
    pub findings: Vec<String>,
    /// Messages that were stored and cannot be read any more, as far as they can be counted.
    pub lost: u64,
    /// Records read.
    pub records: u64,
    /// Octets of log read.
    pub log_bytes: u64,
    /// Segments found.
    pub segments: u64,
    /// Files of earlier boots that are damaged: they must be put aside before the start goes on,
    /// since all files of earlier boots go when they are not needed any more.
    pub put_aside: BTreeSet<String>,
    /// Whether some definitions may be missing.
    pub(crate) definitions_damaged: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Recovery {
    replay: Replay,
    pub(crate) catalogue: Catalogue,
    pub(crate) queues: HashMap<QueueUid, Remains, ahash::RandomState>,
    /// Messages that wait for their time, by position.
    pub(crate) delayed: BTreeMap<u64, FoundDelayed>,
    /// Wills, by position.
    pub(crate) wills: BTreeMap<u64, FoundWill>,
    /// What there is to say about it.
    pub report: RecoveryReport,
    /// Directories of queues that no definition names.
    pub(crate) orphans: Vec<QueueUid>,
    /// Segments of which there is only the list of what is settled.
    alone: Vec<SegmentId>,
    last_body: Option<(Lsn, Bytes, Option<Origin>)>,
    numbers: Numbers,
    first_lsn: Option<Lsn>,
}

/// Tells how far a recovery is: done, of how many, what.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(usize, usize, &str);

impl Recovery {
    /// Reads everything below the data directory with this id that boots before `boot` have left.
    ///
    /// # Errors
    /// When a directory cannot be listed. A file that cannot be read is reported and left out.
    pub fn read(
        files: &mut dyn Files,
        dir_id: u64,
        boot: u32,
        progress: Progress<'_>,
    ) -> std::io::Result<Self> {
        let mut recovery = Self::default();
        let logs = list_logs(files, boot)?;
        let total = logs.values().map(|shard| shard.logs.len()).sum();
        let mut done = 0;
        let mut last_boot = 0;
        for ((boot, shard), found) in &logs {
            if std::mem::replace(&mut last_boot, *boot) != *boot {
                recovery.numbers.end_boot();
            }
            let known = Known::of(dir_id, *shard);
            if let Some((file, path)) = found.checkpoints.last_key_value() {
                recovery.read_checkpoint(files, *file, path, known.key());
            }
            let mut images = Vec::new();
            for (file, path) in &found.logs {
                // What a killed process has only written goes with a power cut, after this one has
                // built upon it (reliability.md 2.4, step 8).
                if let Err(error) = files.sync(path) {
                    recovery.report.add(format!("{path}: {error}"));
                }
                match files.view(path) {
                    Ok(octets) => images.push((*file, Bytes::from_owner(octets))),
                    Err(error) => {
                        recovery.report.add(format!("{path}: {error}: left out"));
                        recovery.report.definitions_damaged = true;
                        recovery.report.put_aside.insert(path.clone());
                    }
                }
                done += 1;
                progress(done, total, path);
            }
            recovery.replay(known, &images);
        }
        recovery.numbers.end_boot();
        recovery.catalogue = std::mem::take(&mut recovery.replay).finish();
        recovery.find_segments(files, progress)?;
        recovery.conclude();
        Ok(recovery)
    }

    /// The process before this one was not stopped in order: what was noted of deliveries may lack
    /// the last of them, so a million messages more count as having been out, but for queues that
    /// nobody took messages of. To be shown as delivered before when it was not is allowed, the other
    /// way round is not.
    pub fn assume_deliveries(&mut self) {
        for remains in self.queues.values_mut().filter(|remains| !remains.rests) {
            let mut left = UNNOTED_MAX;
            let mut seen = remains.handed_below;
            for segment in &remains.segments {
                if segment.summary.last >= seen && left > 0 {
                    seen = segment.summary.last.saturating_add(1);
                    left = left.saturating_sub(u64::from(segment.summary.count));
                }
            }
            if let Some((last, _)) = remains.messages.last_key_value().filter(|_| left > 0) {
                seen = seen.max(last.saturating_add(1));
            }
            remains.handed_below = seen;
        }
    }

    /// Removes what is left of queues that are deleted, and of segments that are gone or never came
    /// to be. Nothing if a definition may be missing: the directory of a queue that only seems to be
    /// unknown has its messages.
    ///
    /// # Errors
    /// Something cannot be removed; it takes space and nothing else.
    pub fn sweep(&mut self, files: &mut dyn Files) -> Result<(), DiskError> {
        for queue in self.orphans.drain(..) {
            if let Done::DropQueue { result, .. } = run_job(Job::DropQueue { queue }, 0, files) {
                result?;
            }
        }
        for segment in self.alone.drain(..) {
            let job = Job::DropSegment { segment };
            if let Done::DropSegment { result, .. } = run_job(job, 0, files) {
                result?;
            }
        }
        Ok(())
    }

    /// The definitions for all shards, and the messages of each shard's queues.
    pub fn split(mut self, placement: Placement) -> (Catalogue, Vec<ShardRemains>) {
        let catalogue = std::mem::take(&mut self.catalogue);
        let shards = usize::from(placement.shards());
        let mut parts: Vec<ShardRemains> = (0..shards).map(|_| ShardRemains::default()).collect();
        for queue in catalogue.queues() {
            let owner = usize::from(placement.owner(&queue.vhost, &queue.name).0);
            if let Some(remains) = self.queues.remove(&queue.uid)
                && let Some(part) = parts.get_mut(owner)
            {
                part.queues.insert(queue.uid, remains);
            }
        }
        let exchanges = catalogue.exchanges().iter();
        let owners: HashMap<ExchangeUid, usize> = exchanges
            .map(|e| (e.uid, usize::from(placement.owner(&e.vhost, &e.spec.name).0)))
            .collect();
        for found in std::mem::take(&mut self.delayed).into_values() {
            let owner = owners.get(&found.delayed.exchange);
            if let Some(part) = owner.and_then(|owner| parts.get_mut(*owner)) {
                part.delayed.push(found);
            }
        }
        for found in std::mem::take(&mut self.wills).into_values() {
            let owner = placement.owner(&found.will.vhost, &found.will.session);
            if let Some(part) = parts.get_mut(usize::from(owner.0)) {
                part.wills.push(found);
            }
        }
        (catalogue, parts)
    }

    fn read_checkpoint(&mut self, files: &mut dyn Files, file: LogFile, path: &str, key: Key) {
        let octets = match files.read(path) {
            Ok(octets) => octets,
            Err(error) => {
                self.report.unreadable_definitions(path, &error.to_string());
                return;
            }
        };
        let mut rest = &*octets;
        loop {
            match record::decode(rest, key) {
                record::Decoded::Record { record, taken } => {
                    if u64::from(record.head.boot) == file.boot() {
                        self.define(record.payload, path);
                    }
                    rest = rest.get(taken..).unwrap_or_default();
                }
                record::Decoded::End | record::Decoded::Invalid(_) if rest.is_empty() => return,
                record::Decoded::End => {
                    return self.report.unreadable_definitions(path, "has zeros in it");
                }
                record::Decoded::Invalid(why) => {
                    return self.report.unreadable_definitions(path, &why.to_string());
                }
            }
        }
    }

    fn define(&mut self, octets: &[u8], from: &str) {
        match Definition::read(octets) {
            Some(definition) => self.replay.apply(definition),
            None => {
                self.report.definitions_damaged = true;
                self.report.add(format!("{from}: a definition that is not understood"));
            }
        }
    }

    fn replay(&mut self, known: Known, images: &[(LogFile, Bytes)]) {
        let views: Vec<Image<'_>> =
            images.iter().map(|(file, octets)| Image { file: *file, bytes: octets }).collect();
        self.first_lsn = None;
        self.last_body = None;
        let whole: HashMap<LogFile, &Bytes> = images.iter().map(|(f, o)| (*f, o)).collect();
        let report = recover(&views, known, &mut |record, file| {
            let Some(image) = whole.get(&file) else { return };
            self.take(record, image, (known.shard, file.boot()));
        });
        self.note(known.shard, &report);
    }

    fn note(&mut self, shard: u32, report: &Report) {
        self.report.log_bytes += report.files.iter().map(|file| file.octets).sum::<u64>();
        self.report.lost += report.lost();
        self.report.definitions_damaged |= !report.is_sound();
        for finding in &report.findings {
            self.report.add(format!("log of shard {shard}: {finding}"));
            if let Some(file) = damaged_file(finding) {
                self.report.put_aside.insert(paths::log(shard, file));
            }
        }
    }

    fn take(&mut self, record: &Record<'_>, image: &Bytes, (shard, boot): (u32, u64)) {
        self.report.records += 1;
        let head = record.head;
        self.first_lsn.get_or_insert(head.lsn);
        let group = u16::try_from(head.group).unwrap_or(u16::MAX);
        if head.kind == 0 {
            return;
        }
        match entry::read(head.kind, group, record.payload) {
            Some(Saying::Message { place, message }) => {
                self.found(place, (image.slice_ref(message), false), None, boot);
                self.last_body = Some((head.lsn, image.slice_ref(message), None));
            }
            Some(Saying::MessageOf { origin, place, message }) => {
                self.found(place, (image.slice_ref(message), false), Some(&origin), boot);
                self.last_body = Some((head.lsn, image.slice_ref(message), Some(origin)));
            }
            Some(Saying::Again { place, of }) => self.again(place, of, boot),
            Some(Saying::Ended(ended)) => {
                self.numbers.ended(&ended);
                if ended.held {
                    self.remains(ended.session).receipts.insert(ended.number);
                }
            }
            Some(Saying::Open(open)) => self.numbers.open(open),
            Some(Saying::Line(line)) => self.numbers.line(shard, line),
            Some(Saying::Settled(runs)) => {
                for run in runs {
                    if run.queue == DELAYED_UID {
                        self.forget_delayed(run.from, run.to);
                    } else {
                        self.remains(run.queue).settle(run.from, run.to);
                    }
                }
            }
            Some(Saying::Returned { queue, position, count }) => {
                self.remains(queue).counts.insert(position, count);
            }
            Some(Saying::HandedOut { queue, below }) => {
                let remains = self.remains(queue);
                // An orderly stop says less than the step before it.
                remains.handed_below = below;
                remains.rests = false;
            }
            Some(Saying::Rests { queue, below }) => {
                let remains = self.remains(queue);
                remains.handed_below = below;
                remains.rests = true;
            }
            Some(Saying::Definition(octets)) => {
                self.define(octets, &format!("log of shard {shard}"));
            }
            Some(Saying::Delayed { delayed, message }) => {
                let octets = image.slice_ref(message);
                self.delayed.insert(delayed.position, FoundDelayed { delayed, octets });
            }
            Some(Saying::Will { will, message }) => {
                let octets = image.slice_ref(message);
                self.wills.insert(will.position, FoundWill { will, octets });
            }
            Some(Saying::Received { queue, positions }) => {
                self.remains(queue).received.extend(positions);
            }
            Some(Saying::Receipts { queue, held, numbers }) => {
                let receipts = &mut self.remains(queue).receipts;
                if held {
                    receipts.extend(numbers);
                } else {
                    for number in numbers {
                        receipts.remove(&number);
                    }
                }
            }
            None => self.report.add(format!(
                "log of shard {shard}: record {} of kind {} is not understood",
                head.lsn.0, head.kind
            )),
        }
    }

    fn again(&mut self, place: Place, of: Lsn, boot: u64) {
        let last = self.last_body.take();
        match &last {
            Some((lsn, octets, origin)) if *lsn == of => {
                self.found(place, (octets.clone(), true), origin.as_ref(), boot);
            }
            // Its message is in a file that was left: so it is elsewhere too.
            Some(_) | None if self.first_lsn.is_some_and(|first| of < first) => {}
            Some(_) | None => self.report.lost += 1,
        }
        self.last_body = last;
    }

    fn found(
        &mut self,
        place: Place,
        (octets, is_shared): (Bytes, bool),
        origin: Option<&Origin>,
        boot: u64,
    ) {
        if let Some(origin) = origin {
            let exchange = entry::exchange_of(&octets).unwrap_or_default();
            let group = group_of(exchange).map(|_| exchange);
            self.numbers.message(boot, origin, (place.queue, group));
        }
        let found = Found { arrived_ms: place.arrived_ms, octets, is_shared };
        self.remains(place.queue).messages.insert(place.position, found);
    }

    fn forget_delayed(&mut self, from: u64, to: u64) {
        let gone: Vec<u64> = self.delayed.range(from..to).map(|(at, _)| *at).collect();
        for at in gone {
            self.delayed.remove(&at);
        }
        let gone: Vec<u64> = self.wills.range(from..to).map(|(at, _)| *at).collect();
        for at in gone {
            self.wills.remove(&at);
        }
    }

    fn remains(&mut self, queue: QueueUid) -> &mut Remains {
        self.queues.entry(queue).or_default()
    }

    /// What is in a segment counts there only; queues that nobody declared are nobody's, and what
    /// waited for an exchange that is gone went with it.
    fn conclude(&mut self) {
        for open in std::mem::take(&mut self.numbers).finish() {
            self.remains(open.session).open.push(open);
        }
        let catalogue = &self.catalogue;
        self.queues.retain(|uid, _| catalogue.has_queue(*uid));
        let before = self.delayed.len();
        self.delayed.retain(|_, found| catalogue.has_exchange(found.delayed.exchange));
        let homeless = before - self.delayed.len();
        if homeless > 0 && self.report.definitions_damaged {
            self.report.add(format!(
                "{homeless} delayed messages are for exchanges that no definition names; they are \
                 left out"
            ));
        }
        for remains in self.queues.values_mut() {
            remains.segments.sort_by_key(|segment| segment.summary.first);
            for segment in &remains.segments {
                let summary = segment.summary;
                let inside: Vec<u64> = remains
                    .messages
                    .range(summary.first..=summary.last)
                    .map(|(at, _)| *at)
                    .collect();
                for at in inside {
                    remains.messages.remove(&at);
                }
            }
        }
        #[cfg(test)]
        if is_planted(Bug::SweepOnDamage) {
            return;
        }
        if self.report.definitions_damaged {
            // Not the time to remove anything.
            self.alone.clear();
        }
        if self.report.definitions_damaged && !self.orphans.is_empty() {
            let count = self.orphans.len();
            self.report.add(format!(
                "{count} directories of queues are not named by any definition; as definitions are \
                 damaged they stay"
            ));
            self.orphans.clear();
        }
    }
}

impl Remains {
    fn settle(&mut self, from: u64, to: u64) {
        if to == from.saturating_add(1) {
            self.messages.remove(&from);
            self.counts.remove(&from);
            self.received.remove(&from);
        } else {
            let gone: BTreeSet<u64> = self.messages.range(from..to).map(|(at, _)| *at).collect();
            for at in gone {
                self.messages.remove(&at);
            }
            let gone: Vec<u64> = self.counts.range(from..to).map(|(at, _)| *at).collect();
            for at in gone {
                self.counts.remove(&at);
            }
            self.received.retain(|at| !(from..to).contains(at));
        }
        match self.settled.last_mut() {
            Some((_, end)) if *end == from => *end = to,
            Some(_) | None => self.settled.push((from, to)),
        }
    }
}

impl RecoveryReport {
    fn add(&mut self, finding: String) {
        self.findings.push(finding);
    }

    fn unreadable_definitions(&mut self, path: &str, why: &str) {
        self.definitions_damaged = true;
        self.put_aside.insert(path.to_owned());
        self.add(format!("{path}: {why}: definitions may be missing"));
    }
}

/// The file that an operator may want to look at.
const fn damaged_file(finding: &Finding) -> Option<LogFile> {
    match finding {
        Finding::Corruption { file, .. }
        | Finding::BadHeader { file, .. }
        | Finding::Foreign { file, .. }
        | Finding::Sequence { file, .. }
        | Finding::ScanGivenUp { file, .. } => Some(*file),
        // A crash leaves these behind; or there is no file.
        Finding::TornTail { .. } | Finding::NotBegun { .. } | Finding::MissingFile { .. } => None,
    }
}

/// Messages of one queue that may have gone out since the last note of it that a power cut cannot
/// take: a note is durable within some 100 ms, in which no queue gives out a million messages.
const UNNOTED_MAX: u64 = 1 << 20;

/// The files of one shard and boot.
#[derive(Debug, Default)]
struct ShardFiles {
    logs: BTreeMap<LogFile, String>,
    checkpoints: BTreeMap<LogFile, String>,
}

/// By boot, then shard.
fn list_logs(
    files: &mut dyn Files,
    boot: u32,
) -> std::io::Result<BTreeMap<(u64, u32), ShardFiles>> {
    let mut found: BTreeMap<(u64, u32), ShardFiles> = BTreeMap::new();
    for dir in files.list("shards")? {
        let Some(shard) = dir.name.parse::<u32>().ok().filter(|_| dir.is_dir) else { continue };
        let path = format!("shards/{}", dir.name);
        for file in files.list(&path)? {
            let path = format!("{path}/{}", file.name);
            let log = LogFile::from_name(&file.name, "log.");
            let checkpoint = LogFile::from_name(&file.name, "check.");
            if let Some(log) = log.filter(|log| log.boot() < u64::from(boot)) {
                found.entry((log.boot(), shard)).or_default().logs.insert(log, path);
            } else if let Some(file) = checkpoint.filter(|file| file.boot() < u64::from(boot)) {
                let files = found.entry((file.boot(), shard)).or_default();
                files.checkpoints.insert(file, path);
            }
        }
    }
    Ok(found)
}

/// Writes a checkpoint: definitions as records, without a place in any log.
#[derive(Debug)]
pub(crate) struct CheckpointWriter {
    boot: u32,
    key: Key,
    lsn: Lsn,
    octets: Vec<u8>,
}

impl CheckpointWriter {
    /// `key`: of the shard's log.
    pub(crate) fn new(boot: u32, key: Key) -> Self {
        let lsn = Lsn(u64::from(boot) << BOOT_SHIFT);
        Self { boot, key, lsn, octets: Vec::new() }
    }

    pub(crate) fn add(&mut self, group: u16, definition: &Definition) {
        self.lsn = self.lsn.next();
        let start = record::begin(&mut self.octets);
        definition.write(&mut self.octets);
        let head = record::Head {
            lsn: self.lsn,
            durable: self.lsn,
            boot: self.boot,
            group: u32::from(group),
            gseq: 0,
            epoch: 0,
            kind: entry::DEFINITION,
            flags: 0,
        };
        record::finish(&mut self.octets, start, &head, self.key);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.octets
    }
}
