//! Bodies that prove themselves: who published it, which of theirs it is, and a checksum over that
//! and all that follows. May import the random numbers.

use super::random::Random;

/// Octets of the smallest body: publisher, sequence number, checksum.
pub(crate) const HEAD_BYTES: usize = 16;

/// A message: `publisher:seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id {
    /// Number of the connection that published it, never used twice in a run.
    pub(crate) publisher: u32,
    /// Counted from 0 by that connection.
    pub(crate) seq: u32,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.publisher, self.seq)
    }
}

/// A body of this size, at least [`HEAD_BYTES`]. What fills it follows from the id: octets of
/// another message that came into it are found even where a checksum was made over them.
pub(crate) fn make(id: Id, bytes: usize) -> Vec<u8> {
    let mut filling = Random::new((u64::from(id.publisher) << 32) | u64::from(id.seq));
    let mut body = Vec::with_capacity(bytes.max(HEAD_BYTES) + 8);
    body.extend_from_slice(&id.publisher.to_le_bytes());
    body.extend_from_slice(&id.seq.to_le_bytes());
    body.extend_from_slice(&[0; 8]);
    while body.len() < bytes {
        body.extend_from_slice(&filling.next().to_le_bytes());
    }
    body.truncate(bytes.max(HEAD_BYTES));
    let sum = checksum(&body);
    body[8..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    body
}

/// The id of a body, or what is wrong with it.
pub(crate) fn check(body: &[u8]) -> Result<Id, String> {
    if body.len() < HEAD_BYTES {
        return Err(format!("a body of {} octets", body.len()));
    }
    let word = |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
    let id = Id { publisher: word(0), seq: word(4) };
    if make(id, body.len()) == body {
        Ok(id)
    } else {
        Err(format!("a body of {} octets that says {id} is not as it was sent", body.len()))
    }
}

/// FNV-1a of everything but the checksum, and of the length.
fn checksum(body: &[u8]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64 ^ body.len() as u64;
    for octet in body[..8].iter().chain(&body[HEAD_BYTES..]) {
        sum = (sum ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    }
    sum
}

/// Sizes as in life: many small, some of a few pages, few of 64 KiB.
pub(crate) fn any_size(random: &mut Random) -> usize {
    let bytes = match random.below(100) {
        0..60 => random.between(16, 256),
        60..90 => random.between(257, 4096),
        90..98 => random.between(4097, 16 * 1024),
        _ => random.between(16 * 1024, 64 * 1024),
    };
    usize::try_from(bytes).expect("below 64 KiB")
}

#[test]
fn a_body_knows_its_id_and_every_change_of_an_octet_is_found() {
    let id = Id { publisher: 7, seq: 70_000 };
    for bytes in [16, 17, 100] {
        let body = make(id, bytes);
        assert_eq!((body.len(), check(&body)), (bytes, Ok(id)));
        for at in 0..bytes {
            let mut damaged = body.clone();
            damaged[at] ^= 0x10;
            assert!(check(&damaged).is_err(), "octet {at} of {bytes}");
        }
        assert!(check(&body[..bytes - 1]).is_err(), "one less than {bytes}");
    }
}
