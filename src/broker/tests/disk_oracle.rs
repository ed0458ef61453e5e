//! What a node owes after a crash: for each message and queue whether it has to come, may come or
//! must not. Knows no disk and no shard. May import the broker's words.

use std::collections::{HashMap, HashSet};

use crate::command::Delivery;
use crate::message::DeathReason;

pub(super) const QUEUES: usize = 9;

/// What one of the queues is like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) durable: bool,
    pub(super) quorum: bool,
    pub(super) priorities: bool,
    pub(super) durability: Option<&'static str>,
}

const fn kind(name: &'static str) -> Kind {
    Kind { name, durable: true, quorum: false, priorities: false, durability: None }
}

/// Its rejected messages go to [`DEAD`].
pub(super) const DYING: usize = 3;
pub(super) const DEAD: usize = 4;
/// It is deleted and declared again.
pub(super) const FLEETING: usize = 8;

pub(super) const KINDS: [Kind; QUEUES] = [
    kind("classic"),
    Kind { quorum: true, ..kind("quorum") },
    Kind { priorities: true, ..kind("priorities") },
    kind("dying"),
    kind("dead"),
    Kind { durability: Some("interval:200"), ..kind("interval") },
    Kind { quorum: true, durability: Some("os"), ..kind("os") },
    Kind { durable: false, ..kind("transient") },
    kind("fleeting"),
];

/// What a confirmed message of a queue outlives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strength {
    /// Nothing: not the process.
    Live,
    /// The process.
    Written,
    /// A power cut.
    Synced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// It was never sent there.
    #[default]
    Nowhere,
    /// It may be there.
    Perhaps,
    /// It has to come.
    Owed,
    /// Done with, which a crash may forget.
    Ended,
    /// Done with for good.
    Over,
}

/// A message in a queue.
#[derive(Debug, Clone, Copy, Default)]
struct Copy {
    state: State,
    was_owed: bool,
    /// Nothing takes it away any more.
    is_synced: bool,
    out: bool,
    /// It was out when the queue was last purged, which is answered later.
    out_at_purge: bool,
    /// Delivered since the start.
    delivered_now: bool,
    /// Done with since the start.
    gone_now: bool,
    /// Delivered ever.
    delivered: bool,
    /// Delivered, and a crash does not forget it.
    handed_durable: bool,
    /// How often it came back and that counted: at least, at least after a crash, at most.
    count_min: u32,
    count_durable: u32,
    count_max: u32,
    boot: u32,
    /// The node was stopped in order before it went out for the first time: then that, and now.
    fresh_next: bool,
    fresh: bool,
}

#[derive(Debug)]
pub(super) struct Sent {
    pub(super) publisher: usize,
    persistent: bool,
    pub(super) priority: Option<u8>,
    pub(super) body: String,
    copies: [Copy; QUEUES],
    rejects: u32,
}

/// How a run of a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Stopped,
    Killed,
    PowerCut,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) sent: Vec<Sent>,
    pub(super) boot: u32,
    /// Messages rejected since all was durable.
    dying: Vec<usize>,
    /// Have to be in one of the two queues.
    either: HashSet<usize>,
    /// Last of each publisher that a client got the first time, by client, queue, priority.
    seen: HashMap<(usize, usize, usize, Option<u8>), usize>,
    /// Somebody may have been sent messages of a queue that count as settled before they arrive.
    pub(super) hasty: [bool; QUEUES],
    /// Files with what is in them are damaged: messages may be missing, or come again.
    pub(super) spoilt: [bool; QUEUES],
    pub(super) missing: u64,
    pub(super) deliveries: u64,
    pub(super) confirmed: u64,
}

fn padding(id: usize, len: usize) -> String {
    let mut text = String::with_capacity(len);
    let mut x = (id as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while text.len() < len {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        text.push(char::from(b'a' + (x % 26) as u8));
    }
    text
}

impl Oracle {
    fn strength(&self, id: usize, queue: usize) -> Strength {
        let kind = KINDS[queue];
        if !kind.durable || !(kind.quorum || self.sent[id].persistent) {
            Strength::Live
        } else if kind.durability.is_some() && !self.sent[id].copies[queue].is_synced {
            Strength::Written
        } else {
            Strength::Synced
        }
    }

    /// Whether a message of this kind is confirmed only when it is on the disk.
    pub(super) fn is_live(&self, id: usize, queue: usize) -> bool {
        self.strength(id, queue) == Strength::Live
    }

    pub(super) fn publish(
        &mut self,
        publisher: usize,
        persistent: bool,
        priority: Option<u8>,
        (len, queues): (usize, &[usize]),
    ) -> usize {
        let id = self.sent.len();
        let body = format!("{id} {}", padding(id, len));
        let mut copies = [Copy::default(); QUEUES];
        for queue in queues {
            copies[*queue].state = State::Perhaps;
            copies[*queue].boot = self.boot;
        }
        self.sent.push(Sent { publisher, persistent, priority, body, copies, rejects: 0 });
        id
    }

    /// It was refused: nothing was stored.
    pub(super) fn refused(&mut self, id: usize) {
        for copy in &mut self.sent[id].copies {
            if copy.state == State::Perhaps && !copy.delivered {
                copy.state = State::Nowhere;
            }
        }
    }

    pub(super) fn confirmed(&mut self, id: usize) {
        self.confirmed += 1;
        for (queue, copy) in self.sent[id].copies.iter_mut().enumerate() {
            if copy.state == State::Perhaps && queue != DEAD {
                copy.state = State::Owed;
            }
        }
    }

    /// A delivery has reached a client. Its message.
    pub(super) fn delivered(
        &mut self,
        (client, queue): (usize, usize),
        delivery: &Delivery,
        in_order: bool,
    ) -> usize {
        self.deliveries += 1;
        let body = String::from_utf8(delivery.message.body().to_vec()).unwrap();
        let id = body.split(' ').next().and_then(|id| id.parse::<usize>().ok()).unwrap();
        let name = KINDS[queue].name;
        let boot = self.boot;
        let known = self.sent.get(id).is_some_and(|sent| sent.body == body);
        assert!(known, "invented: message {id} of {name} in boot {boot}: {body}");
        let spoilt = self.spoilt[queue] || (queue == DEAD && self.spoilt[DYING]);
        let several = spoilt || (queue == DEAD && self.sent[id].rejects != 1);
        let sent = &mut self.sent[id];
        let copy = &mut sent.copies[queue];
        let before = *copy;
        // Only whoever fails says so: it is asked for more often than anything else here.
        let shown = || format!("message {id} of {name} in boot {boot}: {before:?}");
        assert_ne!(copy.state, State::Nowhere, "it was never sent there: {}", shown());
        if !several {
            assert_ne!(copy.state, State::Over, "it is over and comes again: {}", shown());
            assert!(!copy.out, "it is with two: {}", shown());
            assert!(!copy.gone_now, "it was settled and comes again: {}", shown());
            if !delivery.redelivered {
                assert!(!copy.delivered_now, "it was out and does not say so: {}", shown());
                assert!(!copy.handed_durable, "it was out before and does not say so: {}", shown());
            } else if copy.boot == boot || copy.fresh {
                assert!(copy.delivered_now, "it was never out: {}", shown());
            }
        }
        assert_eq!(sent.persistent, delivery.message.traits().persistent, "{}", shown());
        assert_eq!(sent.priority, delivery.message.traits().priority, "{}", shown());
        if KINDS[queue].quorum && !spoilt {
            let count = delivery.delivery_count.unwrap_or(0);
            let count = u32::try_from(count).unwrap();
            let fits = (copy.count_min..=copy.count_max).contains(&count);
            assert!(fits, "it came back {count} times: {}", shown());
            (copy.count_min, copy.count_max) = (count, count);
        }
        if queue == DEAD {
            let deaths = delivery.message.deaths().expect("its death is forgotten");
            let first = &deaths.deaths[0];
            assert_eq!((&*first.queue, first.reason), (KINDS[DYING].name, DeathReason::Rejected));
        }
        (copy.out, copy.delivered_now, copy.delivered) = (true, true, true);
        if queue == DYING || queue == DEAD {
            self.either.remove(&id);
        }
        if in_order && !delivery.redelivered && queue != DEAD {
            let place = (client, queue, sent.publisher, sent.priority);
            let last = self.seen.insert(place, id);
            assert!(last.is_none_or(|last| last < id), "after {last:?}: {}", shown());
        }
        id
    }

    /// It is done with.
    pub(super) fn ended(&mut self, id: usize, queue: usize) {
        let copy = &mut self.sent[id].copies[queue];
        copy.out = false;
        copy.gone_now = true;
        copy.was_owed = copy.state == State::Owed;
        copy.state = State::Ended;
    }

    pub(super) fn rejected(&mut self, id: usize, queue: usize) {
        self.ended(id, queue);
        if queue != DYING {
            return;
        }
        let boot = self.boot;
        let sent = &mut self.sent[id];
        sent.rejects += 1;
        let dead = &mut sent.copies[DEAD];
        if sent.rejects > 1 || dead.state == State::Nowhere {
            *dead = Copy { state: State::Perhaps, boot, ..Copy::default() };
        }
        self.dying.push(id);
    }

    pub(super) fn requeued(&mut self, id: usize, queue: usize, failed: bool) {
        let copy = &mut self.sent[id].copies[queue];
        copy.out = false;
        if KINDS[queue].quorum && failed {
            copy.count_min += 1;
            copy.count_max += 1;
        }
    }

    /// All ready messages of a queue have gone.
    pub(super) fn purged(&mut self, queue: usize, before: usize) {
        for (id, sent) in self.sent.iter_mut().enumerate() {
            let copy = &mut sent.copies[queue];
            if !copy.out && matches!(copy.state, State::Perhaps | State::Owed) {
                if id < before && !copy.out_at_purge {
                    copy.state = State::Ended;
                    copy.gone_now = true;
                } else {
                    // It may have come, or come back, before the purge or after it.
                    copy.state = State::Perhaps;
                }
            }
        }
    }

    /// Some of a queue's messages may go now.
    pub(super) fn may_go(&mut self, queue: usize) {
        if queue == DEAD || queue == DYING {
            self.dying.clear();
            self.either.clear();
        }
        for sent in &mut self.sent {
            let copy = &mut sent.copies[queue];
            copy.out_at_purge = copy.out;
            if copy.state == State::Owed {
                copy.state = State::Perhaps;
            }
        }
    }

    /// A queue is gone for good with all it had.
    pub(super) fn deleted(&mut self, queue: usize) {
        for sent in &mut self.sent {
            let copy = &mut sent.copies[queue];
            if copy.state != State::Nowhere {
                copy.state = State::Over;
                copy.out = false;
            }
        }
    }

    /// Everything that has happened is durable.
    pub(super) fn durable(&mut self) {
        for sent in &mut self.sent {
            for copy in &mut sent.copies {
                if copy.state == State::Ended {
                    copy.state = State::Over;
                }
                copy.handed_durable |= copy.delivered_now;
                copy.count_durable = copy.count_min;
                copy.is_synced = true;
            }
        }
        for id in std::mem::take(&mut self.dying) {
            let dead = &mut self.sent[id].copies[DEAD];
            if dead.state == State::Perhaps && !dead.gone_now {
                dead.state = State::Owed;
            }
        }
    }

    /// The node has stopped in order, and knows exactly what was out.
    pub(super) fn stopped(&mut self) {
        let boot = self.boot;
        for sent in &mut self.sent {
            for (copy, kind) in sent.copies.iter_mut().zip(KINDS) {
                // What is out of order has gone out before what stands before it.
                let in_order = !kind.quorum && !kind.priorities;
                copy.fresh_next = in_order && copy.boot == boot && !copy.delivered;
            }
        }
        self.durable();
    }

    /// Everything that has happened to these queues is durable.
    pub(super) fn durable_in(&mut self, queues: &[usize]) {
        for sent in &mut self.sent {
            for queue in queues {
                let copy = &mut sent.copies[*queue];
                if copy.state == State::Ended {
                    copy.state = State::Over;
                }
            }
        }
    }

    /// The node has ended.
    pub(super) fn restarted(&mut self, end: End, boot: u32) {
        self.boot = boot;
        self.seen.clear();
        for id in std::mem::take(&mut self.dying) {
            let from = &self.sent[id].copies[DYING];
            let to = &self.sent[id].copies[DEAD];
            let lasts = self.strength(id, DYING) == Strength::Synced;
            let lasts = lasts && !self.hasty[DEAD];
            if from.was_owed && lasts && !to.gone_now && from.state == State::Ended {
                self.either.insert(id);
            }
        }
        for id in 0..self.sent.len() {
            for queue in 0..QUEUES {
                let strength = self.strength(id, queue);
                let copy = &mut self.sent[id].copies[queue];
                (copy.out, copy.delivered_now, copy.gone_now) = (false, false, false);
                copy.count_min = copy.count_durable;
                copy.fresh = std::mem::take(&mut copy.fresh_next);
                if self.hasty[queue] && copy.state == State::Owed {
                    copy.state = State::Perhaps;
                }
                match (copy.state, strength, end) {
                    (State::Nowhere | State::Over, ..) => {}
                    (_, Strength::Live, _) => copy.state = State::Over,
                    (State::Owed, Strength::Written, End::PowerCut) => copy.state = State::Perhaps,
                    // The crash may have forgotten that.
                    (State::Ended, ..) => copy.state = State::Perhaps,
                    (State::Owed | State::Perhaps, ..) => {}
                }
            }
        }
        if self.hasty[DYING] || self.hasty[DEAD] {
            self.either.clear();
        }
        self.hasty = [false; QUEUES];
    }

    /// Nothing is on its way to a client: has any message that went out passed by one of the same
    /// publisher that has to come and never did?
    pub(super) fn check_none_passed(&self) {
        // The last that went out, from the back: by queue, publisher, priority.
        let mut later: HashMap<(usize, usize, Option<u8>), usize> = HashMap::new();
        for (id, sent) in self.sent.iter().enumerate().rev() {
            for (queue, copy) in sent.copies.iter().enumerate().filter(|(queue, _)| *queue != DEAD)
            {
                let place = (queue, sent.publisher, sent.priority);
                if copy.delivered_now {
                    later.insert(place, id);
                } else if copy.state == State::Owed
                    && let Some(passed) = later.get(&place)
                {
                    let (name, boot) = (KINDS[queue].name, self.boot);
                    panic!("{passed} went by {id} of {name} in boot {boot}: {copy:?}");
                }
            }
        }
    }

    /// Everything was delivered and settled: what is missing?
    pub(super) fn check_all_came(&mut self) {
        let mut missing = Vec::new();
        for (id, sent) in self.sent.iter().enumerate() {
            for (queue, copy) in sent.copies.iter().enumerate() {
                if copy.state == State::Owed {
                    self.missing += 1;
                    if !self.spoilt[queue] {
                        missing.push((id, KINDS[queue].name, *copy));
                    }
                }
            }
        }
        assert!(missing.is_empty(), "confirmed and lost: {missing:?}");
        if !self.spoilt[DYING] && !self.spoilt[DEAD] {
            assert!(self.either.is_empty(), "died and lost: {:?}", self.either);
        }
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.spoilt.iter().any(|spoilt| *spoilt)
    }

    /// Messages that have to be in a queue, and that may be.
    pub(super) fn counts(&self, queue: usize) -> (u64, u64) {
        let states = || self.sent.iter().map(|sent| sent.copies[queue].state);
        let owed = states().filter(|state| *state == State::Owed).count();
        let perhaps = states().filter(|state| *state == State::Perhaps).count();
        (owed as u64, (owed + perhaps) as u64)
    }
}
