//! Where services meet subscribers: what is published to topics by words between dots reaches
//! filters by words between slashes, and the other way round (mqtt.md ).
//!
//! The two exchanges of a virtual host know each other; a walk that comes by one of them goes on at
//! the other under the translated key, if anything is bound there. May import `properties` and the
//! broker's parts.

use std::rc::Rc;

use super::Broker;
use super::mail::Reported;
use super::pending::Report;
use super::publish::more_keys;
use super::queue::dead_letter::DeadLetterTarget;
use super::retained::is_topic;
use super::route::RouteCache;
use crate::command::{Now, Publish, Published, Refusal};
use crate::ids::{ChannelId, ConnectionId, ExchangeId, VhostId};
use crate::message::{Message, PropertyReader};
use crate::properties::{Crossing, Dots, TOPICS, key_of_topic, topic_of_key};
use crate::subscriber::{FILTERS, GROUPS, Keep};

/// Longest key that clients of exchanges can be shown (mqtt.md X-03).
pub(super) const KEY_BYTES_MAX: usize = 255;

/// The other exchange, and what a key is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meeting {
    pub(super) with: ExchangeId,
    pub(super) there: There,
}

/// What keys are at the other exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// Words between slashes; a message may name its topic itself.
    Topics,
    /// Words between dots.
    Keys,
}

/// The topic that a message names itself, if it is one (mqtt.md X-04).
pub(super) fn own_topic(reader: Option<PropertyReader>, properties: &[u8]) -> Option<Box<str>> {
    (reader?.topic)(properties).filter(|topic| is_topic(topic))
}

/// The key that a topic is for those who bind by keys; `None`: they are not shown it.
pub(super) fn shown_key(topic: &str, crossing: Crossing) -> Option<String> {
    // Wildcards of keys know no exception: `#` would show everybody what only those are to see who
    // name it (mqtt.md X-05).
    let is_hidden = topic.starts_with('$') && !crossing.dollar_topics;
    if is_hidden || topic.len() > KEY_BYTES_MAX {
        return None;
    }
    Some(key_of_topic(topic, crossing.dots)).filter(|key| key.len() <= KEY_BYTES_MAX)
}

impl Broker {
    /// The two exchanges of a virtual host are both there.
    pub(super) fn introduce(&mut self, vhost: VhostId) {
        let id = |name: &str| self.exchange_id(vhost, name);
        let (Some(topics), Some(filters)) = (id(TOPICS), id(FILTERS)) else { return };
        let groups = id(GROUPS);
        if let Some(entry) = self.exchanges.get_mut(&topics) {
            entry.meeting = Some(Meeting { with: filters, there: There::Topics });
        }
        if let Some(entry) = self.exchanges.get_mut(&filters) {
            entry.meeting = Some(Meeting { with: topics, there: There::Keys });
            entry.groups = groups;
        }
    }

    /// The name of a connection's user, where messages are to say it (mqtt.md X-12); else nothing.
    #[inline]
    pub fn shown_user(&self, connection: ConnectionId) -> &str {
        if !self.crossing.shows_origin {
            return "";
        }
        let entered = self.connections.get(connection).and_then(|c| c.entered.as_ref());
        entered.and_then(|entered| entered.identity.login_name()).unwrap_or_default()
    }

    /// Whether the disk has room for what is published.
    pub fn has_space(&self) -> bool {
        self.check_storage().is_ok()
    }

    /// Topics become keys and keys topics so.
    pub fn dots(&self) -> Dots {
        self.crossing.dots
    }

    /// Where sessions send what they have no room for and what expires in them, and under which key if
    /// not its own (mqtt.md X-15). To be said before there is any.
    pub fn set_session_dead_letter(&mut self, exchange: &str, routing_key: Option<&str>) {
        self.queue_defaults.session_dead_letter = Some(DeadLetterTarget {
            exchange: exchange.into(),
            routing_key: routing_key.map(Into::into),
        });
    }

    /// How messages cross.
    pub fn crossing(&self) -> Crossing {
        self.crossing
    }

    /// To be said before anything is published.
    pub fn set_crossing(&mut self, crossing: Crossing) {
        self.crossing = crossing;
    }

    fn translated_topic(&self, topic: &str) -> Option<String> {
        shown_key(topic, self.crossing)
    }

    /// The key as it is spelled at the other exchange; `None`: it does not exist there.
    pub(super) fn translate(&self, there: There, key: &str) -> Option<String> {
        match there {
            There::Topics => topic_of_key(key, self.crossing.dots),
            There::Keys => self.translated_topic(key),
        }
    }

    /// What a message is called among subscribers.
    pub(super) fn topic_of(&self, message: &Message) -> Option<String> {
        let own = own_topic(self.reader_of(message), message.properties());
        own.map_or_else(
            || topic_of_key(message.routing_key(), self.crossing.dots),
            |own| Some(own.into()),
        )
    }

    /// Publishes what becomes the retained message of this topic as well, whatever its key and exchange
    /// are, or, without a body, takes that away; stored means both, and what is kept counts as taken (mqtt.md X-11). Topics
    /// of the server's own are not retained.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub fn publish_retained(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        publish: &Publish<'_>,
        topic: &str,
        now: Now,
    ) -> Result<Published, Refusal> {
        let entered = self.connections.get(connection).and_then(|c| c.entered.clone());
        let keeps = is_topic(topic) && !topic.starts_with('$');
        let Some(entered) = entered.filter(|_| keeps) else {
            return self.publish(connection, channel, publish, now);
        };
        self.check_storage()?;
        let mut cache = RouteCache::default();
        if self.find_route(&entered, publish, &mut cache)?.is_some() {
            // It goes another way: no topic has it now.
            return self.publish(connection, channel, publish, now);
        }
        let route = &cache.route;
        let message = self.make_message(route, publish, now);
        let kept = message.as_ref().and_then(|m| m.readdressed(Rc::from(FILTERS), topic));
        let (Some(message), Some(kept)) = (message, kept) else { return Ok(Published::Overflowed) };
        let report = publish.seq.map(|seq| Reported { connection, channel, seq });
        let wanted = report.and_then(|report| self.await_stored(Report::Publisher(report)));
        self.follow_far(route, &message, more_keys(publish).as_deref(), None, wanted);
        let mut put = self.retain(entered.vhost, Keep::IfRoom, &kept, wanted, now);
        put = put.and(self.follow_groups(route, &message, wanted, now));
        for queue in &route.queues {
            put = put.and(self.enqueue(*queue, message.clone(), now));
        }
        let Some(pending) = wanted else { return Ok(Published::Stored) };
        self.stored_as(pending, put);
        Ok(Published::Pending)
    }
}
