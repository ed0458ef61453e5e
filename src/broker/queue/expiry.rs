//! What time does to a queue: its messages expire at the head, and it goes itself when unused.
//!
//! May import the queue's parts, `command::Now` and `message`.

use super::ready::Front;
use super::store::{Kept, Read};
use super::{Effect, Queue, WhyDeleted};
use crate::command::Now;
use crate::message::DeathReason;

/// Messages that expire in one call; the rest waits for the next turn.
const EXPIRE_BUDGET: usize = 1_000;

impl Queue {
    /// When [`Queue::on_time`] has something to do, monotonic milliseconds. A head that has to be
    /// read first has no time yet: ask again after [`Queue::loaded`].
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let head = self
            .timed
            .then(|| {
                let heads = self.ready.heads().filter(|front| self.may_expire(*front));
                heads.filter_map(|f| self.deadline(&self.store.read(f.position).here()?)).min()
            })
            .flatten();
        match (head, self.unused_deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.unused_deadline().is_some_and(|at| at <= now.mono_ms) {
            self.ask_to_delete(WhyDeleted::Unused, effects);
            return;
        }
        self.expire_heads(now, effects);
    }

    /// Somebody declared it again or fetched from it: it is in use (P40).
    pub(crate) fn touch(&mut self, now: Now) {
        self.used_ms = now.mono_ms;
    }

    pub(super) fn expire_heads(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !self.timed {
            return;
        }
        for _ in 0..EXPIRE_BUDGET {
            let heads = self.ready.heads().filter(|front| self.may_expire(*front));
            let due = { heads }.find_map(|front| match self.store.read(front.position) {
                Read::Here(kept) => {
                    (self.deadline(&kept)? <= now.mono_ms).then_some((front, Some(kept)))
                }
                Read::Gone => Some((front, None)),
                Read::Later => None,
            });
            match due {
                Some((front, Some(kept))) => {
                    self.kill_ready(front, &kept.message, DeathReason::Expired, now, effects);
                }
                Some((front, None)) => self.forget_unreadable(front, effects),
                None => return,
            }
        }
    }

    /// A session's message that was out was perhaps received, and its subscriber is owed the end of
    /// that, however long it takes.
    pub(super) fn may_expire(&self, front: Front) -> bool {
        !self.kind.of_session || (front.returned.is_none() && !self.earlier.was_out(front.position))
    }

    /// The shorter of the message's own time and the queue's, from its arrival here (P55).
    pub(super) fn deadline(&self, kept: &Kept) -> Option<u64> {
        let own = kept.message.traits().expiration_ms;
        let ttl_ms = match (own, self.settings.message_ttl_ms) {
            (Some(a), Some(b)) => a.min(b),
            (a, b) => a.or(b)?,
        };
        Some(kept.arrived_ms.saturating_add(ttl_ms))
    }

    fn unused_deadline(&self) -> Option<u64> {
        if self.consumers.count() > 0 || self.delete_asked {
            return None;
        }
        Some(self.used_ms.saturating_add(self.settings.expires_ms?))
    }

    pub(super) fn ask_to_delete(&mut self, why: WhyDeleted, effects: &mut Vec<Effect>) {
        if !self.delete_asked {
            self.delete_asked = true;
            effects.push(Effect::Delete(why));
        }
    }
}
