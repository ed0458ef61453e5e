//! What the fuzz target and a test run on any octets: nothing panics or runs on, and what reads as
//! good is what was written. May import the other `segment_*` files, `settled`, `ids` and `job`.

use std::io;
use std::sync::Arc;

use super::ids::{QueueUid, SegmentId};
use super::job::Mapped;
use super::segment::Segment;
use super::segment_index::{
    FOOTER_BYTES, FOOTER_CHECKED, HEADER_CHECKED, INDEX_BYTES, RUN_BYTES, Run, part, seed, u32_at,
    u64_at,
};
use super::segment_outline::Outline;
use super::segment_verify::{salvage, verify};
use super::segment_writer::{EntryHead, SegmentWriter};
use super::settled::Settled;

const ID: SegmentId = SegmentId { queue: QueueUid(5), number: 2 };

/// Bits changed at once that the checksums are bound to notice, in entries of any length.
const FLIPS_MAX: usize = 3;

/// Any octets, as a segment and as its settled entries.
///
/// The first octet chooses: the rest as it is; a good segment with some bits changed; one with its
/// tables changed and all checksums made right again, which an attacker or a mistake could do.
pub fn segment_open(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    let Some((changes, rest)) = rest.split_first() else { return };
    let changes_bytes = (usize::from(*changes) * 5).min(rest.len());
    let (changes, rest) = rest.split_at_checked(changes_bytes).unwrap_or((rest, &[]));
    match mode % 3 {
        0 => {
            read_everything(rest);
            read_settled(rest);
        }
        1 => flipped(&segment_of(rest), changes),
        _ => forged(segment_of(rest).1, changes),
    }
}

type Entries = Vec<(EntryHead, Vec<u8>)>;

/// A good segment whose entries are made of the input.
fn segment_of(input: &[u8]) -> (Entries, Vec<u8>) {
    let mut entries = Vec::new();
    let mut position = 1_u64;
    let mut rest = input;
    // Each turn takes an octet at least, but for the first: there is always an entry.
    loop {
        let (shape, after) = rest.split_first().unwrap_or((&0, &[]));
        let payload_bytes = usize::from(*shape >> 4).min(after.len());
        let (payload, after) = after.split_at_checked(payload_bytes).unwrap_or((after, &[]));
        let head = EntryHead {
            position,
            arrived_ms: u64::from(*shape),
            class: u16::from(*shape & 1),
            flags: u16::from(*shape & 2),
            weight: u32::from(*shape),
        };
        entries.push((head, payload.to_vec()));
        position += 1 + u64::from(*shape & 4);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let mut writer = SegmentWriter::new(ID, 1, Vec::new());
    for (head, payload) in &entries {
        writer.push(*head, |out| out.extend_from_slice(payload));
    }
    (entries, writer.finish())
}

/// Places in the file and what to change there.
fn changes_of(changes: &[u8], file_bytes: usize) -> impl Iterator<Item = (usize, u8)> {
    changes.chunks_exact(5).filter_map(move |change| {
        let at = usize::try_from(u32_at(change, 0)?).ok()?.checked_rem(file_bytes)?;
        Some((at, *change.last()?))
    })
}

/// With a few bits changed, what is good is what was written, and a change is noticed.
fn flipped((entries, file): &(Entries, Vec<u8>), changes: &[u8]) {
    let mut changed = file.clone();
    for (at, octet) in changes_of(changes, file.len()).take(FLIPS_MAX) {
        if let Some(place) = changed.get_mut(at) {
            *place ^= 1 << (octet & 7);
        }
    }
    let report = verify(ID, &changed);
    assert_eq!(report.is_good(), changed == *file, "{report:?}");
    for found in salvage(ID, &changed) {
        let known = entries
            .iter()
            .any(|(head, payload)| *head == found.head && payload.as_slice() == found.payload);
        assert!(known, "an entry that nobody wrote: {found:?}");
    }
    if let Ok(segment) = Segment::open(ID, mapped(&changed)) {
        for (index, (head, payload)) in (0..).zip(entries) {
            assert!(segment.position(index) == Some(head.position));
            match segment.head(index) {
                Ok(found) => assert!(found == *head),
                Err(_) => assert!(changed != *file),
            }
            match segment.read(index) {
                Ok(found) => assert!(found == payload.as_slice()),
                Err(_) => assert!(changed != *file),
            }
        }
    }
    read_everything(&changed);
}

/// With tables that say anything, and checksums that fit them, everything comes to an end.
fn forged(mut file: Vec<u8>, changes: &[u8]) {
    let index_at = file.last_chunk::<FOOTER_BYTES>().and_then(|footer| u64_at(footer, 0));
    let tables = index_at.and_then(|at| usize::try_from(at).ok()).unwrap_or_default();
    let file_bytes = file.len();
    for (at, octet) in changes_of(changes, file_bytes) {
        // Most of the changes are to fall on the tables, however long the entries are.
        let at = if octet & 1 == 0 { at } else { at.max(tables) };
        if let Some(place) = file.get_mut(at) {
            *place = octet;
        }
    }
    seal(&mut file);
    read_everything(&file);
}

/// Makes the checksums of header, tables and footer right, whatever these say.
fn seal(file: &mut [u8]) {
    let Some(footer_at) = file.len().checked_sub(FOOTER_BYTES) else { return };
    let sum = |file: &[u8], at: u64, len: u64| {
        part(file, at, len).map_or(0, |octets| crc32c::crc32c_append(seed(ID), octets))
    };
    let field = |at| u32_at(file, footer_at + at).map_or(0, u64::from);
    let offset = |at| u64_at(file, footer_at + at).unwrap_or_default();
    let index = sum(file, offset(0), field(16) * INDEX_BYTES as u64);
    let runs = sum(file, offset(8), field(20) * RUN_BYTES as u64);
    let header = crc32c::crc32c(file.get(..HEADER_CHECKED).unwrap_or_default());
    put(file, HEADER_CHECKED, header);
    put(file, footer_at + 60, index);
    put(file, footer_at + 64, runs);
    let footer = sum(file, footer_at as u64, FOOTER_CHECKED as u64);
    put(file, footer_at + FOOTER_CHECKED, footer);
}

fn put(file: &mut [u8], at: usize, number: u32) {
    if let Some(place) = file.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = number.to_le_bytes();
    }
}

fn mapped(bytes: &[u8]) -> Mapped {
    Mapped(Arc::new(bytes.to_vec()))
}

/// Asks a segment everything there is to ask.
fn read_everything(bytes: &[u8]) {
    let report = verify(ID, bytes);
    assert!(report.entries_good as usize <= bytes.len());
    let mut read = |at: u64, len: usize| {
        let found = part(bytes, at, len as u64).map(<[u8]>::to_vec);
        found.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    };
    let outline = Outline::read(ID, bytes.len() as u64, &mut read);
    let Ok(segment) = Segment::open(ID, mapped(bytes)) else { return };
    let summary = segment.summary();
    let Ok(outline) = outline else {
        assert!(summary.count == 0, "opened, and yet without an outline");
        return;
    };
    assert_eq!(outline.summary(), summary);
    let mut settled = Settled::new(summary.count);
    settled.settle_range(summary.count / 3, summary.count / 2);
    let runs: Vec<Run> = segment.unsettled_runs(&settled).collect();
    assert!(outline.unsettled_runs(&settled, &mut read).is_ok_and(|found| found == runs));
    let counts: u64 = runs.iter().map(|run| u64::from(run.count)).sum();
    assert_eq!(counts, u64::from(settled.left()));
    let mut above = 0;
    for index in 0..summary.count {
        let position = segment.position(index).unwrap_or(u64::MAX);
        assert!(position >= above && position <= summary.last);
        above = position.saturating_add(1);
        assert_eq!(segment.find(position), Some(index));
        assert_eq!(segment.find_near(index.saturating_sub(1), position), Some(index));
        if let Ok(entry) = segment.entry(index) {
            assert_eq!(entry.head.position, position);
        }
    }
}

/// As the settled entries of segments of a few sizes.
fn read_settled(bytes: &[u8]) {
    let mut file = bytes.to_vec();
    for count in [1, 64, 100, 70_000] {
        let len = usize::try_from(Settled::file_bytes(count)).unwrap_or_default();
        file.resize(len, 0);
        if let Ok(mut settled) = Settled::decode(&file, count) {
            assert!(settled.left() <= count);
            let next = settled.next_unsettled(0);
            assert_eq!(next.is_none(), settled.left() == 0);
            let (offset, state) = settled.encode();
            assert!(offset + state.len() as u64 <= Settled::file_bytes(count));
        }
    }
}
