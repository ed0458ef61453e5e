//! Free space of the disk: measured each second and after each allocation; when there is too
//! little, every way of publishing is refused until there is more (S-rows of amqp.md section 1,
//! reliability.md 2.9).

use ringmq_shards::log::{DiskError, Job, RESERVE_BYTES, Space};

use super::{Broker, StorageSetup};
use crate::command::{Event, Now};

const MEASURE_MS: u64 = 1_000;

/// Segments that must always fit.
const SEGMENTS_FREE: u64 = 3;

/// One per shard.
#[derive(Debug)]
pub(super) struct SpaceWatch {
    min_bytes: u64,
    warn_bytes: u64,
    low: bool,
    /// The ballast fits again.
    has_room: bool,
    warned: bool,
    next_ms: u64,
    /// The ballast is there.
    reserve: bool,
    /// As measured last.
    free_bytes: u64,
}

impl SpaceWatch {
    pub(super) fn new(setup: &StorageSetup) -> Self {
        let segments = setup.sizes.segment_bytes.saturating_mul(SEGMENTS_FREE);
        // Publishing ends before the log lacks space for its next file, or the ballast would be out
        // before it is needed, for anybody to take.
        let least = segments.max(setup.sizes.log_file_bytes);
        Self {
            min_bytes: setup.free_disk_min.max(least),
            warn_bytes: setup.free_disk_warn,
            low: false,
            has_room: true,
            warned: false,
            next_ms: 0,
            reserve: true,
            free_bytes: u64::MAX,
        }
    }

    /// See [`Broker::disk_space`].
    pub(super) const fn free_and_least(&self) -> (u64, u64) {
        (self.free_bytes, self.min_bytes)
    }

    pub(super) const fn is_low(&self) -> bool {
        self.low
    }

    pub(super) const fn deadline(&self) -> Option<u64> {
        Some(self.next_ms)
    }

    pub(super) fn reserve(&mut self, held: bool, result: &Result<(), DiskError>) {
        self.reserve = held;
        if let Err(error) = result {
            tracing::warn!(%error, "the reserve of disk space");
        }
    }

    /// Octets that must be free: while the ballast is out, its space is for settlements only.
    const fn needed(&self) -> u64 {
        let ballast = if self.reserve { 0 } else { RESERVE_BYTES };
        self.min_bytes.saturating_add(ballast)
    }

    /// Whether the alarm began or ended. `stalled`: the log finds no space for its next file.
    fn judge(&mut self, space: Space, stalled: bool) -> bool {
        let free = space.free_bytes;
        self.free_bytes = free;
        // Another shard may have given it up, and what it held is not for messages.
        self.reserve = space.reserve;
        // A tenth more before it ends, so that it does not flicker.
        let more = if self.low { self.min_bytes / 10 } else { 0 };
        let needed = self.needed();
        self.has_room = free >= needed.saturating_add(self.min_bytes / 10);
        let low = stalled || free < needed.saturating_add(more);
        let warn = !low && free < self.warn_bytes;
        if warn && !self.warned {
            tracing::warn!(free, warn = self.warn_bytes, "disk space gets short (free_disk_warn)");
        }
        self.warned = warn || (self.warned && free < self.warn_bytes + self.warn_bytes / 10);
        let changed = low != self.low;
        self.low = low;
        changed
    }
}

impl Broker {
    /// Measures if it is time.
    pub(super) fn watch_space(&mut self, now: Now) {
        let Some(storage) = &mut self.storage else { return };
        if now.mono_ms < storage.space.next_ms {
            return;
        }
        storage.space.next_ms = now.mono_ms + MEASURE_MS;
        let mut shelf = storage.shelf.borrow_mut();
        let shelf = &mut *shelf;
        shelf.jobs.push(Job::Measure);
        if shelf.log.is_stalled() {
            // The disk was full when the log needed a file: the ballast is for that.
            if storage.space.reserve {
                shelf.jobs.push(Job::ReleaseReserve);
            }
            shelf.log.retry_make(&mut shelf.jobs);
        } else if !storage.space.reserve && storage.space.has_room {
            shelf.jobs.push(Job::MakeReserve);
        }
    }

    pub(super) fn space_measured(&mut self, result: Result<Space, DiskError>) {
        let Some(storage) = &mut self.storage else { return };
        let space = match result {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(%error, "free disk space cannot be measured");
                return;
            }
        };
        let stalled = storage.shelf.borrow().log.is_stalled();
        if !storage.space.judge(space, stalled) {
            return;
        }
        let (free, min) = (space.free_bytes, storage.space.min_bytes);
        if storage.space.low {
            tracing::warn!(free, min, "disk space is short: publishing is refused");
        } else {
            tracing::info!(free, "disk space is there again: publishing goes on");
        }
        let alarm = self.alarm();
        self.tell_all(|| Event::Alarm(alarm));
    }
}
