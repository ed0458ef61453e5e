//! The segments a start finds, and what is alive in them.
//!
//! May import what `recovery` does.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringmq_shards::log::{Files, Mapped, Outline, QueueUid, Segment, SegmentId, Settled, paths};

use super::{FoundSegment, Progress, Recovery};

/// Far more than a file of settled entries has, which has a few bits for each of its messages.
const SETTLED_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Recovery {
    pub(super) fn find_segments(
        &mut self,
        files: &mut dyn Files,
        progress: Progress<'_>,
    ) -> std::io::Result<()> {
        let dirs = files.list("queues")?;
        let total = dirs.len();
        for (done, dir) in dirs.into_iter().enumerate() {
            let Some(uid) = QueueUid::from_name(&dir.name).filter(|_| dir.is_dir) else { continue };
            if !self.catalogue.has_queue(uid) {
                self.orphans.push(uid);
                continue;
            }
            let path = format!("queues/{}", dir.name);
            // As with logs: a segment may have its name in the cache only.
            if let Err(error) = files.sync_dir(&path) {
                self.report.add(format!("{path}: {error}"));
            }
            // One directory that cannot be read is no reason to leave the others.
            let listed = files.list(&path).unwrap_or_else(|error| {
                self.report.add(format!("{path}: {error}: its messages are left out"));
                Vec::new()
            });
            let mut alone = BTreeSet::new();
            for file in &listed {
                alone.extend(paths::segment_number(&file.name, "settled."));
            }
            for file in listed {
                let Some(number) = paths::segment_number(&file.name, "seg.") else { continue };
                alone.remove(&number);
                let id = SegmentId { queue: uid, number };
                self.find_segment(files, id, &format!("{path}/{}", file.name), file.bytes);
            }
            // Lists come before their segments and go after them, so an end of the process in
            // between leaves one that is of nothing.
            self.alone.extend(alone.into_iter().map(|number| SegmentId { queue: uid, number }));
            progress(done + 1, total, &path);
        }
        Ok(())
    }

    fn find_segment(&mut self, files: &mut dyn Files, id: SegmentId, path: &str, bytes: u64) {
        self.report.segments += 1;
        let settled_path = format!("queues/{}/settled.{}", id.queue, id.number);
        let outline = {
            let mut read = |offset: u64, len: usize| files.read_at(path, offset, len);
            Outline::read(id, bytes, &mut read)
        };
        let outline = match outline {
            Ok(outline) => outline,
            Err(error) => {
                self.report.add(format!("{path}: {error}: its messages are left out"));
                return;
            }
        };
        let summary = outline.summary();
        // Not `read`, which asks the disk itself: should it have less than the system shows, messages
        // come again after the next power cut, and nothing is lost.
        let decoded = files
            .read_at(&settled_path, 0, SETTLED_BYTES_MAX)
            .map_err(|error| error.to_string())
            .and_then(|o| Settled::decode(&o, summary.count).map_err(|error| error.to_string()));
        let mut settled = decoded.unwrap_or_else(|error| {
            self.report.add(format!("{settled_path}: {error}: all counts as not settled"));
            Settled::new(summary.count)
        });
        let remains = self.queues.entry(id.queue).or_default();
        let overlap = |run: &&(u64, u64)| run.0 <= summary.last && summary.first < run.1;
        let runs: Vec<(u64, u64)> = remains.settled.iter().filter(overlap).copied().collect();
        let is_saved = runs.is_empty();
        if runs.iter().any(|(from, to)| *from <= summary.first && summary.last < *to) {
            settled.settle_range(0, summary.count);
        } else if !runs.is_empty() {
            // Few are: a segment is either full of life or, soon, gone.
            let whole = files.read(path).map_err(|error| error.to_string()).and_then(|octets| {
                let mapped = Mapped(Arc::new(octets));
                Segment::open(id, mapped).map_err(|error| error.to_string())
            });
            match whole {
                Ok(segment) => {
                    for (from, to) in runs {
                        let place = |at| segment.find_from(at).unwrap_or(summary.count);
                        settled.settle_range(place(from), place(to));
                    }
                }
                Err(error) => {
                    self.report.add(format!("{path}: {error}: settled messages come again"));
                }
            }
        }
        let unsettled = {
            let mut read = |offset: u64, len: usize| files.read_at(path, offset, len);
            outline.unsettled_runs(&settled, &mut read)
        };
        match unsettled {
            Ok(runs) => remains.segments.push(FoundSegment { summary, settled, is_saved, runs }),
            Err(error) => {
                self.report.add(format!("{path}: {error}: its messages are left out"));
            }
        }
    }
}
