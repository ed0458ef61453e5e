//! Checks every octet of a segment, for whoever looks at a data directory while nothing runs, and
//! finds entries in one that cannot be opened. May import the other `segment_*` files and `ids`.

use super::ids::SegmentId;
use super::segment::{Entry, octets_of, read_entry, read_layout, whole_entry};
use super::segment_error::SegmentError;
use super::segment_index::{ALIGNMENT, HEADER_BYTES, Layout, Runs, part, seed};
use super::segment_writer::{EntryHead, entry_bytes};

/// What [`verify`] found.
#[derive(Debug, Clone)]
pub struct VerifyReport {
    /// Octets of the file.
    pub file_bytes: u64,
    /// What is wrong with header, footer or tables, or in them against the entries. Then the entries
    /// are those that could be found without them.
    pub error: Option<SegmentError>,
    /// Entries that the segment should have; `None` if that cannot be told.
    pub entries: Option<u32>,
    /// Entries that are as they were written.
    pub entries_good: u32,
    /// Octets of their payloads.
    pub payload_bytes: u64,
    /// Sum of their weights.
    pub weight: u64,
}

impl VerifyReport {
    /// Every octet is as it was written.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.error.is_none() && self.entries == Some(self.entries_good)
    }

    fn add(&mut self, entry: &Entry<'_>) {
        self.entries_good = self.entries_good.saturating_add(1);
        self.payload_bytes = self.payload_bytes.saturating_add(entry.payload.len() as u64);
        self.weight = self.weight.saturating_add(u64::from(entry.head.weight));
    }
}

/// Checks a whole file that should be this segment.
#[must_use]
pub fn verify(id: SegmentId, bytes: &[u8]) -> VerifyReport {
    let mut report = VerifyReport {
        file_bytes: bytes.len() as u64,
        error: None,
        entries: None,
        entries_good: 0,
        payload_bytes: 0,
        weight: 0,
    };
    match read_layout(id, bytes) {
        Ok(layout) => {
            report.entries = Some(layout.summary.count);
            verify_entries(&layout, bytes, &mut report);
        }
        Err(error) => {
            report.error = Some(error);
            for entry in salvage(id, bytes) {
                report.add(&entry);
            }
        }
    }
    report
}

fn verify_entries(layout: &Layout, bytes: &[u8], report: &mut VerifyReport) {
    let seed = seed(layout.summary.id);
    let runs = part(bytes, layout.runs_at, layout.runs_bytes()).unwrap_or_default();
    for run in Runs::known_good(runs).iter() {
        for index in run.first_index..run.first_index.saturating_add(run.count) {
            let found = octets_of(layout, bytes, index)
                .and_then(|(entry, octets)| read_entry(seed, entry, octets));
            let Some(entry) = found else { continue };
            report.add(&entry);
            if (entry.head.class, entry.head.flags) != (run.class, run.flags) {
                report.error = Some(SegmentError::Inconsistent("an entry is not as its run says"));
            }
        }
    }
}

/// The good entries in a file that cannot be opened as the segment it should be, as far as they can
/// be found: each is looked for at every place where one may begin. An entry of the caller's that
/// is contained in a payload of this segment is not found, as long as what contains it is good.
pub fn salvage(id: SegmentId, bytes: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let seed = seed(id);
    let mut rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
    std::iter::from_fn(move || {
        // Every turn makes the rest shorter.
        while !rest.is_empty() {
            let found = entry_at(seed, rest);
            let taken = found.map_or(ALIGNMENT, |(_, taken)| taken);
            rest = rest.get(taken..).unwrap_or_default();
            if let Some((entry, _)) = found {
                return Some(entry);
            }
        }
        None
    })
}

/// The entry that begins here, and its octets.
fn entry_at(seed: u32, bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let (head, payload_bytes, checksum) = EntryHead::read(seed, bytes)?;
    let octets = part(bytes, 0, entry_bytes(payload_bytes))?;
    Some((whole_entry(head, payload_bytes, checksum, octets)?, octets.len()))
}
