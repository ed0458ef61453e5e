//! What a shard's log still holds after whatever happened to it: a pure function from the octets of
//! its files to records in order, and a report of what is wrong. May import `ids`, `record`,
//! `file_header` and its own `scan` and `report`.
//!
//! # How it judges
//!
//! Each boot is judged by itself. All intact records of its files are found first, wherever they
//! are. They say what was durable when they were written; the highest of these claims is W. Then
//! the records are gone through in the order of their numbers, and each number that is missing is
//!
//! - **corruption** up to W: it was durable and is not there any more. It is reported and counted, and
//!   what follows is delivered.
//! - a **torn tail** beyond W: the batch was never finished, so nobody was told that it was safe. It
//!   ends the boot, even if intact records follow: a disk writes the blocks of one batch in any
//!   order.
//!
//! Whatever is in the files, this ends after time in proportion to their octets and never panics.

mod report;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use self::scan::{Piece, Scan};
use super::file_header::{BLOCK_BYTES, FileHeader, HeaderError};
use super::ids::{BOOT_SHIFT, FILE_BOOT_SHIFT, LogFile, Lsn};
use super::record::{KIND_MARK, Key, Record};

pub use self::report::{BootReport, FileReport, Finding, Report};

/// The content of a log file.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// By its name.
    pub file: LogFile,
    /// All of it.
    pub bytes: &'a [u8],
}

/// What is known from elsewhere: whose log it is, and what a checkpoint says, for instance.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// The data directory: records of others are none here.
    pub dir_id: u64,
    /// The shard: records of others are none here.
    pub shard: u32,
    /// The first record that is still needed: earlier ones of its boot are ignored, and it is a loss
    /// if the log begins later. Without it the beginning of the oldest file cannot be judged exactly.
    pub first: Option<Lsn>,
    /// Everything up to here was durable.
    pub durable: Option<Lsn>,
}

impl Known {
    /// Nothing but whose log it is.
    #[must_use]
    pub const fn of(dir_id: u64, shard: u32) -> Self {
        Self { dir_id, shard, first: None, durable: None }
    }

    /// What the records of that log are made with.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::of(self.dir_id, self.shard)
    }
}

/// Gives all records of a shard's log files to `each`, except marks, in ascending order and each once.
pub fn recover<'a>(
    images: &[Image<'a>],
    known: Known,
    each: &mut dyn FnMut(&Record<'a>, LogFile),
) -> Report {
    let mut images: Vec<Image<'a>> = images.to_vec();
    images.sort_by_key(|image| image.file);
    let mut report = Report::default();
    let mut boots: Vec<u64> = images.iter().map(|image| image.file.boot()).collect();
    boots.extend(known.durable.map(boot_of));
    boots.sort_unstable();
    boots.dedup();
    for boot in boots {
        let mut files = scan_boot(boot, &images, &known, &mut report.findings);
        let mut sweep = Sweep {
            boot,
            known,
            files: &mut files,
            findings: &mut report.findings,
            each,
            sequences: HashMap::new(),
            last: Lsn(0),
            place: None,
            delivered: 0,
        };
        let summary = sweep.run();
        report.boots.push(summary);
        report.files.extend(files.into_iter().map(|file| file.report));
    }
    report
}

fn boot_of(lsn: Lsn) -> u64 {
    lsn.0 >> BOOT_SHIFT
}

/// A file with what was found in it.
#[derive(Debug)]
struct Scanned<'a> {
    bytes: &'a [u8],
    scan: Scan,
    /// Its header, if that is its own.
    own: Option<FileHeader>,
    report: FileReport,
}

/// Finds all intact records of one boot.
fn scan_boot<'a>(
    boot: u64,
    images: &[Image<'a>],
    known: &Known,
    findings: &mut Vec<Finding>,
) -> Vec<Scanned<'a>> {
    let mut files: Vec<Scanned<'a>> = Vec::new();
    // Where the nearest earlier file with records begins: later files have later records.
    let mut before = Lsn(boot << BOOT_SHIFT);
    for Image { file, bytes } in images.iter().filter(|image| image.file.boot() == boot) {
        let header = FileHeader::decode(bytes);
        let is_ours =
            |header: &FileHeader| header.dir_id == known.dir_id && header.shard == known.shard;
        let own = header.ok().filter(|header| header.file == *file && is_ours(header));
        let floor = own.map_or(before, |header| header.first);
        // It was to be used again and never was: what it has was left when it had its old name, and
        // the files that would show that it is old may be gone by now.
        let is_renamed = header.is_ok_and(|header| is_ours(&header) && header.file < *file);
        let scan = match header {
            Ok(_) if is_renamed => Scan::default(),
            // Its records may look different.
            Err(HeaderError::Version { .. }) => Scan::default(),
            Ok(_)
            | Err(
                HeaderError::Cut | HeaderError::Blank | HeaderError::Magic | HeaderError::Checksum,
            ) => Scan::new(bytes, known.key(), boot, floor),
        };
        if own.is_none() {
            // A file is made, or renamed, before its header is written, and only then used.
            let is_unused = scan.pieces.is_empty();
            findings.push(match header {
                Ok(FileHeader { shard, dir_id, .. })
                    if !header.is_ok_and(|header| is_ours(&header)) =>
                {
                    Finding::Foreign { file: *file, shard, dir_id }
                }
                Ok(_) | Err(HeaderError::Blank) if is_unused => Finding::NotBegun { file: *file },
                Ok(_) => Finding::BadHeader { file: *file, why: None },
                Err(why) => Finding::BadHeader { file: *file, why: Some(why) },
            });
        }
        if let Some(offset) = scan.gave_up {
            findings.push(Finding::ScanGivenUp { file: *file, offset });
        }
        if let Some(first) = scan.pieces.iter().map(|piece| piece.first).min() {
            before = before.max(first);
        }
        let report = FileReport::new(*file, header, bytes.len());
        let bytes = if is_renamed { &[] } else { *bytes };
        files.push(Scanned { bytes, scan, own, report });
    }
    files
}

/// What is missing is missing before or after this place.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: usize,
    offset: usize,
}

/// Goes through one boot in the order of its numbers.
struct Sweep<'s, 'a> {
    boot: u64,
    known: Known,
    files: &'s mut [Scanned<'a>],
    findings: &'s mut Vec<Finding>,
    each: &'s mut dyn FnMut(&Record<'a>, LogFile),
    /// The last `gseq` of each group, since the last loss.
    sequences: HashMap<u32, u64>,
    /// Everything up to here was delivered, reported as lost, or is not needed.
    last: Lsn,
    /// Where the last record that was delivered ends.
    place: Option<Place>,
    delivered: u64,
}

impl Sweep<'_, '_> {
    fn run(&mut self) -> BootReport {
        let mut pieces: Vec<(usize, Piece)> = Vec::new();
        for (index, file) in self.files.iter_mut().enumerate() {
            pieces.extend(file.scan.pieces.drain(..).map(|piece| (index, piece)));
        }
        // Of two copies the one in the older file counts.
        pieces.sort_by_key(|(file, piece)| (piece.first, *file, piece.offset));
        let durable = self.durable();
        let (start, mut is_exact) = self.start(pieces.first());
        self.last = Lsn(start.0.saturating_sub(1));
        let mut is_torn = false;
        for (at, (file, piece)) in pieces.iter().enumerate() {
            if piece.last <= self.last {
                continue;
            }
            if piece.first.0 > self.last.0.saturating_add(1) {
                let next = Place { file: *file, offset: piece.offset };
                let upto = Lsn(piece.first.0.saturating_sub(1));
                is_torn = !self.report_gap(upto, durable, is_exact, next);
                if is_torn {
                    self.report_torn(count_after(self.last, pieces.get(at..).unwrap_or_default()));
                    break;
                }
            }
            is_exact = true;
            self.deliver(*file, piece);
        }
        if self.last < durable {
            let next = Place { file: self.files.len().saturating_sub(1), offset: BLOCK_BYTES };
            self.report_gap(durable, durable, is_exact, next);
        } else if !is_torn {
            self.look_behind_the_end();
        }
        let records = self.delivered;
        BootReport { boot: self.boot, last: self.last, durable, records }
    }

    /// W: the highest claim.
    fn durable(&self) -> Lsn {
        let known = self.known.durable.filter(|known| boot_of(*known) == self.boot);
        let claims = self.files.iter().map(|file| file.scan.claimed);
        claims.chain(known).max().unwrap_or_default().max(Lsn(self.boot << BOOT_SHIFT))
    }

    /// Which record the boot has to begin with, and whether that is certain.
    fn start(&self, lowest: Option<&(usize, Piece)>) -> (Lsn, bool) {
        if let Some(first) = self.known.first.filter(|first| boot_of(*first) == self.boot) {
            return (first, true);
        }
        let first = Lsn((self.boot << BOOT_SHIFT).saturating_add(1));
        // The first file of a boot begins with its first record.
        if self.files.first().is_some_and(|oldest| oldest.report.file == self.first_file()) {
            return (first, true);
        }
        let Some((file, lowest)) = lowest else { return (first, false) };
        let Some(scanned) = self.files.get(*file) else { return (lowest.first, true) };
        match scanned.scan.begins_with {
            Some(begin) if begin <= lowest.first => (begin, true),
            // The header says from where on there may be records, not that there are.
            Some(_) | None => {
                let header = scanned.own;
                (header.map_or(lowest.first, |header| header.first.min(lowest.first)), false)
            }
        }
    }

    /// All numbers after `last` up to `upto` are missing. Says whether the boot goes on behind them.
    fn report_gap(&mut self, upto: Lsn, durable: Lsn, is_exact: bool, next: Place) -> bool {
        if self.last >= durable {
            return false;
        }
        let lost_from = Lsn(self.last.0.saturating_add(1));
        let lost_to = upto.min(durable);
        let lost = lost_to.0.saturating_sub(self.last.0);
        let before = self.place.unwrap_or(next);
        let (file, after) = (self.name(before.file), self.name(next.file));
        let offset = octets(before.offset);
        self.findings.push(if self.place.is_some() && self.is_hole(file, after) {
            Finding::MissingFile { after: file, before: after, lost_from, lost_to, lost }
        } else {
            Finding::Corruption { file, offset, lost_from, lost_to, lost, is_exact }
        });
        self.sequences.clear();
        self.last = lost_to;
        upto <= durable
    }

    fn report_torn(&mut self, later_fragments: u64) {
        let place = self.place.unwrap_or(Place { file: 0, offset: BLOCK_BYTES });
        let (file, offset) = (self.name(place.file), octets(place.offset));
        self.findings.push(Finding::TornTail { file, offset, after: self.last, later_fragments });
    }

    /// The records are at an end; says so if another one was begun there.
    fn look_behind_the_end(&mut self) {
        let next = Lsn(self.last.0.saturating_add(1));
        let Place { file, offset } = self.place.unwrap_or(Place { file: 0, offset: BLOCK_BYTES });
        let is_torn = |(at, scanned): (usize, &Scanned<'_>)| {
            let offset = if at == file { offset } else { BLOCK_BYTES };
            scan::is_begun(scanned.bytes, offset, self.known.key(), self.boot, next)
        };
        if self.files.iter().enumerate().skip(file).any(is_torn) {
            self.report_torn(0);
        }
    }

    fn deliver(&mut self, index: usize, piece: &Piece) {
        let Some(scanned) = self.files.get_mut(index) else { return };
        let file = scanned.report.file;
        for (record, offset) in piece.records(scanned.bytes) {
            let head = record.head;
            if head.lsn <= self.last {
                continue;
            }
            self.last = head.lsn;
            scanned.report.count(&record);
            if head.kind == KIND_MARK {
                continue;
            }
            let before = self.sequences.insert(head.group, head.gseq);
            let expected = before.map_or(head.gseq, |before| before.saturating_add(1));
            if expected != head.gseq {
                let (lsn, group, found) = (head.lsn, head.group, head.gseq);
                let offset = octets(offset);
                self.findings.push(Finding::Sequence { file, offset, lsn, group, expected, found });
            }
            self.delivered += 1;
            (self.each)(&record, file);
        }
        self.place = Some(Place { file: index, offset: piece.end });
    }

    /// There is a number between two files that no file has.
    fn is_hole(&self, after: LogFile, before: LogFile) -> bool {
        let between = self.files.iter().map(|file| file.report.file.0);
        let mut present: Vec<u64> =
            between.filter(|file| *file > after.0 && *file < before.0).collect();
        present.dedup();
        let wanted = before.0.saturating_sub(after.0).saturating_sub(1);
        u64::try_from(present.len()).unwrap_or(u64::MAX) < wanted
    }

    fn name(&self, index: usize) -> LogFile {
        self.files.get(index).map_or_else(|| self.first_file(), |file| file.report.file)
    }

    fn first_file(&self) -> LogFile {
        LogFile(self.boot << FILE_BOOT_SHIFT)
    }
}

/// Distinct records after a number. The pieces are in the order of their first ones.
fn count_after(mut last: Lsn, pieces: &[(usize, Piece)]) -> u64 {
    let mut count = 0_u64;
    for (_, piece) in pieces {
        if piece.last > last {
            let from = piece.first.0.max(last.0.saturating_add(1));
            count = count.saturating_add(piece.last.0 - from + 1);
            last = piece.last;
        }
    }
    count
}

fn octets(offset: usize) -> u64 {
    u64::try_from(offset).unwrap_or(u64::MAX)
}
