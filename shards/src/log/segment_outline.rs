//! What a restart needs of a segment, read without its entries: header, footer, runs, and the index
//! if some of its entries are settled. May import the other `segment_*` files, `settled` and `ids`.

use std::io;
use std::sync::Arc;

use super::ids::SegmentId;
use super::segment::{SEGMENT_BYTES_MIN, UnsettledRuns};
use super::segment_error::SegmentError;
use super::segment_index::{FOOTER_BYTES, HEADER_BYTES, Layout, Run, Runs, SegmentSummary, part};
use super::settled::Settled;

/// Read from the end of a file at once: the footer and usually all runs, in one block of the disk.
const TAIL_BYTES: u64 = 4096;

/// Reads so many octets from an offset of a file, never less.
pub type ReadAt<'a> = dyn FnMut(u64, usize) -> io::Result<Vec<u8>> + 'a;

/// A segment at restart. Lives only until the queue has been told of it.
#[derive(Debug)]
pub struct Outline {
    layout: Layout,
    runs: Vec<u8>,
}

impl Outline {
    /// Reads header, footer and runs of a segment whose file has `file_bytes`.
    ///
    /// # Errors
    /// [`SegmentError`]: it is damaged, another one, or cannot be read.
    pub fn read(
        id: SegmentId,
        file_bytes: u64,
        read: &mut ReadAt<'_>,
    ) -> Result<Self, SegmentError> {
        if file_bytes < SEGMENT_BYTES_MIN {
            return Err(SegmentError::Length { have: file_bytes, need: SEGMENT_BYTES_MIN });
        }
        let header = exactly(read, 0, HEADER_BYTES as u64)?;
        let tail_at = file_bytes.saturating_sub(TAIL_BYTES).max(HEADER_BYTES as u64);
        let tail = exactly(read, tail_at, file_bytes - tail_at)?;
        let footer = tail.last_chunk::<FOOTER_BYTES>().ok_or(SegmentError::FooterDamaged)?;
        // Now every offset is known to lie in the file.
        let layout = Layout::read(id, &header, footer, file_bytes)?;
        let in_tail = layout
            .runs_at
            .checked_sub(tail_at)
            .and_then(|at| part(&tail, at, layout.runs_bytes()).map(<[u8]>::to_vec));
        let runs = match in_tail {
            Some(runs) => runs,
            None => exactly(read, layout.runs_at, layout.runs_bytes())?,
        };
        layout.check_runs(&runs)?;
        Ok(Self { layout, runs })
    }

    /// What stays in memory of it.
    #[must_use]
    pub const fn summary(&self) -> SegmentSummary {
        self.layout.summary
    }

    /// The boot that wrote it.
    #[must_use]
    pub const fn boot(&self) -> u32 {
        self.layout.boot
    }

    /// All entries as runs.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        Runs::known_good(&self.runs).iter()
    }

    /// The entries that are not settled as runs, with their exact weights. Reads the index only if
    /// some are settled and some are not.
    ///
    /// # Errors
    /// [`SegmentError`]: the index is damaged or cannot be read, or `settled` is another segment's.
    pub fn unsettled_runs(
        &self,
        settled: &Settled,
        read: &mut ReadAt<'_>,
    ) -> Result<Vec<Run>, SegmentError> {
        let count = self.layout.summary.count;
        if settled.count() != count {
            return Err(SegmentError::Inconsistent("settled entries of another segment"));
        }
        if settled.left() == count {
            return Ok(self.runs().collect());
        }
        if settled.left() == 0 {
            return Ok(Vec::new());
        }
        let octets = exactly(read, self.layout.index_at, self.layout.index_bytes())?;
        let index = self.layout.check_index(&octets)?;
        self.layout.check_agreement(index, Runs::known_good(&self.runs))?;
        Ok(UnsettledRuns::new(self.runs(), index, settled).collect())
    }
}

/// So many octets, which the caller knows to be in the file.
fn exactly(read: &mut ReadAt<'_>, offset: u64, bytes: u64) -> Result<Vec<u8>, SegmentError> {
    let unreadable = |cause: io::Error| SegmentError::Unreadable(Arc::new(cause));
    let count = usize::try_from(bytes).map_err(|cause| unreadable(io::Error::other(cause)))?;
    let octets = read(offset, count).map_err(unreadable)?;
    if octets.len() != count {
        return Err(unreadable(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(octets)
}
