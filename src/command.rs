//! The only words that protocols and the broker share.
//!
//! A session calls the broker of its shard ([`crate::broker::Broker`]) with a [`Command`] or a
//! [`Publish`] and gets [`Answer`]s and [`Event`]s; nothing else passes between them.
//! May import `ids`, the identities of `auth`, `message`, `subscriber`, `value`.

use crate::auth::{Identity, LoginRefused};
use crate::ids::{ChannelId, ConsumerKey, ConsumerRef, DeliveryId, PublishSeq, QueueRef};
use crate::message::{Body, Message, Traits};
use crate::subscriber::{FilterName, OpenSession, OpenedSession, RetainedCursor, Subscription};
use crate::value::Table;

/// The time of this turn of the loop; read once per turn, handed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on the monotonic clock: deadlines.
    pub mono_ms: u64,
    /// Milliseconds since 1970-01-01 UTC: what people and headers read.
    pub wall_ms: u64,
}

/// A request about exchanges, queues, bindings and consumers. Executed in order per channel; at
/// most one is unanswered per channel.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Make an exchange, or check that it is there.
    DeclareExchange {
        /// Its name.
        name: Box<str>,
        /// The name of its type.
        kind: Box<str>,
        /// Only look whether it exists.
        passive: bool,
        /// It survives a restart.
        durable: bool,
        /// It goes with the last binding from it.
        auto_delete: bool,
        /// Only other exchanges may publish to it.
        internal: bool,
        /// Further arguments.
        arguments: Table,
    },
    /// Delete an exchange with its bindings; missing is fine.
    DeleteExchange {
        /// Its name.
        name: Box<str>,
        /// Only if nothing is bound to it.
        if_unused: bool,
    },
    /// Bind exchange to exchange.
    BindExchange {
        /// Where messages come from.
        source: Box<str>,
        /// Where they go.
        destination: Box<str>,
        /// Routing or binding key.
        key: Box<str>,
        /// Part of the binding's identity.
        arguments: Table,
    },
    /// Take back [`Command::BindExchange`]; a missing binding is fine.
    UnbindExchange {
        /// As bound.
        source: Box<str>,
        /// As bound.
        destination: Box<str>,
        /// As bound.
        key: Box<str>,
        /// As bound.
        arguments: Table,
    },
    /// Make a queue, or check that it is there. Answer: [`Answer::QueueDeclared`].
    DeclareQueue {
        /// Its name; empty: the broker makes one up (on this connection's shard).
        name: Box<str>,
        /// Only look whether it exists.
        passive: bool,
        /// It survives a restart.
        durable: bool,
        /// Only this connection may use it; it goes with the connection.
        exclusive: bool,
        /// It goes with its last consumer.
        auto_delete: bool,
        /// Further arguments.
        arguments: Table,
    },
    /// Delete a queue. Answer: [`Answer::Removed`] (0 when it was missing).
    DeleteQueue {
        /// Its name.
        name: Box<str>,
        /// Only without consumers.
        if_unused: bool,
        /// Only without messages.
        if_empty: bool,
    },
    /// Drop all ready messages. Answer: [`Answer::Removed`].
    PurgeQueue {
        /// The queue's name.
        name: Box<str>,
    },
    /// Bind a queue to an exchange.
    BindQueue {
        /// The queue's name.
        queue: Box<str>,
        /// The exchange's name.
        exchange: Box<str>,
        /// Routing or binding key.
        key: Box<str>,
        /// Part of the binding's identity.
        arguments: Table,
    },
    /// Take back [`Command::BindQueue`]; a missing binding is fine.
    UnbindQueue {
        /// As bound.
        queue: Box<str>,
        /// As bound.
        exchange: Box<str>,
        /// As bound.
        key: Box<str>,
        /// As bound.
        arguments: Table,
    },
    /// Start a consumer. Answer: [`Answer::Consuming`], always before its first delivery.
    Consume(Box<Consume>),
    /// Stop a consumer; what it has unsettled stays out. Answer: [`Answer::Done`]; deliveries that
    /// were on their way come before it.
    Cancel {
        /// From [`Answer::Consuming`].
        consumer: ConsumerRef,
    },
    /// Take one message. Answer: [`Answer::Got`] or [`Answer::Empty`].
    Get {
        /// The queue's name.
        queue: Box<str>,
        /// It counts as settled at once.
        no_settle: bool,
    },
    /// Consume from the reply pseudo-queue of this channel: the session has checked the rules.
    /// Answer: [`Answer::ReplyTo`].
    ConsumeReplies {
        /// Echoed in deliveries.
        key: ConsumerKey,
    },
    /// Takes up or begins the session of a client; the connection is on its home shard. Whoever had
    /// it before hears [`Event::TakenOver`]. Answer: [`Answer::SessionOpened`]; deliveries follow it.
    OpenSession(Box<OpenSession>),
    /// Adds to the subscriptions of the connection's session, or replaces them one by one. Answer:
    /// [`Answer::Subscribed`], when whoever publishes anywhere afterwards is heard.
    Subscribe {
        /// In this order.
        subscriptions: Vec<Subscription>,
    },
    /// Takes subscriptions back. Answer: [`Answer::Unsubscribed`].
    Unsubscribe {
        /// In this order.
        filters: Vec<FilterName>,
    },
    /// Reads retained messages of topics that a filter matches: [`Event::Retained`] for each, then
    /// the answer, [`Answer::RetainedRead`].
    ReadRetained {
        /// Words between slashes.
        filter: Box<str>,
        /// Only topics that are keys which this pattern matches, words between dots: the connection
        /// has bound by it.
        pattern: Option<Box<str>>,
        /// Where to go on.
        from: RetainedCursor,
        /// Octets wanted, about.
        bytes_max: u32,
    },
    /// The channel ends: all its consumers stop (the session has already settled what was out).
    /// Answer: [`Answer::Done`] when every owner shard has applied it, so that whoever reads the
    /// protocol's own answer finds the messages back in their queues.
    CloseChannel,
    /// The connection ends: the same for all channels, and its exclusive queues are deleted.
    CloseConnection,
}

/// See [`Command::Consume`].
#[derive(Debug, Clone, PartialEq)]
pub struct Consume {
    /// The queue's name.
    pub queue: Box<str>,
    /// The session's number for this consumer, echoed in deliveries.
    pub key: ConsumerKey,
    /// Its name as operators see it.
    pub tag: Box<str>,
    /// Most deliveries it may have unsettled; 0: the broker's default bound.
    pub prefetch: u32,
    /// Deliveries count as settled when they are sent.
    pub no_settle: bool,
    /// No other consumer beside it.
    pub exclusive: bool,
    /// Further arguments (consumer priority, timeout).
    pub arguments: Table,
}

/// One message on its way in.
#[derive(Debug, Clone)]
pub struct Publish<'a> {
    /// The exchange's name; empty for the default exchange.
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: &'a str,
    /// More routing keys chosen by the sender: visible ones (they go into the death history).
    pub extra_keys: &'a [&'a str],
    /// More routing keys that stay hidden.
    pub hidden_keys: &'a [&'a str],
    /// The sender wants it back when no queue takes it.
    pub mandatory: bool,
    /// What the broker reads of its properties.
    pub traits: Traits,
    /// The property block as the protocol wrote it.
    pub properties: &'a [u8],
    /// The body.
    pub body: Body<'a>,
    /// Report when it is stored: its number within the channel.
    pub seq: Option<PublishSeq>,
    /// It is to come exactly once.
    pub once: Option<Once>,
}

/// Of a message that the client of a session publishes to come exactly once. The session holds the
/// number from when the message is stored wherever it belongs: that it is stored is said when both
/// are as safe as was promised. If connection or process ends before, and the number comes again, it
/// is the same message: it goes to none of those who have it. A session that ends with its
/// connection holds no number; whoever has the connection remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    /// The client's number for it, its own until the receipt is dropped.
    pub number: u16,
    /// The client says that it may have published it before.
    pub again: bool,
}

/// What became of a publish at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// All done: stored wherever it belongs (or nobody wants it and it is not mandatory).
    Stored,
    /// A full queue refused it.
    Overflowed,
    /// Mandatory, and no queue takes it: the session gives it back. It counts as stored.
    Unroutable,
    /// [`Event::Stored`] follows if a number was given.
    Pending,
}

/// How a delivery ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The consumer is done with it.
    Accept,
    /// Back to its place in the queue. `failed` counts against the delivery limit (amqp.md R3).
    Requeue {
        /// The consumer had its chance: refused it or died.
        failed: bool,
    },
    /// Dead-letter or drop.
    Reject,
    /// For [`crate::subscriber::Assurance::ExactlyOnce`]: the consumer has it and is not to be sent it again, but its
    /// place is not free yet. [`Outcome::Accept`] follows.
    Received,
}

/// A message on its way out.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The conversation it belongs to.
    pub channel: ChannelId,
    /// The consumer; `None` when it was fetched by [`Command::Get`].
    pub consumer: Option<ConsumerKey>,
    /// Whom to tell how it ended; unused when nothing is to be settled.
    pub queue: QueueRef,
    /// Which delivery.
    pub id: DeliveryId,
    /// It was out before.
    pub redelivered: bool,
    /// How often it was out before, if the queue counts that.
    pub delivery_count: Option<u64>,
    /// Its position in a session's queue: ascending, the same each time it comes, also after a
    /// restart. 0 elsewhere.
    pub position: u64,
    /// [`Outcome::Received`] was said of it, perhaps by the connection before.
    pub received: bool,
    /// The message.
    pub message: Message,
}

/// The end of a [`Command`]. Between shards `D` is uninhabited: a message crosses on its own.
#[derive(Debug, Clone)]
pub enum Answer<D = Delivery> {
    /// Done, and every shard knows.
    Done,
    /// For [`Command::BindQueue`]: done, and every shard knows.
    Bound {
        /// It was not bound so before.
        new: bool,
    },
    /// For [`Command::DeclareQueue`].
    QueueDeclared {
        /// Its name, which may have been made up.
        name: Box<str>,
        /// Ready messages.
        messages: u64,
        /// Consumers.
        consumers: u32,
    },
    /// Ready messages that went with a purge or deletion.
    Removed {
        /// How many.
        messages: u64,
    },
    /// For [`Command::Consume`].
    Consuming {
        /// For [`Command::Cancel`].
        consumer: ConsumerRef,
        /// Longest time a delivery may stay unsettled, milliseconds; the session enforces it.
        timeout_ms: Option<u64>,
    },
    /// For [`Command::ConsumeReplies`]: the address that replies must be published to.
    ReplyTo {
        /// Routing key on the default exchange; a secret of this channel.
        address: Box<str>,
    },
    /// For [`Command::Get`].
    Got {
        /// The message.
        delivery: Box<D>,
        /// Ready messages left.
        left: u64,
    },
    /// For [`Command::Get`]: nothing there.
    Empty,
    /// For [`Command::OpenSession`].
    SessionOpened(Box<OpenedSession>),
    /// For [`Command::Subscribe`], one each: whether the filter was not subscribed to before.
    Subscribed(Vec<Result<bool, Refusal>>),
    /// For [`Command::Unsubscribe`], one each: whether there was such a subscription.
    Unsubscribed(Vec<bool>),
    /// For [`Command::ReadRetained`].
    RetainedRead {
        /// There may be more: ask again with this.
        next: Option<RetainedCursor>,
    },
    /// It was refused; nothing changed.
    Refused(Refusal),
}

/// What the broker tells a session, in order per connection.
#[derive(Debug)]
pub enum Event {
    /// A message for a consumer.
    Delivery(Delivery),
    /// The end of the command that this channel waits for.
    Answer {
        /// Which channel.
        channel: ChannelId,
        /// The answer.
        answer: Answer,
    },
    /// The fate of a publish that was pending. Not in order of `seq`.
    Stored {
        /// Which channel.
        channel: ChannelId,
        /// Which publish.
        seq: PublishSeq,
        /// False: a full queue refused it, or it could not be stored.
        accepted: bool,
    },
    /// A mandatory message that no queue took; always before its [`Event::Stored`].
    Returned {
        /// Which channel.
        channel: ChannelId,
        /// The message, as published.
        message: Message,
    },
    /// The broker ended a consumer (its queue was deleted).
    ConsumerGone {
        /// Which channel.
        channel: ChannelId,
        /// Which consumer.
        consumer: ConsumerKey,
    },
    /// Subscriptions of the connection's session ended: its user may not read what they match any more.
    SubscriptionsGone {
        /// Which.
        filters: Vec<FilterName>,
    },
    /// Publishing may go on: [`crate::broker::Broker::publish_paused`] is false again.
    PublishResumed,
    /// The node-wide alarm changed; `None`: all clear (amqp.md R47).
    Alarm(Option<AlarmReason>),
    /// A message that [`Command::ReadRetained`] found.
    Retained {
        /// Which channel.
        channel: ChannelId,
        /// The message, as published.
        message: Message,
    },
    /// Another connection has taken up the session of this one: nothing of it is its own any more.
    TakenOver,
    /// The login that was to be checked elsewhere (`Logins::login` of the protocols) is.
    LoginChecked(Result<Identity, LoginRefused>),
    /// An operator or a limit ends the connection.
    Close {
        /// Shown to the peer.
        reason: Box<str>,
    },
}

/// Why publishers are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmReason {
    /// Messages take more memory than the watermark.
    Memory,
    /// Disk space is short.
    Disk,
}

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entity {
    /// An exchange.
    Exchange,
    /// A queue.
    Queue,
    /// A virtual host.
    Vhost,
}

/// Why the broker refuses, in its own words; each protocol translates all of them in one match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such thing.
    NotFound(Entity, Box<str>),
    /// It exists with other properties (amqp.md P21, P32).
    Mismatch {
        /// Exchange or queue.
        entity: Entity,
        /// Its name.
        name: Box<str>,
        /// The property that differs.
        argument: Box<str>,
        /// What was asked for, as text: `'true'`, `none`, `the value '10' of type 'long'`.
        received: Box<str>,
        /// What it is, likewise.
        current: Box<str>,
    },
    /// Another connection has it for itself (amqp.md P34).
    Locked(Box<str>),
    /// An exclusive consumer is there, or was asked for beside others (amqp.md P43).
    ExclusiveUse(Box<str>),
    /// Taking single messages is not possible where one active consumer is wanted (amqp.md R15).
    SingleActiveConsumer(Box<str>),
    /// New names with this prefix are the broker's (amqp.md P23, P39).
    ReservedName(Entity, Box<str>),
    /// The default exchange can not be declared, bound or deleted (amqp.md P24).
    DefaultExchange,
    /// A predeclared exchange can not be deleted.
    Predeclared(Box<str>),
    /// It has bindings or consumers (amqp.md P25, P36).
    InUse(Entity, Box<str>),
    /// It has messages (amqp.md P36).
    NotEmpty(Box<str>),
    /// Clients can not publish to an internal exchange (amqp.md P26).
    InternalExchange(Box<str>),
    /// An argument has a bad value or does not fit the type (amqp.md P33, P77).
    InvalidArgument {
        /// Exchange or queue.
        entity: Entity,
        /// Its name.
        name: Box<str>,
        /// The argument.
        argument: Box<str>,
        /// What is wrong with it.
        reason: Box<str>,
    },
    /// No such exchange type (amqp.md R18).
    UnknownExchangeType(Box<str>),
    /// The user lacks the right (amqp.md L61).
    AccessRefused {
        /// `configure`, `write` or `read`.
        access: &'static str,
        /// Exchange or queue.
        entity: Entity,
        /// Its name.
        name: Box<str>,
    },
    /// A rule forbids it in so many words, and the peer is not to be told which.
    Denied,
    /// The user may use the exchange, but not with this key.
    KeyRefused {
        /// `write` or `read`.
        access: &'static str,
        /// The exchange.
        exchange: Box<str>,
        /// The routing or binding key.
        key: Box<str>,
    },
    /// The user has no rights in the virtual host.
    VhostRefused(Box<str>),
    /// A limit is reached; the text names it.
    LimitReached(Box<str>),
    /// The reply address belongs to nobody (amqp.md P52, abuse row 40).
    NoSuchReplyConsumer,
    /// The disk is nearly full: nothing is taken before there is more space.
    NoSpace,
    /// The node is stopping or out of a resource it needs.
    Unavailable(Box<str>),
}
