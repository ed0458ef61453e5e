//! What storage does besides at each turn: messages move into segments, segments are mapped and
//! forgotten, the oldest file of the log is left. Each in small pieces, as turns are short.

use ringmq_shards::log::{DiskError, Job, Mapped, QueueUid, SegmentId};

use super::Broker;
use crate::command::Now;

/// Octets of messages that move into segments in one turn.
const SPILL_BYTES_PER_TURN: u64 = 512 * 1024;

/// Octets of segments that stay mapped; those used longest ago are forgotten.
const MAPPED_BYTES_MAX: u64 = 128 << 20;

/// Segments that stay mapped: the kernel allows 65,530 maps per process (vm.max_map_count).
const MAPPED_COUNT_MAX: usize = 1_024;

/// Turns between looks at what is mapped.
const MAPPED_TURNS: u64 = 256;

/// Queues looked at in one turn when memory is short.
const SHORT_QUEUES_PER_TURN: usize = 64;

impl Broker {
    pub(super) fn keep_house(&mut self, now: Now) {
        self.watch_space(now);
        self.read_again(now);
        let Some(storage) = &mut self.storage else { return };
        if storage.closing {
            // All that moves would be written first, which may take longer than there is.
            return;
        }
        let mut shelf = storage.shelf.borrow_mut();
        shelf.turn += 1;
        let wanted = std::mem::take(&mut shelf.wanted);
        shelf.jobs.extend(wanted.into_iter().map(|segment| Job::Map { segment }));
        let look_at_maps = shelf.turn.is_multiple_of(MAPPED_TURNS);
        let growing = std::mem::take(&mut shelf.growing);
        drop(shelf);
        for uid in growing {
            self.spill(uid);
        }
        if look_at_maps {
            self.forget_maps();
        }
        self.spill_when_short();
        self.leave_oldest();
    }

    /// A queue moves messages; it stays in the list while it has more to move.
    fn spill(&mut self, uid: QueueUid) {
        let full = self.storage.as_ref().is_some_and(|storage| storage.is_full());
        let Some(max) = self.storage.as_ref().map(|s| s.shelf.borrow().sizes.queue_memory_max)
        else {
            return;
        };
        let more = self.with_store(uid, |store| {
            if full {
                // Neither memory nor the log needs it more than the disk its last space.
                store.set_listed(false);
                return false;
            }
            if !store.has_to_spill() && store.memory() > max {
                store.spill_half();
            }
            let more = store.spill_on(SPILL_BYTES_PER_TURN);
            store.set_listed(more);
            more
        });
        if more == Some(true)
            && let Some(storage) = &self.storage
        {
            storage.shelf.borrow_mut().growing.push(uid);
        }
    }

    /// When the node's memory is short, queues move what they have, however little.
    fn spill_when_short(&mut self) {
        if !self.memory_is_short() {
            return;
        }
        let mut looked = Vec::new();
        if let Some(storage) = &mut self.storage {
            let count = storage.queues.len().max(1);
            let turn = usize::try_from(storage.shelf.borrow().turn).unwrap_or_default();
            let skip = turn.wrapping_mul(SHORT_QUEUES_PER_TURN) % count;
            looked.extend(storage.queues.keys().copied().skip(skip).take(SHORT_QUEUES_PER_TURN));
        }
        for uid in looked {
            let listed = self.with_store(uid, |store| {
                let worth = store.memory() > super::durable::CARRIED_BYTES_MAX;
                if worth && !store.has_to_spill() {
                    store.spill_half();
                }
                worth && !store.set_listed(true)
            });
            if listed == Some(true)
                && let Some(storage) = &self.storage
            {
                storage.shelf.borrow_mut().growing.push(uid);
            }
        }
    }

    fn forget_maps(&mut self) {
        let Some(storage) = &self.storage else { return };
        let mut mapped: Vec<(u64, u64, SegmentId)> = Vec::new();
        for id in storage.queues.values() {
            if let Some(entry) = self.queues.get_mut(*id)
                && let Some(store) = entry.queue.store_mut().as_durable()
            {
                mapped.extend(store.mapped().map(|(id, bytes, used)| (used, bytes, id)));
            }
        }
        let mut count = mapped.len();
        let mut bytes: u64 = mapped.iter().map(|(_, bytes, _)| bytes).sum();
        mapped.sort_unstable();
        for (_, size, segment) in mapped {
            if count <= MAPPED_COUNT_MAX && bytes <= MAPPED_BYTES_MAX {
                break;
            }
            self.with_store(segment.queue, |store| store.unmap(segment));
            count -= 1;
            bytes = bytes.saturating_sub(size);
        }
    }

    pub(super) fn segment_written(
        &mut self,
        segment: SegmentId,
        result: Result<Mapped, DiskError>,
    ) {
        let written = self.with_store(segment.queue, |store| {
            let written = store.segment_written(segment, result);
            let more = store.has_to_spill() && !store.set_listed(true);
            (written, more)
        });
        // The queue may have been deleted meanwhile; its directory goes with all in it.
        let Some((written, more)) = written else { return };
        match written {
            Ok(()) => {}
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "no space for a segment");
            }
            Err(error) => self.fail_storage(error),
        }
        if more && let Some(storage) = &self.storage {
            storage.shelf.borrow_mut().growing.push(segment.queue);
        }
    }

    pub(super) fn segment_mapped(
        &mut self,
        segment: SegmentId,
        result: Result<Mapped, DiskError>,
        now: Now,
    ) {
        if self.with_store(segment.queue, |store| store.segment_mapped(segment, result)).is_none() {
            return;
        }
        let id = self.storage.as_ref().and_then(|s| s.queues.get(&segment.queue).copied());
        if let Some(id) = id {
            self.loaded(id, now);
        }
    }
}
