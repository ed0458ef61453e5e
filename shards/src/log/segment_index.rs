//! What stands in a segment's file besides its entries: header, tables and footer, as pure functions
//! over octets. May import `ids` and `segment_error`.
//!
//! # Layout
//!
//! All numbers are little-endian; checksums are CRC-32C. Those of entries and tables begin with the
//! segment's identity, so that what belongs to another segment is damage here.
//!
//! ```text
//! header   64   magic, queue uid, number, boot, count, first position, zeros, checksum
//! entries       each: head of 36, payload, zeros up to a multiple of 8
//! index    16*n position, offset / 8, weight
//! runs     32*m first position, weight, first entry, count, class, flags, zeros
//! footer   96   offsets, counts, summary, checksums of the tables, its own, magic
//! ```
//!
//! The tables stand behind the entries because they are known last: the file is made in one pass.
//! Everything fits without a gap, so the footer's numbers are checked by sums, before any is used.

use super::ids::{QueueUid, SegmentId};
use super::segment_error::SegmentError;

/// Octets of the header.
pub(super) const HEADER_BYTES: usize = 64;
/// Octets of an entry before its payload.
pub(super) const HEAD_BYTES: usize = 36;
/// Octets of the smallest entry.
pub(super) const ENTRY_BYTES_MIN: u64 = HEAD_BYTES.next_multiple_of(ALIGNMENT) as u64;
/// Octets of an entry of the index.
pub(super) const INDEX_BYTES: usize = 16;
/// Octets of an entry of the table of runs.
pub(super) const RUN_BYTES: usize = 32;
/// Octets of the footer.
pub(super) const FOOTER_BYTES: usize = 96;
/// Entries begin at multiples of this, which lets the index keep 4 octets for an offset.
pub(super) const ALIGNMENT: usize = 8;

const HEADER_MAGIC: [u8; 8] = *b"RINGSEG1";
const FOOTER_MAGIC: [u8; 8] = *b"RINGEND1";
/// Octets of the header in front of its checksum.
pub(super) const HEADER_CHECKED: usize = 60;
/// Octets of the footer in front of its checksum.
pub(super) const FOOTER_CHECKED: usize = 84;

/// Neighbours in a segment of contiguous positions, one class and the same flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Position of the first.
    pub from: u64,
    /// Position behind the last.
    pub to: u64,
    /// Which entry of the segment the first is.
    pub first_index: u32,
    /// How many: `to - from`.
    pub count: u32,
    /// The class of each.
    pub class: u16,
    /// The flags of each.
    pub flags: u16,
    /// Sum of the weights.
    pub weight: u64,
}

/// What stays in memory of a segment that is not mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Which.
    pub id: SegmentId,
    /// Position of the first entry.
    pub first: u64,
    /// Position of the last entry.
    pub last: u64,
    /// Entries, settled or not; at least one.
    pub count: u32,
    /// Octets of the file.
    pub file_bytes: u64,
    /// Sum of the weights of all entries.
    pub weight: u64,
    /// Arrival of the entry that came first.
    pub arrived_min_ms: u64,
    /// Flags that all entries have.
    pub flags_all: u16,
    /// Flags that any entry has.
    pub flags_any: u16,
}

/// Where things stand in a segment whose header and footer were found good.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) summary: SegmentSummary,
    pub(super) boot: u32,
    pub(super) run_count: u32,
    pub(super) index_at: u64,
    pub(super) runs_at: u64,
    pub(super) index_checksum: u32,
    pub(super) runs_checksum: u32,
}

/// Where the checksums of a segment's entries, tables and footer begin.
pub(super) fn seed(id: SegmentId) -> u32 {
    let of_queue = crc32c::crc32c(&id.queue.0.to_le_bytes());
    crc32c::crc32c_append(of_queue, &id.number.to_le_bytes())
}

/// The 2 octets at an offset.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let octets = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*octets))
}

/// The 4 octets at an offset.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let octets = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*octets))
}

/// The 8 octets at an offset.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let octets = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*octets))
}

/// The octets from `at`, if all of them are there.
pub(super) fn part(bytes: &[u8], at: u64, len: u64) -> Option<&[u8]> {
    let at = usize::try_from(at).ok()?;
    let len = usize::try_from(len).ok()?;
    bytes.get(at..)?.get(..len)
}

/// Writes a segment's header.
pub(super) fn header(id: SegmentId, boot: u32, count: u32, first: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(&HEADER_MAGIC);
    out.extend_from_slice(&id.queue.0.to_le_bytes());
    out.extend_from_slice(&id.number.to_le_bytes());
    out.extend_from_slice(&boot.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.resize(HEADER_CHECKED, 0);
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    debug_assert_eq!(out.len(), HEADER_BYTES);
    out
}

/// Boot, count and first position of a header that is good and this segment's.
fn read_header(id: SegmentId, bytes: &[u8]) -> Result<(u32, u32, u64), SegmentError> {
    let read = || {
        let magic = bytes.first_chunk::<8>()?;
        let checked = bytes.get(..HEADER_CHECKED)?;
        let checksum = u32_at(bytes, HEADER_CHECKED)?;
        let found = SegmentId { queue: QueueUid(u64_at(bytes, 8)?), number: u64_at(bytes, 16)? };
        let numbers = (u32_at(bytes, 24)?, u32_at(bytes, 28)?, u64_at(bytes, 32)?);
        Some((*magic, crc32c::crc32c(checked) == checksum, found, numbers))
    };
    let Some((magic, is_whole, found, numbers)) = read() else {
        return Err(SegmentError::HeaderDamaged);
    };
    if magic != HEADER_MAGIC {
        return Err(SegmentError::NoSegment);
    }
    if !is_whole {
        return Err(SegmentError::HeaderDamaged);
    }
    if found != id {
        return Err(SegmentError::AnotherSegment { found });
    }
    Ok(numbers)
}

impl Layout {
    /// Writes the footer.
    pub(super) fn write_footer(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let summary = &self.summary;
        out.extend_from_slice(&self.index_at.to_le_bytes());
        out.extend_from_slice(&self.runs_at.to_le_bytes());
        out.extend_from_slice(&summary.count.to_le_bytes());
        out.extend_from_slice(&self.run_count.to_le_bytes());
        out.extend_from_slice(&summary.first.to_le_bytes());
        out.extend_from_slice(&summary.last.to_le_bytes());
        out.extend_from_slice(&summary.weight.to_le_bytes());
        out.extend_from_slice(&summary.arrived_min_ms.to_le_bytes());
        out.extend_from_slice(&summary.flags_all.to_le_bytes());
        out.extend_from_slice(&summary.flags_any.to_le_bytes());
        out.extend_from_slice(&self.index_checksum.to_le_bytes());
        out.extend_from_slice(&self.runs_checksum.to_le_bytes());
        out.extend_from_slice(&summary.file_bytes.to_le_bytes());
        out.extend_from_slice(&self.boot.to_le_bytes());
        // Not used yet.
        out.resize(start + FOOTER_CHECKED, 0);
        let written = out.get(start..).unwrap_or_default();
        let checksum = crc32c::crc32c_append(seed(summary.id), written);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&FOOTER_MAGIC);
        debug_assert_eq!(out.len(), start + FOOTER_BYTES);
    }

    /// The layout of a segment whose file has `file_bytes`, from its first and last octets.
    pub(super) fn read(
        id: SegmentId,
        header: &[u8],
        footer: &[u8],
        file_bytes: u64,
    ) -> Result<Self, SegmentError> {
        let (boot, count, first) = read_header(id, header)?;
        let checked = footer.get(..FOOTER_CHECKED).ok_or(SegmentError::FooterDamaged)?;
        let ends_well = footer.get(FOOTER_CHECKED + 4..) == Some(FOOTER_MAGIC.as_slice());
        let checksum = crc32c::crc32c_append(seed(id), checked);
        if !ends_well || u32_at(footer, FOOTER_CHECKED) != Some(checksum) {
            return Err(SegmentError::FooterDamaged);
        }
        let layout = Self::read_footer(id, checked).ok_or(SegmentError::FooterDamaged)?;
        let summary = &layout.summary;
        if (summary.count, summary.first, layout.boot) != (count, first, boot) {
            return Err(SegmentError::Inconsistent("header and footer differ"));
        }
        if summary.file_bytes != file_bytes {
            return Err(SegmentError::Length { have: file_bytes, need: summary.file_bytes });
        }
        if !layout.fits() {
            return Err(SegmentError::Inconsistent("the parts do not make up the file"));
        }
        Ok(layout)
    }

    fn read_footer(id: SegmentId, bytes: &[u8]) -> Option<Self> {
        let summary = SegmentSummary {
            id,
            count: u32_at(bytes, 16)?,
            first: u64_at(bytes, 24)?,
            last: u64_at(bytes, 32)?,
            weight: u64_at(bytes, 40)?,
            arrived_min_ms: u64_at(bytes, 48)?,
            flags_all: u16_at(bytes, 56)?,
            flags_any: u16_at(bytes, 58)?,
            file_bytes: u64_at(bytes, 68)?,
        };
        Some(Self {
            summary,
            boot: u32_at(bytes, 76)?,
            run_count: u32_at(bytes, 20)?,
            index_at: u64_at(bytes, 0)?,
            runs_at: u64_at(bytes, 8)?,
            index_checksum: u32_at(bytes, 60)?,
            runs_checksum: u32_at(bytes, 64)?,
        })
    }

    /// Octets of the index.
    pub(super) fn index_bytes(&self) -> u64 {
        u64::from(self.summary.count) * INDEX_BYTES as u64
    }

    /// Octets of the table of runs.
    pub(super) fn runs_bytes(&self) -> u64 {
        u64::from(self.run_count) * RUN_BYTES as u64
    }

    /// Each part begins where the one before ends, and the counts can be true.
    fn fits(&self) -> bool {
        let count = self.summary.count;
        let entry_bytes_min = u64::from(count) * ENTRY_BYTES_MIN;
        let end = self.runs_at.checked_add(self.runs_bytes() + FOOTER_BYTES as u64);
        count > 0
            && self.run_count > 0
            && self.run_count <= count
            && self.index_at >= HEADER_BYTES as u64 + entry_bytes_min
            && self.index_at.is_multiple_of(ALIGNMENT as u64)
            && self.index_at.checked_add(self.index_bytes()) == Some(self.runs_at)
            && end == Some(self.summary.file_bytes)
    }

    /// The index, if it is as it was written.
    pub(super) fn check_index<'a>(&self, bytes: &'a [u8]) -> Result<Index<'a>, SegmentError> {
        let is_whole = bytes.len() as u64 == self.index_bytes()
            && crc32c::crc32c_append(seed(self.summary.id), bytes) == self.index_checksum;
        is_whole.then_some(Index { bytes }).ok_or(SegmentError::IndexDamaged)
    }

    /// The table of runs, if it is as it was written and covers the segment in order.
    pub(super) fn check_runs<'a>(&self, bytes: &'a [u8]) -> Result<Runs<'a>, SegmentError> {
        let is_whole = bytes.len() as u64 == self.runs_bytes()
            && crc32c::crc32c_append(seed(self.summary.id), bytes) == self.runs_checksum;
        if !is_whole {
            return Err(SegmentError::RunsDamaged);
        }
        let runs = Runs { bytes };
        let (mut next_index, mut next_position, mut weight) = (0, self.summary.first, 0_u64);
        for run in runs.iter() {
            let begins =
                if next_index == 0 { run.from == next_position } else { run.from >= next_position };
            if !begins || run.first_index != next_index || run.count == 0 {
                return Err(SegmentError::Inconsistent("the runs are not in order"));
            }
            let index = next_index.checked_add(run.count);
            next_index = index.ok_or(SegmentError::Inconsistent("a run is too long"))?;
            let sum = weight.checked_add(run.weight);
            weight = sum.ok_or(SegmentError::Inconsistent("a run is too heavy"))?;
            next_position = run.to;
        }
        let ends = self.summary.last.checked_add(1) == Some(next_position);
        if next_index != self.summary.count || !ends || weight != self.summary.weight {
            return Err(SegmentError::Inconsistent("the runs are not the whole"));
        }
        Ok(runs)
    }

    /// Index and runs, both already found whole, say the same.
    pub(super) fn check_agreement(
        &self,
        index: Index<'_>,
        runs: Runs<'_>,
    ) -> Result<(), SegmentError> {
        let mut entries = index.iter();
        let mut offset_min = HEADER_BYTES as u64;
        for run in runs.iter() {
            let mut weight = 0_u64;
            // As many as the index has at most, whatever the run says.
            for position in run.from..run.to {
                let entry = entries.next().ok_or(SegmentError::Inconsistent("index too short"))?;
                if entry.position != position {
                    return Err(SegmentError::Inconsistent("index and runs differ in position"));
                }
                // The first stands right behind the header.
                let is_first = offset_min == HEADER_BYTES as u64;
                if entry.offset < offset_min || (is_first && entry.offset != offset_min) {
                    return Err(SegmentError::Inconsistent("entries overlap"));
                }
                offset_min = entry.offset + ENTRY_BYTES_MIN;
                weight += u64::from(entry.weight);
            }
            if weight != run.weight {
                return Err(SegmentError::Inconsistent("index and runs differ in weight"));
            }
        }
        if entries.next().is_some() || offset_min > self.index_at {
            return Err(SegmentError::Inconsistent("entries reach into the index"));
        }
        Ok(())
    }
}

/// An entry of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) position: u64,
    pub(super) offset: u64,
    pub(super) weight: u32,
}

/// The index: where each entry stands. Checked by [`Layout::check_index`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Index<'a> {
    bytes: &'a [u8],
}

impl<'a> Index<'a> {
    /// An index whose octets were checked before.
    pub(super) const fn known_good(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Adds an entry to an index that is being written.
    pub(super) fn write(entry: IndexEntry, out: &mut Vec<u8>) {
        let place = u32::try_from(entry.offset >> ALIGNMENT.trailing_zeros());
        assert!(place.is_ok(), "a segment is shorter than 32 GiB");
        out.extend_from_slice(&entry.position.to_le_bytes());
        out.extend_from_slice(&place.unwrap_or_default().to_le_bytes());
        out.extend_from_slice(&entry.weight.to_le_bytes());
    }

    /// One entry.
    pub(super) fn get(self, index: u32) -> Option<IndexEntry> {
        let at = (index as usize).checked_mul(INDEX_BYTES)?;
        read_index_entry(self.bytes.get(at..)?)
    }

    fn iter(self) -> impl Iterator<Item = IndexEntry> + 'a {
        self.bytes.chunks_exact(INDEX_BYTES).filter_map(read_index_entry)
    }
}

fn read_index_entry(bytes: &[u8]) -> Option<IndexEntry> {
    Some(IndexEntry {
        position: u64_at(bytes, 0)?,
        offset: u64::from(u32_at(bytes, 8)?) * ALIGNMENT as u64,
        weight: u32_at(bytes, 12)?,
    })
}

/// The table of runs. Checked by [`Layout::check_runs`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Runs<'a> {
    bytes: &'a [u8],
}

impl<'a> Runs<'a> {
    /// A table whose octets were checked before.
    pub(super) const fn known_good(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Adds a run to a table that is being written.
    pub(super) fn write(run: &Run, out: &mut Vec<u8>) {
        out.extend_from_slice(&run.from.to_le_bytes());
        out.extend_from_slice(&run.weight.to_le_bytes());
        out.extend_from_slice(&run.first_index.to_le_bytes());
        out.extend_from_slice(&run.count.to_le_bytes());
        out.extend_from_slice(&run.class.to_le_bytes());
        out.extend_from_slice(&run.flags.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
    }

    /// All of them, in order.
    pub(super) fn iter(self) -> impl Iterator<Item = Run> + use<'a> {
        self.bytes.chunks_exact(RUN_BYTES).map_while(read_run)
    }
}

/// A run whose end can be said.
fn read_run(bytes: &[u8]) -> Option<Run> {
    let from = u64_at(bytes, 0)?;
    let count = u32_at(bytes, 20)?;
    Some(Run {
        from,
        to: from.checked_add(u64::from(count))?,
        first_index: u32_at(bytes, 16)?,
        count,
        class: u16_at(bytes, 24)?,
        flags: u16_at(bytes, 26)?,
        weight: u64_at(bytes, 8)?,
    })
}
