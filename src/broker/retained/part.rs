//! One part of the retained messages of a virtual host: which topics there are and where in the
//! store the latest message of each lies. The messages themselves are in the store only.
//!
//! # What is in the store
//!
//! Messages by position. Of one topic the highest position counts, and those below are settled
//! sooner or later; a message without a body says that there is none. Whoever replaces or removes
//! appends first, and what was there before goes when that is durable (`superseded`), so every end
//! of the process leaves something from which a start makes what was there: it reads all positions
//! in ascending order and lets the later one replace the earlier.
//!
//! # Taken over after a start
//!
//! That takes many turns. What is published meanwhile has a higher position than anything that is
//! still to be read; a removal stays as an empty message in the table until all has been read.
//!
//! May import `superseded`, `page`, `topic_tree`, `queue::store`, `storage`.

use std::collections::VecDeque;

use super::page::{Page, Paged};
use super::superseded::Superseded;
use crate::broker::queue::store::{Kept, Position, Read, Safe, Store};
use crate::broker::topic_tree::{Syntax, TopicTree};
use crate::command::Now;
use crate::message::{Body, Message, Traits};

/// Places of the tree looked at for each message that comes: what has expired goes, and what lies
/// alone in a segment moves, faster than new ones come.
const SWEPT_PER_MESSAGE: u32 = 2;

/// The latest message of a topic.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Latest {
    pub(super) at: u64,
    /// Octets that count against the limit; saturates.
    bytes: u32,
    /// It has no body and stands here until everything before it has been read.
    is_gone: bool,
    /// When it is not to be seen any more, milliseconds since 1970-01-01 UTC; 0: never.
    expires_ms: u64,
}

impl Latest {
    fn new(at: Position, message: &Message) -> Self {
        let traits = message.traits();
        let expires = traits.expiration_ms.map(|ms| message.received_ms().saturating_add(ms));
        let is_gone = message.body().is_empty();
        Self {
            at: at.get(),
            bytes: if is_gone { 0 } else { octets(message) },
            is_gone,
            expires_ms: expires.map_or(0, |ms| ms.max(1)),
        }
    }

    pub(super) const fn has_expired(&self, now: Now) -> bool {
        self.expires_ms != 0 && self.expires_ms <= now.wall_ms
    }
}

fn octets(message: &Message) -> u32 {
    let all = message.routing_key().len() + message.properties().len() + message.body().len();
    u32::try_from(all).unwrap_or(u32::MAX)
}

/// What the parts of a virtual host on this shard hold together, and may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) count_max: u64,
    pub(super) bytes_max: u64,
}

impl Totals {
    fn add(&mut self, latest: &Latest) {
        if !latest.is_gone {
            self.count += 1;
            self.bytes += u64::from(latest.bytes);
        }
    }

    fn take(&mut self, latest: &Latest) {
        if !latest.is_gone {
            self.count = self.count.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(u64::from(latest.bytes));
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It is the latest of its topic, or has taken that away, once this is safe.
    Done(Safe),
    /// There is no room for it; the topic has no message, once this is safe.
    Full(Safe),
}

/// How far reading what was there has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loaded {
    /// Everything is there.
    All,
    /// There is more.
    More,
    /// The store has to read first.
    Later,
}

/// Where a part keeps its messages and what it counts them in.
pub(super) struct Hold<'a> {
    pub(super) store: &'a mut dyn Store,
    pub(super) totals: &'a mut Totals,
    pub(super) now: Now,
}

/// See the module. One per part, on its owner.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) tree: TopicTree<Latest>,
    /// What has not been read since the start.
    unread: VecDeque<(Position, Position)>,
    /// Topics whose message was removed meanwhile.
    removed: Vec<Box<str>>,
    superseded: Superseded,
    /// The next place of the tree to look at.
    sweep_at: u32,
    /// Places still to be looked at before all are known to be without time to live.
    timed_left: u32,
    pub(super) unreadable: u64,
}

impl Part {
    /// Over a store with messages in these runs of positions.
    pub(super) fn new(unread: Vec<(Position, Position)>) -> Self {
        Self {
            tree: TopicTree::new(Syntax::SLASHES),
            unread: unread.into(),
            removed: Vec::new(),
            superseded: Superseded::default(),
            sweep_at: 0,
            timed_left: 0,
            unreadable: 0,
        }
    }

    /// Whether not everything that was there at the start is known.
    pub(super) fn is_loading(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Takes a message as the latest of its topic; one without a body takes that away.
    pub(super) fn put(&mut self, message: Message, hold: &mut Hold<'_>) -> Put {
        let full = self.is_too_much(&message, hold.totals);
        if full && !self.is_loading() && self.tree.get(message.routing_key()).is_none() {
            return Put::Full(Safe::Now);
        }
        // What it would have replaced is not the latest any more.
        let message = if full { without_body(&message) } else { message };
        let (at, safe) = hold.store.append(message.clone(), hold.now.mono_ms);
        self.set(&message, (at, safe), hold);
        if message.body().is_empty() {
            if self.is_loading() {
                self.removed.push(message.routing_key().into());
            } else {
                self.remove(message.routing_key(), hold);
            }
        }
        if !self.is_loading() {
            self.sweep(SWEPT_PER_MESSAGE, hold);
        }
        if full { Put::Full(safe) } else { Put::Done(safe) }
    }

    fn is_too_much(&self, message: &Message, totals: &Totals) -> bool {
        if message.body().is_empty() {
            return false;
        }
        let mut after = *totals;
        if let Some(old) = self.tree.get(message.routing_key()) {
            after.take(old);
        }
        after.count >= after.count_max
            || after.bytes.saturating_add(u64::from(octets(message))) > after.bytes_max
    }

    /// The message at this position is the latest of its topic; the one before is not.
    fn set(&mut self, message: &Message, (at, safe): (Position, Safe), hold: &mut Hold<'_>) {
        let latest = Latest::new(at, message);
        if latest.expires_ms != 0 {
            self.timed_left = u32::MAX;
        }
        hold.totals.add(&latest);
        match self.tree.get_mut(message.routing_key()) {
            Some(old) => {
                hold.totals.take(old);
                self.superseded.replace(Position::new(old.at), safe, hold.store);
                *old = latest;
            }
            None => self.tree.update(message.routing_key(), |new| *new = latest),
        }
    }

    fn remove(&mut self, topic: &str, hold: &mut Hold<'_>) {
        if let Some(latest) = self.tree.remove(topic) {
            hold.totals.take(&latest);
            self.superseded.end(Position::new(latest.at), hold.store);
        }
    }

    /// Takes out what is stored at a place of the tree.
    fn remove_at(&mut self, place: u32, hold: &mut Hold<'_>) {
        if let Some(latest) = self.tree.remove_at(place) {
            hold.totals.take(&latest);
            self.superseded.end(Position::new(latest.at), hold.store);
        }
    }

    /// Reads at most so many messages of those that were there at the start.
    pub(super) fn load(&mut self, messages_max: usize, hold: &mut Hold<'_>) -> Loaded {
        for _ in 0..messages_max {
            let Some((from, to)) = self.unread.front_mut() else { break };
            let at = *from;
            match hold.store.read(at) {
                Read::Later => return Loaded::Later,
                Read::Gone => {
                    hold.store.settle(at);
                    self.unreadable += 1;
                }
                Read::Here(kept) => {
                    *from = at.next();
                    let last = *from >= *to;
                    self.take_over(&kept.message, at, hold);
                    if last {
                        self.unread.pop_front();
                    }
                    continue;
                }
            }
            *from = at.next();
            if *from >= *to {
                self.unread.pop_front();
            }
        }
        if self.is_loading() {
            return Loaded::More;
        }
        for topic in std::mem::take(&mut self.removed) {
            if self.tree.get(&topic).is_some_and(|latest| latest.is_gone) {
                self.remove(&topic, hold);
            }
        }
        Loaded::All
    }

    /// A message from before the start, in ascending order of position.
    fn take_over(&mut self, message: &Message, at: Position, hold: &mut Hold<'_>) {
        let topic = message.routing_key();
        if self.tree.get(topic).is_some_and(|latest| latest.at > at.get()) {
            // Another one was published since the start.
            self.superseded.replace_late(at, hold.store);
            return;
        }
        // Whatever is found is durable.
        self.set(message, (at, Safe::Now), hold);
        if message.body().is_empty() || Latest::new(at, message).has_expired(hold.now) {
            self.remove(topic, hold);
        }
    }

    /// Looks at so many places of the tree: what has expired goes, and what is nearly alone in its
    /// segment is stored anew, or a message that never changes would hold all of a segment, and as
    /// many of them as many segments.
    pub(super) fn sweep(&mut self, places: u32, hold: &mut Hold<'_>) {
        let all = self.tree.places();
        for _ in 0..places.min(all) {
            if self.sweep_at >= all {
                self.sweep_at = 0;
                self.timed_left = self.timed_left.min(all);
            }
            let place = self.sweep_at;
            self.sweep_at += 1;
            self.timed_left = self.timed_left.saturating_sub(1);
            let Some(latest) = self.tree.at(place).copied() else { continue };
            if latest.has_expired(hold.now) {
                self.remove_at(place, hold);
                continue;
            }
            if latest.expires_ms != 0 {
                self.timed_left = all;
            }
            self.move_if_alone(place, latest, hold);
        }
    }

    fn move_if_alone(&mut self, place: u32, latest: Latest, hold: &mut Hold<'_>) {
        let at = Position::new(latest.at);
        let is_sparse = hold.store.as_durable().is_some_and(|store| store.is_sparse(at));
        if !is_sparse {
            return;
        }
        // What has to be read first is asked for by this, and is here when the sweep comes again.
        if let Read::Here(Kept { message, arrived_ms }) = hold.store.read(at) {
            let (new, safe) = hold.store.append(message, arrived_ms);
            if let Some(latest) = self.tree.at_mut(place) {
                latest.at = new.get();
            }
            self.superseded.replace(at, safe, hold.store);
        }
    }

    /// Once per turn: settles what need not lie here any more.
    pub(super) fn settle_due(&mut self, hold: &mut Hold<'_>) {
        self.superseded.settle_due(hold.store);
    }

    /// Whether something waits for the log.
    pub(super) fn is_settling(&self) -> bool {
        !self.superseded.is_empty()
    }

    /// Whether something here may expire.
    pub(super) const fn may_expire(&self) -> bool {
        self.timed_left > 0
    }

    /// Reads a page on from a place; not before everything is loaded.
    pub(super) fn page(&mut self, page: &mut Page<'_>, from: u64, hold: &mut Hold<'_>) -> Paged {
        debug_assert!(!self.is_loading(), "what is not loaded yet would be missing");
        let mut expired = Vec::new();
        let paged = page.read(&self.tree, from, hold, &mut expired);
        for place in expired {
            self.remove_at(place, hold);
        }
        for place in std::mem::take(&mut page.unreadable) {
            self.unreadable += 1;
            self.remove_at(place, hold);
        }
        paged
    }
}

/// What removes a message's topic.
fn without_body(message: &Message) -> Message {
    let traits = Traits { expiration_ms: None, ..message.traits() };
    let (name, topic) = (message.exchange().into(), message.routing_key());
    let empty = Message::new(name, topic, traits, &[], Body::Slice(&[]), message.received_ms());
    empty.unwrap_or_else(|| message.clone())
}
