//! One record of a shard's log as octets: two heads with checksums, the payload, padding. Pure
//! functions over slices. May import `ids`.
//!
//! ```text
//! outer head: of this log                       inner head: the same wherever the record is copied to
//!  0  4  CRC32C of 4..28, xor the log's key      24  4  CRC32C of 28..end (without padding)
//!  4  4  octets from 24 on, without padding     28  4  group
//!  8  8  lsn                                    32  8  gseq: number within the group and boot
//! 16  4  lsn - highest lsn known durable        40  4  epoch
//! 20  4  boot                                   44  2  kind     46  2  flags
//!                                               48  8  reserved, zero
//!                                               56     payload, then zeros up to a multiple of 8
//! ```
//!
//! All numbers are little-endian. The outer checksum covers the inner one, so each octet is hashed
//! once, and it covers the length, so a length is believed before the payload is.
//!
//! # Whose a record is
//!
//! The outer checksum is changed by the [`Key`] of the log, which is made of the directory's random id
//! and the shard. So a block of another log that a disk has put into this one holds no records, nor
//! does a message whose publisher has guessed number and boot, unless it hits one of 2^32 keys. The
//! key is no secret to whoever can read the files, who could as well write them.

use super::ids::{BOOT_SHIFT, Lsn};

/// Octets of both heads.
pub const HEAD_BYTES: usize = 56;

/// Records begin at multiples of this.
pub const RECORD_ALIGN: usize = 8;

/// The log's own kind: a record without payload that only carries what is durable.
pub const KIND_MARK: u16 = 0;

/// Most octets of a payload. Arbitrary: far beyond any message, far below what a length can say.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 30;

const _: () = assert!(HEAD_BYTES.is_multiple_of(RECORD_ALIGN), "a payload begins aligned");

/// Octets of the outer head, of which a record's length does not speak.
const OUTER_BYTES: usize = 24;
/// Octets of the inner head.
const INNER_BYTES: usize = HEAD_BYTES - OUTER_BYTES;
/// What the inner checksum covers begins here, what the outer one covers ends here.
const INNER_BODY: usize = OUTER_BYTES + 4;
/// What keys are made of besides the log's identity, so that they are no checksum of anything else.
const KEY_SALT: [u8; 8] = *b"RINGKEY1";
/// The distance that claims nothing.
const NOTHING_CLAIMED: u32 = u32::MAX;

/// Changes the outer checksums of a log's records, so that they are records nowhere else. A checksum of
/// data that contain their own checksum would be a constant without such a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u32);

impl Key {
    /// The key of a shard's log and checkpoints in the data directory with this id. Two shards of one
    /// directory never have the same.
    #[must_use]
    pub fn of(dir_id: u64, shard: u32) -> Self {
        let mut identity = [0; 20];
        put(&mut identity, 0, KEY_SALT);
        put(&mut identity, 8, dir_id.to_le_bytes());
        put(&mut identity, 16, shard.to_le_bytes());
        Self(crc32c::crc32c(&identity))
    }
}

/// What both heads say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Place in this shard's log.
    pub lsn: Lsn,
    /// Everything up to here was known to be durable when this was written; always before `lsn`.
    /// The end of the boot before (`boot << BOOT_SHIFT`) if nothing was, or if it is out of reach.
    pub durable: Lsn,
    /// The boot it was written in.
    pub boot: u32,
    /// Whose record it is.
    pub group: u32,
    /// Strictly one more than the one before within group and boot; 0 for marks.
    pub gseq: u64,
    /// Never falls within a group.
    pub epoch: u32,
    /// What it is: the caller's, except [`KIND_MARK`].
    pub kind: u16,
    /// The caller's.
    pub flags: u16,
}

/// A record as it stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What its heads say.
    pub head: Head,
    /// What the caller wrote.
    pub payload: &'a [u8],
}

/// What is at the front of some octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A record; the next one begins `taken` octets further.
    Record {
        /// The record.
        record: Record<'a>,
        /// Its octets with padding, at most what was there.
        taken: usize,
    },
    /// Zeros, or nothing: the end of a batch.
    End,
    /// Neither.
    Invalid(Invalid),
}

/// Why something is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Fewer octets than heads have.
    #[error("cut within its heads")]
    Cut,
    /// The length is none, or goes beyond what is there.
    #[error("impossible length {octets}")]
    Length {
        /// What it says.
        octets: u32,
    },
    /// The outer head is damaged, or of another log.
    #[error("checksum of the head")]
    OuterChecksum,
    /// The payload or the inner head is damaged; the outer head is not.
    #[error("checksum of the content")]
    InnerChecksum,
    /// The numbers contradict each other.
    #[error("impossible numbers")]
    Numbers,
}

/// What an outer head says, believed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outer {
    /// As in [`Head`].
    pub(super) lsn: Lsn,
    /// As in [`Head`].
    pub(super) durable: Lsn,
    /// As in [`Head`].
    pub(super) boot: u32,
    /// Octets from the inner head on, without padding.
    len: u32,
}

impl Outer {
    /// Reads without looking at the checksum: a quick look whether looking closer is worthwhile.
    pub(super) fn peek(bytes: &[u8]) -> Option<Self> {
        let lsn = Lsn(u64_at(bytes, 8)?);
        let delta = u32_at(bytes, 16)?;
        let boot = u32_at(bytes, 20)?;
        let before_boot = Lsn(u64::from(boot) << BOOT_SHIFT);
        let durable = match lsn.0.checked_sub(u64::from(delta)) {
            Some(durable) if delta != NOTHING_CLAIMED => Lsn(durable).max(before_boot),
            Some(_) | None => before_boot,
        };
        Some(Self { lsn, durable, boot, len: u32_at(bytes, 4)? })
    }

    /// Reads an outer head that can be believed, whatever became of the rest of its record.
    ///
    /// # Errors
    /// Any cause but [`Invalid::InnerChecksum`].
    pub(super) fn read(bytes: &[u8], key: Key) -> Result<Self, Invalid> {
        let (Some(outer), Some(covered)) = (Self::peek(bytes), bytes.get(4..INNER_BODY)) else {
            return Err(Invalid::Cut);
        };
        // First what is cheap: most of what is asked about is no record at all.
        let octets = outer.len;
        let available = bytes.len() - OUTER_BYTES;
        let length = usize::try_from(octets).map_err(|_| Invalid::Length { octets })?;
        if !(INNER_BYTES..=INNER_BYTES + PAYLOAD_BYTES_MAX).contains(&length) || length > available
        {
            return Err(Invalid::Length { octets });
        }
        if u32_at(bytes, 0) != Some(crc32c::crc32c(covered) ^ key.0) {
            return Err(Invalid::OuterChecksum);
        }
        let is_of_boot = outer.lsn.0 >> BOOT_SHIFT == u64::from(outer.boot);
        if !is_of_boot || outer.durable >= outer.lsn {
            return Err(Invalid::Numbers);
        }
        Ok(outer)
    }

    /// Octets of the record without padding.
    fn end(self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX).saturating_add(OUTER_BYTES)
    }

    /// Octets of the record with padding: the next one begins so much further.
    pub(super) fn taken(self) -> usize {
        self.end().checked_next_multiple_of(RECORD_ALIGN).unwrap_or(usize::MAX)
    }
}

/// Octets that a record with this much payload takes.
#[must_use]
pub const fn record_bytes(payload_bytes: usize) -> usize {
    (HEAD_BYTES + payload_bytes).next_multiple_of(RECORD_ALIGN)
}

/// Makes room for the heads of a record at the end of `out` and says where; the payload follows.
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    start
}

/// Completes the record that begins at `start` and goes to the end of `out`: heads and padding.
///
/// # Panics
/// If [`begin`] did not give `start`, or the payload is longer than [`PAYLOAD_BYTES_MAX`]: such a
/// record could be written but not read.
pub fn finish(out: &mut Vec<u8>, start: usize, head: &Head, key: Key) {
    let record = out.get_mut(start..).unwrap_or_default();
    let payload_bytes = record.len().checked_sub(HEAD_BYTES);
    assert!(payload_bytes.is_some_and(|bytes| bytes <= PAYLOAD_BYTES_MAX), "record to be written");
    let len = u32::try_from(record.len() - OUTER_BYTES).unwrap_or(u32::MAX);
    // What lies further back than the distance can say is not claimed at all.
    let delta = head.lsn.0.saturating_sub(head.durable.0).max(1);
    let delta = u32::try_from(delta).unwrap_or(NOTHING_CLAIMED);

    put(record, 28, head.group.to_le_bytes());
    put(record, 32, head.gseq.to_le_bytes());
    put(record, 40, head.epoch.to_le_bytes());
    put(record, 44, head.kind.to_le_bytes());
    put(record, 46, head.flags.to_le_bytes());
    let inner = crc32c::crc32c(record.get(INNER_BODY..).unwrap_or_default());
    put(record, 24, inner.to_le_bytes());

    put(record, 4, len.to_le_bytes());
    put(record, 8, head.lsn.0.to_le_bytes());
    put(record, 16, delta.to_le_bytes());
    put(record, 20, head.boot.to_le_bytes());
    let outer = crc32c::crc32c(record.get(4..INNER_BODY).unwrap_or_default()) ^ key.0;
    put(record, 0, outer.to_le_bytes());

    let end = start + record.len().next_multiple_of(RECORD_ALIGN);
    out.resize(end, 0);
}

/// What is at the front of `bytes`, of a log with this key. A record may be cut within its padding only.
#[must_use]
pub fn decode(bytes: &[u8], key: Key) -> Decoded<'_> {
    let is_end = match bytes.first_chunk::<8>() {
        Some(front) => *front == [0; 8],
        None => bytes.iter().all(|octet| *octet == 0),
    };
    if is_end {
        return Decoded::End;
    }
    let outer = match Outer::read(bytes, key) {
        Ok(outer) => outer,
        Err(why) => return Decoded::Invalid(why),
    };
    let (Some(covered), Some(stored)) = (bytes.get(INNER_BODY..outer.end()), u32_at(bytes, 24))
    else {
        return Decoded::Invalid(Invalid::Cut);
    };
    if crc32c::crc32c(covered) != stored {
        return Decoded::Invalid(Invalid::InnerChecksum);
    }
    match parse(bytes) {
        Some((record, taken)) => Decoded::Record { record, taken },
        None => Decoded::Invalid(Invalid::Cut),
    }
}

/// Reads a record that [`decode`] has found good before, without hashing it again.
pub(super) fn parse(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let outer = Outer::peek(bytes)?;
    let head = Head {
        lsn: outer.lsn,
        durable: outer.durable,
        boot: outer.boot,
        group: u32_at(bytes, 28)?,
        gseq: u64_at(bytes, 32)?,
        epoch: u32_at(bytes, 40)?,
        kind: u16_at(bytes, 44)?,
        flags: u16_at(bytes, 46)?,
    };
    let payload = bytes.get(HEAD_BYTES..outer.end())?;
    Some((Record { head, payload }, outer.taken().min(bytes.len())))
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value;
    }
}

fn at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    at(bytes, offset).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    at(bytes, offset).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    at(bytes, offset).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key(0x5EED_0123);

    fn head() -> Head {
        Head {
            lsn: Lsn::first_of(3).next().next(),
            durable: Lsn::first_of(3),
            boot: 3,
            group: 7,
            gseq: 0x0102_0304_0506_0708,
            epoch: 9,
            kind: 4,
            flags: 0x8001,
        }
    }

    fn written(head: &Head, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0xEE; 16];
        let start = begin(&mut out);
        out.extend_from_slice(payload);
        finish(&mut out, start, head, KEY);
        out.split_off(start)
    }

    #[test]
    fn what_was_written_is_read() {
        for length in [0, 1, 7, 8, 9, 63, 64, 1000, 70_000] {
            let payload: Vec<u8> = (0..=250_u8).cycle().take(length).collect();
            let bytes = written(&head(), &payload);
            assert_eq!(bytes.len(), record_bytes(payload.len()));
            let Decoded::Record { record, taken } = decode(&bytes, KEY) else { panic!("{length}") };
            assert_eq!(record, Record { head: head(), payload: &payload });
            assert_eq!(taken, bytes.len());
        }
    }

    #[test]
    fn the_octets_are_these() {
        let bytes = written(&head(), b"abc");
        assert_eq!(bytes.len(), 64);
        assert_eq!(bytes[4..8], 35_u32.to_le_bytes(), "length from the inner head on");
        assert_eq!(bytes[8..16], ((3_u64 << 44) + 3).to_le_bytes(), "lsn");
        assert_eq!(bytes[16..20], 2_u32.to_le_bytes(), "distance of what is durable");
        assert_eq!(bytes[20..24], 3_u32.to_le_bytes(), "boot");
        assert_eq!(bytes[24..28], crc32c::crc32c(&bytes[28..59]).to_le_bytes());
        assert_eq!(bytes[0..4], (crc32c::crc32c(&bytes[4..28]) ^ 0x5EED_0123).to_le_bytes());
        assert_eq!(bytes[28..32], 7_u32.to_le_bytes(), "group");
        assert_eq!(bytes[44..46], 4_u16.to_le_bytes(), "kind");
        assert_eq!(bytes[48..56], [0; 8], "reserved");
        assert_eq!(&bytes[56..], b"abc\0\0\0\0\0");
    }

    #[test]
    fn a_record_cut_anywhere_but_in_its_padding_is_none() {
        let bytes = written(&head(), b"abc");
        assert_eq!(decode(&[], KEY), Decoded::End);
        for length in 1..59 {
            assert!(matches!(decode(&bytes[..length], KEY), Decoded::Invalid(_)), "{length}");
        }
        for length in 59..=64 {
            assert!(matches!(decode(&bytes[..length], KEY), Decoded::Record { .. }), "{length}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = written(&head(), b"abc");
        for bit in 0..59 * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&damaged, KEY), Decoded::Invalid(_)), "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_the_end() {
        assert_eq!(decode(&[0; 4096], KEY), Decoded::End);
        assert_eq!(decode(&[0; 5], KEY), Decoded::End);
        assert_eq!(decode(&[0, 1], KEY), Decoded::Invalid(Invalid::Cut));
    }

    #[test]
    fn what_is_out_of_reach_is_not_claimed() {
        let far = Head {
            lsn: Lsn(Lsn::first_of(3).0 + (1 << 33)),
            durable: Lsn(Lsn::first_of(3).0 + 5),
            ..head()
        };
        let bytes = written(&far, b"");
        let Decoded::Record { record, .. } = decode(&bytes, KEY) else { panic!("no record") };
        assert_eq!(record.head.durable, Lsn(3 << BOOT_SHIFT));
        let itself = Head { durable: head().lsn, ..head() };
        let bytes = written(&itself, b"");
        let Decoded::Record { record, .. } = decode(&bytes, KEY) else { panic!("no record") };
        assert_eq!(record.head.durable, Lsn(head().lsn.0 - 1), "a record never claims itself");
    }

    #[test]
    fn a_record_of_another_boot_than_its_number_is_none() {
        let bytes = written(&Head { boot: 4, ..head() }, b"");
        assert_eq!(decode(&bytes, KEY), Decoded::Invalid(Invalid::Numbers));
    }

    #[test]
    fn a_record_is_one_in_its_own_log_only() {
        let own = Key::of(0x0123_4567_89ab_cdef, 3);
        let mut bytes = Vec::new();
        let start = begin(&mut bytes);
        finish(&mut bytes, start, &head(), own);
        assert!(matches!(decode(&bytes, own), Decoded::Record { .. }));
        let shards = (0..512).filter(|shard| *shard != 3);
        let others = shards.map(|shard| Key::of(0x0123_4567_89ab_cdef, shard));
        let other_dirs = (0..64).map(|bit| Key::of(0x0123_4567_89ab_cdef ^ 1 << bit, 3));
        for other in others.chain(other_dirs) {
            assert_eq!(decode(&bytes, other), Decoded::Invalid(Invalid::OuterChecksum));
        }
    }

    #[test]
    fn the_keys_are_these() {
        // The octets of the format: a key that changes makes every log unreadable.
        let identity = b"RINGKEY1\xef\xcd\xab\x89\x67\x45\x23\x01\x03\0\0\0";
        assert_eq!(Key::of(0x0123_4567_89ab_cdef, 3), Key(crc32c::crc32c(identity)));
    }

    #[test]
    fn a_huge_length_is_refused_before_it_is_used() {
        let mut bytes = written(&head(), b"abc");
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&bytes, KEY), Decoded::Invalid(Invalid::Length { octets: u32::MAX }));
    }
}
