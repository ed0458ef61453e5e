//! What a subscriber may do with topics: worked out when its client is known, asked for each message
//! and filter, and worked out anew when the users have changed.
//!
//! May import `auth` and of the broker `connections`.

use std::rc::Rc;

use super::Broker;
use super::connections::Entered;
use super::mail::Mail;
use crate::auth::{self, Access, Resource, TopicRights, Users};
use crate::command::{Entity, Event, Now, Refusal};
use crate::ids::{ChannelRef, ConnectionId, ConnectionRef, QueueRef};
use crate::subscriber::FILTERS;

/// The type of exchanges whose keys are topics to topic permissions.
const TOPIC: &str = "topic";

impl Broker {
    /// The connection opens the session of this client.
    pub(super) fn know_client(&mut self, connection: ConnectionId, client: &str) {
        if let Some(entered) = self.entered_mut(connection) {
            let rights = TopicRights::of(&entered.identity, &entered.vhost_name, client);
            entered.topics = Some(Rc::new(rights));
        }
    }

    fn entered_mut(&mut self, connection: ConnectionId) -> Option<&mut Entered> {
        self.connections.get_mut(connection)?.entered.as_mut()
    }

    /// What the connection's client may do, for what outlives the connection. `None`: it has
    /// opened no session.
    pub fn topic_rights(&self, connection: ConnectionId) -> Option<&Rc<TopicRights>> {
        self.connections.get(connection)?.entered.as_ref()?.topics.as_ref()
    }

    /// Whether the connection's client may publish to this topic, itself or by its will. The one
    /// place where a topic meets permissions (mqtt.md I-10, X-13). A connection without a session
    /// has no client: its user's permission for the exchange decides.
    ///
    /// # Errors
    /// `AccessRefused`.
    pub fn permit_topic(&self, connection: ConnectionId, topic: &str) -> Result<(), Refusal> {
        let Some(rights) = self.topic_rights(connection) else {
            return self.permit_filters(connection, Access::Write);
        };
        rights.allows_publish(topic).then_some(()).ok_or_else(|| refused(Access::Write))
    }

    /// Whether the connection's client may subscribe to this filter, or read retained messages by
    /// it. The one place where a filter meets permissions; each filter of a command has an answer
    /// of its own. What is denied of a filter that is allowed is kept back message by message:
    /// [`Self::denies_topic`].
    ///
    /// # Errors
    /// As [`Self::permit_topic`]; `Denied`.
    pub fn permit_filter(&self, connection: ConnectionId, filter: &str) -> Result<(), Refusal> {
        let Some(rights) = self.topic_rights(connection) else {
            return self.permit_filters(connection, Access::Read);
        };
        if rights.refuses(filter) {
            return Err(Refusal::Denied);
        }
        rights.allows_subscribe(filter).then_some(()).ok_or_else(|| refused(Access::Read))
    }

    /// The same for a member of a group. Nothing of what a filter matches may be denied: a message
    /// that is kept back from one member would be lost to the others.
    ///
    /// # Errors
    /// As [`Self::permit_filter`].
    pub fn permit_member(&self, connection: ConnectionId, filter: &str) -> Result<(), Refusal> {
        self.permit_filter(connection, filter)?;
        let rights = self.topic_rights(connection);
        let is_allowed = rights.is_none_or(|rights| rights.allows_member(filter));
        if is_allowed { Ok(()) } else { Err(Refusal::Denied) }
    }

    /// Whether messages of this topic are kept back from the connection's client, though one of its
    /// filters matches.
    #[inline]
    pub fn denies_topic(&self, connection: ConnectionId, topic: &str) -> bool {
        self.topic_rights(connection).is_some_and(|rights| rights.keeps_back(topic))
    }

    /// Whether the connection may publish to this queue by its name: who has been given the queue as a
    /// topic needs the right on the queue as well (mqtt.md X-07).
    ///
    /// # Errors
    /// `AccessRefused`.
    pub fn permit_queue(&self, connection: ConnectionId, queue: &str) -> Result<(), Refusal> {
        let entered = self.connections.get(connection).and_then(|c| c.entered.as_ref());
        let entered = entered.ok_or_else(|| refused(Access::Write))?;
        self.permit(entered, Access::Write, Entity::Queue, queue)
    }

    /// Whether somebody may publish to an exchange with these keys, or bind to it by them. Only those of
    /// topics ask. Topics of a client with a session are asked for one by one: [`Self::permit_topic`].
    pub(super) fn permit_keys<'a>(
        &self,
        entered: &Entered,
        access: Access,
        exchange: &str,
        keys: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Refusal> {
        let id = self.exchange_id(entered.vhost, exchange);
        // One that is not known here may be one.
        let kind = id.and_then(|id| self.exchanges.get(&id)).map_or(TOPIC, |entry| entry.kind);
        if kind != TOPIC && (exchange != FILTERS || entered.topics.is_some()) {
            return Ok(());
        }
        let vhost = &*entered.vhost_name;
        for key in keys {
            let resource = Resource::Key { vhost, exchange, key };
            auth::authorise(&entered.identity, access, resource).map_err(|_| {
                let (exchange, key) = (exchange.into(), key.into());
                Refusal::KeyRefused { access: access.name(), exchange, key }
            })?;
        }
        Ok(())
    }

    fn permit_filters(&self, connection: ConnectionId, access: Access) -> Result<(), Refusal> {
        let entered = self.connections.get(connection).and_then(|c| c.entered.as_ref());
        let entered = entered.ok_or_else(|| refused(access))?;
        self.permit(entered, access, Entity::Exchange, FILTERS)
    }

    /// There is a new snapshot of users: every connection has the rights that it gives, and that of
    /// a user who is gone is closed. What was consumed or subscribed to by a right that is gone ends;
    /// of changes of an ACL file VerneMQ lets subscriptions be (mqtt.md V-225), but a right that is
    /// taken away has to be of no use soon (issue 5).
    pub fn renew_users(&mut self, users: &Users, now: Now) {
        // Routes that are kept stand for a permission as well.
        self.revision += 1;
        let all: Vec<ConnectionId> = self.connections.iter().map(|(id, _)| id).collect();
        for connection in all {
            let Some(entered) = self.entered_mut(connection) else { continue };
            let name: Box<str> = entered.identity.name().into();
            match users.renew(&entered.identity) {
                Some(identity) => {
                    let topics = entered.topics.as_ref().map(|old| {
                        Rc::new(TopicRights::of(&identity, &entered.vhost_name, old.client()))
                    });
                    (entered.identity, entered.topics) = (identity, topics);
                    self.review_will(connection);
                    self.review_consumers(connection, now);
                    self.review_subscriptions(connection);
                }
                None => {
                    self.forget_will(connection);
                    let reason = format!("user '{name}' is deleted").into();
                    self.tell(connection, Event::Close { reason });
                }
            }
        }
    }
}

impl Broker {
    /// Consumers end whose user may not read their queue any more. Whoever has a session and may not be
    /// in the virtual host at all is closed: its filters would go on matching.
    fn review_consumers(&mut self, connection: ConnectionId, now: Now) {
        let Some(entry) = self.connections.get(connection) else { return };
        let Some(entered) = entry.entered.clone() else { return };
        let vhost = &entered.vhost_name;
        if entry.session.is_some() && auth::enter(&entered.identity, vhost).is_err() {
            let reason = format!("access to vhost '{vhost}' is revoked").into();
            self.tell(connection, Event::Close { reason });
            return;
        }
        for (channel, consumer, queue) in entry.consumers() {
            if self.permit(&entered, Access::Read, Entity::Queue, &queue).is_ok() {
                continue;
            }
            let home = ConnectionRef { shard: self.shard, connection };
            let at = ChannelRef { connection: home, channel };
            let QueueRef { shard, queue } = consumer.queue;
            let consumer = consumer.consumer;
            if shard == self.shard {
                self.revoke(at, queue, consumer, now);
            } else {
                self.post.send(shard, Mail::Revoked { at, queue, consumer });
            }
        }
    }
}

/// Whether there may be a topic that the client of a session may publish to.
pub(super) fn may_publish(entered: &Entered) -> bool {
    entered.topics.as_ref().is_some_and(|topics| topics.may_publish())
}

fn refused(access: Access) -> Refusal {
    Refusal::AccessRefused { access: access.name(), entity: Entity::Exchange, name: FILTERS.into() }
}
