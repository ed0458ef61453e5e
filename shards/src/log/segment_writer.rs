//! Makes the content of a segment in memory. May import `ids` and `segment_index`.

use super::ids::SegmentId;
use super::segment_index::{
    ALIGNMENT, FOOTER_BYTES, HEAD_BYTES, HEADER_BYTES, Index, IndexEntry, Layout, RUN_BYTES, Run,
    Runs, SegmentSummary, header, seed, u16_at, u32_at, u64_at,
};

/// The flag of entries that are gone after a restart. The others are the caller's.
pub const GONE_AFTER_RESTART: u16 = 1;

/// What is known of an entry besides its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHead {
    /// Its place in the queue.
    pub position: u64,
    /// When it came, in the caller's milliseconds.
    pub arrived_ms: u64,
    /// The caller's; neighbours of different class are in different runs.
    pub class: u16,
    /// The caller's, but for [`GONE_AFTER_RESTART`]; neighbours of different flags are in different
    /// runs.
    pub flags: u16,
    /// The caller's; summed per run.
    pub weight: u32,
}

impl EntryHead {
    /// Writes the head of an entry whose payload, with its padding, has this checksum.
    fn write(&self, seed: u32, payload_bytes: u32, payload_checksum: u32, out: &mut [u8]) {
        let Some((checksum, rest)) = out.split_first_chunk_mut::<4>() else { return };
        let octets = payload_bytes
            .to_le_bytes()
            .into_iter()
            .chain(self.position.to_le_bytes())
            .chain(self.arrived_ms.to_le_bytes())
            .chain(self.weight.to_le_bytes())
            .chain(self.class.to_le_bytes())
            .chain(self.flags.to_le_bytes())
            .chain(payload_checksum.to_le_bytes());
        debug_assert_eq!(rest.len(), HEAD_BYTES - 4);
        for (place, octet) in rest.iter_mut().zip(octets) {
            *place = octet;
        }
        *checksum = crc32c::crc32c_append(seed, rest).to_le_bytes();
    }

    /// A head that is good, with the octets of its payload and the checksum of payload and padding.
    pub(super) fn read(seed: u32, bytes: &[u8]) -> Option<(Self, u32, u32)> {
        let bytes = bytes.get(..HEAD_BYTES)?;
        if u32_at(bytes, 0)? != crc32c::crc32c_append(seed, bytes.get(4..)?) {
            return None;
        }
        let head = Self {
            position: u64_at(bytes, 8)?,
            arrived_ms: u64_at(bytes, 16)?,
            weight: u32_at(bytes, 24)?,
            class: u16_at(bytes, 28)?,
            flags: u16_at(bytes, 30)?,
        };
        Some((head, u32_at(bytes, 4)?, u32_at(bytes, 32)?))
    }
}

/// Octets of an entry in the file.
pub(super) fn entry_bytes(payload_bytes: u32) -> u64 {
    (HEAD_BYTES as u64 + u64::from(payload_bytes)).next_multiple_of(ALIGNMENT as u64)
}

/// A segment that is being made in memory.
#[derive(Debug)]
pub struct SegmentWriter {
    id: SegmentId,
    boot: u32,
    bytes: Vec<u8>,
    index: Vec<u8>,
    runs: Vec<Run>,
    count: u32,
    arrived_min_ms: u64,
    flags_all: u16,
    flags_any: u16,
}

impl SegmentWriter {
    /// Begins a segment in a buffer, whose old content goes.
    #[must_use]
    pub fn new(id: SegmentId, boot: u32, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        // Its header is known when all entries are.
        buffer.resize(HEADER_BYTES, 0);
        Self {
            id,
            boot,
            bytes: buffer,
            index: Vec::new(),
            runs: Vec::new(),
            count: 0,
            arrived_min_ms: u64::MAX,
            flags_all: u16::MAX,
            flags_any: 0,
        }
    }

    /// Adds an entry, whose payload `fill` appends to the buffer that it is given (and leaves what
    /// is there alone).
    ///
    /// # Panics
    /// If its position is not above that of the one before, or is the highest there is; if the
    /// payload has 4 GiB or the segment 32 GiB: what cannot be found again must not be written.
    pub fn push(&mut self, head: EntryHead, fill: impl FnOnce(&mut Vec<u8>)) {
        let above = self.runs.last().map_or(0, |run| run.to);
        assert!(head.position >= above, "positions ascend");
        assert!(head.position < u64::MAX, "there is a position behind");
        let start = self.bytes.len();
        let payload_at = start + HEAD_BYTES;
        self.bytes.resize(payload_at, 0);
        fill(&mut self.bytes);
        assert!(self.bytes.len() >= payload_at, "a payload is appended");
        let payload_bytes = u32::try_from(self.bytes.len() - payload_at);
        assert!(payload_bytes.is_ok(), "a payload is shorter than 4 GiB");
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let checksum = crc32c::crc32c(self.bytes.get(payload_at..).unwrap_or_default());
        if let Some(out) = self.bytes.get_mut(start..payload_at) {
            head.write(seed(self.id), payload_bytes.unwrap_or_default(), checksum, out);
        }
        let EntryHead { position, weight, .. } = head;
        Index::write(IndexEntry { position, offset: start as u64, weight }, &mut self.index);
        self.add_to_runs(&head);
        self.count += 1;
        self.arrived_min_ms = self.arrived_min_ms.min(head.arrived_ms);
        self.flags_all &= head.flags;
        self.flags_any |= head.flags;
    }

    fn add_to_runs(&mut self, head: &EntryHead) {
        let weight = u64::from(head.weight);
        if let Some(run) = self.runs.last_mut()
            && (run.to, run.class, run.flags) == (head.position, head.class, head.flags)
        {
            run.to += 1;
            run.count += 1;
            run.weight += weight;
            return;
        }
        self.runs.push(Run {
            from: head.position,
            to: head.position + 1,
            first_index: self.count,
            count: 1,
            class: head.class,
            flags: head.flags,
            weight,
        });
    }

    /// Octets that the file would have if it were finished now.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len() + self.index.len() + self.runs.len() * RUN_BYTES + FOOTER_BYTES
    }

    /// Entries so far.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The whole content of the file, in the buffer that was given.
    ///
    /// # Panics
    /// If it has no entry: a file that says nothing must not be written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        assert!(self.count > 0, "a segment has entries");
        let file_bytes = self.bytes() as u64;
        let mut bytes = self.bytes;
        let seed = seed(self.id);
        let index_at = bytes.len() as u64;
        bytes.extend_from_slice(&self.index);
        let runs_at = bytes.len();
        for run in &self.runs {
            Runs::write(run, &mut bytes);
        }
        let runs_octets = bytes.get(runs_at..).unwrap_or_default();
        let run_count = u32::try_from(self.runs.len());
        assert!(run_count.is_ok(), "runs are not more than entries");
        let first = self.runs.first().map_or(0, |run| run.from);
        let layout = Layout {
            summary: SegmentSummary {
                id: self.id,
                first,
                last: self.runs.last().map_or(0, |run| run.to - 1),
                count: self.count,
                file_bytes,
                weight: self.runs.iter().map(|run| run.weight).sum(),
                arrived_min_ms: self.arrived_min_ms,
                flags_all: self.flags_all,
                flags_any: self.flags_any,
            },
            boot: self.boot,
            run_count: run_count.unwrap_or_default(),
            index_at,
            runs_at: runs_at as u64,
            index_checksum: crc32c::crc32c_append(seed, &self.index),
            runs_checksum: crc32c::crc32c_append(seed, runs_octets),
        };
        layout.write_footer(&mut bytes);
        let header = header(self.id, self.boot, self.count, first);
        if let Some(place) = bytes.get_mut(..HEADER_BYTES) {
            place.copy_from_slice(&header);
        }
        debug_assert_eq!(bytes.len() as u64, file_bytes);
        bytes
    }
}
