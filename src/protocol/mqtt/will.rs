//! The message that a client leaves behind (3.1.2-8 to 3.1.2-17; in version 5 3.1.2-7 to 3.1.2-15,
//! 3.1.3-9; H-12 to H-14). May import `message`, `subscriber`, `wire`.

use bytes::Bytes;

use crate::message::{Body, Traits};
use crate::subscriber::{Assurance, Will};

use super::block::{Block, Source, TAG};

/// A will, as it is handed to the broker.
#[derive(Debug)]
pub(super) struct Testament {
    topic: Box<str>,
    retain: bool,
    traits: Traits,
    block: Box<[u8]>,
    body: Bytes,
    delay_ms: u64,
}

/// What CONNECT says of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastWords<'a> {
    pub(super) topic: &'a str,
    pub(super) assurance: Assurance,
    pub(super) retain: bool,
    pub(super) expiry_s: Option<u32>,
    pub(super) forwarded: &'a [u8],
    pub(super) body: &'a [u8],
    pub(super) delay_ms: u64,
    /// Who leaves it: see [`super::block::publisher`].
    pub(super) publisher: u64,
    /// Its user, where that is to be known.
    pub(super) user: &'a str,
    /// Who may later lose the right to it.
    pub(super) source: Option<Source<'a>>,
}

impl Testament {
    pub(super) fn of(words: LastWords<'_>) -> Self {
        let mut block = Vec::new();
        let LastWords { assurance, retain, publisher, user, source, forwarded, .. } = words;
        Block { assurance, retain, will: true, publisher, user, source, forwarded }
            .write(&mut block);
        Self {
            topic: words.topic.into(),
            retain,
            traits: Traits {
                protocol: TAG,
                persistent: assurance > Assurance::AtMostOnce,
                priority: None,
                expiration_ms: words.expiry_s.map(|s| u64::from(s).saturating_mul(1000)),
            },
            block: block.into(),
            body: Bytes::copy_from_slice(words.body),
            delay_ms: words.delay_ms,
        }
    }

    /// As the broker takes it.
    pub(super) fn as_will(&self) -> Will<'_> {
        Will {
            topic: &self.topic,
            retain: self.retain,
            traits: self.traits,
            properties: &self.block,
            body: Body::Owned(self.body.clone()),
            delay_ms: self.delay_ms,
        }
    }
}
