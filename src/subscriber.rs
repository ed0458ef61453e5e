//! The words that the broker shares with protocols whose clients are subscribers: whoever has a
//! session that is remembered, filters over topics, and the last message of a topic kept for it.
//!
//! A session is a queue with an owner (its client), a subscription is a binding of that queue to
//! the exchange of filters ([`FILTERS`]), and how surely a message has to arrive is a property of
//! the subscription. A session lives on the shard that [`crate::broker::Broker::session_home`]
//! names, and its connection as well: it moves there before it opens the session.
//! May import `message`.

use crate::message::{Body, Traits};

/// The exchange that every virtual host has for filters: keys are topics, words between slashes.
pub const FILTERS: &str = "amq.filter";

/// The exchange that a message names as its own when it is a retained one that is shown to a new
/// subscriber: see [`crate::broker::Broker::replay`].
pub const RETAINED: &str = "amq.retained";

/// The exchange of groups: see [`address`].
pub const GROUPS: &str = "amq.group";

/// What a message names as its exchange when it reached a session as a member of a group, since it
/// was chosen among all its members: the session may have it a second time by a filter of its own.
/// Its key is the topic.
pub fn address(group: &str, filter: &str) -> String {
    format!("{GROUPS}/{group}/{filter}")
}

/// The other way round: group and filter. `None`: it is no such address.
pub fn group_of(address: &str) -> Option<(&str, &str)> {
    address.strip_prefix(GROUPS)?.strip_prefix('/')?.split_once('/')
}

/// Whether a message becomes the last one of its topic, or, without a body, takes that away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// It does not.
    #[default]
    Not,
    /// If the limits leave room for it: its publisher cannot be told that they do not.
    IfRoom,
    /// It counts as refused if they do not, although it was delivered.
    Must,
}

/// How surely a message reaches a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Assurance {
    /// It is sent if the subscriber is there and keeps up; nothing is stored for it.
    #[default]
    AtMostOnce,
    /// It is kept until the subscriber has said that it has it.
    AtLeastOnce,
    /// The same with an exchange at the end that lets the subscriber tell a repetition.
    ExactlyOnce,
}

/// A filter by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilterName {
    /// Each message goes to one session of this group.
    pub group: Option<Box<str>>,
    /// Words between slashes; `+` stands for one, `#` at the end for any number.
    pub filter: Box<str>,
}

/// A filter with what its subscriber wants of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Which filter. A session has each at most once: the later one replaces the earlier.
    pub name: FilterName,
    /// At most so surely.
    pub assurance: Assurance,
    /// Not what the subscriber publishes itself. The broker keeps it; the session obeys it.
    pub not_own: bool,
    /// The retained mark as its publisher set it. The broker keeps it; the session obeys it.
    pub as_published: bool,
    /// A number that the subscriber gave it; 0: none.
    pub number: u32,
}

/// How long a session is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// As long as its connection.
    Connection,
    /// So many milliseconds longer, at least 1.
    Ms(u64),
    /// For ever.
    Forever,
}

/// What a session holds at most for its subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Messages that wait while it is connected; `None`: any number.
    pub online_max: Option<u64>,
    /// Messages that wait while it is not; `None`: any number.
    pub offline_max: Option<u64>,
    /// When full the oldest message goes; otherwise the newest does not come in.
    pub drop_oldest: bool,
    /// What has waited while it was not connected does not count as waiting.
    pub waited_is_extra: bool,
}

/// See [`crate::command::Command::OpenSession`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// The client it belongs to: one session each per virtual host.
    pub client: Box<str>,
    /// The name of its queue, which operators see and other clients cannot declare or consume from.
    pub queue: Box<str>,
    /// What was remembered is forgotten.
    pub fresh: bool,
    /// How long it is remembered.
    pub lasts: Lasts,
    /// Most deliveries that may be unsettled.
    pub window: u32,
    /// Whether the connection may have the session of one that is there: else
    /// [`crate::command::Refusal::InUse`].
    pub takes_over: bool,
    /// How often in a second the session may pass from one connection to another; 0: any number.
    pub takeovers_max: u32,
    /// See there.
    pub limits: SessionLimits,
}

/// See [`crate::command::Answer::SessionOpened`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedSession {
    /// There was one, and it goes on.
    pub resumed: bool,
    /// What it has subscribed to.
    pub subscriptions: Vec<Subscription>,
    /// Numbers of messages that it has published and not let go yet.
    pub receipts: Vec<u16>,
}

/// A message that is published for a client when its connection ends without goodbye.
#[derive(Debug, Clone)]
pub struct Will<'a> {
    /// Where it goes.
    pub topic: &'a str,
    /// It becomes the retained message of its topic.
    pub retain: bool,
    /// What the broker reads of its properties.
    pub traits: Traits,
    /// The property block as the protocol wrote it.
    pub properties: &'a [u8],
    /// The body.
    pub body: Body<'a>,
    /// It waits so long for the client to come back, and no longer than the session lasts.
    pub delay_ms: u64,
}

/// Where reading retained messages goes on: made by the broker, opaque to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetainedCursor {
    /// The part that is read.
    pub part: u32,
    /// The position in it.
    pub position: u64,
}
