//! The content of the BOOT file. May import nothing.
//!
//! ```text
//!  0   8  magic "RINGBOOT"         28   1  1: everything was written before the process ended
//!  8   4  format version           29  31  zeros
//! 12   4  boot number              60   4  CRC32C of the octets before
//! 16   8  directory id
//! 24   2  groups
//! 26   2  shards of the last run   all numbers little endian
//! ```
//!
//! Magic, version, length and checksum stay where they are in every later format: a version is believed
//! only if the checksum is right, so that a damaged octet is not taken for a newer program's file.

/// Octets of the file.
pub(super) const BOOT_BYTES: usize = 64;

/// The present format of the data directory.
pub(super) const FORMAT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"RINGBOOT";
const SUM_AT: usize = BOOT_BYTES - 4;

/// What stands in BOOT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boot {
    /// Which data directory this is.
    pub(super) dir_id: u64,
    /// The start it was written at.
    pub(super) boot: u32,
    /// Groups that queues are placed in.
    pub(super) groups: u16,
    /// How many shards the last clean run had; 0 before the first.
    pub(super) shards: u16,
    /// The process ended after it had written everything.
    pub(super) clean: bool,
}

/// Why a content is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Damaged, or no BOOT at all.
    Damaged,
    /// Whole, of a later format.
    Newer {
        /// That format.
        version: u32,
    },
}

impl Boot {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BOOT_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.boot.to_le_bytes());
        bytes.extend_from_slice(&self.dir_id.to_le_bytes());
        bytes.extend_from_slice(&self.groups.to_le_bytes());
        bytes.extend_from_slice(&self.shards.to_le_bytes());
        bytes.push(u8::from(self.clean));
        bytes.resize(SUM_AT, 0);
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        Self::parse(bytes).unwrap_or(Err(Unreadable::Damaged))
    }

    /// `None`: damaged.
    fn parse(bytes: &[u8]) -> Option<Result<Self, Unreadable>> {
        let (content, sum) = bytes.split_at_checked(SUM_AT)?;
        let is_whole = content.starts_with(MAGIC) && sum == crc32c::crc32c(content).to_le_bytes();
        if !is_whole {
            return None;
        }
        let version = u32::from_le_bytes(field(content, 8)?);
        if version > FORMAT_VERSION {
            return Some(Err(Unreadable::Newer { version }));
        }
        let [clean] = field(content, 28)?;
        Some(Ok(Self {
            boot: u32::from_le_bytes(field(content, 12)?),
            dir_id: u64::from_le_bytes(field(content, 16)?),
            groups: u16::from_le_bytes(field(content, 24)?),
            shards: u16::from_le_bytes(field(content, 26)?),
            clean: clean == 1,
        }))
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: Boot =
        Boot { dir_id: 0x0102_0304_0506_0708, boot: 77, groups: 64, shards: 8, clean: true };

    #[test]
    fn the_checksum_is_the_one_of_the_specification() {
        // RFC 3720 B.4: 32 octets of zeros, and the check value of every catalogue.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for boot in [BOOT, Boot { clean: false, shards: 0, ..BOOT }] {
            let bytes = boot.encode();
            assert_eq!(bytes.len(), BOOT_BYTES);
            assert_eq!(Boot::decode(&bytes), Ok(boot));
        }
    }

    #[test]
    fn every_changed_bit_and_every_other_length_is_damage() {
        let whole = BOOT.encode();
        for bit in 0..BOOT_BYTES * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Boot::decode(&bytes), Err(Unreadable::Damaged), "bit {bit}");
        }
        for length in 0..BOOT_BYTES {
            assert_eq!(Boot::decode(&whole[..length]), Err(Unreadable::Damaged), "{length}");
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert_eq!(Boot::decode(&longer), Err(Unreadable::Damaged));
    }

    #[test]
    fn a_whole_file_of_a_later_format_is_known_as_such() {
        let mut bytes = BOOT.encode();
        bytes[8] = 9;
        bytes[20] = 0xff;
        let sum = crc32c::crc32c(&bytes[..SUM_AT]);
        bytes[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Boot::decode(&bytes), Err(Unreadable::Newer { version: 9 }));
    }
}
