//! A message for a session: straight to its connection, or into its queue until the subscriber has
//! said that it has it.
//!
//! May import `session`, `open`, and of the broker `deliver`, `connections`, `queue`.

use super::open::CHANNEL;
use super::session::SessionId;
use crate::broker::Broker;
use crate::broker::connections::window_bytes;
use crate::broker::deliver::SETTLED;
use crate::broker::queue::{Enqueued, More};
use crate::command::{Delivery, Event, Now};
use crate::ids::{ConnectionId, ConsumerKey, QueueId, QueueRef};
use crate::message::Message;
use crate::subscriber::group_of;

impl Broker {
    /// What its publisher does not want to be kept, or the subscriber does not, is not stored
    /// anywhere. Whether a subscriber gets a message is no concern of its publisher: it counts as
    /// stored whatever becomes of it.
    pub(in crate::broker) fn put_in_session(
        &mut self,
        (queue, id): (QueueId, SessionId),
        message: Message,
        now: Now,
    ) -> Enqueued {
        if group_of(message.exchange()).is_some() {
            return self.put_in_group((queue, id), message, now);
        }
        let Some(session) = self.sessions.get(id) else { return Enqueued::Stored };
        let stores = message.traits().persistent
            && session.subscriptions.store_it(&message, |message| self.topic_of(message));
        self.put_or_pass((queue, id), message, stores, now)
    }

    /// The same when it is known whether the subscriber wants it to be stored.
    pub(super) fn put_or_pass(
        &mut self,
        (queue, id): (QueueId, SessionId),
        message: Message,
        stores: bool,
        now: Now,
    ) -> Enqueued {
        if !stores || !message.traits().persistent {
            self.pass_on((queue, id), message);
            return Enqueued::Stored;
        }
        if self.has_place((queue, id), now) {
            self.store(queue, message, now)
        } else {
            self.sessions.dropped += 1;
            if let Some(entry) = self.queues.get_mut(queue) {
                entry.queue.turn_away(&message, now, &mut self.effects_now);
                self.queue_effects(queue);
            }
            Enqueued::Stored
        }
    }

    /// To the connection, if that takes it now.
    fn pass_on(&mut self, (queue, id): (QueueId, SessionId), message: Message) {
        let connection = self.sessions.get(id).and_then(|session| session.listener());
        let entry = connection.and_then(|connection| self.connections.get_mut(connection));
        let (Some(connection), Some(entry)) = (connection, entry.filter(|e| e.window.has_room()))
        else {
            self.sessions.dropped += 1;
            return;
        };
        entry.window.in_flight += window_bytes(&message);
        let delivery = Delivery {
            channel: CHANNEL,
            consumer: Some(ConsumerKey(0)),
            queue: QueueRef { shard: self.shard, queue },
            id: SETTLED,
            redelivered: false,
            delivery_count: None,
            position: 0,
            received: false,
            message,
        };
        self.tell(connection, Event::Delivery(delivery));
    }

    /// Whether one more message may wait; the oldest makes room if the session wants it so.
    fn has_place(&mut self, (queue, id): (QueueId, SessionId), now: Now) -> bool {
        let ready = |broker: &Self| broker.queues.get(queue).map_or(0, |e| e.queue.ready());
        let waiting = ready(self);
        let Some(session) = self.sessions.get_mut(id) else { return false };
        // At most as many are left of those as there are at all.
        session.waited = session.waited.min(waiting);
        let (limits, waited) = (session.limits, session.waited);
        let max = match session.connection {
            // None at all is none at all.
            Some(_) => limits.online_max.map(|max| if max > 0 { max + waited } else { 0 }),
            None => limits.offline_max,
        };
        let Some(max) = max else { return true };
        // What its subscriber can take at once does not wait.
        while ready(self) >= max && ready(self) > 0 && self.deliver_pass(queue, now) == More::Yes {}
        if ready(self) < max {
            return true;
        }
        let Some(entry) = self.queues.get_mut(queue) else { return false };
        let before = entry.queue.memory_bytes();
        entry.queue.on_time(now, &mut self.effects_now);
        let mut has_place = entry.queue.ready() < max;
        if !has_place && limits.drop_oldest && max > 0 {
            has_place = entry.queue.drop_oldest(now, &mut self.effects_now);
            self.sessions.dropped += u64::from(has_place);
        }
        self.memory.moved(before, entry.queue.memory_bytes());
        self.queue_effects(queue);
        has_place
    }

    /// How many more messages may wait for the subscriber of this connection; `None`: any number. One
    /// that lets none wait is told that there is room, and gets none.
    pub fn session_room(&self, connection: ConnectionId) -> Option<u64> {
        let session = self.session_of(connection).and_then(|id| self.sessions.get(id))?;
        let max = session.limits.online_max?.max(1);
        let entry = session.queue.and_then(|queue| self.queues.get(queue));
        let ready = entry.map_or(0, |entry| entry.queue.ready());
        Some(max.saturating_add(session.waited.min(ready)).saturating_sub(ready))
    }

    /// Messages that subscribers of this shard did not get since they were slow, away or had too
    /// many waiting.
    pub fn messages_dropped(&self) -> u64 {
        self.sessions.dropped
    }
}
