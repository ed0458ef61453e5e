//! Which numbers of sessions were open when the process ended, and where their messages have come:
//! see `origin`. Logs are read shard by shard, so what two shards say of a use is put together when
//! all of a boot have been read.
//!
//! May import `origin` and of `ringmq_shards` the names of things on disk.

use std::collections::HashMap;

use ringmq_shards::log::QueueUid;
use ringmq_shards::log::ids::BOOT_SHIFT;

use crate::broker::storage::origin::{Ended, Line, Open, Origin, Reached};

/// A number of a session.
type Number = (QueueUid, u16);

/// The latest use of a number in a boot.
#[derive(Debug)]
struct Use {
    used: u64,
    shard: u16,
    reached: Reached,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Open at the end of the boots before this one, and not ended in it so far.
    open: HashMap<Number, Reached, ahash::RandomState>,
    /// Of this boot, and not known to have ended.
    uses: HashMap<Number, Use, ahash::RandomState>,
    /// The last use of each number that has ended in this boot.
    ended: HashMap<Number, u64, ahash::RandomState>,
    /// By shard.
    lines: HashMap<u32, Line>,
}

impl Numbers {
    /// A message has come into a queue, as itself or for a group.
    pub(super) fn message(
        &mut self,
        boot: u64,
        origin: &Origin,
        (queue, group): (QueueUid, Option<&str>),
    ) {
        let number = (origin.session, origin.number);
        let is_over = self.ended.get(&number).is_some_and(|ended| *ended >= origin.used);
        if is_over || origin.used >> BOOT_SHIFT != boot {
            return;
        }
        let Origin { used, shard, .. } = *origin;
        let fresh = || Use { used, shard, reached: Reached::default() };
        let known = self.uses.entry(number).or_insert_with(fresh);
        if known.used < used {
            *known = fresh();
        }
        if known.used == used {
            known.reached.add(queue, group);
        }
    }

    /// A use has ended, and all before it.
    pub(super) fn ended(&mut self, ended: &Ended) {
        let number = (ended.session, ended.number);
        self.open.remove(&number);
        if self.uses.get(&number).is_some_and(|known| known.used <= ended.used) {
            self.uses.remove(&number);
        }
        let last = self.ended.entry(number).or_insert(ended.used);
        *last = ended.used.max(*last);
    }

    /// A number was open at the start of this boot.
    pub(super) fn open(&mut self, open: Open) {
        self.open.entry((open.session, open.number)).or_default().merge(open.reached);
    }

    /// A line that a shard has drawn; the last one counts.
    pub(super) fn line(&mut self, shard: u32, line: Line) {
        self.lines.insert(shard, line);
    }

    /// All logs of a boot are read.
    pub(super) fn end_boot(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        for (number, last) in self.uses.drain() {
            let line = lines.get(&u32::from(last.shard));
            if !line.is_some_and(|line| line.is_over(last.used)) {
                self.open.entry(number).or_default().merge(last.reached);
            }
        }
        self.ended.clear();
    }

    /// What is open, in an order that is the same each time.
    pub(super) fn finish(self) -> Vec<Open> {
        let open = self.open.into_iter();
        let open = open.map(|((session, number), reached)| Open { session, number, reached });
        let mut open: Vec<Open> = open.collect();
        open.sort_unstable_by_key(|open| (open.session, open.number));
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: QueueUid = QueueUid(1);
    const HERE: (QueueUid, Option<&str>) = (QueueUid(5), None);
    const THERE: (QueueUid, Option<&str>) = (QueueUid(6), None);

    fn origin(boot: u64, count: u64) -> Origin {
        let used = (boot << BOOT_SHIFT) + count;
        Origin { session: SESSION, shard: 2, number: 7, used, reached: None }
    }

    fn ended(boot: u64, count: u64) -> Ended {
        let Origin { session, number, used, .. } = origin(boot, count);
        Ended { session, number, used, held: true }
    }

    fn left(mut numbers: Numbers) -> Vec<u64> {
        numbers.end_boot();
        numbers.finish().iter().flat_map(|open| &open.reached.queues).map(|queue| queue.0).collect()
    }

    #[test]
    fn a_use_is_open_unless_its_end_is_found_before_or_after_its_message() {
        let mut numbers = Numbers::default();
        numbers.message(3, &origin(3, 1), HERE);
        assert_eq!(left(numbers), [5]);
        for is_before in [false, true] {
            let mut numbers = Numbers::default();
            if is_before {
                numbers.ended(&ended(3, 1));
            }
            numbers.message(3, &origin(3, 1), HERE);
            if !is_before {
                numbers.ended(&ended(3, 1));
            }
            assert!(left(numbers).is_empty());
        }
    }

    #[test]
    fn a_later_use_replaces_the_one_before() {
        let mut numbers = Numbers::default();
        numbers.message(3, &origin(3, 1), HERE);
        numbers.message(3, &origin(3, 2), THERE);
        numbers.message(3, &origin(3, 1), HERE);
        assert_eq!(left(numbers), [6]);
    }

    #[test]
    fn what_a_line_leaves_behind_is_over() {
        for (below, is_open) in [(1, true), (2, false)] {
            let mut numbers = Numbers::default();
            numbers.message(3, &origin(3, 1), HERE);
            numbers.line(2, Line { below: (3 << BOOT_SHIFT) + below, but: vec![] });
            assert_eq!(left(numbers).len(), usize::from(is_open), "{below}");
        }
    }

    #[test]
    fn what_is_tried_again_in_a_later_boot_adds_to_what_was_reached_before() {
        let mut numbers = Numbers::default();
        numbers.message(3, &origin(3, 1), HERE);
        numbers.end_boot();
        numbers.message(4, &origin(4, 1), THERE);
        let mut both = left(numbers);
        both.sort_unstable();
        assert_eq!(both, [5, 6]);

        let mut numbers = Numbers::default();
        numbers.message(3, &origin(3, 1), HERE);
        numbers.end_boot();
        numbers.ended(&ended(4, 1));
        assert!(left(numbers).is_empty());
    }

    #[test]
    fn a_message_that_is_written_again_in_a_later_boot_opens_nothing() {
        let mut numbers = Numbers::default();
        numbers.message(4, &origin(3, 1), HERE);
        assert!(left(numbers).is_empty());
    }
}
