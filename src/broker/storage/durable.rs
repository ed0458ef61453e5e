//! The store of one queue: the newest messages in memory and in the log, older ones in segments.
//! Nothing is kept per message that is in a segment.
//!
//! ```text
//!   oldest                                                        newest
//!   [segment][segment] ... [segment]  [ in memory ................. ]
//!                                       ^ also in the log: `marks` say in which of its files
//! ```
//!
//! May import `hot`, `notes`, `shelf`, `entry`, `queue::store` and of `ringmq_shards` the log.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use ringmq_shards::log::ids::BOOT_SHIFT;
use ringmq_shards::log::{LogFile, QueueUid, Segment, SegmentSummary, SegmentWriter, Settled};

use super::entry::{self, Place, SettledRun};
use super::hot::Hot;
use super::notes::Notes;
use super::origin::Reached;
use super::shelf::Shelf;
use crate::broker::queue::store::{Kept, Position, Read, Safe, Store};
use crate::durability::Durability;
use crate::message::Message;

/// Which messages of a queue outlive the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// None: the queue does not either.
    Nothing,
    /// Those whose publisher asked for it.
    Persistent,
    /// All.
    All,
}

/// Positions handed out at once in the log: one record for so many deliveries.
const HANDED_OUT_STEP: u64 = 1_024;

/// A queue with less than this in a file of the log that is to go has it written again; more
/// becomes a segment.
pub(super) const CARRIED_BYTES_MAX: u64 = 64 * 1024;

/// Flags of an entry in a segment.
pub(crate) const GONE_AFTER_RESTART: u16 = 1;
/// It has a time to live of its own.
pub(crate) const MAY_EXPIRE: u16 = 2;

/// Which file of the log has the messages in memory below a position (and not below the mark
/// before).
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) below: u64,
    pub(super) file: LogFile,
}

/// A message that came back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    pub(super) count: u32,
    pub(super) file: LogFile,
}

/// A segment of the queue.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) summary: SegmentSummary,
    pub(super) settled: Settled,
    /// There while it is mapped.
    pub(super) segment: Option<Segment>,
    /// It cannot be read: what is in it is lost until an operator repairs the file.
    pub(super) broken: bool,
    pub(super) wanted: Cell<bool>,
    pub(super) used: Cell<u64>,
    pub(super) hint: Cell<u32>,
    /// Runs settled while it was not mapped.
    pub(super) deferred: Vec<(u64, u64)>,
    /// The first file of the log with a settlement that its own file does not have.
    pub(super) unsaved_since: Option<LogFile>,
    pub(super) saving: bool,
}

impl Piece {
    pub(super) const fn new(summary: SegmentSummary, settled: Settled) -> Self {
        Self {
            summary,
            settled,
            segment: None,
            broken: false,
            wanted: Cell::new(false),
            used: Cell::new(0),
            hint: Cell::new(0),
            deferred: Vec::new(),
            unsaved_since: None,
            saving: false,
        }
    }
}

/// What is on its way into a segment.
#[derive(Debug)]
pub(super) enum Spill {
    Idle,
    Building { writer: Box<SegmentWriter>, from: u64, next: u64 },
    Writing,
}

/// See the module. One per queue.
#[derive(Debug)]
pub(crate) struct DurableStore {
    pub(super) shelf: Rc<RefCell<Shelf>>,
    pub(super) uid: QueueUid,
    pub(super) group: u16,
    pub(super) keeps: Keeps,
    pub(super) durability: Durability,
    pub(super) hot: Hot,
    pub(super) tail: u64,
    pub(super) marks: VecDeque<Mark>,
    pub(super) pieces: Vec<Piece>,
    pub(super) segments_made: u64,
    pub(super) spill: Spill,
    /// Messages in memory below this are to move into segments.
    pub(super) spill_below: u64,
    pub(super) listed: bool,
    pub(super) counts: BTreeMap<u64, Counted>,
    /// Messages below this may have been out.
    pub(super) handed_below: u64,
    pub(super) handed_logged: u64,
    pub(super) handed_file: Option<LogFile>,
    /// Nobody takes messages, and the log says so: `handed_below` is exact after a crash too.
    pub(super) rests: bool,
    pub(super) touched: Option<LogFile>,
    /// Of sessions.
    pub(super) notes: Option<Box<Notes>>,
}

/// What a store is made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreSpec {
    pub(crate) uid: QueueUid,
    pub(crate) group: u16,
    pub(crate) keeps: Keeps,
    pub(crate) durability: Durability,
    /// The first position it gives.
    pub(crate) first: u64,
}

impl DurableStore {
    pub(super) fn new(shelf: Rc<RefCell<Shelf>>, spec: StoreSpec) -> Self {
        Self {
            shelf,
            uid: spec.uid,
            group: spec.group,
            keeps: spec.keeps,
            durability: spec.durability,
            hot: Hot::default(),
            tail: spec.first,
            marks: VecDeque::new(),
            pieces: Vec::new(),
            // Beyond those of every earlier boot, like positions.
            segments_made: spec.first,
            spill: Spill::Idle,
            spill_below: 0,
            listed: false,
            counts: BTreeMap::new(),
            handed_below: 0,
            handed_logged: 0,
            handed_file: None,
            rests: false,
            touched: None,
            notes: None,
        }
    }

    pub(super) const fn uid(&self) -> QueueUid {
        self.uid
    }

    pub(super) fn keeps(&self, message: &Message) -> bool {
        match self.keeps {
            Keeps::Nothing => false,
            Keeps::Persistent => message.traits().persistent,
            Keeps::All => true,
        }
    }

    /// How soon what is logged has to be durable, milliseconds; `None`: when the system likes.
    pub(super) const fn sync_within(&self) -> Option<u64> {
        match self.durability {
            Durability::Sync => Some(super::LAZY_MS),
            Durability::Interval { ms } => Some(ms as u64),
            Durability::Os => None,
        }
    }

    fn mark(&mut self, below: u64, file: LogFile) {
        match self.marks.back_mut() {
            Some(mark) if mark.file == file => mark.below = below,
            Some(_) | None => self.marks.push_back(Mark { below, file }),
        }
    }

    pub(super) fn piece_index(&self, at: u64) -> Option<usize> {
        let next = self.pieces.partition_point(|piece| piece.summary.first <= at);
        let index = next.checked_sub(1)?;
        (at <= self.pieces.get(index)?.summary.last).then_some(index)
    }

    fn want(&self, piece: &Piece) {
        if !piece.wanted.replace(true) {
            self.shelf.borrow_mut().wanted.push(piece.summary.id);
        }
    }

    fn read_piece(&self, index: usize, at: u64) -> Read {
        let Some(piece) = self.pieces.get(index) else { return Read::Gone };
        if piece.broken {
            return Read::Gone;
        }
        let Some(segment) = &piece.segment else {
            self.want(piece);
            return Read::Later;
        };
        let Some(place) = segment.find_near(piece.hint.get(), at) else { return Read::Gone };
        if piece.settled.is_settled(place) {
            return Read::Gone;
        }
        piece.hint.set(place);
        let mut shelf = self.shelf.borrow_mut();
        piece.used.set(shelf.turn);
        let kept = segment.read(place).ok().and_then(|octets| {
            let arrived_ms = segment.head(place).ok()?.arrived_ms;
            let message = shelf.read_message(octets)?;
            Some(if at >> BOOT_SHIFT < u64::from(shelf.boot) {
                shelf.of_earlier(message, arrived_ms)
            } else {
                Kept { message, arrived_ms }
            })
        });
        drop(shelf);
        // The one after it is mapped before it is needed.
        if place >= segment.count() / 2
            && let Some(next) = self.pieces.get(index + 1)
            && next.segment.is_none()
            && !next.broken
        {
            self.want(next);
        }
        kept.map_or(Read::Gone, Read::Here)
    }

    pub(super) fn settle_in_piece(&mut self, index: usize, from: u64, to: u64) {
        let Some(piece) = self.pieces.get_mut(index) else { return };
        let (first, last) = (piece.summary.first, piece.summary.last);
        if from <= first && last < to {
            piece.settled.settle_range(0, piece.summary.count);
        } else if let Some(segment) = &piece.segment {
            if to == from + 1 {
                if let Some(place) = segment.find_near(piece.hint.get(), from) {
                    piece.settled.settle(place);
                }
            } else {
                let place = |at| segment.find_from(at).unwrap_or_else(|| segment.count());
                piece.settled.settle_range(place(from), place(to));
            }
        } else if !piece.broken {
            piece.deferred.push((from, to));
            if !piece.wanted.replace(true) {
                self.shelf.borrow_mut().wanted.push(piece.summary.id);
            }
        }
        self.after_settling(index);
    }

    /// A segment whose last message is settled goes.
    pub(super) fn after_settling(&mut self, index: usize) {
        let Some(piece) = self.pieces.get_mut(index) else { return };
        // A list of settled entries that is being written would come to be after its removal.
        if piece.settled.left() == 0 && piece.saving {
            return;
        }
        let mut shelf = self.shelf.borrow_mut();
        if piece.settled.left() == 0 {
            if self.keeps != Keeps::Nothing {
                shelf.emptied.push(piece.summary.id);
                shelf.dropping += 1;
            }
            drop(shelf);
            self.pieces.remove(index);
            return;
        }
        if piece.unsaved_since.is_none() && self.keeps != Keeps::Nothing {
            piece.unsaved_since = Some(shelf.touch(self.uid, &mut self.touched));
        }
    }

    /// Whether the queue has more in memory than it may.
    fn watch_growth(&mut self) {
        if self.listed {
            return;
        }
        let mut shelf = self.shelf.borrow_mut();
        if self.keeps != Keeps::Nothing && self.hot.memory_bytes() > shelf.sizes.queue_memory_max {
            self.listed = true;
            shelf.growing.push(self.uid);
        }
    }
}

impl Store for DurableStore {
    fn append(&mut self, message: Message, arrived_ms: u64) -> (Position, Safe) {
        let at = self.tail;
        self.tail += 1;
        let mut safe = Safe::Now;
        if self.keeps(&message) {
            if self.rests && self.handed_file.is_none() {
                // Said in a file that was left when there was nothing to say it of.
                self.log_rests();
            }
            let mut shelf = self.shelf.borrow_mut();
            let place = Place { queue: self.uid, position: at, arrived_ms };
            let (lsn, file) = shelf.message(self.group, place, &message);
            shelf.touch_file(file, self.uid, &mut self.touched);
            shelf.sync_within(self.sync_within());
            drop(shelf);
            self.mark(at + 1, file);
            safe = match self.durability {
                Durability::Sync => Safe::Synced(lsn),
                Durability::Interval { .. } | Durability::Os => Safe::Written(lsn),
            };
        }
        self.hot.push(at, Kept { message, arrived_ms });
        self.watch_growth();
        (Position::new(at), safe)
    }

    fn read(&self, at: Position) -> Read {
        let at = at.get();
        if let Some(kept) = self.hot.get(at) {
            return Read::Here(kept.clone());
        }
        match self.piece_index(at) {
            Some(index) => self.read_piece(index, at),
            None => Read::Gone,
        }
    }

    fn settle(&mut self, at: Position) {
        self.settle_run(at, at.next());
    }

    fn settle_run(&mut self, from: Position, to: Position) {
        let (from, to) = (from.get(), to.get());
        if from >= to {
            return;
        }
        if self.keeps != Keeps::Nothing {
            let run = SettledRun { group: self.group, queue: self.uid, from, to };
            let mut shelf = self.shelf.borrow_mut();
            shelf.settle(run);
            shelf.sync_within(self.sync_within());
        }
        if !self.counts.is_empty() {
            let gone: Vec<u64> = self.counts.range(from..to).map(|(at, _)| *at).collect();
            for at in gone {
                self.counts.remove(&at);
            }
        }
        self.forget_received(from, to);
        if to == from + 1 && self.hot.remove(from).is_some() {
            return;
        }
        let mut next = from;
        while let Some((at, _)) = self.hot.next_from(next).filter(|(at, _)| *at < to) {
            self.hot.remove(at);
            next = at + 1;
        }
        // From the back, since a piece may go.
        let mut end = self.pieces.partition_point(|piece| piece.summary.first < to);
        while let Some(index) = end.checked_sub(1)
            && self.pieces.get(index).is_some_and(|piece| piece.summary.last >= from)
        {
            self.settle_in_piece(index, from, to);
            end = index;
        }
    }

    fn returned(&mut self, at: Position, count: u32) {
        if count == 0 || self.keeps == Keeps::Nothing {
            return;
        }
        let (uid, at) = (self.uid, at.get());
        let mut shelf = self.shelf.borrow_mut();
        shelf.log.append(u32::from(self.group), entry::RETURNED, 0, |out| {
            entry::write_returned(uid, at, count, out);
        });
        let file = shelf.touch(uid, &mut self.touched);
        drop(shelf);
        self.counts.insert(at, Counted { count, file });
    }

    fn handed_out(&mut self, at: Position) {
        let below = at.get() + 1;
        if below <= self.handed_below {
            return;
        }
        self.handed_below = below;
        if std::mem::take(&mut self.rests) {
            // Without [`Store::attended`]: it is late, but the next has to know.
            self.handed_logged = 0;
        }
        // The next record long before the last one is used up, so that it is on the disk in time.
        let ahead = below.saturating_add(HANDED_OUT_STEP / 2);
        if ahead > self.handed_logged && self.keeps != Keeps::Nothing {
            self.log_handed_out(below.saturating_add(HANDED_OUT_STEP));
        }
    }

    fn rests(&mut self) {
        if self.keeps != Keeps::Nothing && !self.rests {
            self.rests = true;
            self.log_rests();
        }
    }

    fn attended(&mut self) -> Safe {
        if !std::mem::take(&mut self.rests) {
            return Safe::Now;
        }
        self.log_handed_out(self.handed_below);
        self.promised()
    }

    fn tail(&self) -> Position {
        Position::new(self.tail)
    }

    fn memory_bytes(&self) -> u64 {
        self.hot.memory_bytes()
    }

    fn as_durable(&mut self) -> Option<&mut DurableStore> {
        Some(self)
    }

    fn received(&mut self, at: Position) -> Safe {
        self.note_received(at)
    }

    fn received_positions(&self) -> Vec<Position> {
        let received = self.notes.iter().flat_map(|notes| notes.received.keys());
        received.map(|at| Position::new(*at)).collect()
    }

    fn end_use(&mut self, number: u16, used: u64, held: bool) -> Safe {
        self.end_use(number, used, held)
    }

    fn reached(&self, number: u16) -> Option<&Reached> {
        self.reached_before(number)
    }

    fn lasting_uid(&self) -> Option<QueueUid> {
        (self.keeps != Keeps::Nothing).then_some(self.uid)
    }

    fn drop_receipt(&mut self, number: u16) -> Safe {
        self.drop_number(number)
    }

    fn receipts(&self) -> Vec<u16> {
        self.notes.iter().flat_map(|notes| notes.receipts.keys()).copied().collect()
    }

    fn promise(&self) -> Safe {
        self.promised()
    }
}

impl DurableStore {
    pub(super) fn log_handed_out(&mut self, below: u64) {
        self.log_mark(entry::HANDED_OUT, below);
        // What is out should be known soon.
        self.shelf.borrow_mut().hurry = true;
    }

    /// Nobody waits for this: until it is known, more counts as having been out.
    pub(super) fn log_rests(&mut self) {
        self.log_mark(entry::RESTS, self.handed_below);
        self.shelf.borrow_mut().sync_within(self.sync_within());
    }

    fn log_mark(&mut self, kind: u16, below: u64) {
        let uid = self.uid;
        let mut shelf = self.shelf.borrow_mut();
        shelf.log.append(u32::from(self.group), kind, 0, |out| {
            entry::write_handed_out(uid, below, out);
        });
        self.handed_file = Some(shelf.touch(uid, &mut self.touched));
        self.handed_logged = below;
    }

    /// At an orderly stop: what exactly was out.
    pub(super) fn log_exact_mark(&mut self) {
        if self.rests {
            self.log_rests();
        } else if self.keeps != Keeps::Nothing && self.handed_below > 0 {
            self.log_handed_out(self.handed_below);
        }
    }
}
