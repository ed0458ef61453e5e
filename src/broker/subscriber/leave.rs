//! What a member of groups leaves behind: its session has ended, and message by message what waits
//! for it goes to others of the group, also what lies in segments. Until a message is safe where it
//! goes it lies here, so a crash finds it in one place at least; its queue goes with the last one.
//!
//! ```text
//!   end_session ──> leaving (nobody finds it by its name any more) ──> hand_on, some per turn
//!                                                                        │ none left, none moving
//!                                                                        └──> deleted
//! ```
//!
//! May import `session`, `groups`, `keep`, and of the broker `clockwork`, `publish`.

use super::keep::LEAVING;
use super::session::Session;
use crate::broker::Broker;
use crate::broker::calls::Then;
use crate::broker::clockwork::Alarm;
use crate::broker::mail::CallId;
use crate::broker::pending::Report;
use crate::broker::queue::Oldest;
use crate::broker::queue::store::Position;
use crate::command::Now;
use crate::ids::QueueId;
use crate::message::Message;
use crate::subscriber::{Assurance, GROUPS, group_of};
use crate::value::{Table, Value};

/// Messages of a queue that go on in one turn.
const PER_TURN: usize = 256;
/// Messages of a queue that are on their way to other shards at once.
const MOVING_MAX: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::broker) struct Leaving {
    /// Addresses of its groups whose messages were to come exactly once: what was out ends with its
    /// session (mqtt.md 2.5, 4.8.2-5).
    once: Vec<Box<str>>,
    moving: usize,
}

impl Leaving {
    fn of(session: &Session) -> Self {
        let once = session.subscriptions.groups();
        let once = once.filter(|(_, options)| options.assurance == Assurance::ExactlyOnce);
        Self { once: once.map(|(address, _)| address.into()).collect(), moving: 0 }
    }

    /// What the arguments of its queue say; `None`: it is a session's.
    pub(super) fn read(arguments: &Table) -> Option<Self> {
        let Value::Array(once) = arguments.get(LEAVING)? else { return Some(Self::default()) };
        let once = once.iter().filter_map(Value::as_text).map(Into::into);
        Some(Self { once: once.collect(), moving: 0 })
    }

    fn argument(&self) -> Value {
        Value::Array(self.once.iter().map(|address| Value::text(address)).collect())
    }
}

impl Broker {
    /// A session has ended. True: its queue stays for as long as it has something for others.
    pub(super) fn leave_groups(&mut self, gone: &Session, call: CallId) -> bool {
        let Some(queue) = gone.queue.filter(|_| gone.subscriptions.has_groups()) else {
            return false;
        };
        let Some(entry) = self.queues.get_mut(queue).filter(|entry| entry.queue.ready() > 0) else {
            return false;
        };
        let leaving = Leaving::of(gone);
        let mut arguments = entry.queue.arguments().clone();
        arguments.set(LEAVING, leaving.argument());
        entry.queue.set_arguments(arguments);
        (entry.session, entry.leaving) = (None, Some(Box::new(leaving)));
        // The client may begin its next session at once, under the same name.
        if let Some(names) = self.vhosts.get_mut(gone.vhost.0 as usize) {
            names.queues.remove(&gone.name);
        }
        self.revision += 1;
        self.log_queue(queue);
        for subscription in gone.subscriptions.to_vec() {
            let options = super::session::Options::of(&subscription);
            if let Ok(binding) = self.filter_binding(gone.vhost, &subscription.name, options) {
                self.take_binding(queue, &binding, call);
            }
        }
        self.mark_dirty(queue);
        true
    }

    /// Some of what is left goes on; called in each turn in which there is a reason to.
    pub(in crate::broker) fn hand_on(&mut self, id: QueueId, now: Now) {
        for _ in 0..PER_TURN {
            let Some(entry) = self.queues.get_mut(id) else { return };
            if entry.leaving.as_ref().is_none_or(|leaving| leaving.moving >= MOVING_MAX) {
                return;
            }
            let before = entry.queue.memory_bytes();
            let oldest = entry.queue.take_oldest(now, &mut self.effects_now);
            self.memory.moved(before, entry.queue.memory_bytes());
            self.queue_effects(id);
            match oldest {
                Oldest::Message { at, message, was_out } => {
                    self.move_on((id, at), message, was_out, now);
                }
                Oldest::Later => return,
                Oldest::None => return self.end_leaving(id),
            }
        }
        // Others have their turn first.
        if let Some(entry) = self.queues.get_mut(id) {
            entry.timer_ms = Some(now.mono_ms);
            self.timers.insert(now.mono_ms, Alarm::Queue(id));
        }
    }

    fn move_on(
        &mut self,
        (id, at): (QueueId, Position),
        message: Message,
        was_out: bool,
        now: Now,
    ) {
        let Some(entry) = self.queues.get_mut(id) else { return };
        let Some(leaving) = &mut entry.leaving else { return };
        leaving.moving += 1;
        let address = message.exchange();
        let ends = was_out && leaving.once.iter().any(|once| **once == *address);
        let vhost = entry.vhost;
        let groups = self.exchange_id(vhost, GROUPS);
        let groups = groups.filter(|_| !ends && group_of(address).is_some());
        let wanted = groups.and_then(|_| self.await_stored(Report::Moved { queue: id, at }));
        if let Some(groups) = groups {
            let _ = self.pick_another((groups, id), message, wanted, now);
        }
        match wanted {
            // What is stored on this shard stands before the settlement in its log.
            Some(wanted) => self.stored(wanted, true, true),
            None => self.moved(id, at),
        }
    }

    /// A message is safe with another member, or nobody is there for it.
    pub(in crate::broker) fn moved(&mut self, id: QueueId, at: Position) {
        self.gone_on(id, at);
        let Some(entry) = self.queues.get_mut(id) else { return };
        let Some(leaving) = &mut entry.leaving else { return };
        leaving.moving = leaving.moving.saturating_sub(1);
        let (moving, is_empty) = (leaving.moving, entry.queue.ready() == 0);
        if moving == MOVING_MAX / 2 || (is_empty && moving == 0) {
            self.mark_dirty(id);
        }
    }

    fn end_leaving(&mut self, id: QueueId) {
        let moves = self.queues.get(id).and_then(|entry| entry.leaving.as_ref());
        if moves.is_some_and(|leaving| leaving.moving > 0) {
            return;
        }
        if let Some(call) = self.open_call(Then::Nothing) {
            self.delete_queue(id, call, None);
            self.release(call, true);
        }
    }
}
