//! How messages leave memory for segments, and how a queue lets a file of the log go: what is alive
//! in it moves into segments or, where that is little, is written into the log again.
//!
//! May import `durable`, `shelf`, `entry` and of `ringmq_shards` the log.

#[cfg(test)]
use ringmq_shards::log::planted::{Bug, is_planted};
use ringmq_shards::log::{
    DiskError, EntryHead, Job, LogFile, Mapped, Segment, SegmentId, SegmentWriter, Settled,
};

use super::durable::{
    CARRIED_BYTES_MAX, Counted, DurableStore, GONE_AFTER_RESTART, Keeps, MAY_EXPIRE, Mark, Piece,
    Spill,
};
use super::entry::{self, Place};
use crate::message::Message;

/// The class of an entry: its priority, so that neighbours of one priority are one run.
pub(crate) const fn class_of(priority: Option<u8>) -> u16 {
    match priority {
        None => 0,
        Some(priority) => priority as u16 + 1,
    }
}

/// The priority of a class.
pub(crate) fn priority_of(class: u16) -> Option<u8> {
    u8::try_from(class.checked_sub(1)?).ok()
}

impl DurableStore {
    /// Moves the older half of what is in memory into segments.
    pub(super) fn spill_half(&mut self) {
        let goal = self.hot.memory_bytes() / 2;
        let (mut sum, mut next) = (0, 0);
        while sum < goal
            && let Some((at, kept)) = self.hot.next_from(next)
        {
            sum += kept.message.memory_bytes() as u64;
            next = at + 1;
        }
        self.spill_below = self.spill_below.max(next);
    }

    /// Whether the queue is in the list of those with messages to move.
    pub(super) fn set_listed(&mut self, listed: bool) -> bool {
        std::mem::replace(&mut self.listed, listed)
    }

    /// Carries on moving messages, for about so many octets. True: there is more to do now;
    /// false: nothing is left, or the disk has to be waited for.
    pub(super) fn spill_on(&mut self, budget_bytes: u64) -> bool {
        let mut left = budget_bytes;
        loop {
            match std::mem::replace(&mut self.spill, Spill::Idle) {
                Spill::Writing => {
                    self.spill = Spill::Writing;
                    return false;
                }
                Spill::Idle => {
                    let first = self.hot.next_from(0).map(|(at, _)| at);
                    let Some(first) = first.filter(|at| *at < self.spill_below) else {
                        return false;
                    };
                    let mut shelf = self.shelf.borrow_mut();
                    let buffer = shelf.spare.take().unwrap_or_default();
                    drop(shelf);
                    let segment = SegmentId { queue: self.uid, number: self.segments_made };
                    self.segments_made += 1;
                    let boot = self.boot();
                    let writer = Box::new(SegmentWriter::new(segment, boot, buffer));
                    self.spill = Spill::Building { writer, from: first, next: first };
                }
                Spill::Building { mut writer, from, mut next } => {
                    let segment_bytes = self.shelf.borrow().sizes.segment_bytes;
                    // A segment does not reach over another one.
                    let after = self.pieces.partition_point(|piece| piece.summary.first <= from);
                    let border = self.pieces.get(after).map_or(u64::MAX, |p| p.summary.first);
                    let end = border.min(self.spill_below);
                    let mut full = false;
                    while left > 0 && !full {
                        let Some((at, kept)) = self.hot.next_from(next).filter(|(at, _)| *at < end)
                        else {
                            full = true;
                            break;
                        };
                        let bytes = kept.message.memory_bytes() as u64;
                        if writer.count() > 0 && writer.bytes() as u64 + bytes > segment_bytes {
                            full = true;
                            break;
                        }
                        let head = self.entry_head(at, &kept.message, kept.arrived_ms);
                        let message = &kept.message;
                        writer.push(head, |out| crate::broker::record::write_whole(message, out));
                        left = left.saturating_sub(bytes);
                        next = at + 1;
                    }
                    if !full {
                        self.spill = Spill::Building { writer, from, next };
                        return true;
                    }
                    if writer.count() == 0 {
                        // What was to move has been settled meanwhile.
                        continue;
                    }
                    self.hand_over(*writer, from);
                    return false;
                }
            }
        }
    }

    pub(super) fn boot(&self) -> u32 {
        self.shelf.borrow().boot
    }

    /// Whether messages are to move.
    pub(super) fn has_to_spill(&self) -> bool {
        self.hot.next_from(0).is_some_and(|(at, _)| at < self.spill_below)
    }

    /// Octets of messages in memory.
    pub(super) const fn memory(&self) -> u64 {
        self.hot.memory_bytes()
    }

    fn entry_head(&self, at: u64, message: &Message, arrived_ms: u64) -> EntryHead {
        let traits = message.traits();
        let mut flags = 0;
        if !self.keeps(message) {
            flags |= GONE_AFTER_RESTART;
        }
        if traits.expiration_ms.is_some() {
            flags |= MAY_EXPIRE;
        }
        let weight = u32::try_from(message.body().len()).unwrap_or(u32::MAX);
        let class = class_of(traits.priority);
        EntryHead { position: at, arrived_ms, class, flags, weight }
    }

    fn hand_over(&mut self, writer: SegmentWriter, from: u64) {
        let segment = SegmentId { queue: self.uid, number: self.segments_made.saturating_sub(1) };
        debug_assert!(from < self.spill_below);
        let settled_bytes = Settled::file_bytes(writer.count());
        let bytes = writer.finish();
        let durable = self.keeps != Keeps::Nothing;
        self.spill = Spill::Writing;
        let job = Job::WriteSegment { segment, bytes, settled_bytes, durable };
        self.shelf.borrow_mut().jobs.push(job);
    }

    /// A segment has been written: its messages leave memory. What was settled meanwhile is
    /// settled there.
    ///
    /// # Errors
    /// The disk's; the messages stay where they are and may be moved again when it was only full.
    pub(super) fn segment_written(
        &mut self,
        id: SegmentId,
        result: Result<Mapped, DiskError>,
    ) -> Result<(), DiskError> {
        self.spill = Spill::Idle;
        let mapped = match result {
            Ok(mapped) => mapped,
            Err(error) => {
                self.spill_below = 0;
                return Err(error);
            }
        };
        let opened = Segment::open(id, mapped);
        let segment = opened.map_err(|error| {
            let cause = std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string());
            DiskError::new("read back", "a segment just written", cause)
        })?;
        let summary = segment.summary();
        let mut settled = Settled::new(summary.count);
        for place in 0..summary.count {
            let at = segment.position(place).unwrap_or(u64::MAX);
            if self.hot.remove(at).is_none() {
                settled.settle(place);
            }
        }
        self.trim_marks();
        let index = self.pieces.partition_point(|piece| piece.summary.first < summary.first);
        let mut piece = Piece::new(summary, settled);
        // Only what is read next stays mapped.
        let volatile = self.keeps == Keeps::Nothing;
        if index == 0 || volatile {
            piece.segment = Some(segment);
        }
        self.pieces.insert(index, piece);
        let any = self.pieces.get(index).is_some_and(|piece| piece.settled.left() < summary.count);
        if any {
            self.after_settling(index);
            // What was settled meanwhile may be in an older file of the log than the present one.
            self.save_settled_of(id);
        }
        Ok(())
    }

    fn trim_marks(&mut self) {
        let first = self.hot.next_from(0).map(|(at, _)| at);
        while let Some(mark) = self.marks.front()
            && first.is_none_or(|at| mark.below <= at)
        {
            self.marks.pop_front();
        }
    }

    /// Whether it has this segment.
    pub(super) fn has_segment(&self, id: SegmentId) -> bool {
        self.pieces.iter().any(|piece| piece.summary.id == id)
    }

    /// A segment has been mapped, or the disk does not give it.
    pub(super) fn segment_mapped(&mut self, id: SegmentId, result: Result<Mapped, DiskError>) {
        let Some(index) = self.pieces.iter().position(|piece| piece.summary.id == id) else {
            return;
        };
        let uid = self.uid;
        let Some(piece) = self.pieces.get_mut(index) else { return };
        piece.wanted.set(false);
        let opened = match result {
            Ok(mapped) => Segment::open(id, mapped).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match opened {
            Ok(segment) => piece.segment = Some(segment),
            Err(error) => {
                tracing::error!(queue = %uid, segment = id.number, messages = piece.settled.left(),
                    error, "a segment cannot be read; its messages are lost until it is repaired");
                piece.broken = true;
            }
        }
        let deferred = std::mem::take(&mut piece.deferred);
        for (from, to) in deferred {
            if let Some(index) = self.pieces.iter().position(|piece| piece.summary.id == id) {
                self.settle_in_piece(index, from, to);
            }
        }
    }

    /// Forgets the mapping of a segment; a read asks for it again.
    pub(super) fn unmap(&mut self, id: SegmentId) {
        if let Some(piece) = self.pieces.iter_mut().find(|piece| piece.summary.id == id)
            && self.keeps != Keeps::Nothing
        {
            piece.segment = None;
        }
    }

    /// Segments that are mapped: which, octets, when used last.
    pub(super) fn mapped(&self) -> impl Iterator<Item = (SegmentId, u64, u64)> + '_ {
        self.pieces
            .iter()
            .filter(|piece| piece.segment.is_some())
            .map(|piece| (piece.summary.id, piece.summary.file_bytes, piece.used.get()))
    }

    /// The settled entries of a segment have been saved.
    pub(super) fn settled_saved(&mut self, id: SegmentId) {
        let Some(index) = self.pieces.iter().position(|piece| piece.summary.id == id) else {
            return;
        };
        let Some(piece) = self.pieces.get_mut(index) else { return };
        piece.saving = false;
        if piece.settled.left() == 0 {
            self.after_settling(index);
        }
    }

    /// Makes itself independent of a file of the log. True: it is. False: call again when the
    /// disk has done something.
    pub(super) fn leave(&mut self, file: LogFile) -> bool {
        self.leave_counts(file);
        self.leave_notes(file);
        let saved = self.save_settled(file);
        self.leave_messages(file) && saved
    }

    fn leave_counts(&mut self, file: LogFile) {
        let old: Vec<(u64, u32)> = self
            .counts
            .iter()
            .filter(|(_, counted)| counted.file <= file)
            .map(|(at, counted)| (*at, counted.count))
            .collect();
        let (uid, group) = (self.uid, u32::from(self.group));
        for (at, count) in old {
            let mut shelf = self.shelf.borrow_mut();
            shelf.log.append(group, entry::RETURNED, 0, |out| {
                entry::write_returned(uid, at, count, out);
            });
            let file = shelf.touch(uid, &mut self.touched);
            drop(shelf);
            self.counts.insert(at, Counted { count, file });
        }
        if self.handed_file.is_some_and(|handed| handed <= file) {
            self.handed_file = None;
            if self.hot.count() > 0 || !self.pieces.is_empty() {
                if self.rests {
                    self.log_rests();
                } else {
                    self.log_handed_out(self.handed_logged);
                }
            } else {
                // The log knows nothing of it any more: the next delivery is noted anew.
                self.handed_logged = 0;
            }
        }
    }

    fn save_settled(&mut self, file: LogFile) -> bool {
        let mut all = true;
        for piece in &mut self.pieces {
            if piece.saving || !piece.deferred.is_empty() {
                // What was settled while it was not mapped is in the log only: its file would say less.
                all = false;
            } else if piece.unsaved_since.is_some_and(|since| since <= file) {
                all = false;
                piece.saving = true;
                piece.unsaved_since = None;
                let (offset, bytes) = piece.settled.encode();
                let job = Job::WriteSettled { segment: piece.summary.id, offset, bytes };
                self.shelf.borrow_mut().jobs.push(job);
            }
        }
        all
    }

    /// Saves what is settled in one segment, if that was not done.
    fn save_settled_of(&mut self, id: SegmentId) {
        let Some(piece) = self.pieces.iter_mut().find(|piece| piece.summary.id == id) else {
            return;
        };
        let is_known = piece.deferred.is_empty() && !piece.saving;
        if is_known && piece.unsaved_since.take().is_some() {
            piece.saving = true;
            let (offset, bytes) = piece.settled.encode();
            let job = Job::WriteSettled { segment: id, offset, bytes };
            self.shelf.borrow_mut().jobs.push(job);
        }
    }

    fn leave_messages(&mut self, file: LogFile) -> bool {
        self.trim_marks();
        let mut from = 0;
        let mut stays = false;
        for index in 0..self.marks.len() {
            let Some(&Mark { below, file: marked }) = self.marks.get(index) else { break };
            if marked <= file {
                stays |= !self.leave_range(index, from, below);
            }
            from = below;
        }
        !stays
    }

    /// The messages in `from..below`, which are in a file that is to go.
    fn leave_range(&mut self, index: usize, from: u64, below: u64) -> bool {
        let (mut bytes, mut next) = (0, from);
        while let Some((at, kept)) = self.hot.next_from(next).filter(|(at, _)| *at < below) {
            bytes += kept.message.memory_bytes() as u64;
            next = at + 1;
            if bytes > CARRIED_BYTES_MAX {
                break;
            }
        }
        let carry_left = self.shelf.borrow().carry_left;
        let moving = below <= self.spill_below;
        if moving || bytes > CARRIED_BYTES_MAX.min(carry_left) {
            self.spill_below = self.spill_below.max(below);
            if bytes == 0 {
                return true;
            }
            #[cfg(test)]
            if is_planted(Bug::LeaveBeforeSegment) {
                return true;
            }
            if !self.listed {
                self.listed = true;
                self.shelf.borrow_mut().growing.push(self.uid);
            }
            return false;
        }
        let mut next = from;
        let mut shelf = self.shelf.borrow_mut();
        shelf.carry_left = shelf.carry_left.saturating_sub(bytes);
        // The earlier of two files if they go over into the next: it is only left too soon.
        let new = shelf.touch(self.uid, &mut self.touched);
        while let Some((at, kept)) = self.hot.next_from(next).filter(|(at, _)| *at < below) {
            next = at + 1;
            if self.keeps(&kept.message) {
                let arrived_ms = kept.arrived_ms;
                let place = Place { queue: self.uid, position: at, arrived_ms };
                shelf.message(self.group, place, &kept.message);
            }
        }
        drop(shelf);
        if let Some(mark) = self.marks.get_mut(index) {
            mark.file = new;
        }
        true
    }
}
