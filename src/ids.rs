//! Identities. Newtypes without arithmetic, so that a queue never stands where a consumer is meant.
//!
//! May import nothing but `ringmq_shards::ShardId`.

pub use ringmq_shards::ShardId;

/// A place in a shard's table, with the number of times that place was used before: an identity
/// that comes back late (by mail from another shard) never meets the place's next tenant.
macro_rules! slot_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            index: u32,
            generation: u32,
        }

        impl $name {
            /// Only the table that hands out places makes identities.
            pub const fn new(index: u32, generation: u32) -> Self {
                Self { index, generation }
            }

            /// The place in the owner's table.
            pub const fn index(self) -> usize {
                self.index as usize
            }

            /// How often the place was used before.
            pub const fn generation(self) -> u32 {
                self.generation
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({}.{})"), self.index, self.generation)
            }
        }
    };
}

slot_id! {
    /// A client connection in the table of its home shard.
    ConnectionId
}
slot_id! {
    /// A queue in the table of the shard that owns it.
    QueueId
}
slot_id! {
    /// A consumer in the table of the shard that owns its queue.
    ConsumerId
}

/// A virtual host. The same number on every shard; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VhostId(pub u32);

/// An exchange. The same number on every shard, given in the order of declaration, never reused:
/// a higher number than any seen so far is an exchange whose declaration is still under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u32);

/// One conversation within a connection; its protocol chooses the number. A protocol without
/// channels uses 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u16);

/// A connection as other shards name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionRef {
    /// The home shard: it has the socket and the session.
    pub shard: ShardId,
    /// The place in that shard's table.
    pub connection: ConnectionId,
}

/// A channel as other shards name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelRef {
    /// The connection.
    pub connection: ConnectionRef,
    /// The conversation within it.
    pub channel: ChannelId,
}

/// A queue as other shards name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueRef {
    /// The owner shard: the only place where something about the queue is decided.
    pub shard: ShardId,
    /// The place in that shard's table.
    pub queue: QueueId,
}

/// A consumer as its connection names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerRef {
    /// The queue it consumes from.
    pub queue: QueueRef,
    /// The place in the owner's table.
    pub consumer: ConsumerId,
}

/// One delivery that is out. Unique within its queue while it is out; carries a generation, so
/// that settling twice is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub u64);

impl DeliveryId {
    /// What stands for all deliveries that nobody has to settle.
    pub const SETTLED: Self = Self(0);
}

/// The session's own number for one of its consumers, echoed in each delivery so that the session
/// finds it by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerKey(pub u32);

/// The number of a publish within its channel, from 1, counted only where stores are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublishSeq(pub u64);
