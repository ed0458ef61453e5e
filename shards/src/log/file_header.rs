//! The first block of a log file: what it is, whose, and from where on. Pure. May import `ids`.

use super::ids::{LogFile, Lsn};

/// Batches begin at multiples of this, the header is one of it. A block is never written twice: a
/// write that is cut may spoil what shares a block with it, and nothing durable does.
pub const BLOCK_BYTES: usize = 4096;

/// What a log file begins with.
pub const MAGIC: [u8; 8] = *b"RINGLOG1";

/// The format that this code writes, and the only one it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Octets that say something; the last four are a checksum of the others.
const USED_BYTES: usize = 56;

/// The header block of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHeader {
    /// Whose log.
    pub shard: u32,
    /// Which data directory: files of two of them must not be mixed.
    pub dir_id: u64,
    /// Which file; a file that is used again has its old number until this block is written.
    pub file: LogFile,
    /// No record of this file has a lower number; what has is left over from its life before. Its
    /// first record may have a higher one, since a file is made before it is needed.
    pub first: Lsn,
    /// All records of this file are of this boot.
    pub boot: u32,
    /// When it was made, in milliseconds since 1970; for people. 0: not known.
    pub created_ms: u64,
}

/// Why a block is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer octets than a header has.
    #[error("cut within the header")]
    Cut,
    /// Zeros: made, but never written to.
    #[error("blank")]
    Blank,
    /// Something else.
    #[error("not a log file")]
    Magic,
    /// Another format, and not damaged.
    #[error("format {version}, this version reads {FORMAT_VERSION}")]
    Version {
        /// Which.
        version: u32,
    },
    /// Damaged.
    #[error("checksum of the header")]
    Checksum,
}

impl FileHeader {
    /// The header block, [`BLOCK_BYTES`] long.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        block.extend_from_slice(&MAGIC);
        block.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        block.extend_from_slice(&self.shard.to_le_bytes());
        block.extend_from_slice(&self.dir_id.to_le_bytes());
        block.extend_from_slice(&self.file.0.to_le_bytes());
        block.extend_from_slice(&self.first.0.to_le_bytes());
        block.extend_from_slice(&self.boot.to_le_bytes());
        block.extend_from_slice(&self.created_ms.to_le_bytes());
        let checksum = crc32c::crc32c(&block);
        block.extend_from_slice(&checksum.to_le_bytes());
        debug_assert_eq!(block.len(), USED_BYTES);
        block.resize(BLOCK_BYTES, 0);
        block
    }

    /// Reads the header of a file from its first octets.
    ///
    /// # Errors
    /// If they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let used = bytes.get(..USED_BYTES).ok_or(HeaderError::Cut)?;
        if used.iter().all(|octet| *octet == 0) {
            return Err(HeaderError::Blank);
        }
        let mut fields = Fields(used);
        if fields.take()? != MAGIC {
            return Err(HeaderError::Magic);
        }
        let version = u32::from_le_bytes(fields.take()?);
        let header = Self {
            shard: u32::from_le_bytes(fields.take()?),
            dir_id: u64::from_le_bytes(fields.take()?),
            file: LogFile(u64::from_le_bytes(fields.take()?)),
            first: Lsn(u64::from_le_bytes(fields.take()?)),
            boot: u32::from_le_bytes(fields.take()?),
            created_ms: u64::from_le_bytes(fields.take()?),
        };
        let covered = used.get(..USED_BYTES - 4).ok_or(HeaderError::Cut)?;
        if u32::from_le_bytes(fields.take()?) != crc32c::crc32c(covered) {
            return Err(HeaderError::Checksum);
        }
        if version != FORMAT_VERSION {
            return Err(HeaderError::Version { version });
        }
        Ok(header)
    }
}

/// What is left to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(HeaderError::Cut)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FileHeader {
        FileHeader {
            shard: 2,
            dir_id: 0x0123_4567_89ab_cdef,
            file: LogFile::first_of(5).next(),
            first: Lsn::first_of(5),
            boot: 5,
            created_ms: 1_790_000_000_000,
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let block = header().encode();
        assert_eq!(block.len(), BLOCK_BYTES);
        assert_eq!(FileHeader::decode(&block), Ok(header()));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let block = header().encode();
        for bit in 0..USED_BYTES * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHeader::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_cut_a_blank_and_a_newer_header_are_told_apart() {
        let mut block = header().encode();
        assert_eq!(FileHeader::decode(&block[..55]), Err(HeaderError::Cut));
        assert_eq!(FileHeader::decode(&[0; 4096]), Err(HeaderError::Blank));
        block[8] = 2;
        assert_eq!(FileHeader::decode(&block), Err(HeaderError::Checksum));
        let checksum = crc32c::crc32c(&block[..52]);
        block[52..56].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(FileHeader::decode(&block), Err(HeaderError::Version { version: 2 }));
    }
}
