//! The messages of a queue that nobody has at the moment, in the order of delivery.
//!
//! May import `fifo`, `priority` and `store`.

use std::collections::VecDeque;

use super::fifo::{Returned, Run};
use super::priority::{Level, Levels};
use super::store::Position;

/// Where a given-back message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReturnOrder {
    /// To its original place, also when several consumers give back at once (P67).
    Original,
    /// Before all others, in the order of return, whatever its priority (R4).
    Returned,
}

/// A message that may go next from where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) position: Position,
    pub(crate) level: Level,
    /// It was out before.
    pub(crate) returned: Option<Returned>,
    /// It stands in the list of returns and not in its level's row.
    listed: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ready {
    order: ReturnOrder,
    levels: Levels,
    /// Used with [`ReturnOrder::Returned`] only.
    returns: VecDeque<(Position, Level, Returned)>,
    count: u64,
    /// Octets of their bodies, which is what length limits count.
    body_bytes: u64,
}

impl Ready {
    pub(crate) fn new(order: ReturnOrder) -> Self {
        Self { order, levels: Levels::default(), returns: VecDeque::new(), count: 0, body_bytes: 0 }
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    pub(crate) const fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// New messages, in order of position.
    pub(crate) fn push(&mut self, run: Run, level: Level, body_bytes: u64) {
        self.levels.with(level, |row| row.push(run));
        self.count += run.len();
        self.body_bytes += body_bytes;
    }

    /// A message comes back.
    pub(crate) fn give_back(
        &mut self,
        (at, level): (Position, Level),
        returned: Returned,
        body_bytes: u64,
    ) {
        match self.order {
            ReturnOrder::Original => self.levels.with(level, |row| row.give_back(at, returned)),
            ReturnOrder::Returned => self.returns.push_back((at, level, returned)),
        }
        self.count += 1;
        self.body_bytes += body_bytes;
    }

    /// The message that is delivered next.
    pub(crate) fn front(&self) -> Option<Front> {
        self.listed_front().or_else(|| self.front_of(self.levels.highest()?))
    }

    /// The message that a full queue drops first: the oldest of the lowest priority. RabbitMQ and
    /// LavinMQ take the oldest of the highest and call it an oddity (L47); nobody who gives
    /// priorities wants the important to make room for the unimportant.
    pub(crate) fn least(&self) -> Option<Front> {
        self.levels.lowest().and_then(|level| self.front_of(level)).or_else(|| self.listed_front())
    }

    /// The head of every row: where messages expire.
    pub(crate) fn heads(&self) -> impl Iterator<Item = Front> + '_ {
        self.listed_front()
            .into_iter()
            .chain(self.levels.occupied().filter_map(|level| self.front_of(level)))
    }

    /// Removes a message that one of the above has shown.
    pub(crate) fn pop(&mut self, front: Front, body_bytes: u64) {
        if front.listed {
            self.returns.pop_front();
        } else {
            self.levels.with(front.level, |row| {
                debug_assert_eq!(row.front().map(|(at, _)| at), Some(front.position));
                row.pop();
            });
        }
        self.count = self.count.saturating_sub(1);
        self.body_bytes = self.body_bytes.saturating_sub(body_bytes);
        if self.count == 0 {
            // What could not be read left without saying how large it was.
            self.body_bytes = 0;
        }
    }

    /// Removes one message, wherever it stands among those that have never come back; false: it is
    /// not there. Its octets stay counted until the queue is empty.
    pub(crate) fn take_out(&mut self, at: Position) -> bool {
        let levels: Vec<Level> = self.levels.occupied().collect();
        let mut found = false;
        for level in levels {
            self.levels.with(level, |row| found = found || row.take_out(at));
        }
        self.count = self.count.saturating_sub(u64::from(found));
        found
    }

    /// Removes all; tells what it was.
    pub(crate) fn take_all(&mut self) -> Vec<Run> {
        let mut runs: Vec<Run> = self.returns.drain(..).map(|(at, ..)| Run::one(at)).collect();
        while let Some(level) = self.levels.highest() {
            self.levels.with(level, |row| runs.extend(row.take_all()));
        }
        self.count = 0;
        self.body_bytes = 0;
        runs
    }

    fn listed_front(&self) -> Option<Front> {
        let (position, level, returned) = *self.returns.front()?;
        Some(Front { position, level, returned: Some(returned), listed: true })
    }

    fn front_of(&self, level: Level) -> Option<Front> {
        let (position, returned) = self.levels.row(level)?.front()?;
        Some(Front { position, level, returned, listed: false })
    }
}
