//! What of this shard outlives the process: the shard's log and what waits for it.
//!
//! May import `ids`, `mail` and of `ringmq_shards` the log.

use std::collections::VecDeque;

use ringmq_shards::log::Lsn;

use super::Broker;
use super::mail::CallId;

/// The shard's log, as the broker core sees it. One per shard.
#[derive(Debug, Default)]
pub(super) struct Storage {
    last: Lsn,
    /// The last record that is a definition.
    last_definition: Lsn,
    /// Everything up to here is durable.
    durable: Lsn,
    /// Definitions logged so far, until the log itself is here.
    definitions: Vec<Vec<u8>>,
    /// Calls that wait for a record to be durable, in order.
    calls: VecDeque<(Lsn, CallId)>,
}

impl Storage {
    /// Appends a definition (`broker::definitions` wrote it) for a group.
    pub(super) fn append_definition(&mut self, _group: u16, definition: &[u8]) -> Lsn {
        self.last = self.last.next();
        self.last_definition = self.last;
        self.definitions.push(definition.to_vec());
        self.last
    }

    /// The last definition, if it is not durable yet.
    pub(super) fn undurable_definition(&self) -> Option<Lsn> {
        (self.last_definition > self.durable).then_some(self.last_definition)
    }

    /// The definitions so far, and how many of them are durable.
    #[cfg(test)]
    pub(super) fn logged(&self) -> (&[Vec<u8>], usize) {
        (&self.definitions, usize::try_from(self.durable.0).unwrap_or(usize::MAX))
    }
}

impl Broker {
    /// A call is not ended before this record is durable.
    pub(super) fn hold_until_durable(&mut self, call: CallId, lsn: Lsn) {
        self.expect(call);
        if let Some(storage) = &mut self.storage {
            storage.calls.push_back((lsn, call));
        }
    }

    #[cfg_attr(not(test), expect(dead_code, reason = "the log calls it"))]
    /// Everything up to this record is durable.
    pub(super) fn durable(&mut self, upto: Lsn) {
        if let Some(storage) = &mut self.storage {
            storage.durable = storage.durable.max(upto);
        }
        while let Some(storage) = &mut self.storage
            && let Some(&(lsn, call)) = storage.calls.front()
            && lsn <= upto
        {
            storage.calls.pop_front();
            self.release(call, true);
        }
    }
}
