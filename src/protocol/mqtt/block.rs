//! The property block of a message: what the broker carries for this protocol and never reads
//! (X-09). Records on disk have it, so its layout is fixed for ever. May import `message`,
//! `subscriber`, `wire`.
//!
//! ```text
//! 1 octet   bits 0-1 assurance of its publisher, bit 2 retained mark, bit 3 will, bit 4 user, bit 5
//!           source
//! 8 octets  hash of its publisher's virtual host and client id; 0: unknown
//! with bit 4 only: 1 octet length and name of its publisher's user (X-12)
//! with bit 5 only: 1 octet 1 if its publisher had logged in, 1 octet length and the name that rights
//!           know it by, 1 octet length and client id (abuse row 69)
//! rest      the properties that are forwarded unaltered, as version 5 writes them
//! ```

use crate::message::{Message, ProtocolTag};
use crate::subscriber::Assurance;

/// The mark of property blocks in this layout.
pub const TAG: ProtocolTag = ProtocolTag(1);

const ASSURANCE: u8 = 0b11;
const RETAIN: u8 = 0b100;
const WILL: u8 = 0b1000;
const USER: u8 = 0b1_0000;
const SOURCE: u8 = 0b10_0000;

/// Octets before the properties.
const HEAD_BYTES: usize = 9;

/// Whose right to publish it counts for as long as it is retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source<'a> {
    /// It has logged in; otherwise it has only said its name.
    pub(super) has_login: bool,
    /// The name that rights know it by; empty: none.
    pub(super) name: &'a str,
    /// The client id.
    pub(super) client: &'a str,
}

impl<'a> Source<'a> {
    /// `None`: one of the names has more than 255 octets.
    pub(super) fn new(has_login: bool, name: &'a str, client: &'a str) -> Option<Self> {
        let fits = |text: &str| u8::try_from(text.len()).is_ok();
        (fits(name) && fits(client)).then_some(Self { has_login, name, client })
    }

    fn read(octets: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (has_login, rest) = octets.split_first()?;
        let (name, rest) = short_text(rest)?;
        let (client, rest) = short_text(rest)?;
        Some((Self { has_login: *has_login != 0, name, client }, rest))
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.has_login.into());
        for text in [self.name, self.client] {
            out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// A text behind an octet with its length, and what follows.
fn short_text(octets: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = octets.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block<'a> {
    /// How surely its publisher sent it.
    pub(super) assurance: Assurance,
    /// Its publisher marked it as one to be retained.
    pub(super) retain: bool,
    /// It was left behind by a connection that broke.
    pub(super) will: bool,
    /// Who published it.
    pub(super) publisher: u64,
    /// The user that published it, where that is to be known; empty: nothing is said. A name of more
    /// than 255 octets is left out.
    pub(super) user: &'a str,
    /// Of one that is to be retained, where that counts.
    pub(super) source: Option<Source<'a>>,
    /// Properties that are forwarded unaltered.
    pub(super) forwarded: &'a [u8],
}

impl<'a> Block<'a> {
    /// What a message says of itself. One of another protocol says only whether it asks to survive
    /// a restart (X-09).
    pub(super) fn of(message: &'a Message) -> Self {
        let traits = message.traits();
        if traits.protocol == TAG
            && let Some(block) = Self::read(message.properties())
        {
            return block;
        }
        let assurance =
            if traits.persistent { Assurance::AtLeastOnce } else { Assurance::AtMostOnce };
        Self {
            assurance,
            retain: false,
            will: false,
            publisher: 0,
            user: "",
            source: None,
            forwarded: &[],
        }
    }

    /// `None`: these octets are no such block.
    pub(super) fn read(block: &'a [u8]) -> Option<Self> {
        let (head, rest) = block.split_first_chunk::<HEAD_BYTES>()?;
        let [flags, publisher @ ..] = *head;
        let (user, rest) = if flags & USER == 0 { ("", rest) } else { short_text(rest)? };
        let (source, forwarded) = if flags & SOURCE == 0 {
            (None, rest)
        } else {
            let (source, rest) = Source::read(rest)?;
            (Some(source), rest)
        };
        Some(Self {
            assurance: assurance_of(flags & ASSURANCE)?,
            retain: flags & RETAIN != 0,
            will: flags & WILL != 0,
            publisher: u64::from_be_bytes(publisher),
            user,
            source,
            forwarded,
        })
    }

    /// Appends the block.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.reserve(HEAD_BYTES.saturating_add(self.forwarded.len()));
        out.extend_from_slice(&self.head());
        if let Some(length) = self.user_length() {
            out.push(length);
            out.extend_from_slice(self.user.as_bytes());
        }
        if let Some(source) = &self.source {
            source.write(out);
        }
        out.extend_from_slice(self.forwarded);
    }

    /// The whole block if there are no properties, as with most messages: it needs no memory.
    pub(super) fn short(&self) -> Option<[u8; HEAD_BYTES]> {
        let is_short = self.forwarded.is_empty() && self.user.is_empty() && self.source.is_none();
        is_short.then(|| self.head())
    }

    /// Of the user's name, if there is one to be written.
    fn user_length(&self) -> Option<u8> {
        u8::try_from(self.user.len()).ok().filter(|length| *length > 0)
    }

    fn head(&self) -> [u8; HEAD_BYTES] {
        let mut flags = level(self.assurance);
        if self.retain {
            flags |= RETAIN;
        }
        if self.will {
            flags |= WILL;
        }
        if self.user_length().is_some() {
            flags |= USER;
        }
        if self.source.is_some() {
            flags |= SOURCE;
        }
        let [a, b, c, d, e, f, g, h] = self.publisher.to_be_bytes();
        [flags, a, b, c, d, e, f, g, h]
    }
}

/// An assurance as the wire has it.
pub(super) const fn level(assurance: Assurance) -> u8 {
    match assurance {
        Assurance::AtMostOnce => 0,
        Assurance::AtLeastOnce => 1,
        Assurance::ExactlyOnce => 2,
    }
}

/// The other way round; `None` for 3 and above.
pub(super) const fn assurance_of(level: u8) -> Option<Assurance> {
    match level {
        0 => Some(Assurance::AtMostOnce),
        1 => Some(Assurance::AtLeastOnce),
        2 => Some(Assurance::ExactlyOnce),
        _ => None,
    }
}

/// What stands for a client in the messages that it publishes: never 0. FNV-1a, since messages on
/// disk keep it.
pub(super) fn publisher(vhost: &str, client: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let octets = vhost.bytes().chain([0]).chain(client.bytes());
    octets.fold(OFFSET, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(PRIME)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_as_it_was_written() {
        for (n, assurance) in
            [Assurance::AtMostOnce, Assurance::AtLeastOnce, Assurance::ExactlyOnce]
                .into_iter()
                .enumerate()
        {
            for bits in 0..16 {
                let block = Block {
                    assurance,
                    retain: bits & 1 != 0,
                    will: bits & 2 != 0,
                    publisher: publisher("/", "c"),
                    user: if bits & 4 != 0 { "u" } else { "" },
                    source: Source::new(bits & 1 != 0, "name", "client").filter(|_| bits & 8 != 0),
                    forwarded: b"xyz",
                };
                let mut octets = Vec::new();
                block.write(&mut octets);
                assert_eq!(usize::from(octets[0] & 3), n);
                assert_eq!(Block::read(&octets), Some(block));
            }
        }
    }

    #[test]
    fn octets_that_are_no_block_are_none() {
        assert_eq!(Block::read(&[0; 8]), None);
        assert_eq!(Block::read(&[3; 9]), None);
        let cut = [USER, 0, 0, 0, 0, 0, 0, 0, 0, 2, b'u'];
        assert_eq!(Block::read(&cut), None, "a name that is cut off");
        let cut = [SOURCE, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, b'u', 2, b'c'];
        assert_eq!(Block::read(&cut), None, "a source that is cut off");
        assert_eq!(Source::new(true, &"n".repeat(256), "c"), None);
    }

    #[test]
    fn publishers_of_two_virtual_hosts_are_two() {
        assert_ne!(publisher("a", "bc"), publisher("ab", "c"));
        assert_ne!(publisher("", ""), 0);
    }
}
