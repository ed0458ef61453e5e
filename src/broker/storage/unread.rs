//! Segments that the disk does not give. That is no damage (a checksum says so, and then the segment
//! is left out at once): the disk may have failed as a whole, and what comes after the segment must
//! not pass it by; or the system may lack something for a moment. So the queue waits:
//!
//! ```text
//!   an error ──> a mark through this shard's log ──> durable ──> later ──> read again ──> an error ...
//!                  │ that fails                                      │ READS_MAX errors
//!                  └──> the shard has failed: nothing is skipped     └──> the segment is left out
//! ```
//!
//! May import the storage and of `ringmq_shards` the log.

use std::io::ErrorKind;

use ringmq_shards::log::{DiskError, Job, SegmentId};

use super::Broker;
use super::waits::Waiter;
use crate::broker::queue::store::Safe;
use crate::command::Now;

/// Errors of one segment after which it is left out: what the system lacks for a moment it has again
/// after the seconds that this makes with [`PAUSE_MS`], and no queue waits for a bad sector for ever.
const READS_MAX: u32 = 6;

/// Before a segment is read again, milliseconds; twice as long each time: 3.1 s in all.
const PAUSE_MS: u64 = 100;

/// One that was not given.
#[derive(Debug)]
pub(super) struct Unread {
    segment: SegmentId,
    errors: u32,
    error: DiskError,
    next: Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The log is asked whether the disk works.
    Mark,
    /// It does.
    Works,
    /// Read again at this time.
    At(u64),
    /// That is under way.
    Reading,
}

impl Broker {
    /// The disk does not give a segment.
    pub(super) fn segment_unread(&mut self, segment: SegmentId, error: DiskError) {
        if !self.still_wants(segment) {
            return self.segment_given(segment);
        }
        let Some(storage) = &mut self.storage else { return };
        tracing::warn!(queue = %segment.queue, segment = segment.number, %error,
            "a segment is not given by the disk; its queue waits");
        match storage.unread.iter_mut().find(|unread| unread.segment == segment) {
            Some(unread) => {
                unread.errors += 1;
                unread.error = error;
                unread.next = Next::Mark;
            }
            None => {
                storage.unread.push(Unread { segment, errors: 1, error, next: Next::Mark });
            }
        }
        let mark = storage.shelf.borrow_mut().log.mark();
        storage.waits.add(Safe::Synced(mark), Waiter::Unread(segment));
    }

    /// It was given, or nobody wants it any more.
    pub(super) fn segment_given(&mut self, segment: SegmentId) {
        if let Some(storage) = &mut self.storage {
            storage.unread.retain(|unread| unread.segment != segment);
        }
    }

    /// The log of this shard was written and synced since a segment was not given.
    pub(super) fn disk_works(&mut self, segment: SegmentId) {
        let unread = self.storage.iter_mut().flat_map(|storage| &mut storage.unread);
        for unread in unread.filter(|unread| unread.segment == segment) {
            unread.next = Next::Works;
        }
    }

    /// Reads again what it is time for; leaves out what is not given again and again.
    pub(super) fn read_again(&mut self, now: Now) {
        let mut index = 0;
        while let Some(unread) = self.storage.as_mut().and_then(|s| s.unread.get_mut(index)) {
            index += 1;
            let segment = unread.segment;
            match unread.next {
                Next::Mark | Next::Reading => {}
                Next::Works => {
                    let is_missing = unread.error.cause.kind() == ErrorKind::NotFound;
                    if unread.errors < READS_MAX && !is_missing {
                        let pause = PAUSE_MS << unread.errors.saturating_sub(1).min(READS_MAX);
                        unread.next = Next::At(now.mono_ms + pause);
                        continue;
                    }
                    let error = unread.error.clone();
                    index -= 1;
                    self.segment_given(segment);
                    self.segment_mapped(segment, Err(error), now);
                }
                Next::At(due) if due > now.mono_ms => {}
                Next::At(_) => {
                    unread.next = Next::Reading;
                    if self.still_wants(segment) {
                        if let Some(storage) = &self.storage {
                            storage.shelf.borrow_mut().jobs.push(Job::Map { segment });
                        }
                    } else {
                        index -= 1;
                        self.segment_given(segment);
                    }
                }
            }
        }
    }

    /// Its queue is there, and something in it is not settled.
    fn still_wants(&mut self, segment: SegmentId) -> bool {
        self.with_store(segment.queue, |store| store.has_segment(segment)) == Some(true)
    }
}

impl super::Storage {
    /// When the next is to be read again.
    pub(super) fn next_reading_ms(&self) -> Option<u64> {
        let due = self.unread.iter().filter_map(|unread| match unread.next {
            Next::At(due) => Some(due),
            Next::Mark | Next::Works | Next::Reading => None,
        });
        due.min()
    }
}
