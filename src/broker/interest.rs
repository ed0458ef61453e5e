//! Bindings of this shard's queues. The owner of the queue decides; the other shards are told only
//! that this shard has its first queue bound so, or its last no longer (and where an exchange picks
//! one queue among all, every binding).
//!
//! May import `binding`, `mail`, `calls`.

use super::Broker;
use super::binding::Bound;
use super::calls::Then;
use super::exchange::Destination;
use super::mail::{BindingSpec, CallId, Mail};
use crate::command::{Answer, Refusal};
use crate::ids::{ChannelRef, ExchangeId, QueueId, QueueRef};

const NOTHING_NEW: Bound = Bound { new: false, first_local: false };

impl Broker {
    /// Owner: binds a queue of this shard and answers when that is known and durable.
    pub(super) fn bind_queue(&mut self, at: ChannelRef, queue: QueueId, binding: BindingSpec) {
        let lasting = self.lasting_binding(queue, binding.exchange);
        let Some(call) = self.open_call(Then::Nothing) else { return };
        let then = match self.bind_within(queue, &binding, call) {
            Err(refusal) => Then::Answer { to: at, answer: Answer::Refused(refusal) },
            Ok(Bound { new, first_local: true }) => {
                let source = self.exchanges.get(&binding.exchange).map(|entry| entry.name.clone());
                let exchange = source.unwrap_or_else(|| self.no_name.clone());
                self.hold_binding(call, lasting);
                Then::Bound { to: at, queue, exchange, new, binding: Box::new(binding) }
            }
            Ok(Bound { new, first_local: false }) => {
                self.wait_for_earlier(call);
                self.hold_binding(call, lasting);
                Then::Answer { to: at, answer: Answer::Bound { new } }
            }
        };
        self.set_then(call, then);
        self.release(call, true);
    }

    /// Owner: binds a queue of this shard and tells the others, within the call, if it is the first
    /// bound so.
    pub(super) fn bind_within(
        &mut self,
        queue: QueueId,
        binding: &BindingSpec,
        call: CallId,
    ) -> Result<Bound, Refusal> {
        self.check_binding(binding.exchange, &binding.key, &binding.arguments)?;
        if self.node_counts().1 >= self.limits.bindings_max as u64 {
            let why = "binding limit (max_bindings) is reached";
            return Err(Refusal::LimitReached(why.into()));
        }
        let me = QueueRef { shard: self.shard, queue };
        let Some(queue_entry) = self.queues.get_mut(queue) else { return Ok(NOTHING_NEW) };
        let Some(entry) = self.exchanges.get_mut(&binding.exchange) else {
            return Ok(NOTHING_NEW);
        };
        self.revision += 1;
        entry.was_bound = true;
        let picks_one = entry.bindings.picks_one();
        let (key, arguments) = (&*binding.key, &binding.arguments);
        let (new, news) = if picks_one {
            let new = entry.bindings.bind_named(me, queue_entry.queue.name(), key, arguments);
            if self.limits.near_members_first {
                entry.bindings.set_near(me);
            }
            (new, new)
        } else {
            let bound = entry.bindings.bind_queue(queue, key, arguments);
            (bound.new, bound.first_local)
        };
        self.bindings += u64::from(new);
        if !queue_entry.bound_to.contains(&binding.exchange) {
            queue_entry.bound_to.push(binding.exchange);
        }
        let name: Option<Box<str>> = picks_one.then(|| queue_entry.queue.name().into());
        if new {
            self.log_binding(queue, binding, true);
        }
        if news {
            self.tell_interest(call, binding, name.as_deref().map(|name| (me, name)), true);
        }
        Ok(Bound { new, first_local: news })
    }

    fn tell_interest(
        &mut self,
        call: CallId,
        binding: &BindingSpec,
        named: Option<(QueueRef, &str)>,
        on: bool,
    ) {
        self.tell_others(call, |call| {
            let binding = Box::new(binding.clone());
            match named {
                None => Mail::Interest { binding, on, call },
                Some((queue, name)) => {
                    Mail::NamedInterest { binding, queue, name: name.into(), on, call }
                }
            }
        });
    }

    /// Owner: takes a binding back.
    pub(super) fn unbind_queue(&mut self, at: ChannelRef, queue: QueueId, binding: &BindingSpec) {
        let then = Then::Answer { to: at, answer: Answer::Done };
        let Some(call) = self.open_call(then) else { return };
        let lasting = self.lasting_binding(queue, binding.exchange);
        self.take_binding(queue, binding, call);
        self.wait_for_earlier(call);
        self.hold_binding(call, lasting);
        self.release(call, true);
    }

    /// Owner: takes a binding back and tells the others, within the call, if it was the last so.
    pub(super) fn take_binding(&mut self, queue: QueueId, binding: &BindingSpec, call: CallId) {
        let me = QueueRef { shard: self.shard, queue };
        let Some(entry) = self.exchanges.get_mut(&binding.exchange) else { return };
        self.revision += 1;
        let picks_one = entry.bindings.picks_one();
        let (key, arguments) = (&*binding.key, &binding.arguments);
        let (existed, news) = if picks_one {
            let existed = entry.bindings.unbind_named(me, key, arguments);
            (existed, existed)
        } else {
            let unbound = entry.bindings.unbind_queue(queue, key, arguments);
            (unbound.existed, unbound.last_local)
        };
        self.bindings = self.bindings.saturating_sub(u64::from(existed));
        let to = if picks_one { Destination::Named(me) } else { Destination::Queue(queue) };
        if existed
            && entry.bindings.bindings_of(to).next().is_none()
            && let Some(queue) = self.queues.get_mut(queue)
        {
            queue.bound_to.retain(|exchange| *exchange != binding.exchange);
        }
        if existed {
            self.log_binding(queue, binding, false);
        }
        if news {
            self.tell_interest(call, binding, picks_one.then_some((me, "")), false);
        }
        if existed {
            self.exchange_lost_binding(binding.exchange, Some(call));
        }
    }

    /// Owner: a binding that came too late, its exchange being gone.
    pub(super) fn forget_binding(&mut self, queue: QueueId, binding: &BindingSpec) {
        if let Some(call) = self.open_call(Then::Nothing) {
            self.take_binding(queue, binding, call);
            self.release(call, true);
        }
    }

    /// Owner: a queue goes with all its bindings.
    pub(super) fn unbind_all(&mut self, queue: QueueId, bound_to: &[ExchangeId], call: CallId) {
        let me = QueueRef { shard: self.shard, queue };
        self.revision += 1;
        for exchange in bound_to {
            let Some(entry) = self.exchanges.get_mut(exchange) else { continue };
            if entry.bindings.picks_one() {
                let gone = entry.bindings.remove_named(me);
                self.bindings = self.bindings.saturating_sub(gone as u64);
                let exchange = *exchange;
                self.tell_others(call, |call| Mail::NamedGone { exchange, queue: me, call });
            } else {
                let mut last = Vec::new();
                let gone = entry.bindings.remove_queue(queue, |key, arguments| {
                    let (key, arguments) = (key.into(), arguments.clone());
                    last.push(BindingSpec { exchange: *exchange, key, arguments });
                });
                self.bindings = self.bindings.saturating_sub(gone as u64);
                for binding in last {
                    self.tell_interest(call, &binding, None, false);
                }
            }
            self.exchange_lost_binding(*exchange, Some(call));
        }
    }
}
