//! Records of the journal and the snapshot: length, checksum, number, text. Pure functions over
//! octets; whatever a disk gives back, reading ends and says what it has found.
//!
//! A record is 4 octets length of the text, 4 octets CRC32C of all the rest, 8 octets number, the
//! text; numbers little-endian. May import nothing of the broker.

/// What a file begins with: name and version of the format.
pub(super) const MAGIC: &[u8; 8] = b"RMQctl1\n";

const HEAD_BYTES: usize = 16;

/// How far the number of a record may be ahead of the one before, where something between them is
/// damaged. Smaller than what a number looks like that is none.
const AHEAD_MAX: u64 = 1 << 32;

/// A record that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) number: u64,
    pub(super) text: &'a [u8],
}

/// What a file consists of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents<'a> {
    /// In the order of their numbers.
    pub(super) records: Vec<Record<'a>>,
    /// Octets between records, or before the first, that are no record.
    pub(super) damaged_bytes: usize,
    /// Octets behind the last record: a write that the end of the process has cut, or damage.
    pub(super) tail_bytes: usize,
}

/// A record as octets. `None`: the text is too long for one.
pub(super) fn encode(number: u64, text: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(text.len()).ok()?.to_le_bytes();
    let number = number.to_le_bytes();
    let sum = checksum(&length, &number, text).to_le_bytes();
    Some([&length[..], &sum, &number, text].concat())
}

fn checksum(length: &[u8], number: &[u8], text: &[u8]) -> u32 {
    let sum = crc32c::crc32c(length);
    crc32c::crc32c_append(crc32c::crc32c_append(sum, number), text)
}

/// The record that `bytes` begin with.
fn first(bytes: &[u8], after: u64) -> Option<Record<'_>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let text = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let ahead = u64::from_le_bytes(*number).checked_sub(after)?;
    let is_whole = (1..=AHEAD_MAX).contains(&ahead)
        && checksum(length, number, text) == u32::from_le_bytes(*sum);
    is_whole.then_some(Record { number: u64::from_le_bytes(*number), text })
}

/// Reads a file whose records have numbers above `after`.
pub(super) fn read(bytes: &[u8], after: u64) -> Contents<'_> {
    let mut contents = Contents::default();
    let (mut rest, mut after) = (bytes.strip_prefix(MAGIC).unwrap_or(bytes), after);
    let mut skipped = if rest.len() == bytes.len() { usize::from(!bytes.is_empty()) } else { 0 };
    while !rest.is_empty() {
        match first(rest, after) {
            Some(record) => {
                contents.records.push(record);
                contents.damaged_bytes += std::mem::take(&mut skipped);
                after = record.number;
                rest = rest.get(HEAD_BYTES + record.text.len()..).unwrap_or_default();
            }
            // Behind damage the next whole record counts again.
            None => {
                rest = rest.get(1..).unwrap_or_default();
                skipped += 1;
            }
        }
    }
    contents.tail_bytes = skipped;
    contents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(texts: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (MAGIC.to_vec(), Vec::new());
        for (number, text) in (8..).zip(texts) {
            bytes.extend(encode(number, text).unwrap());
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    const TEXTS: [&[u8]; 4] = [b"one", b"", b"three is a longer text", b"four"];

    #[test]
    fn what_is_written_is_read() {
        let (bytes, _) = file(&TEXTS);
        let contents = read(&bytes, 7);
        let texts: Vec<&[u8]> = contents.records.iter().map(|record| record.text).collect();
        assert_eq!(texts, TEXTS);
        assert_eq!((contents.damaged_bytes, contents.tail_bytes), (0, 0));
        assert_eq!(read(b"", 0), Contents::default());
        assert_eq!(read(MAGIC, 0), Contents::default());
    }

    #[test]
    fn a_file_that_is_cut_anywhere_has_the_records_before_the_cut() {
        let (bytes, ends) = file(&TEXTS);
        for cut in 0..bytes.len() {
            let contents = read(&bytes[..cut], 7);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(contents.records.len(), whole, "{cut}");
            let clean = cut == 0 || cut == MAGIC.len() || ends.contains(&cut);
            assert_eq!(contents.tail_bytes == 0, clean, "{cut}");
        }
    }

    #[test]
    fn one_bit_that_is_wrong_costs_at_most_the_record_that_has_it() {
        let (bytes, ends) = file(&TEXTS);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let contents = read(&bytes, 7);
            let hit = (bit / 8 >= MAGIC.len()).then(|| ends.partition_point(|end| *end <= bit / 8));
            let left: Vec<&[u8]> =
                (0..4).filter(|index| Some(*index) != hit).map(|index| TEXTS[index]).collect();
            let texts: Vec<&[u8]> = contents.records.iter().map(|record| record.text).collect();
            assert_eq!(texts, left, "bit {bit}");
            assert!(contents.damaged_bytes + contents.tail_bytes > 0, "bit {bit}");
        }
    }

    #[test]
    fn a_record_from_before_does_not_count_again() {
        let (bytes, _) = file(&TEXTS);
        assert_eq!(read(&bytes, 9).records.len(), 2);
    }

    #[test]
    fn any_octets_are_read_to_their_end() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200 {
            let octets: Vec<u8> = std::iter::repeat_with(|| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed.to_le_bytes()[0]
            })
            .take(300)
            .collect();
            assert_eq!(read(&octets, 0).records.len(), 0);
        }
    }
}
