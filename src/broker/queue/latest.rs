//! The queue type `latest`: the last message of each topic. The broker makes such queues itself and
//! `broker::retained` decides what is in them; nobody declares, binds or consumes from one.
//!
//! What a queue is to a log and a disk such a one is, too: it has a definition, a place among the
//! shards and a store. Its rows of ready messages stay empty.
//! May import `arguments`, `priority` and the parts of [`QueueType`].

use super::arguments::{BadArgument, QUEUE_TYPE, Settings};
use super::priority::Scale;
use super::ready::ReturnOrder;
use super::store::Position;
use super::{Counts, Queue, QueueDefaults, QueueSpec, QueueType};

/// The type's name.
pub(crate) const NAME: &str = "latest";

/// What the names of such queues begin with: reserved names, so that no client can declare one.
pub(crate) const PREFIX: &str = "amq.retained.";

/// See the module.
pub(crate) const TYPE: QueueType = QueueType {
    name: NAME,
    check,
    scale,
    returns: ReturnOrder::Original,
    counts: Counts::Every,
    channel_limits: false,
    keeps_all: true,
    counts_as_queue: false,
    active_consumer_yields: false,
    of_session: false,
};

fn check(
    spec: &QueueSpec<'_>,
    _settings: &mut Settings,
    _defaults: &QueueDefaults,
) -> Result<(), BadArgument> {
    if spec.durable && spec.exclusive.is_none() && spec.name.starts_with(PREFIX) {
        return Ok(());
    }
    // As for a type that does not exist: for clients it does not.
    Err(BadArgument::new(QUEUE_TYPE, format!("there is no queue type '{NAME}'")))
}

const fn scale(_settings: &Settings) -> Scale {
    Scale { max: 0, default: 0 }
}

impl Queue {
    /// Whether it is such a queue.
    pub(crate) fn is_latest(&self) -> bool {
        self.kind().name == NAME
    }

    /// What was in it before a restart, as runs of positions in ascending order, `to` not included:
    /// from now on whoever took this knows.
    pub(crate) fn take_restored(&mut self) -> Vec<(Position, Position)> {
        let mut runs: Vec<_> = self.take_all().iter().map(|run| (run.from, run.to)).collect();
        runs.sort_unstable();
        runs
    }
}
