//! The content of one simulated file: what is durable, and what is only in the cache. May import
//! `faults` and `random`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use super::faults::FaultKind;
use super::random::Random;

/// The unit in which a system writes its cache back.
const PAGE_BYTES: usize = 4096;
/// The unit that a disk writes wholly or not at all.
const SECTOR_BYTES: usize = 512;

/// Octets given to the system and not yet durable.
#[derive(Debug)]
struct Write {
    start: usize,
    bytes: Vec<u8>,
}

impl Write {
    fn range(&self) -> Range<usize> {
        self.start..self.start + self.bytes.len()
    }

    /// What of it falls into a range.
    fn part(&self, of: &Range<usize>) -> Option<(Range<usize>, &[u8])> {
        let own = self.range();
        let both = own.start.max(of.start)..own.end.min(of.end);
        if both.is_empty() {
            return None;
        }
        let bytes = self.bytes.get(both.start - own.start..both.end - own.start)?;
        Some((both, bytes))
    }

    /// Puts into `file` what of it falls into a range.
    fn put(&self, file: &mut [u8], range: &Range<usize>) {
        let Some((place, bytes)) = self.part(range) else { return };
        if let Some(target) = file.get_mut(place) {
            target.copy_from_slice(bytes);
        }
    }
}

/// One file's octets. Its length is fixed when it is made, but for damage by order.
#[derive(Debug)]
pub(super) struct Content {
    /// As on the disk.
    durable: Vec<u8>,
    /// Its length is on the disk too.
    is_length_durable: bool,
    /// In the order in which they were written.
    unsynced: Vec<Write>,
    /// What buffered reads show, once that differs from the disk with the unsynced writes: since a
    /// sync failed (F7, F8).
    cache: Option<Vec<u8>>,
    /// First octets of sectors that cannot be read.
    unreadable: BTreeSet<usize>,
}

impl Content {
    /// A new file of zeros.
    pub(super) fn zeros(bytes: usize) -> Self {
        Self {
            durable: vec![0; bytes],
            is_length_durable: false,
            unsynced: Vec::new(),
            cache: None,
            unreadable: BTreeSet::new(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.durable.len()
    }

    /// Takes a write, durable only later.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let place = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(bytes.len())?))
            .filter(|place| place.end <= self.len());
        let Some(place) = place else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "beyond the file's length"));
        };
        if bytes.is_empty() {
            return Ok(());
        }
        // A disk gives a sector it cannot read another place when it is written anew.
        self.unreadable
            .retain(|sector| !(place.start <= *sector && sector + SECTOR_BYTES <= place.end));
        let write = Write { start: place.start, bytes: bytes.to_vec() };
        if let Some(cache) = &mut self.cache {
            write.put(cache, &place);
        }
        self.unsynced.push(write);
        Ok(())
    }

    /// Everything that has not been lost is durable now.
    pub(super) fn sync(&mut self) {
        for write in self.unsynced.drain(..) {
            write.put(&mut self.durable, &write.range());
        }
        self.is_length_durable = true;
    }

    /// A sync that fails: some pages, at least one, are marked clean without having been written.
    /// The cache shows them still, the disk will never have them.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        let pages: Vec<usize> = self.unsynced_pages().into_keys().collect();
        let Some(victim) = pages.get(random.index(pages.len())).copied() else { return };
        let lost: BTreeSet<usize> =
            pages.into_iter().filter(|page| *page == victim || random.chance(50)).collect();
        if self.cache.is_none() {
            self.cache = Some(self.on_disk());
        }
        let unsynced = std::mem::take(&mut self.unsynced);
        for write in &unsynced {
            for page in pages_of(&write.range()) {
                if lost.contains(&page) {
                    continue;
                }
                if let Some((place, bytes)) = write.part(&(page..page + PAGE_BYTES)) {
                    self.unsynced.push(Write { start: place.start, bytes: bytes.to_vec() });
                }
            }
        }
    }

    /// The power is cut: what was not synced is on the disk in part, or not at all.
    pub(super) fn crash(&mut self, random: &mut Random) {
        self.cache = None;
        if !std::mem::replace(&mut self.is_length_durable, true) && random.chance(50) {
            self.durable.clear();
            self.unsynced.clear();
            self.unreadable.clear();
            return;
        }
        // How much survives differs from file to file: near misses find other faults than losing
        // half of everything does.
        let survival = [0, 10, 50, 90, 100].get(random.index(5)).copied().unwrap_or(50);
        let pages = self.unsynced_pages();
        for (page, writes) in pages {
            let is_torn = random.chance(30);
            let unit = if is_torn { SECTOR_BYTES } else { PAGE_BYTES };
            for start in (page..page + PAGE_BYTES).step_by(unit) {
                // The system writes a page as it is at some time: an earlier write is there
                // whenever a later one is.
                let version =
                    if random.chance(survival) { writes.len() } else { random.index(writes.len()) };
                for write in writes.iter().take(version) {
                    if let Some(write) = self.unsynced.get(*write) {
                        write.put(&mut self.durable, &(start..start + unit));
                    }
                }
            }
        }
        self.unsynced.clear();
    }

    /// Unsynced writes by the pages they touch, given by first octet and index.
    fn unsynced_pages(&self) -> BTreeMap<usize, Vec<usize>> {
        let mut pages: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, write) in self.unsynced.iter().enumerate() {
            for page in pages_of(&write.range()) {
                pages.entry(page).or_default().push(index);
            }
        }
        pages
    }

    /// The octets as the disk has them or will have them: what a direct read gives.
    pub(super) fn on_disk(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for write in &self.unsynced {
            write.put(&mut bytes, &write.range());
        }
        bytes
    }

    /// The octets as the disk gives them, if it can.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        if self.unreadable.is_empty() { Ok(self.on_disk()) } else { Err(FaultKind::Io.error()) }
    }

    /// The octets as the cache gives them, which may have what the disk lost.
    pub(super) fn map(&self) -> io::Result<Vec<u8>> {
        let on_disk = self.read()?;
        Ok(self.cache.clone().unwrap_or(on_disk))
    }

    /// Makes the sector of an octet unreadable; `false` beyond the end.
    pub(super) fn make_unreadable(&mut self, offset: usize) -> bool {
        let is_inside = offset < self.len();
        if is_inside {
            self.unreadable.insert(offset - offset % SECTOR_BYTES);
        }
        is_inside
    }

    /// Turns a bit of what the disk has; `false` beyond the end.
    pub(super) fn flip(&mut self, bit: u64) -> bool {
        let octet = usize::try_from(bit / 8).ok();
        let Some(octet) = octet.and_then(|octet| self.durable.get_mut(octet)) else {
            return false;
        };
        *octet ^= 1 << (bit % 8);
        true
    }

    /// Cuts the file off; a longer length changes nothing.
    pub(super) fn truncate(&mut self, bytes: usize) {
        self.durable.truncate(bytes);
        if let Some(cache) = &mut self.cache {
            cache.truncate(bytes);
        }
        for write in &mut self.unsynced {
            write.bytes.truncate(bytes.saturating_sub(write.start));
        }
        self.unsynced.retain(|write| !write.bytes.is_empty());
        self.unreadable.retain(|sector| *sector < bytes);
    }
}

/// First octets of the pages that a range touches.
fn pages_of(range: &Range<usize>) -> impl Iterator<Item = usize> + use<> {
    let first = range.start - range.start % PAGE_BYTES;
    (first..range.end).step_by(PAGE_BYTES)
}
