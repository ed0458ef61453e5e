//! What the store of a session's queue keeps besides messages: which of them its client has
//! received but not let go, the numbers of messages that its client has published and not let go, and
//! those that were open at the start.
//!
//! Both are small and short-lived, so they are only ever written again when the file of the log that
//! has them is left, all of a queue in one record. That something is over needs no such care: the
//! records that said it was there are older, and files are left in their order.
//!
//! May import `durable`, `entry`, `origin`, `shelf` and of `ringmq_shards` the log.

use std::collections::BTreeMap;

use ringmq_shards::log::LogFile;

use super::durable::{DurableStore, Keeps};
use super::entry;
use super::origin::{Ended, Open, Reached, write_ended, write_open};
use crate::broker::queue::store::{Position, Safe};
use crate::durability::Durability;

/// Numbers in one record: it stays far below any limit of size.
const PER_RECORD: usize = 4_096;

/// One per store that has any.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Positions of messages received, and the file of the log that says so.
    pub(super) received: BTreeMap<u64, LogFile>,
    /// Numbers of messages published, likewise.
    pub(super) receipts: BTreeMap<u16, LogFile>,
    /// Numbers of messages that had come to some of their places, likewise.
    pub(super) open: BTreeMap<u16, (Reached, LogFile)>,
}

impl DurableStore {
    /// When all that was logged so far is as safe as the queue promises.
    pub(super) fn promised(&self) -> Safe {
        if self.keeps == Keeps::Nothing {
            return Safe::Now;
        }
        let last = self.shelf.borrow().log.last();
        match self.durability {
            Durability::Sync => Safe::Synced(last),
            Durability::Interval { .. } | Durability::Os => Safe::Written(last),
        }
    }

    pub(super) fn note_received(&mut self, at: Position) -> Safe {
        let at = at.get();
        let known = self.notes.as_ref().is_some_and(|notes| notes.received.contains_key(&at));
        if !known && self.keeps != Keeps::Nothing {
            let file = self.log_received(&[at]);
            self.notes.get_or_insert_default().received.insert(at, file);
        }
        self.promised()
    }

    pub(super) fn end_use(&mut self, number: u16, used: u64, held: bool) -> Safe {
        // Also of a session that is forgotten with the process: its client may come back before.
        let file = self.log_ended(number, used, held);
        let notes = self.notes.get_or_insert_default();
        notes.open.remove(&number);
        if held {
            notes.receipts.insert(number, file);
        }
        self.promised()
    }

    fn log_ended(&mut self, number: u16, used: u64, held: bool) -> LogFile {
        let session = self.uid;
        let mut shelf = self.shelf.borrow_mut();
        if self.keeps == Keeps::Nothing {
            return shelf.log.file_of_open_batch();
        }
        shelf.log.append(u32::from(self.group), entry::ENDED, 0, |out| {
            write_ended(&Ended { session, number, used, held }, out);
        });
        shelf.sync_within(self.sync_within());
        shelf.touch(session, &mut self.touched)
    }

    fn log_open(&mut self, number: u16, reached: &Reached) -> LogFile {
        let session = self.uid;
        let mut shelf = self.shelf.borrow_mut();
        shelf.log.append(u32::from(self.group), entry::OPEN, 0, |out| {
            write_open(session, number, reached, out);
        });
        shelf.sync_within(self.sync_within());
        shelf.touch(session, &mut self.touched)
    }

    /// Where the message of an open number has come.
    pub(super) fn reached_before(&self, number: u16) -> Option<&Reached> {
        self.notes.as_ref()?.open.get(&number).map(|(reached, _)| reached)
    }

    pub(super) fn drop_number(&mut self, number: u16) -> Safe {
        let known = self.notes.as_mut().and_then(|notes| notes.receipts.remove(&number));
        if known.is_some() {
            self.log_receipts(false, &[number]);
        }
        self.promised()
    }

    /// Tells the file.
    fn log_receipts(&mut self, held: bool, numbers: &[u16]) -> LogFile {
        let uid = self.uid;
        let mut shelf = self.shelf.borrow_mut();
        if self.keeps == Keeps::Nothing {
            return shelf.log.file_of_open_batch();
        }
        shelf.log.append(u32::from(self.group), entry::RECEIPTS, 0, |out| {
            entry::write_receipts((uid, held), numbers, out);
        });
        shelf.sync_within(self.sync_within());
        shelf.touch(uid, &mut self.touched)
    }

    fn log_received(&mut self, positions: &[u64]) -> LogFile {
        let uid = self.uid;
        let mut shelf = self.shelf.borrow_mut();
        shelf.log.append(u32::from(self.group), entry::RECEIVED, 0, |out| {
            entry::write_received(uid, positions, out);
        });
        shelf.sync_within(self.sync_within());
        shelf.touch(uid, &mut self.touched)
    }

    /// Messages are done with, and so is what was noted of them.
    pub(super) fn forget_received(&mut self, from: u64, to: u64) {
        let Some(notes) = self.notes.as_mut().filter(|notes| !notes.received.is_empty()) else {
            return;
        };
        if to == from.saturating_add(1) {
            notes.received.remove(&from);
            return;
        }
        let gone: Vec<u64> = notes.received.range(from..to).map(|(at, _)| *at).collect();
        for at in gone {
            notes.received.remove(&at);
        }
    }

    /// Writes again what is in this file of the log, or an earlier one.
    pub(super) fn leave_notes(&mut self, file: LogFile) {
        let Some(notes) = &self.notes else { return };
        let received = old(&notes.received, file);
        let receipts =
            if self.keeps == Keeps::Nothing { Vec::new() } else { old(&notes.receipts, file) };
        let open = notes.open.iter().filter(|(_, (_, noted))| *noted <= file);
        let open: Vec<(u16, Reached)> = open.map(|(n, (it, _))| (*n, it.clone())).collect();
        for (number, reached) in open {
            let file = self.log_open(number, &reached);
            self.notes.get_or_insert_default().open.insert(number, (reached, file));
        }
        for part in received.chunks(PER_RECORD) {
            let file = self.log_received(part);
            let notes = self.notes.get_or_insert_default();
            notes.received.extend(part.iter().map(|at| (*at, file)));
        }
        for part in receipts.chunks(PER_RECORD) {
            let file = self.log_receipts(true, part);
            let notes = self.notes.get_or_insert_default();
            notes.receipts.extend(part.iter().map(|number| (*number, file)));
        }
    }

    /// Takes what recovery found in files of earlier boots.
    pub(super) fn refill_notes(
        &mut self,
        received: impl IntoIterator<Item = u64>,
        receipts: impl IntoIterator<Item = u16>,
        open: Vec<Open>,
        file: LogFile,
    ) {
        let received: BTreeMap<_, _> = received.into_iter().map(|at| (at, file)).collect();
        let receipts: BTreeMap<_, _> = receipts.into_iter().map(|n| (n, file)).collect();
        let open: BTreeMap<_, _> =
            open.into_iter().map(|open| (open.number, (open.reached, file))).collect();
        if !received.is_empty() || !receipts.is_empty() || !open.is_empty() {
            self.notes = Some(Box::new(Notes { received, receipts, open }));
        }
    }

    /// Whether a file of the log has something for it.
    pub(super) fn has_notes(&self) -> bool {
        let any = |notes: &Notes| {
            !notes.received.is_empty() || !notes.receipts.is_empty() || !notes.open.is_empty()
        };
        self.notes.as_deref().is_some_and(any)
    }
}

/// What stands in this file, or an earlier one.
fn old<K: Copy>(noted: &BTreeMap<K, LogFile>, file: LogFile) -> Vec<K> {
    noted.iter().filter(|(_, noted)| **noted <= file).map(|(key, _)| *key).collect()
}
