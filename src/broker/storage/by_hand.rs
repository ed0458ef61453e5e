//! A storage whose disk is the test: definitions are listed, and durable when the test says so.

use ringmq_shards::log::Lsn;

use super::{Broker, Storage, StorageSetup};
use crate::broker::storage::shelf::Sizes;
use crate::ids::ShardId;

/// What was logged, and how much of it is durable.
#[derive(Debug, Default)]
pub(super) struct ByHand {
    definitions: Vec<Vec<u8>>,
    lsns: Vec<Lsn>,
    durable: usize,
}

impl ByHand {
    pub(super) fn log(&mut self, lsn: Lsn, definition: &[u8]) {
        self.lsns.push(lsn);
        self.definitions.push(definition.to_vec());
    }

    pub(super) fn undurable(&self) -> Option<Lsn> {
        self.lsns[self.durable..].last().copied()
    }
}

impl Storage {
    pub(in crate::broker) fn by_hand(shard: ShardId, boot: u32) -> Self {
        let sizes = Sizes {
            log_file_bytes: 1 << 26,
            log_bytes_max: 1 << 29,
            segment_bytes: 1 << 23,
            queue_memory_max: 1 << 25,
        };
        let setup = StorageSetup {
            dir_id: 1,
            boot,
            groups: 256,
            sizes,
            free_disk_min: 0,
            free_disk_warn: 0,
        };
        let mut storage = Self::new(shard, &setup);
        storage.by_hand = Some(ByHand::default());
        storage
    }

    /// All that was logged is durable, and no file is being left.
    pub(in crate::broker) fn is_quiet(&self) -> bool {
        let log = &self.shelf.borrow().log;
        let synced = !log.has_waiting() && !log.is_busy() && !log.needs_sync();
        synced && self.alone && self.leaving.is_none()
    }

    /// The last record.
    pub(in crate::broker) fn last_record(&self) -> Lsn {
        self.shelf.borrow().log.last()
    }

    /// The definitions so far, and how many of them are durable.
    pub(in crate::broker) fn logged(&self) -> (&[Vec<u8>], usize) {
        let by_hand = self.by_hand.as_ref().unwrap();
        (&by_hand.definitions, by_hand.durable)
    }
}

impl Broker {
    /// So many definitions are durable.
    pub(in crate::broker) fn durable(&mut self, count: usize) {
        let Some(by_hand) = self.storage.as_mut().and_then(|s| s.by_hand.as_mut()) else { return };
        by_hand.durable = by_hand.durable.max(count);
        let upto = by_hand.durable.checked_sub(1).map_or(Lsn(0), |last| by_hand.lsns[last]);
        while let Some(storage) = &mut self.storage
            && let Some(waiter) = storage.waits.next(upto, upto)
        {
            self.serve(waiter, true);
        }
    }
}
