//! What the broker does for subscribers: sessions, subscriptions, receipts, wills.
//!
//! May import `crate::subscriber` and the broker's parts.

pub(in crate::broker) mod apart;
mod groups;
pub(in crate::broker) mod keep;
pub(in crate::broker) mod leave;
pub(in crate::broker) mod once;
mod open;
mod put;
mod receipts;
mod restore;
pub(in crate::broker) mod session;
mod subscribe;
pub(in crate::broker) mod wills;

use super::Broker;
use crate::command::{Now, Published};
use crate::ids::{ChannelId, ConnectionId, DeliveryId, PublishSeq, QueueRef, ShardId};
use crate::subscriber::{Lasts, Will};

impl Broker {
    /// The shard on which the session with this queue lives. `None`: there is no such virtual host.
    pub fn session_home(&self, vhost: &str, queue: &str) -> Option<ShardId> {
        self.vhosts.iter().find(|v| &*v.name == vhost)?;
        Some(self.placement.owner(vhost, queue))
    }

    /// Keeps the number of a message that the session has published and nobody took, before its
    /// publisher is told: also after a restart it is known as a repetition. That of any other is kept
    /// with it, see [`crate::command::Once`]. With a `seq`
    /// [`crate::command::Event::Stored`] follows where the answer is [`Published::Pending`]. The
    /// number is durable no sooner than what the session has published before on this shard.
    pub fn hold_receipt(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        number: u16,
        seq: Option<PublishSeq>,
    ) -> Published {
        self.note_receipt((connection, channel), number, true, seq)
    }

    /// Forgets the number: the publisher will not repeat that message. As
    /// [`Broker::hold_receipt`].
    pub fn drop_receipt(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        number: u16,
        seq: Option<PublishSeq>,
    ) -> Published {
        self.note_receipt((connection, channel), number, false, seq)
    }

    /// The client has a delivery of its session and is not to be sent it again, but its place is not
    /// free yet: [`crate::command::Outcome::Received`], for which this is called in the place of
    /// [`Broker::settle`] by whoever has to know when it is durable. Answers as
    /// [`Broker::hold_receipt`].
    pub fn settle_received(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        delivery: (QueueRef, DeliveryId),
        seq: Option<PublishSeq>,
        now: Now,
    ) -> Published {
        self.note_received((connection, channel), delivery, seq, now)
    }

    /// Whether all messages that the connection's session has been given so far would be there after
    /// a crash. Answers as [`Broker::hold_receipt`].
    pub fn when_kept(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        seq: PublishSeq,
    ) -> Published {
        self.wait_until_kept((connection, channel), seq)
    }

    /// What is published when the connection goes, or the node dies, before this is called with
    /// `None`. Before the connection has opened its session it is kept with that, durable before
    /// the answer, if the client may publish it; later without anybody waiting for the disk.
    pub fn set_will(&mut self, connection: ConnectionId, will: Option<&Will<'_>>, now: Now) {
        self.keep_will(connection, will, now);
    }

    /// Changes how long the connection's session is remembered. One that was opened to last as long
    /// as its connection stays so.
    pub fn set_lasts(&mut self, connection: ConnectionId, lasts: Lasts, now: Now) {
        let _ = now;
        self.change_lasts(connection, lasts);
    }
}
