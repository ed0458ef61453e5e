//! Finds every intact record of one log file, wherever it is and whatever stands between. Pure. May
//! import `ids` and `record`.

use crate::log::file_header::BLOCK_BYTES;
use crate::log::ids::Lsn;
use crate::log::record::{
    Decoded, HEAD_BYTES, Invalid, Key, Outer, RECORD_ALIGN, Record, decode, parse,
};

/// How many times its own octets a file may make us hash for nothing. Heads that are intact before
/// contents that are not may be nested in each other, if somebody has made them on purpose.
const VAIN_FACTOR: usize = 4;

/// Intact records back to back, numbered without a gap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) first: Lsn,
    pub(super) last: Lsn,
    pub(super) offset: usize,
    pub(super) end: usize,
}

impl Piece {
    /// Its records and their offsets. They have been checked before.
    pub(super) fn records<'a>(
        &self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (Record<'a>, usize)> + use<'a> {
        let end = self.end;
        let mut at = self.offset;
        std::iter::from_fn(move || {
            let (record, taken) = parse(bytes.get(at..end).filter(|rest| !rest.is_empty())?)?;
            let offset = at;
            at += taken;
            Some((record, offset))
        })
    }
}

/// What one file holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// As they stand in the file.
    pub(super) pieces: Vec<Piece>,
    /// The highest number that a record claims to be durable.
    pub(super) claimed: Lsn,
    /// The number in the first place for a record, if that can be read.
    pub(super) begins_with: Option<Lsn>,
    /// Looked no further than this, see [`VAIN_FACTOR`].
    pub(super) gave_up: Option<u64>,
}

impl Scan {
    /// Looks for records of one log and boot with numbers from `floor` on; others are left over from an
    /// earlier life of the file.
    pub(super) fn new(bytes: &[u8], key: Key, boot: u64, floor: Lsn) -> Self {
        let mut scan = Self::default();
        let mut vain_bytes_left = bytes.len().saturating_mul(VAIN_FACTOR);
        let mut at = BLOCK_BYTES;
        // The record that has to come next, as long as nothing but zeros stood in between.
        let mut chain: Option<Lsn> = None;
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEAD_BYTES) {
            if rest.first_chunk() == Some(&[0; RECORD_ALIGN]) {
                at += RECORD_ALIGN;
                continue;
            }
            let outer = trusted(rest, key, boot).filter(|outer| outer.lsn >= floor);
            if at == BLOCK_BYTES {
                scan.begins_with = outer.map(|outer| outer.lsn);
            }
            let Some(outer) = outer else {
                chain = None;
                at += RECORD_ALIGN;
                continue;
            };
            let next = outer.lsn.0.saturating_add(1);
            match decode(rest, key) {
                Decoded::Record { record, taken } => {
                    scan.add(&record, at, at + taken);
                    chain = Some(Lsn(next));
                    at += taken;
                }
                // In its place in the chain a head is believed: what it leads is not searched for
                // records, which a message may well contain.
                Decoded::Invalid(Invalid::InnerChecksum) if chain == Some(outer.lsn) => {
                    chain = Some(Lsn(next));
                    at = at.saturating_add(outer.taken());
                }
                Decoded::Invalid(_) | Decoded::End => {
                    let Some(left) = vain_bytes_left.checked_sub(outer.taken()) else {
                        scan.gave_up = u64::try_from(at).ok();
                        break;
                    };
                    vain_bytes_left = left;
                    chain = None;
                    at += RECORD_ALIGN;
                }
            }
        }
        scan
    }

    fn add(&mut self, record: &Record<'_>, offset: usize, end: usize) {
        let lsn = record.head.lsn;
        self.claimed = self.claimed.max(record.head.durable);
        match self.pieces.last_mut() {
            Some(piece) if piece.end == offset && piece.last.0.saturating_add(1) == lsn.0 => {
                piece.last = lsn;
                piece.end = end;
            }
            Some(_) | None => self.pieces.push(Piece { first: lsn, last: lsn, offset, end }),
        }
    }
}

/// A record with this number was begun where the records end, be it in the same batch or the next.
pub(super) fn is_begun(bytes: &[u8], end: usize, key: Key, boot: u64, next: Lsn) -> bool {
    let is_next = |at: usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        trusted(rest, key, boot).is_some_and(|outer| outer.lsn == next)
    };
    // Blocks are written whole, with zeros behind the last record.
    let block_end = end.next_multiple_of(BLOCK_BYTES).min(bytes.len());
    let is_within =
        bytes.get(end..block_end).is_some_and(|rest| rest.iter().any(|octet| *octet != 0));
    is_within || is_next(block_end)
}

/// An outer head of this log and boot with a right checksum.
fn trusted(rest: &[u8], key: Key, boot: u64) -> Option<Outer> {
    Outer::peek(rest).filter(|outer| u64::from(outer.boot) == boot)?;
    Outer::read(rest, key).ok()
}
