//! Dead messages that wait for space on the disk: to send them on is to publish, and nothing is
//! published while there is none (amqp.md S21). They lie where they died until then; a restart finds
//! them there and lets them die again.
//!
//! One per shard. May import `queue` and of the broker `storage`.

use std::collections::VecDeque;

use super::Broker;
use super::queue::Effect;
use crate::ids::{QueueId, VhostId};

/// Messages that wait, and their octets (arbitrary). More go on at once, into what the disk has left:
/// what a queue lets die is not kept in memory without end.
const MESSAGES_MAX: usize = 10_000;
const BYTES_MAX: usize = 64 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HeldDead {
    all: VecDeque<(QueueId, VhostId, Effect)>,
    bytes: usize,
}

impl Broker {
    /// Keeps a dead message while the disk has no room for it. What is to be carried out comes back.
    pub(super) fn hold_dead(
        &mut self,
        (queue, vhost): (QueueId, VhostId),
        effect: Effect,
    ) -> Option<Effect> {
        let Effect::DeadLetter(dead) = &effect else { return Some(effect) };
        let bytes = self.held_dead.bytes + dead.message.memory_bytes();
        let has_room = self.held_dead.all.len() < MESSAGES_MAX && bytes <= BYTES_MAX;
        if !has_room || !self.disk_is_full() {
            return Some(effect);
        }
        self.held_dead.bytes = bytes;
        self.held_dead.all.push_back((queue, vhost, effect));
        None
    }

    /// There is space again: they go on at the end of this turn.
    pub(super) fn release_dead(&mut self) {
        self.held_dead.bytes = 0;
        self.effects.append(&mut self.held_dead.all);
    }

    /// Those of a virtual host go with it.
    pub(super) fn forget_dead_of(&mut self, vhost: VhostId) {
        self.held_dead.all.retain(|(_, of, _)| *of != vhost);
    }
}
