//! Messages that a session's client publishes to come exactly once, on their way to where they are
//! kept: see `storage::origin`.
//!
//! ```text
//!   publish, number n ──> here and on other shards ──> all have stored it ──> n is held ──> durable: the client hears
//!                          \ the client goes, or its session gets another connection: all goes on without it
//! ```
//!
//! Whoever publishes a number that is on its way joins that: one message, one answer.
//!
//! May import `session`, and of the broker `mail`, `pending`, `storage`.

use std::collections::{BTreeSet, VecDeque};

use ringmq_shards::log::ids::BOOT_SHIFT;

use super::session::SessionId;
use crate::broker::Broker;
use crate::broker::mail::{Mail, Reported};
use crate::broker::pending::Report;
use crate::broker::queue::store::Safe;
use crate::broker::storage::origin::{Line, Origin};
use crate::broker::storage::waits::{Put, Waiter, later};
use crate::command::{Event, Once, Publish, Published, Refusal};
use crate::ids::{ChannelId, ConnectionId, QueueId, ShardId};
use crate::message::Message;
use crate::subscriber::group_of;

/// A use of a number of a session of this shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct Use {
    session: SessionId,
    number: u16,
    used: u64,
}

/// One per shard.
#[derive(Debug, Default)]
pub(in crate::broker) struct Onces {
    /// Whose the message is that is being routed, if it is to come exactly once and its session lasts.
    origin: Option<Origin>,
    /// Of a client of this shard.
    current: Option<Use>,
    /// When the current one is safe on this shard, if it has come nowhere else.
    safe: Option<Safe>,
    /// Uses so far in this boot.
    count: u64,
    /// Those whose end is not logged.
    open: BTreeSet<u64>,
}

/// A message of a session on its way.
#[derive(Debug)]
struct OnItsWay {
    number: u16,
    used: u64,
    /// Who is told.
    waits: Option<Reported>,
    /// It has arrived, when nobody waited and the client had been told what its session holds.
    is_held: bool,
}

/// Those of one session, oldest first.
#[derive(Debug, Default)]
pub(in crate::broker) struct OnTheirWay {
    all: VecDeque<OnItsWay>,
    /// Those that nobody waits for.
    left: usize,
}

/// What becomes of a publish that may be one again.
enum Joined {
    /// It is none.
    New,
    /// It is under way.
    Waits,
    /// It has arrived.
    Held,
}

impl OnTheirWay {
    fn join(&mut self, number: u16, waits: Option<Reported>) -> Joined {
        if self.left == 0 {
            return Joined::New;
        }
        let mut known = self.all.iter().enumerate();
        let known = known.find(|(_, known)| known.number == number && known.waits.is_none());
        let Some((place, known)) = known else { return Joined::New };
        self.left -= 1;
        if known.is_held {
            self.all.remove(place);
            return Joined::Held;
        }
        if let Some(known) = self.all.get_mut(place) {
            known.waits = waits;
        }
        Joined::Waits
    }

    fn add(&mut self, number: u16, used: u64, waits: Option<Reported>) {
        self.left += usize::from(waits.is_none());
        self.all.push_back(OnItsWay { number, used, waits, is_held: false });
    }

    fn place(&self, used: u64) -> Option<usize> {
        self.all.iter().position(|known| known.used == used)
    }

    /// It is there, or was refused. With `keep` somebody may ask for it yet.
    fn end(&mut self, used: u64, keep: bool) -> Option<Reported> {
        let place = self.place(used)?;
        let known = self.all.get_mut(place)?;
        if known.waits.is_none() {
            known.is_held = keep;
            if keep {
                return None;
            }
            self.left = self.left.saturating_sub(1);
        }
        self.all.remove(place)?.waits
    }

    /// The connection is gone.
    pub(super) fn leave(&mut self) {
        self.all.retain(|known| !known.is_held);
        self.all.iter_mut().for_each(|known| known.waits = None);
        self.left = self.all.len();
    }

    /// Whether a number that is held may not be durable yet.
    pub(super) fn has(&self, number: u16) -> bool {
        self.all.iter().any(|known| known.number == number)
    }
}

impl Broker {
    /// Publishes what is to come exactly once by way of `go`.
    pub(in crate::broker) fn publish_exactly(
        &mut self,
        (connection, channel): (ConnectionId, ChannelId),
        publish: &Publish<'_>,
        go: impl FnOnce(&mut Self) -> Result<Published, Refusal>,
    ) -> Result<Published, Refusal> {
        let found = self.session_of(connection).and_then(|id| Some((id, self.sessions.get(id)?)));
        let lasting = found.filter(|(_, session)| session.durable);
        let lasting = lasting.and_then(|(id, session)| Some((id, session.queue?)));
        // Another session ends with its connection, which remembers by itself.
        let (Some((session, queue)), Some(once)) = (lasting, publish.once) else {
            return go(self);
        };
        let waits = publish.seq.map(|seq| Reported { connection, channel, seq });
        let all = self.sessions.get_mut(session).map(|session| session.on_their_way());
        match all.map_or(Joined::New, |all| all.join(once.number, waits)) {
            Joined::New => {}
            Joined::Waits => return Ok(Published::Pending),
            Joined::Held => return Ok(Published::Stored),
        }
        let this = self.begin_use(session, queue, once, waits);
        let result = go(self);
        self.set_origin(None);
        self.onces.current = None;
        let safe = self.onces.safe.take().unwrap_or(Safe::Now);
        match result {
            Ok(Published::Pending) => Ok(Published::Pending),
            Ok(Published::Stored | Published::Overflowed) => {
                let accepted = result == Ok(Published::Stored);
                if self.end_use(this, accepted, safe) {
                    return Ok(Published::Pending);
                }
                self.finish_use(this, accepted);
                result
            }
            Ok(Published::Unroutable) | Err(_) => {
                self.finish_use(this, false);
                result
            }
        }
    }

    fn begin_use(
        &mut self,
        session: SessionId,
        queue: QueueId,
        once: Once,
        waits: Option<Reported>,
    ) -> Use {
        let used = self.next_use();
        let this = Use { session, number: once.number, used };
        if let Some(session) = self.sessions.get_mut(session) {
            session.on_their_way().add(once.number, used, waits);
        }
        self.onces.current = Some(this);
        let store = self.queues.get_mut(queue).map(|entry| entry.queue.store_mut());
        let origin = store.and_then(|store| {
            let session = store.lasting_uid()?;
            let reached = store.reached(once.number).filter(|_| once.again);
            let reached = reached.map(|reached| Box::new(reached.clone()));
            Some(Origin { session, shard: self.shard.0, number: once.number, used, reached })
        });
        self.set_origin(origin);
        this
    }

    /// A number for a use of a number.
    pub(super) fn next_use(&mut self) -> u64 {
        self.onces.count += 1;
        (u64::from(self.boot) << BOOT_SHIFT) | self.onces.count
    }

    /// Whose the messages are that are routed from now on.
    pub(in crate::broker) fn set_origin(&mut self, origin: Option<Origin>) {
        if self.onces.origin.is_some() || origin.is_some() {
            self.note_origin(origin.clone());
            self.onces.origin = origin;
        }
    }

    /// Who hears when a publish has come to several places.
    pub(in crate::broker) fn report_of(&mut self, publisher: Option<Reported>) -> Option<Report> {
        let Some(this) = self.onces.current else { return publisher.map(Report::Publisher) };
        self.onces.open.insert(this.used);
        Some(Report::Once(this))
    }

    /// Whether a message that has come to its places on this shard, and only there, has its end noted
    /// behind it: its publisher hears of that then.
    pub(in crate::broker) fn ends_behind(&mut self, put: Put) -> bool {
        if self.onces.current.is_some() {
            self.onces.safe = Some(put.safe);
        }
        self.onces.current.is_some()
    }

    /// Whose the next message is, for a shard that gets it.
    pub(in crate::broker) fn send_origin(&mut self, to: ShardId) {
        if let Some(origin) = &self.onces.origin {
            self.post.send(to, Mail::Origin(origin.clone()));
        }
    }

    /// Whether somebody has said whose the next message is.
    pub(in crate::broker) fn has_origin(&self) -> bool {
        self.onces.origin.is_some()
    }

    /// Whether the message has come to this queue before a restart.
    pub(in crate::broker) fn has_reached(&mut self, queue: QueueId, message: &Message) -> bool {
        let reached = self.onces.origin.as_ref().and_then(|origin| origin.reached.as_deref());
        let Some(reached) = reached else { return false };
        if group_of(message.exchange()).is_some() {
            // Its publisher's shard has seen to that.
            return false;
        }
        let uid = self.queues.get_mut(queue).and_then(|e| e.queue.store_mut().lasting_uid());
        uid.is_some_and(|uid| reached.queues.contains(&uid))
    }

    /// Whether the message has come to a member of this group before a restart.
    pub(super) fn has_reached_group(&self, address: &str) -> bool {
        let reached = self.onces.origin.as_ref().and_then(|origin| origin.reached.as_deref());
        reached.is_some_and(|reached| reached.groups.iter().any(|group| **group == *address))
    }

    /// All places have answered.
    pub(in crate::broker) fn use_stored(&mut self, this: Use, accepted: bool) {
        if !self.end_use(this, accepted, Safe::Now) {
            self.tell_use(this, accepted);
        }
    }

    /// Notes the end of a use. True: that is to be safe first, and [`Self::tell_use`] follows.
    fn end_use(&mut self, this: Use, accepted: bool, safe: Safe) -> bool {
        let Use { session, number, used } = this;
        let queue = self.sessions.get(session).and_then(|session| session.queue);
        let entry = queue.and_then(|queue| self.queues.get_mut(queue));
        let noted = entry.map(|entry| entry.queue.store_mut().end_use(number, used, accepted));
        self.onces.open.remove(&used);
        let safe = later(safe, noted.unwrap_or(Safe::Now));
        self.wait_for(safe, Waiter::Once { this, accepted })
    }

    fn finish_use(&mut self, this: Use, accepted: bool) -> Option<Reported> {
        let session = self.sessions.get_mut(this.session)?;
        let keep = accepted && session.listener().is_some();
        session.on_their_way().end(this.used, keep)
    }

    /// It is over, and that is safe.
    pub(in crate::broker) fn tell_use(&mut self, this: Use, accepted: bool) {
        if let Some(Reported { connection, channel, seq }) = self.finish_use(this, accepted) {
            self.tell(connection, Event::Stored { channel, seq, accepted });
        }
    }

    /// What the log has to know when a file of it is left. `None`: nothing was ever to come once.
    pub(in crate::broker) fn line_of_uses(&self) -> Option<Line> {
        let below = (u64::from(self.boot) << BOOT_SHIFT) | (self.onces.count + 1);
        let but = self.onces.open.iter().copied().collect();
        (self.onces.count > 0).then_some(Line { below, but })
    }
}
