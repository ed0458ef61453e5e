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
    /// Definitions logged so far, until the log itself is here.
    definitions: Vec<Vec<u8>>,
    /// Calls that wait for a record to be durable, in order.
    calls: VecDeque<(Lsn, CallId)>,
}

impl Storage {
    /// Appends a definition (`broker::definitions` wrote it) for a group.
    pub(super) fn append_definition(&mut self, _group: u16, definition: &[u8]) -> Lsn {
        self.last = self.last.next();
        self.definitions.push(definition.to_vec());
        self.last
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

    /// Everything up to this record is durable.
    pub(super) fn durable(&mut self, upto: Lsn) {
        while let Some(storage) = &mut self.storage
            && let Some(&(lsn, call)) = storage.calls.front()
            && lsn <= upto
        {
            storage.calls.pop_front();
            self.release(call, true);
        }
    }
}
