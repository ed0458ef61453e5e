//! A publish that would reach nobody is asked once more when every shard has caught up with its
//! sockets: what another client sent first is seen first, though its connection lives on another
//! shard which has not had its core since, or on this one and is read later in the same turn.
//!
//! ```text
//!   publisher's shard: publish_waits ── Mail::CatchUp ──> every other shard (and itself)
//!   there: looks at its sockets, lets connections that have something to read go on
//!          ── subscriptions that this finds, then Mail::CaughtUp, in the same lane ──> back
//!   publisher's shard, when all have answered: PublishResumed, and the publish is routed
//! ```
//!
//! Nothing is stored meanwhile: the session holds its publish back and whatever its client said
//! after it. A shard has one round under way at most, which all who wait share; who comes later
//! shares the next. Only for publishers whose clients do not wait for the answer of whoever
//! subscribes; where they do, as in AMQP 0-9-1, there is nothing to catch up with.
//!
//! # Who is hidden by another subscriber
//!
//! A publish that reaches somebody does not ask, so whoever has sent a subscription on another shard and not
//! had its answer yet may miss it. Whoever was answered is never missed: the answer waits for all
//! shards. It stays so because what would have to be known lies in sockets that their shard has not
//! read, and nothing that a publisher's shard has says that there is any:
//! - a change of subscriptions a moment ago is no sign of another one to come (a subscriber that
//!   connects beside one that has been there for hours changes nothing before its own is read),
//!   and where there are many changes every publish would ask;
//! - that a connection is new is known on its shard alone; to tell all others of each is mail to every
//!   shard per connection, and says nothing of one that subscribes later;
//! - to ask always is a message to each shard and back for the first publish of every stream, and a
//!   look at all its sockets there: what a slow publisher, the commonest client there is, costs now.
//!
//! A publisher that must not be missed waits for the answer, as the specifications have it.
//!
//! May import `mail`, `post`, `route`, `connections`, `subscriber`.

use std::mem::take;

use ringmq_shards::TimerId;

use super::Broker;
use super::clockwork::Alarm;
use super::mail::Mail;
use crate::command::{Event, Now, Publish};
use crate::ids::{ConnectionId, ShardId};
use crate::limits::CATCH_UP_MS_MAX;
use crate::message::{Body, ProtocolTag, Traits};
use crate::subscriber::FILTERS;

/// Who has published this lately, in milliseconds, does not ask: the first message of a stream tells
/// for those after it, so a fast publisher without subscribers pays nothing.
const STREAM_MS: u64 = 1;

/// One per shard.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// The number of the last round.
    round: u64,
    /// Answers that the round under way waits for; 0: there is none.
    left: u32,
    /// When it is given up: a shard that has ended does not answer.
    timer: Option<TimerId>,
    /// Connections that wait for this round.
    waiting: Vec<ConnectionId>,
    /// Connections that wait for the next.
    next: Vec<ConnectionId>,
    /// Rounds that this shard has been asked to catch up for.
    asked: Vec<(ShardId, u64)>,
    /// Those that it is catching up for.
    looking: Vec<(ShardId, u64)>,
}

impl Broker {
    /// Whether this connection must hold its next publish to topics back until
    /// [`Event::PublishResumed`] since it would reach nobody (else): the next time it is asked for
    /// the same the answer is no.
    pub fn publish_waits(&mut self, connection: ConnectionId, topic: &str, now: Now) -> bool {
        let Some(entry) = self.connections.get_mut(connection) else { return false };
        let last_ms = entry.published_ms.replace(now.mono_ms);
        let is_stream = last_ms.is_some_and(|ms| now.mono_ms.saturating_sub(ms) <= STREAM_MS);
        if take(&mut entry.has_waited) || is_stream || !self.reaches_nobody(connection, topic) {
            return false;
        }
        if self.catch_up.left == 0 {
            self.catch_up.waiting.push(connection);
            self.start_round(now);
        } else {
            self.catch_up.next.push(connection);
        }
        true
    }

    /// As far as this shard knows. The route is kept for the publish itself.
    fn reaches_nobody(&mut self, connection: ConnectionId, topic: &str) -> bool {
        let Some(entry) = self.connections.get_mut(connection) else { return false };
        let mut cache = entry.route.take().unwrap_or_default();
        let session = entry.session;
        let mut is_found = cache.fits(FILTERS, topic, self.revision);
        if !is_found && let Some(entered) = entry.entered.clone() {
            cache.forget();
            self.asks_only = true;
            is_found = matches!(self.find_route(&entered, &to_topic(topic), &mut cache), Ok(None));
            self.asks_only = false;
        }
        let only = cache.route.only_queue();
        let is_own = only
            .zip(session)
            .is_some_and(|((queue, _), session)| self.sessions.is_deaf_to_itself(session, queue));
        let nobody = is_found && (cache.route.is_nowhere() || is_own);
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.route = Some(cache);
        }
        nobody
    }

    fn start_round(&mut self, now: Now) {
        let round = self.catch_up.round.wrapping_add(1);
        self.catch_up.round = round;
        self.catch_up.left = u32::from(self.placement.shards());
        let deadline_ms = now.mono_ms.saturating_add(CATCH_UP_MS_MAX);
        self.catch_up.timer = Some(self.timers.insert(deadline_ms, Alarm::CatchUp));
        for shard in self.post.others() {
            self.post.send(shard, Mail::CatchUp { round });
        }
        self.catch_up.asked.push((self.shard, round));
    }

    /// A shard, perhaps this one, wants to know when this one has caught up.
    pub(super) fn asked_to_catch_up(&mut self, from: ShardId, round: u64) {
        self.catch_up.asked.push((from, round));
    }

    /// Whether the loop is to look at its sockets and then to say [`Broker::caught_up`].
    pub fn must_catch_up(&self) -> bool {
        !self.catch_up.asked.is_empty()
    }

    /// The look begins: who asks from now on is answered after the next. False: there is no need.
    pub fn begin_catching_up(&mut self) -> bool {
        self.catch_up.looking.append(&mut self.catch_up.asked);
        !self.catch_up.looking.is_empty()
    }

    /// Whatever sockets of this shard had received when [`Broker::begin_catching_up`] was called has
    /// been dealt with.
    pub fn caught_up(&mut self, now: Now) {
        let mut looking = take(&mut self.catch_up.looking);
        for (shard, round) in looking.drain(..) {
            if shard == self.shard {
                self.shard_caught_up(round, now);
            } else {
                self.post.send(shard, Mail::CaughtUp { round });
            }
        }
        // Nobody has begun another look meanwhile: this one's room is kept.
        self.catch_up.looking = looking;
    }

    /// What a shard has said before this answer is known here.
    pub(super) fn shard_caught_up(&mut self, round: u64, now: Now) {
        if round != self.catch_up.round || self.catch_up.left == 0 {
            // Of a round that was given up.
            return;
        }
        self.catch_up.left = self.catch_up.left.saturating_sub(1);
        if self.catch_up.left == 0 {
            self.end_round(now);
        }
    }

    /// The round has lasted too long: a shard has ended, or has been without its core all the time.
    pub(super) fn give_up_round(&mut self, now: Now) {
        if self.catch_up.left > 0 {
            let shards = self.catch_up.left;
            tracing::debug!(shards, "shards have not caught up with their sockets in time");
            self.catch_up.left = 0;
            self.end_round(now);
        }
    }

    fn end_round(&mut self, now: Now) {
        if let Some(timer) = self.catch_up.timer.take() {
            self.timers.cancel(timer);
        }
        let mut waiting = take(&mut self.catch_up.waiting);
        for connection in waiting.drain(..) {
            if let Some(entry) = self.connections.get_mut(connection) {
                entry.has_waited = true;
                self.tell(connection, Event::PublishResumed);
            }
        }
        self.catch_up.waiting = std::mem::replace(&mut self.catch_up.next, waiting);
        if !self.catch_up.waiting.is_empty() {
            self.start_round(now);
        }
    }
}

/// A publish to a topic of which nothing else is known yet.
fn to_topic(topic: &str) -> Publish<'_> {
    Publish {
        exchange: FILTERS,
        routing_key: topic,
        extra_keys: &[],
        hidden_keys: &[],
        mandatory: false,
        traits: Traits {
            protocol: ProtocolTag(0),
            persistent: false,
            priority: None,
            expiration_ms: None,
        },
        properties: &[],
        body: Body::Slice(&[]),
        seq: None,
        once: None,
    }
}
