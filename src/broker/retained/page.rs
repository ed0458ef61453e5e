//! One page of retained messages: what a reader is given at once, from one part or several.
//!
//! Pages go on from a place of the tree, where a topic stays as long as it is there: nothing is kept
//! for a reader between two pages, and whatever comes and goes meanwhile, a topic that was there
//! all the time is in exactly one of them. Where a filter matches few topics they are looked up for
//! each page; where it matches many, or many nodes would have to be gone through, every topic from
//! the place on is compared with it.
//!
//! May import `topic_tree`, `part`.

use super::part::{Hold, Latest};
use crate::broker::connections::window_bytes;
use crate::broker::meeting::shown_key;
use crate::broker::queue::store::{Position, Read};
use crate::broker::topic_tree::{Syntax, TopicTree};
use crate::message::Message;
use crate::properties::Crossing;

/// Nodes of trees gone through for one page: some 100 microseconds.
const STEPS_MAX: usize = 4_096;

/// Matches that are looked up anew for each page.
const LOOKED_UP_MAX: usize = 1_024;

/// Messages that are asked for at once when one is not in memory.
const READ_AHEAD: usize = 16;

/// In a cursor: the filter matches too many to be looked up.
const COMPARES: u64 = 1 << 63;

/// How a part was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paged {
    /// To its end.
    End,
    /// The page is full, or has cost enough: on from there.
    Full(u64),
    /// The page is empty, and the store has to read the message that comes next: again from there.
    Later(u64),
}

/// See the module.
pub(super) struct Page<'a> {
    filter: &'a str,
    /// What is in it.
    pub(super) messages: Vec<Message>,
    /// Places whose message the store has lost.
    pub(super) unreadable: Vec<u32>,
    bytes_left: u64,
    steps: usize,
    keys: Option<Keys>,
}

/// What topics have to be as keys.
pub(super) struct Keys {
    pattern: TopicTree<()>,
    crossing: Crossing,
}

impl Keys {
    pub(super) fn of(pattern: &str, crossing: Crossing) -> Self {
        let mut tree = TopicTree::new(Syntax::DOTS);
        tree.update(pattern, |()| {});
        Self { pattern: tree, crossing }
    }

    fn fit(&self, topic: &str) -> bool {
        let mut fits = false;
        if let Some(key) = shown_key(topic, self.crossing) {
            self.pattern.matching(&key, |()| fits = true);
        }
        fits
    }
}

/// Octets that a message counts which is read and left out: so many are read for one page.
const LEFT_OUT_BYTES: u64 = 32;

/// What to do after one place.
enum Shown {
    GoOn,
    /// It was the last that fits.
    Last,
    /// It has to be read first.
    Later,
}

impl<'a> Page<'a> {
    pub(super) fn new(filter: &'a str, bytes_max: u32) -> Self {
        Self {
            filter,
            messages: Vec::new(),
            unreadable: Vec::new(),
            bytes_left: u64::from(bytes_max),
            steps: STEPS_MAX,
            keys: None,
        }
    }

    /// Leaves out what does not fit.
    pub(super) fn only(mut self, keys: Option<Keys>) -> Self {
        self.keys = keys;
        self
    }

    /// Nothing more is to be put into it.
    pub(super) const fn is_over(&self) -> bool {
        self.steps == 0
            || (self.bytes_left == 0 && (self.keys.is_some() || !self.messages.is_empty()))
    }

    /// Reads on from a place of a tree; tells what has expired.
    pub(super) fn read(
        &mut self,
        tree: &TopicTree<Latest>,
        from: u64,
        hold: &Hold<'_>,
        expired: &mut Vec<u32>,
    ) -> Paged {
        let first = u32::try_from(from & !COMPARES).unwrap_or(u32::MAX);
        if from & COMPARES == 0 {
            let mut places = Vec::new();
            let whole = self.steps == STEPS_MAX;
            let enough = tree.select(self.filter, &mut self.steps, |place| places.push(place));
            if enough && places.len() <= LOOKED_UP_MAX {
                places.retain(|place| *place >= first);
                places.sort_unstable();
                return self.show_all(tree, places.into_iter(), hold, expired);
            }
            if self.steps == 0 {
                // Only where a whole page was not enough it is too much.
                return Paged::Full(if whole { from | COMPARES } else { from });
            }
        }
        let mut filter = tree.filter(self.filter);
        let end = u32::try_from(self.steps).unwrap_or(u32::MAX).saturating_add(first);
        let last = end.min(tree.places());
        self.steps = self.steps.saturating_sub(last.saturating_sub(first) as usize);
        let places = (first..last)
            .filter(|place| tree.at(*place).is_some() && tree.fits(*place, &mut filter));
        match self.show_all(tree, places, hold, expired) {
            Paged::Full(at) => Paged::Full(at | COMPARES),
            Paged::Later(at) => Paged::Later(at | COMPARES),
            Paged::End if last < tree.places() => Paged::Full(u64::from(last) | COMPARES),
            Paged::End => Paged::End,
        }
    }

    fn show_all(
        &mut self,
        tree: &TopicTree<Latest>,
        mut places: impl Iterator<Item = u32>,
        hold: &Hold<'_>,
        expired: &mut Vec<u32>,
    ) -> Paged {
        while let Some(place) = places.next() {
            let Some(latest) = tree.at(place) else { continue };
            if latest.has_expired(hold.now) {
                expired.push(place);
                continue;
            }
            match self.show(place, latest, hold) {
                Shown::GoOn => {}
                Shown::Last => return Paged::Full(u64::from(place) + 1),
                Shown::Later => {
                    for ahead in places.take(READ_AHEAD).filter_map(|place| tree.at(place)) {
                        let _asked = hold.store.read(Position::new(ahead.at));
                    }
                    let at = u64::from(place);
                    return if self.messages.is_empty() {
                        Paged::Later(at)
                    } else {
                        Paged::Full(at)
                    };
                }
            }
        }
        Paged::End
    }

    fn show(&mut self, place: u32, latest: &Latest, hold: &Hold<'_>) -> Shown {
        match hold.store.read(Position::new(latest.at)) {
            Read::Later => return Shown::Later,
            Read::Gone => self.unreadable.push(place),
            Read::Here(kept)
                if self.keys.as_ref().is_some_and(|k| !k.fit(kept.message.routing_key())) =>
            {
                self.bytes_left = self.bytes_left.saturating_sub(LEFT_OUT_BYTES);
            }
            Read::Here(kept) => {
                self.bytes_left = self.bytes_left.saturating_sub(window_bytes(&kept.message));
                self.messages.push(kept.message);
            }
        }
        if self.bytes_left == 0 { Shown::Last } else { Shown::GoOn }
    }
}
