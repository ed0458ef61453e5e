//! A segment that is mapped: entries of one queue, by position, each checked when it is read. May
//! import the other `segment_*` files, `settled`, `ids` and `job`.
//!
//! A segment is written whole, once, from memory ([`SegmentWriter`](super::SegmentWriter)), and then
//! only read. Positions ascend, with gaps. At restart not even that is needed: see
//! [`Outline`](super::Outline).

use super::ids::SegmentId;
use super::job::Mapped;
use super::segment_error::SegmentError;
use super::segment_index::{
    FOOTER_BYTES, HEAD_BYTES, HEADER_BYTES, Index, IndexEntry, Layout, Run, Runs, SegmentSummary,
    part, seed,
};
use super::segment_writer::{EntryHead, entry_bytes};
use super::settled::Settled;

/// Octets that the smallest segment has.
pub(super) const SEGMENT_BYTES_MIN: u64 = (HEADER_BYTES + FOOTER_BYTES) as u64;

/// An entry as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What is known of it.
    pub head: EntryHead,
    /// The caller's octets.
    pub payload: &'a [u8],
}

/// A segment for reading. One per segment that is in use, on the shard of its queue.
#[derive(Debug)]
pub struct Segment {
    mapped: Mapped,
    layout: Layout,
}

impl Segment {
    /// Opens a segment: header, footer and tables are checked here, entries when they are read.
    ///
    /// # Errors
    /// [`SegmentError`]: it is damaged, or another one.
    pub fn open(id: SegmentId, mapped: Mapped) -> Result<Self, SegmentError> {
        let layout = read_layout(id, mapped.as_ref())?;
        Ok(Self { mapped, layout })
    }

    /// What stays in memory when it is not mapped.
    #[must_use]
    pub const fn summary(&self) -> SegmentSummary {
        self.layout.summary
    }

    /// Which it is.
    #[must_use]
    pub const fn id(&self) -> SegmentId {
        self.layout.summary.id
    }

    /// The boot that wrote it.
    #[must_use]
    pub const fn boot(&self) -> u32 {
        self.layout.boot
    }

    /// Entries; at least one.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.layout.summary.count
    }

    /// Position of the first entry.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.layout.summary.first
    }

    /// Position of the last entry.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.layout.summary.last
    }

    /// All entries as runs.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.table_of_runs().iter()
    }

    /// The entries that are not settled as runs, with their exact weights.
    ///
    /// # Panics
    /// If `settled` has another count: entries that it does not know would be forgotten.
    pub fn unsettled_runs<'a>(&'a self, settled: &'a Settled) -> impl Iterator<Item = Run> + 'a {
        assert_eq!(settled.count(), self.count(), "settled entries of another segment");
        UnsettledRuns::new(self.table_of_runs().iter(), self.index(), settled)
    }

    /// Which entry has this position.
    #[must_use]
    pub fn find(&self, position: u64) -> Option<u32> {
        let index = self.index();
        let at = self.partition(|entry| entry.position < position);
        (index.get(at)?.position == position).then_some(at)
    }

    /// As [`Self::find`], at once if it is the entry `hint` or one of its neighbours: as it is for
    /// whoever reads in order, either way.
    #[must_use]
    pub fn find_near(&self, hint: u32, position: u64) -> Option<u32> {
        let index = self.index();
        let near = [Some(hint), hint.checked_add(1), hint.checked_sub(1)];
        let is_it = |at: &u32| index.get(*at).is_some_and(|entry| entry.position == position);
        near.into_iter().flatten().find(is_it).or_else(|| self.find(position))
    }

    /// The first entry with this position or a later one.
    #[must_use]
    pub fn find_from(&self, position: u64) -> Option<u32> {
        let at = self.partition(|entry| entry.position < position);
        (at < self.count()).then_some(at)
    }

    /// The position of an entry: from the index, without touching the entry.
    #[must_use]
    pub fn position(&self, index: u32) -> Option<u64> {
        self.index().get(index).map(|entry| entry.position)
    }

    /// What is known of an entry. Touches its first octets only.
    ///
    /// # Errors
    /// `NoEntry`, or `EntryDamaged` when it is not as it was written.
    pub fn head(&self, index: u32) -> Result<EntryHead, SegmentError> {
        let (entry, octets) = self.octets(index)?;
        read_head(self.seed(), entry, octets)
            .map(|(head, ..)| head)
            .ok_or(SegmentError::EntryDamaged { index })
    }

    /// The payload of an entry.
    ///
    /// # Errors
    /// `NoEntry`, or `EntryDamaged` when it is not as it was written.
    pub fn read(&self, index: u32) -> Result<&[u8], SegmentError> {
        self.entry(index).map(|entry| entry.payload)
    }

    /// An entry.
    ///
    /// # Errors
    /// `NoEntry`, or `EntryDamaged` when it is not as it was written.
    pub fn entry(&self, index: u32) -> Result<Entry<'_>, SegmentError> {
        let (entry, octets) = self.octets(index)?;
        read_entry(self.seed(), entry, octets).ok_or(SegmentError::EntryDamaged { index })
    }

    fn seed(&self) -> u32 {
        seed(self.id())
    }

    fn bytes(&self) -> &[u8] {
        self.mapped.as_ref()
    }

    fn index(&self) -> Index<'_> {
        index_of(&self.layout, self.bytes())
    }

    fn table_of_runs(&self) -> Runs<'_> {
        let found = part(self.bytes(), self.layout.runs_at, self.layout.runs_bytes());
        Runs::known_good(found.unwrap_or_default())
    }

    /// The number of entries in front for which this is true; it is true for those only.
    fn partition(&self, is_before: impl Fn(IndexEntry) -> bool) -> u32 {
        let index = self.index();
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            if index.get(middle).is_some_and(&is_before) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// An entry's place in the index and its octets, padding included. As offsets ascend and lie
    /// within the file, which was checked, there are some for each entry that there is.
    fn octets(&self, index: u32) -> Result<(IndexEntry, &[u8]), SegmentError> {
        octets_of(&self.layout, self.bytes(), index).ok_or(SegmentError::NoEntry { index })
    }
}

/// The layout of a whole file, with everything checked but the entries.
pub(super) fn read_layout(id: SegmentId, bytes: &[u8]) -> Result<Layout, SegmentError> {
    let have = bytes.len() as u64;
    let ends = bytes.get(..HEADER_BYTES).zip(bytes.last_chunk::<FOOTER_BYTES>());
    let Some((header, footer)) = ends.filter(|_| have >= SEGMENT_BYTES_MIN) else {
        return Err(SegmentError::Length { have, need: SEGMENT_BYTES_MIN });
    };
    let layout = Layout::read(id, header, footer, have)?;
    let index = part(bytes, layout.index_at, layout.index_bytes()).unwrap_or_default();
    let runs = part(bytes, layout.runs_at, layout.runs_bytes()).unwrap_or_default();
    let index = layout.check_index(index)?;
    let runs = layout.check_runs(runs)?;
    layout.check_agreement(index, runs)?;
    Ok(layout)
}

fn index_of<'a>(layout: &Layout, bytes: &'a [u8]) -> Index<'a> {
    let found = part(bytes, layout.index_at, layout.index_bytes());
    Index::known_good(found.unwrap_or_default())
}

/// From where an entry begins until where the next one does.
pub(super) fn octets_of<'a>(
    layout: &Layout,
    bytes: &'a [u8],
    index: u32,
) -> Option<(IndexEntry, &'a [u8])> {
    let table = index_of(layout, bytes);
    let entry = table.get(index)?;
    let next = index.checked_add(1).and_then(|next| table.get(next));
    let end = next.map_or(layout.index_at, |next| next.offset);
    let octets = part(bytes, entry.offset, end.checked_sub(entry.offset)?)?;
    Some((entry, octets))
}

/// The head of an entry that the index also means, and which has just the room that it needs.
fn read_head(seed: u32, entry: IndexEntry, octets: &[u8]) -> Option<(EntryHead, u32, u32)> {
    let found = EntryHead::read(seed, octets)?;
    let (head, payload_bytes, _) = found;
    let is_meant = head.position == entry.position
        && head.weight == entry.weight
        && entry_bytes(payload_bytes) == octets.len() as u64;
    is_meant.then_some(found)
}

/// An entry of which every octet is as it was written.
pub(super) fn read_entry(seed: u32, entry: IndexEntry, octets: &[u8]) -> Option<Entry<'_>> {
    let (head, payload_bytes, checksum) = read_head(seed, entry, octets)?;
    whole_entry(head, payload_bytes, checksum, octets)
}

/// An entry whose head is good, if its payload is.
pub(super) fn whole_entry(
    head: EntryHead,
    payload_bytes: u32,
    checksum: u32,
    octets: &[u8],
) -> Option<Entry<'_>> {
    let (_, padded) = octets.split_at_checked(HEAD_BYTES)?;
    let payload = padded.get(..usize::try_from(payload_bytes).ok()?)?;
    (crc32c::crc32c(padded) == checksum).then_some(Entry { head, payload })
}

/// Cuts the settled entries out of runs.
#[derive(Debug)]
pub(super) struct UnsettledRuns<'a, R> {
    runs: R,
    index: Index<'a>,
    settled: &'a Settled,
    /// The present run, and its entry from which on it has not been looked at.
    present: Option<(Run, u32)>,
}

impl<'a, R: Iterator<Item = Run>> UnsettledRuns<'a, R> {
    /// The index is looked into only for runs of which something is settled.
    pub(super) const fn new(runs: R, index: Index<'a>, settled: &'a Settled) -> Self {
        Self { runs, index, settled, present: None }
    }

    /// The part of a run from entry `from` until before entry `to`, which lie within it.
    fn cut(&self, run: Run, from: u32, to: u32) -> Option<Run> {
        let count = to.checked_sub(from)?;
        if count == run.count {
            return Some(run);
        }
        let start = run.from.checked_add(u64::from(from.checked_sub(run.first_index)?))?;
        let weights = (from..to).map(|at| self.index.get(at).map_or(0, |entry| entry.weight));
        Some(Run {
            from: start,
            to: start.checked_add(u64::from(count))?,
            first_index: from,
            count,
            weight: weights.map(u64::from).sum(),
            ..run
        })
    }
}

impl<R: Iterator<Item = Run>> Iterator for UnsettledRuns<'_, R> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        // Each turn ends a run or gives a part of one out: there are not more turns than entries.
        loop {
            let (run, at) = match self.present.take() {
                Some(present) => present,
                None => self.runs.next().map(|run| (run, run.first_index))?,
            };
            let end = run.first_index.checked_add(run.count)?;
            let from = self.settled.next_unsettled(at)?;
            if from >= end {
                continue;
            }
            let to = self.settled.next_settled(from).min(end);
            if to < end {
                self.present = Some((run, to));
            }
            return self.cut(run, from, to);
        }
    }
}
