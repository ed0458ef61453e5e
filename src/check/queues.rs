//! Definitions, what is alive of each queue's messages, and every octet of every segment. May import
//! `report`, the broker's recovery and of `ringmq_shards` the log.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::rc::Rc;

use ringmq_shards::log::{
    Entry, Files as _, GONE_AFTER_RESTART, QueueUid, SegmentId, Settled, VerifyReport, ids, paths,
    verify,
};

use super::Checking;
use super::report::{Binding, QueueContent};
use crate::broker::{Recovery, entry};

/// The segment is removed first.
const LONE_SETTLED: &str =
    "is without its segment: a crash came while both were removed, or the segment is lost";

/// The numbers of the files in the directory of a queue.
#[derive(Default)]
struct QueueDir {
    segments: Vec<u64>,
    settled: BTreeSet<u64>,
}

impl Checking {
    pub(super) fn take_definitions(&mut self, recovery: &Recovery) {
        let catalogue = &recovery.catalogue;
        self.report.dangling = catalogue.dangling();
        let vhosts = &mut self.report.vhosts;
        for exchange in catalogue.exchanges() {
            let (name, kind) = (exchange.spec.name.clone(), exchange.spec.kind.clone());
            vhosts.entry(exchange.vhost.clone()).or_default().exchanges.push((name, kind));
        }
        for queue in catalogue.queues() {
            vhosts.entry(queue.vhost.clone()).or_default().queues += 1;
        }
        for link in catalogue.links() {
            vhosts.entry(link.vhost.clone()).or_default().bindings.push(Binding {
                exchange: link.source.name.clone(),
                key: link.key.clone(),
                to_queue: false,
                to: link.destination.name.clone(),
            });
        }
        let names: HashMap<QueueUid, &str> =
            catalogue.queues().iter().map(|queue| (queue.uid, &*queue.name)).collect();
        for binding in catalogue.bindings() {
            vhosts.entry(binding.vhost.clone()).or_default().bindings.push(Binding {
                exchange: binding.exchange.name.clone(),
                key: binding.key.clone(),
                to_queue: true,
                to: names.get(&binding.queue).copied().unwrap_or_default().into(),
            });
        }
    }

    pub(super) fn take_queues(&mut self, recovery: &Recovery) {
        for queue in recovery.catalogue.queues() {
            let mut content = QueueContent {
                uid: queue.uid,
                vhost: queue.vhost.clone(),
                name: queue.name.clone(),
                messages: 0,
                body_bytes: 0,
                segments: 0,
                segment_bytes: 0,
                settled: 0,
            };
            if let Some(remains) = recovery.queues.get(&queue.uid) {
                for found in remains.messages.values() {
                    let message = entry::read_message(&found.octets, &mut |name| Rc::from(name));
                    // What is not understood is a finding of its log, and no message.
                    if let Some(message) = message {
                        content.add(1, message.body().len() as u64);
                    }
                }
                for segment in &remains.segments {
                    let (count, left) = (segment.settled.count(), segment.settled.left());
                    content.settled += u64::from(count.saturating_sub(left));
                    let lasts = |flags: u16| flags & GONE_AFTER_RESTART == 0;
                    for run in segment.runs.iter().filter(|run| lasts(run.flags)) {
                        content.add(u64::from(run.count), run.weight);
                    }
                }
            }
            self.report.queues.push(content);
        }
        self.report.lost_records = recovery.report.lost;
        if recovery.report.lost > 0 && self.report.is_sound() {
            let what = format!("{} records refer to messages that are gone", recovery.report.lost);
            self.report.damage(paths::SHARDS, &what);
        }
    }

    /// Verifies all segments, and counts those of each queue.
    pub(super) fn check_segments(&mut self, orphans_may_be_lost: bool) -> io::Result<()> {
        let places: HashMap<QueueUid, usize> =
            self.report.queues.iter().enumerate().map(|(at, queue)| (queue.uid, at)).collect();
        let dirs = self.files.list(paths::QUEUES)?;
        let total = dirs.len();
        for (done, dir) in dirs.into_iter().enumerate() {
            let path = format!("{}/{}", paths::QUEUES, dir.name);
            let Some(uid) = QueueUid::from_name(&dir.name).filter(|_| dir.is_dir) else {
                self.stranger(&path, dir.is_dir);
                continue;
            };
            self.see_boot(uid.0 >> ids::FILE_BOOT_SHIFT);
            let found = self.files.list(&path)?;
            let queue = places.get(&uid).copied();
            if queue.is_none() {
                let fate = if orphans_may_be_lost {
                    "logs are damaged, so its definition may be lost"
                } else {
                    "a crash came while a deleted one was removed, or its definition is lost"
                };
                self.report.note(&path, &format!("is of no queue there is: {fate}"));
            }
            let dir = self.sort(&path, found);
            for (at, number) in dir.segments.iter().enumerate() {
                let id = SegmentId { queue: uid, number: *number };
                let file_bytes = self.check_segment(id, dir.settled.contains(number));
                if let Some(queue) = queue.and_then(|at| self.report.queues.get_mut(at)) {
                    queue.segments += 1;
                    queue.segment_bytes += file_bytes;
                }
                self.progress.step(done, total, &format!("{path}, {} segments", at + 1));
            }
            let lone = |number: &&u64| !dir.segments.contains(*number);
            for number in dir.settled.iter().filter(lone) {
                let id = SegmentId { queue: uid, number: *number };
                self.report.note(&paths::settled(id), LONE_SETTLED);
            }
        }
        self.report
            .queues
            .sort_by(|one, other| (&one.vhost, &one.name).cmp(&(&other.vhost, &other.name)));
        Ok(())
    }

    /// What is what in the directory of a queue.
    fn sort(&mut self, path: &str, found: Vec<Entry>) -> QueueDir {
        let mut dir = QueueDir::default();
        for file in found {
            if let Some(number) = paths::segment_number(&file.name, "seg.") {
                dir.segments.push(number);
            } else if let Some(number) = paths::segment_number(&file.name, "settled.") {
                dir.settled.insert(number);
            } else {
                self.stranger(&format!("{path}/{}", file.name), file.is_dir);
            }
        }
        dir.segments.sort_unstable();
        dir
    }

    /// One segment and what says which of its entries are settled. Its length in octets.
    fn check_segment(&mut self, id: SegmentId, has_settled: bool) -> u64 {
        let path = paths::segment(id);
        self.report.segments.files += 1;
        let found = match self.files.read(&path) {
            Ok(octets) => verify(id, &octets),
            Err(error) => {
                self.report.damage(&path, &format!("cannot be read: {error}"));
                return 0;
            }
        };
        self.report.segments.file_bytes += found.file_bytes;
        self.report.segments.entries_good += u64::from(found.entries_good);
        if !found.is_good() {
            self.report.damage(&path, &what_is_wrong(&found));
        }
        let settled_path = paths::settled(id);
        if !has_settled {
            self.report.damage(&settled_path, "is not there: nothing counts as settled");
        } else if let Some(count) = found.entries {
            let decoded = self.files.read(&settled_path).map_err(|error| error.to_string());
            let decoded = decoded
                .and_then(|octets| Settled::decode(&octets, count).map_err(|e| e.to_string()));
            if let Err(why) = decoded {
                self.report.damage(&settled_path, &format!("{why}: nothing counts as settled"));
            }
        }
        found.file_bytes
    }
}

impl QueueContent {
    fn add(&mut self, messages: u64, body_bytes: u64) {
        self.messages += messages;
        self.body_bytes = self.body_bytes.saturating_add(body_bytes);
    }
}

fn what_is_wrong(found: &VerifyReport) -> String {
    let good = found.entries_good;
    match (&found.error, found.entries) {
        (Some(error), None) => format!("{error}; {good} entries that are good were found in it"),
        (Some(error), Some(entries)) => format!("{error}; {good} of {entries} entries are good"),
        (None, Some(entries)) => {
            format!("{} of {entries} entries are damaged", entries.saturating_sub(good))
        }
        (None, None) => "its entries cannot be counted".to_owned(),
    }
}
