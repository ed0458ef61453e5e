//! Exchanges, queues and bindings that come and go on a node of the disk simulation: what was answered
//! holds after a crash, what was not answered has happened or has not. May import what `disk_world`
//! may.

use super::client::*;
use super::cluster::Cluster;
use super::disk_oracle::KINDS;
use super::disk_world::{Asked, FAN, FAN_QUEUES, World};
use crate::command::{Answer, Refusal};

/// A change of something durable that comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Exchange(usize, bool),
    Queue(usize, bool),
    Binding(usize, usize, bool),
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Known {
    #[default]
    No,
    Yes,
    Unsure,
}

const EXCHANGES: usize = 2;
const COMERS: usize = 3;

/// Exchanges, queues and bindings that come and go.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    pub(super) exchanges: [Known; EXCHANGES],
    pub(super) queues: [Known; COMERS],
    pub(super) bindings: [[Known; COMERS]; EXCHANGES],
    pub(super) busy: bool,
}

impl Definitions {
    fn note(&mut self, change: Change, known: Known) {
        match change {
            Change::Exchange(e, there) => {
                self.exchanges[e] = known;
                if !there {
                    self.bindings[e].iter_mut().for_each(|b| fade(b, known));
                }
            }
            Change::Queue(q, there) => {
                self.queues[q] = known;
                if !there {
                    self.bindings.iter_mut().for_each(|of| fade(&mut of[q], known));
                }
            }
            Change::Binding(e, q, _) => self.bindings[e][q] = known,
        }
    }
}

/// What depends on something that goes, goes with it.
fn fade(binding: &mut Known, known: Known) {
    *binding = match (*binding, known) {
        (Known::No, _) | (_, Known::No) => Known::No,
        (Known::Unsure, _) | (Known::Yes, _) => Known::Unsure,
    };
}

impl World {
    pub(super) fn is_all_spoilt(&self) -> bool {
        self.oracle.spoilt.iter().all(|spoilt| *spoilt)
    }

    pub(super) fn look_at_definitions(&mut self, c: &mut Cluster) {
        let topology = c.durable_topology();
        let has = |text: String| topology.iter().any(|line| line.starts_with(&text));
        let damaged = self.is_all_spoilt();
        let look = |known: &mut Known, there: bool, what: String| {
            let fits = *known == Known::Unsure || (*known == Known::Yes) == there;
            assert!(fits || damaged, "{what} is {known:?}, but there: {there}");
            *known = if there { Known::Yes } else { Known::No };
        };
        let definitions = &mut self.definitions;
        for (e, known) in definitions.exchanges.iter_mut().enumerate() {
            look(known, has(format!("/ exchange x{e} ")), format!("exchange {e}"));
        }
        for (q, known) in definitions.queues.iter_mut().enumerate() {
            look(known, has(format!("/ queue comes{q} ")), format!("queue {q}"));
        }
        for (e, of) in definitions.bindings.iter_mut().enumerate() {
            for (q, known) in of.iter_mut().enumerate() {
                let there = has(format!("/ binding x{e} -> comes{q} "));
                look(known, there, format!("binding {e} {q}"));
            }
        }
        for queue in FAN_QUEUES {
            let bound = has(format!("/ binding {FAN} -> {} ", KINDS[queue].name));
            assert!(bound || damaged, "{} is not bound any more", KINDS[queue].name);
        }
    }

    pub(super) fn changed(&mut self, change: Change, answer: &Answer) {
        self.definitions.busy = false;
        let (Change::Exchange(_, there) | Change::Queue(_, there) | Change::Binding(_, _, there)) =
            change;
        let known = match answer {
            Answer::Refused(Refusal::NotFound(..)) => Known::No,
            Answer::Refused(other) => panic!("{change:?}: {other:?}"),
            _ if there => Known::Yes,
            _ => Known::No,
        };
        self.definitions.note(change, known);
    }

    pub(super) fn define(&mut self, c: &mut Cluster, who: usize) {
        if self.definitions.busy || self.actors[who].asked.is_some() {
            return;
        }
        let (e, q) = (c.rng.below(EXCHANGES), c.rng.below(COMERS));
        let there = c.rng.below(3) > 0;
        let (x, comes) = (format!("x{e}"), format!("comes{q}"));
        let (change, command) = match (c.rng.below(4), there) {
            (0, true) => (Change::Exchange(e, there), durable(exchange(&x, "fanout", &[]))),
            (0, false) => (Change::Exchange(e, there), delete_exchange(&x)),
            (1, true) => (Change::Queue(q, there), durable(queue(&comes, &[]))),
            (1, false) => (Change::Queue(q, there), delete_queue(&comes)),
            (_, true) => (Change::Binding(e, q, there), bind(&comes, &x, "k")),
            (_, false) => (Change::Binding(e, q, there), unbind(&comes, &x, "k")),
        };
        self.definitions.busy = true;
        let before = match change {
            Change::Exchange(e, _) => self.definitions.exchanges[e],
            Change::Queue(q, _) => self.definitions.queues[q],
            Change::Binding(e, q, _) => self.definitions.bindings[e][q],
        };
        let already = matches!((before, there), (Known::Yes, true) | (Known::No, false));
        if !already {
            self.definitions.note(change, Known::Unsure);
        }
        self.ask(c, who, command, Asked::Definition(change));
    }
}
