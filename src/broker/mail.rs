//! Every sentence one shard says to another. What is said in one turn to one shard is gathered in
//! one [`Batch`] and crosses the lane as one value; small messages are copied into the batch's own
//! buffer, which goes back for reuse, because a reference count dropped on another core costs
//! more than the copy (runtime.md section 3). A sentence could cross a network as well: it holds
//! no pointer into its sender.
//!
//! May import `ids`, `command`, `subscriber`, `value`, `record`, the uids of `definitions`, and what `storage` has
//! to know of a message that waits.

use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;

use super::definitions::ExchangeUid;
use super::quotas::{Limited, Tally};
use super::record;
use super::slots::SlotId;
use super::storage::delayed::Lasting;
use super::storage::origin::Origin;
use crate::command::{Answer, Command, Outcome};
use crate::ids::{
    ChannelId, ChannelRef, ConnectionId, ConnectionRef, ConsumerId, ConsumerKey, ConsumerRef,
    DeliveryId, ExchangeId, PublishSeq, QueueId, QueueRef, VhostId,
};
use crate::message::Message;
use crate::subscriber::Keep;
use crate::value::Table;

/// Something one shard waits for from others: the place of the waiting in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallId {
    index: u32,
    generation: u32,
}

impl SlotId for CallId {
    fn make(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }
    fn place(self) -> usize {
        self.index as usize
    }
    fn age(self) -> u32 {
        self.generation
    }
}

/// A publish whose storing other shards will report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PendingId {
    index: u32,
    generation: u32,
}

impl SlotId for PendingId {
    fn make(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }
    fn place(self) -> usize {
        self.index as usize
    }
    fn age(self) -> u32 {
        self.generation
    }
}

/// A message in a batch: its record in the batch's buffer, and its body if that is large.
#[derive(Debug)]
pub(crate) struct Parcel {
    from: usize,
    to: usize,
    apart: Option<Bytes>,
}

/// The keys of a message beyond its own, for routing on the other side.
pub(crate) type MoreKeys = Option<Box<[Box<str>]>>;

/// What exchanges on the way of a message picked on its publisher's shard, so that the next shard
/// picks the same.
#[derive(Debug)]
pub(crate) struct Picks {
    /// The random number drawn for the message.
    pub(crate) choice: u64,
    /// Queues of the receiving shard that were picked.
    pub(crate) queues: Vec<QueueId>,
}

/// An exchange as the keeper announces it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExchangeSpec {
    pub(crate) name: Box<str>,
    pub(crate) kind: Box<str>,
    pub(crate) durable: bool,
    pub(crate) auto_delete: bool,
    pub(crate) internal: bool,
    pub(crate) arguments: Table,
}

/// A binding key with the arguments that belong to its identity.
#[derive(Debug, Clone)]
pub(crate) struct BindingSpec {
    pub(crate) exchange: ExchangeId,
    pub(crate) key: Box<str>,
    pub(crate) arguments: Table,
}

/// What counts against limits of the whole node, as one shard has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Census {
    /// Octets of memory that messages take.
    pub(crate) memory_bytes: u64,
    /// Queues.
    pub(crate) queues: u64,
    /// Bindings of its queues.
    pub(crate) bindings: u64,
}

/// One sentence.
#[derive(Debug)]
pub(crate) enum Mail {
    /// To an owner (or the keeper of exchanges): a session's command.
    Request {
        at: ChannelRef,
        vhost: VhostId,
        command: Box<Command>,
        /// A consumer that this starts delivers only for tokens.
        limited: bool,
    },
    /// The answer to it.
    Answered { connection: ConnectionId, channel: ChannelId, answer: Box<PlainAnswer> },
    /// To a shard with an interest: route it there through the same exchange, local queues only.
    Publish {
        exchange: ExchangeId,
        keys: MoreKeys,
        picks: Option<Box<Picks>>,
        parcel: Parcel,
        wanted: Option<PendingId>,
    },
    /// To the owner of exactly this queue.
    PublishTo { queue: QueueId, parcel: Parcel, wanted: Option<PendingId> },
    /// To the owner of this queue, picked for a group of this exchange: another member gets it if
    /// that one is gone.
    PublishToMember {
        exchange: ExchangeId,
        queue: QueueId,
        parcel: Parcel,
        wanted: Option<PendingId>,
    },
    /// To the owner of the queue of this name, which may not exist; no name: the routing key.
    PublishByName {
        vhost: VhostId,
        queue: Option<Box<str>>,
        parcel: Parcel,
        mandatory: Option<(ConnectionId, ChannelId)>,
        wanted: Option<PendingId>,
    },
    /// The message in the next sentence is of this origin.
    Origin(Origin),
    /// To the shard of a connection that waits for replies.
    Reply { parcel: Parcel },
    /// To the shard that keeps this exchange's delayed messages.
    Delay {
        exchange: ExchangeId,
        /// It outlives the process.
        lasting: Option<Lasting>,
        due_ms: u64,
        keys: MoreKeys,
        parcel: Parcel,
        wanted: Option<PendingId>,
    },
    /// To the owner of the part that keeps the last message of its topic.
    Retain { vhost: VhostId, keep: Keep, parcel: Parcel, wanted: Option<PendingId> },
    /// To a reader's shard: a retained message.
    Retained { connection: ConnectionId, channel: ChannelId, parcel: Parcel },
    /// Back to the publisher's shard; `found`: a queue was there.
    Stored { pending: PendingId, accepted: bool, found: bool },
    /// Back to the publisher's shard: no queue of that name.
    Returned { connection: ConnectionId, channel: ChannelId, parcel: Parcel },
    /// To a consumer's shard.
    Deliver {
        connection: ConnectionId,
        channel: ChannelId,
        consumer: Option<ConsumerKey>,
        queue: QueueId,
        id: DeliveryId,
        redelivered: bool,
        delivery_count: Option<u64>,
        /// For a message that was fetched: ready messages left.
        left: Option<u64>,
        parcel: Parcel,
    },
    /// To an owner: how a delivery ended.
    Settle { queue: QueueId, id: DeliveryId, outcome: Outcome },
    /// To all owners: say [`Mail::Stored`] when everything settled so far is durable.
    Settled { pending: PendingId },
    /// To an owner: octets that this connection has written out.
    Room { connection: ConnectionRef, bytes: u64 },
    /// To an owner: the connection, or one channel of it, is gone; answer [`Mail::Done`].
    Gone { connection: ConnectionRef, channel: Option<ChannelId>, call: Option<CallId> },
    /// To a consumer's shard: its queue was deleted.
    ConsumerGone { connection: ConnectionId, channel: ChannelId, consumer: ConsumerKey },
    /// From the keeper to all: a virtual host is there now.
    VhostMade { vhost: VhostId, name: Box<str>, call: CallId },
    /// From the keeper to all: an exchange is there now.
    ExchangeMade {
        id: ExchangeId,
        vhost: VhostId,
        spec: Box<ExchangeSpec>,
        /// It is durable.
        uid: Option<ExchangeUid>,
        call: CallId,
    },
    /// From the keeper to all: it is gone.
    ExchangeGone { id: ExchangeId, call: CallId },
    /// From the keeper to all: exchange bound to (or unbound from) exchange.
    ExchangeBound { binding: Box<BindingSpec>, destination: ExchangeId, on: bool, call: CallId },
    /// From an owner to all: the sender has (or has no longer) a queue bound so.
    Interest { binding: Box<BindingSpec>, on: bool, call: CallId },
    /// From an owner to all, for exchanges that pick one queue among all.
    NamedInterest {
        binding: Box<BindingSpec>,
        queue: QueueRef,
        name: Box<str>,
        on: bool,
        call: CallId,
    },
    /// From an owner to all: this queue is bound there no longer in any way.
    NamedGone { exchange: ExchangeId, queue: QueueRef, call: CallId },
    /// From an owner to all, for exchanges that pick one queue among all: nobody reads this queue for
    /// now, or somebody does again.
    Away { exchange: ExchangeId, queue: QueueRef, away: bool },
    /// To all: nothing to do; its [`Mail::Done`] proves that all before it was applied.
    Barrier { call: CallId },
    /// To the keeper: answer [`Mail::Done`] when all definitions it has logged are durable.
    Durable { call: CallId },
    /// A call was carried out; `known` is false when its exchange is gone.
    Done { call: CallId, known: bool },
    /// To an owner: this consumer takes deliveries only for tokens from now on (or freely again).
    Limited { queue: QueueId, consumer: ConsumerId, on: bool },
    /// To an owner: this consumer takes nothing for now (or goes on).
    Paused { queue: QueueId, consumer: ConsumerId, on: bool },
    /// To a consumer's shard: there is work for it and no token.
    Want { channel: (ConnectionId, ChannelId), consumer: ConsumerRef },
    /// To an owner: tokens.
    Grant { queue: QueueId, consumer: ConsumerId, tokens: u32 },
    /// To an owner: the consumer's tokens, as far as it has not used them, are wanted back.
    Recall { queue: QueueId, consumer: ConsumerId },
    /// To a consumer's shard: tokens that found no message.
    Unused { channel: (ConnectionId, ChannelId), queue: QueueId, consumer: ConsumerId, tokens: u32 },
    /// To all: the sender holds publishes back until this shard has dealt with what its sockets had
    /// received by now.
    CatchUp { round: u64 },
    /// Back: it has; what came of it was said before.
    CaughtUp { round: u64 },
    /// To all: what the sender has of something that is limited.
    Tally { what: Box<Limited>, tally: Tally },
    /// To an owner: the right of this consumer's user has been taken back.
    Revoked { at: ChannelRef, queue: QueueId, consumer: ConsumerId },
    /// To all: what the sender has.
    Census(Census),
    /// To the keeper: the sender needs no file of an earlier boot any more.
    Adopted,
    /// From the keeper to all: no file of an earlier boot is left.
    EarlierGone,
}

impl Mail {
    /// The exchange a sentence about topology is about, and the call it belongs to.
    pub(crate) fn about_exchange(&self) -> Option<(ExchangeId, CallId)> {
        if let Self::Interest { binding, call, .. }
        | Self::NamedInterest { binding, call, .. }
        | Self::ExchangeBound { binding, call, .. } = self
        {
            return Some((binding.exchange, *call));
        }
        if let Self::NamedGone { exchange, call, .. } = self {
            return Some((*exchange, *call));
        }
        None
    }
}

/// An [`Answer`] without a message in it: those travel as [`Mail::Deliver`].
pub(crate) type PlainAnswer = Answer<Infallible>;

/// The same answer for a session.
pub(crate) fn for_session(answer: PlainAnswer) -> Answer {
    match answer {
        Answer::Done => Answer::Done,
        Answer::Bound { new } => Answer::Bound { new },
        Answer::QueueDeclared { name, messages, consumers } => {
            Answer::QueueDeclared { name, messages, consumers }
        }
        Answer::Removed { messages } => Answer::Removed { messages },
        Answer::Consuming { consumer, timeout_ms } => Answer::Consuming { consumer, timeout_ms },
        Answer::ReplyTo { address } => Answer::ReplyTo { address },
        Answer::Got { delivery, .. } => match *delivery {},
        Answer::Empty => Answer::Empty,
        Answer::SessionOpened(opened) => Answer::SessionOpened(opened),
        Answer::Subscribed(new) => Answer::Subscribed(new),
        Answer::Unsubscribed(existed) => Answer::Unsubscribed(existed),
        Answer::RetainedRead { next } => Answer::RetainedRead { next },
        Answer::Refused(refusal) => Answer::Refused(refusal),
    }
}

/// What one shard says to another in one turn.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) mails: Vec<Mail>,
    bytes: Vec<u8>,
    apart_bytes: usize,
}

/// A batch whose buffers grew beyond this is not kept for reuse.
const KEPT_BYTES_MAX: usize = 1 << 20;

impl Batch {
    /// Puts a message in; the parcel goes into a mail of this same batch.
    pub(crate) fn pack(&mut self, message: &Message) -> Parcel {
        let from = self.bytes.len();
        let apart = record::write(message, &mut self.bytes);
        self.apart_bytes += apart.as_ref().map_or(0, Bytes::len);
        Parcel { from, to: self.bytes.len(), apart }
    }

    /// Takes a message out on the receiving shard.
    pub(crate) fn unpack(
        bytes: &[u8],
        parcel: Parcel,
        names: &mut impl FnMut(&str) -> Rc<str>,
    ) -> Option<Message> {
        record::read(bytes.get(parcel.from..parcel.to)?, parcel.apart, names)
    }

    /// Splits into sentences and the buffer their parcels lie in.
    pub(crate) fn open(&mut self) -> (Vec<Mail>, Vec<u8>) {
        (std::mem::take(&mut self.mails), std::mem::take(&mut self.bytes))
    }

    /// Empties it for reuse, with the buffers that [`Batch::open`] gave.
    pub(crate) fn refill(&mut self, mut mails: Vec<Mail>, mut bytes: Vec<u8>) {
        mails.clear();
        bytes.clear();
        if bytes.capacity() <= KEPT_BYTES_MAX {
            self.bytes = bytes;
        }
        if mails.capacity() <= KEPT_BYTES_MAX / size_of::<Mail>() {
            self.mails = mails;
        }
        self.apart_bytes = 0;
    }

    /// Whether nothing is said.
    pub(crate) fn is_empty(&self) -> bool {
        self.mails.is_empty()
    }

    /// Octets it holds, for the bound of a lane.
    pub(crate) fn weight(&self) -> u64 {
        let fixed = self.mails.len().saturating_mul(size_of::<Mail>());
        (fixed + self.bytes.len() + self.apart_bytes) as u64
    }
}

/// What crosses a lane: a batch, an empty one on its way back, and how many octets the sender has
/// taken off the lane in the other direction.
#[derive(Debug)]
pub struct Envelope {
    pub(crate) batch: Box<Batch>,
    pub(crate) spare: Option<Box<Batch>>,
    pub(crate) taken: u64,
}

/// The number of a pending publish and where to report it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported {
    pub(crate) connection: ConnectionId,
    pub(crate) channel: ChannelId,
    pub(crate) seq: PublishSeq,
}
