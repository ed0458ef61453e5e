//! The broker core of one shard (stub of the public calls; the real one replaces this file).

use crate::command::{Answer, Command, Event, Now, Outcome, Publish, Published, Refusal};
use crate::ids::{ChannelId, ConnectionId, ConnectionRef, DeliveryId, QueueRef};

/// The broker core of one shard.
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// The session has logged in and names its virtual host: checks that it exists, that the user
    /// may enter and that limits allow it. Everything else requires this first.
    ///
    /// # Errors
    /// `NotFound(Vhost)`, `VhostRefused`, `LimitReached`.
    pub fn enter(
        &mut self,
        _connection: ConnectionId,
        _identity: crate::auth::Identity,
        _vhost: &str,
    ) -> Result<(), Refusal> {
        Ok(())
    }

    /// Starts a command for a channel. `Some`: it is done. `None`: an [`Event::Answer`] for this
    /// channel follows; the session feeds that channel nothing until then.
    pub fn execute(
        &mut self,
        _connection: ConnectionId,
        _channel: ChannelId,
        _command: Command,
        _now: Now,
    ) -> Option<Answer> {
        None
    }

    /// Routes and stores one message.
    ///
    /// # Errors
    /// `NotFound(Exchange)`, `InternalExchange`, `AccessRefused`, `NoSuchReplyConsumer`.
    pub fn publish(
        &mut self,
        _connection: ConnectionId,
        _channel: ChannelId,
        _publish: &Publish<'_>,
        _now: Now,
    ) -> Result<Published, Refusal> {
        Ok(Published::Stored)
    }

    /// Whether this connection must hold its next publish back until [`Event::PublishResumed`].
    /// Asked before each publish; may start the waiting.
    pub fn publish_paused(&mut self, _connection: ConnectionId) -> bool {
        false
    }

    /// The alarm in force, for a session that announces it to its client.
    pub fn alarm(&self) -> Option<crate::command::AlarmReason> {
        None
    }

    /// Ends one delivery. `counted`: it went to a consumer (not fetched by `Get`), so it counts
    /// against a channel-wide limit.
    pub fn settle(
        &mut self,
        _connection: ConnectionId,
        _channel: ChannelId,
        _delivery: (QueueRef, DeliveryId),
        _outcome: Outcome,
        _counted: bool,
    ) {
    }

    /// Most deliveries that all consumers of this channel together may have unsettled; 0: no limit.
    /// In force at once, also for consumers that exist.
    pub fn limit_channel(&mut self, _connection: ConnectionId, _channel: ChannelId, _limit: u32) {}

    /// The channel stops (or goes on) taking deliveries, without losing its place.
    pub fn pause_channel(&mut self, _connection: ConnectionId, _channel: ChannelId, _pause: bool) {}

    /// Moves the events that wait for this connection.
    pub fn take_events(&mut self, _connection: ConnectionId, _into: &mut Vec<Event>) {}

    /// A connection's reference, for names.
    pub fn connection_ref(&self, _connection: ConnectionId) -> Option<ConnectionRef> {
        None
    }
}
