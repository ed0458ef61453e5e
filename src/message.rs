//! The neutral message: the few fields the broker reads, the property block as its publisher's
//! protocol wrote it, and the body.
//!
//! A [`Message`] lives on one shard; several queues of that shard share it by reference count
//! (0.6 ns, runtime.md section 3). It never crosses to another shard: `broker::queue::record`
//! writes it into a batch there and makes a new one here.
//! May import `bytes`, `ids` and `value`.

use std::rc::Rc;

use bytes::Bytes;

/// The protocol whose encoding a property block has: the place in `protocol::PROTOCOLS` order,
/// fixed for ever because records on disk carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProtocolTag(pub u8);

/// Why a message left a queue other than by being accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeathReason {
    /// A consumer refused it.
    Rejected,
    /// Its time to live was over.
    Expired,
    /// The queue was full.
    MaxLength,
    /// It was given back too often.
    DeliveryLimit,
}

/// One line of a message's death history: how often it died in that queue for that reason
/// (amqp.md R45b, L43).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The queue it died in.
    pub queue: Box<str>,
    /// Why.
    pub reason: DeathReason,
    /// How often.
    pub count: u64,
    /// When it died there first, milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// The exchange it had been published to.
    pub exchange: Box<str>,
    /// The routing keys it had been published with.
    pub routing_keys: Vec<Box<str>>,
    /// Its own time to live at that time, milliseconds, which dead-lettering takes away.
    pub original_expiration_ms: Option<u64>,
}

/// Where and why a message died, newest first; the first and last death are kept by name
/// because clients read them (x-first-death-*, x-last-death-*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeathHistory {
    /// Newest first, one per (queue, reason).
    pub deaths: Vec<Death>,
    /// Queue, reason and exchange of the very first death.
    pub first: (Box<str>, DeathReason, Box<str>),
    /// Queue, reason and exchange of the latest death.
    pub last: (Box<str>, DeathReason, Box<str>),
}

/// What a publisher's protocol says about a message in neutral words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// The protocol that wrote the property block.
    pub protocol: ProtocolTag,
    /// Whether it asks to survive a restart.
    pub persistent: bool,
    /// 0 to 255 if given.
    pub priority: Option<u8>,
    /// Its own time to live in milliseconds, if given.
    pub expiration_ms: Option<u64>,
}

/// The fields of a message. See [`Message`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inner {
    /// The exchange it was published to; empty for the default exchange.
    pub exchange: Rc<str>,
    /// What the publisher says in neutral words.
    pub traits: Traits,
    /// Further routing keys the sender chose (visible ones only), for the death history.
    pub extra_keys: Option<Box<[Box<str>]>>,
    /// Where it died before.
    pub deaths: Option<Box<DeathHistory>>,
    /// When this broker took it, milliseconds of `Now::mono_ms`.
    pub received_ms: u64,
    /// Octets of the routing key at the front of `content`.
    routing_key_bytes: u32,
    /// Octets of the property block after it.
    properties_bytes: u32,
    /// Routing key, property block and, unless it stands apart, body: one allocation for a small message.
    content: Bytes,
    /// A large body, kept as the one buffer it was assembled in.
    apart: Option<Bytes>,
}

/// From this size on a body keeps the buffer it was assembled in instead of being copied behind
/// the properties: copying 16 KiB costs what the second allocation saves (runtime.md section 3).
pub const BODY_APART_BYTES: usize = 16 * 1024;

/// A message on its shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Rc<Inner>);

/// A body on its way in: a slice of the read buffer, or the buffer it was assembled in.
#[derive(Debug, Clone)]
pub enum Body<'a> {
    /// To be copied.
    Slice(&'a [u8]),
    /// To be kept.
    Owned(Bytes),
}

impl Body<'_> {
    /// The octets.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Slice(s) => s,
            Self::Owned(b) => b,
        }
    }
}

impl Message {
    /// Makes a message; `None` when key or properties exceed 4 GiB.
    pub fn new(
        exchange: Rc<str>,
        routing_key: &str,
        traits: Traits,
        properties: &[u8],
        body: Body<'_>,
        received_ms: u64,
    ) -> Option<Self> {
        let (inline, apart) = match body {
            Body::Owned(b) if b.len() >= BODY_APART_BYTES => (&[][..], Some(b)),
            Body::Owned(ref b) => (&b[..], None),
            Body::Slice(s) => (s, None),
        };
        let mut content = Vec::with_capacity(routing_key.len() + properties.len() + inline.len());
        content.extend_from_slice(routing_key.as_bytes());
        content.extend_from_slice(properties);
        content.extend_from_slice(inline);
        Some(Self(Rc::new(Inner {
            exchange,
            traits,
            extra_keys: None,
            deaths: None,
            received_ms,
            routing_key_bytes: u32::try_from(routing_key.len()).ok()?,
            properties_bytes: u32::try_from(properties.len()).ok()?,
            content: Bytes::from(content),
            apart,
        })))
    }

    /// The exchange it was published to.
    pub fn exchange(&self) -> &str {
        &self.0.exchange
    }

    /// The key it was published with.
    pub fn routing_key(&self) -> &str {
        let key = self.0.content.get(..self.0.routing_key_bytes as usize).unwrap_or_default();
        // It was made from a str; on no path can it be anything else.
        std::str::from_utf8(key).unwrap_or_default()
    }

    /// The property block, as its protocol wrote it.
    pub fn properties(&self) -> &[u8] {
        let from = self.0.routing_key_bytes as usize;
        let to = from.saturating_add(self.0.properties_bytes as usize);
        self.0.content.get(from..to).unwrap_or_default()
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        if let Some(apart) = &self.0.apart {
            return apart;
        }
        let from = self.0.routing_key_bytes as usize;
        let from = from.saturating_add(self.0.properties_bytes as usize);
        self.0.content.get(from..).unwrap_or_default()
    }

    /// A large body as a buffer that may be held; `None` when it is small and should be copied.
    pub fn body_apart(&self) -> Option<&Bytes> {
        self.0.apart.as_ref()
    }

    /// What the publisher said in neutral words.
    pub fn traits(&self) -> Traits {
        self.0.traits
    }

    /// Where it died before.
    pub fn deaths(&self) -> Option<&DeathHistory> {
        self.0.deaths.as_deref()
    }

    /// Further visible routing keys the sender chose.
    pub fn extra_keys(&self) -> &[Box<str>] {
        self.0.extra_keys.as_deref().unwrap_or_default()
    }

    /// When the broker took it, milliseconds of `Now::mono_ms`.
    pub fn received_ms(&self) -> u64 {
        self.0.received_ms
    }

    /// Whether it is the very same message, shared by reference count.
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// A changed copy; the content is shared, not copied.
    #[must_use]
    pub fn with(&self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner::clone(&self.0);
        change(&mut inner);
        Self(Rc::new(inner))
    }

    /// The same message under another exchange and key (dead-lettering).
    #[must_use]
    pub fn readdressed(&self, exchange: Rc<str>, routing_key: &str) -> Option<Self> {
        let body = match &self.0.apart {
            Some(apart) => Body::Owned(apart.clone()),
            None => Body::Slice(self.body()),
        };
        let copy = Self::new(
            exchange,
            routing_key,
            self.0.traits,
            self.properties(),
            body,
            self.0.received_ms,
        )?;
        Some(copy.with(|inner| {
            inner.deaths.clone_from(&self.0.deaths);
            inner.extra_keys.clone_from(&self.0.extra_keys);
        }))
    }

    /// Octets of memory it takes, for watermarks: content and a fixed part per message.
    pub fn memory_bytes(&self) -> usize {
        const FIXED: usize = size_of::<Inner>() + 64;
        FIXED + self.0.content.len() + self.0.apart.as_ref().map_or(0, Bytes::len)
    }
}

/// How the broker reads the property block of one protocol: only when an exchange or a rule asks
/// for headers, never for a plain publish.
#[derive(Debug, Clone, Copy)]
pub struct PropertyReader {
    /// The headers of a block; empty when there are none.
    pub headers: fn(&[u8]) -> crate::value::Table,
    /// A property by its neutral name (`message_id`, `correlation_id`, `timestamp` ...).
    pub property: fn(&[u8], &str) -> Option<crate::value::Value>,
    /// The topic that a block names, whatever the key is.
    pub topic: fn(&[u8]) -> Option<Box<str>>,
    /// The block in no protocol's words.
    pub neutral: fn(&[u8]) -> crate::properties::Properties,
}
