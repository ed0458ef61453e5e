//! Checked reader and writers over octets, shared by every codec; never panics, never allocates
//! what a length field asks for. May import nothing.
//!
//! Numbers are big-endian: all protocols here are.

use std::fmt;

/// What a decoder says about the front of its input. `NeedMore` is an answer, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded<T> {
    /// A whole frame.
    Frame {
        /// The frame.
        frame: T,
        /// Octets of the input it took.
        taken: usize,
    },
    /// The input ends within a frame.
    NeedMore {
        /// Octets the input must have, counted from its start, before another try can say more.
        bytes_min: usize,
    },
}

/// Why octets could not be read, with what a log reader needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// The octets end within a value.
    Short {
        /// Where the value starts.
        offset: u32,
        /// Octets it has.
        need: u32,
        /// Octets that are left.
        have: u32,
    },
    /// Octets follow the last value.
    Trailing {
        /// Where they start.
        offset: u32,
        /// How many there are.
        have: u32,
    },
    /// A text that must be UTF-8 is not.
    NotUtf8 {
        /// Where the text starts.
        offset: u32,
    },
    /// A value that the clause does not allow.
    Refused {
        /// Where it ends.
        offset: u32,
        /// The value.
        have: u32,
        /// What forbids it.
        clause: &'static str,
    },
    /// More of something than we take.
    Limit {
        /// Where the limit was passed.
        offset: u32,
        /// The limit.
        max: u32,
        /// What is limited.
        clause: &'static str,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short { offset, need, have } => {
                write!(f, "value of {need} octets at offset {offset}, where {have} are left")
            }
            Self::Trailing { offset, have } => {
                write!(f, "{have} octets too many at offset {offset}")
            }
            Self::NotUtf8 { offset } => write!(f, "text at offset {offset} is not UTF-8"),
            Self::Refused { offset, have, clause } => {
                write!(f, "value {have} before offset {offset} is refused: {clause}")
            }
            Self::Limit { offset, max, clause } => {
                write!(f, "more than {max} at offset {offset}: {clause}")
            }
        }
    }
}

impl std::error::Error for WireError {}

/// A number of octets for an error: those beyond 4 GiB are all the same to a log reader.
pub(crate) fn count(octets: usize) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX)
}

/// Reads values from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Offset of the end of `rest` in the input that errors speak of.
    end: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `input`; errors count from its start.
    #[inline]
    pub const fn new(input: &'a [u8]) -> Self {
        Self { rest: input, end: input.len() }
    }

    /// A reader of a part that starts at `offset` of the whole.
    #[inline]
    pub const fn at(input: &'a [u8], offset: usize) -> Self {
        Self { rest: input, end: offset.saturating_add(input.len()) }
    }

    /// How many octets of the whole lie before the next value.
    #[inline]
    pub const fn offset(&self) -> usize {
        self.end.saturating_sub(self.rest.len())
    }

    /// How many octets are left.
    #[inline]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether none is left.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The octets that are left.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[cold]
    fn short(&self, need: usize) -> WireError {
        WireError::Short {
            offset: count(self.offset()),
            need: count(need),
            have: count(self.rest.len()),
        }
    }

    /// An error about the value just read.
    #[cold]
    pub fn refuse(&self, have: u32, clause: &'static str) -> WireError {
        WireError::Refused { offset: count(self.offset()), have, clause }
    }

    /// An error about a limit that was passed here.
    #[cold]
    pub fn limit(&self, max: usize, clause: &'static str) -> WireError {
        WireError::Limit { offset: count(self.offset()), max: count(max), clause }
    }

    /// The next `N` octets.
    ///
    /// # Errors
    /// `Short` when there are fewer; so for all readers below.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(*head)
            }
            None => Err(self.short(N)),
        }
    }

    /// The next `n` octets, borrowed.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn slice(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        match self.rest.split_at_checked(n) {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => Err(self.short(n)),
        }
    }

    /// Unsigned, 1 octet.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[octet]| octet)
    }

    /// Signed, 1 octet.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, WireError> {
        self.array().map(i8::from_be_bytes)
    }

    /// Unsigned, 2 octets.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Signed, 2 octets.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, WireError> {
        self.array().map(i16::from_be_bytes)
    }

    /// Unsigned, 4 octets.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Signed, 4 octets.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    /// Unsigned, 8 octets.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Signed, 8 octets.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, WireError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Single precision.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn f32(&mut self) -> Result<f32, WireError> {
        self.array().map(f32::from_be_bytes)
    }

    /// Double precision.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn f64(&mut self) -> Result<f64, WireError> {
        self.array().map(f64::from_be_bytes)
    }

    /// Octets behind a length of 1 octet.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn short_bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.u8()?;
        self.slice(length.into())
    }

    /// UTF-8 text behind a length of 1 octet.
    ///
    /// # Errors
    /// `Short`, `NotUtf8`.
    #[inline]
    pub fn short_str(&mut self) -> Result<&'a str, WireError> {
        let bytes = self.short_bytes()?;
        std::str::from_utf8(bytes).map_err(|_| WireError::NotUtf8 {
            offset: count(self.offset().saturating_sub(bytes.len())),
        })
    }

    /// Octets behind a length of 4 octets.
    ///
    /// # Errors
    /// `Short`.
    #[inline]
    pub fn long_bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.u32()?;
        self.slice(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Nothing may follow.
    ///
    /// # Errors
    /// `Trailing`.
    #[inline]
    pub fn finish(&self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(WireError::Trailing { offset: count(self.offset()), have: count(self.rest.len()) })
    }
}

/// Appends 2 octets.
#[inline]
pub fn put_u16(out: &mut Vec<u8>, n: u16) {
    out.extend_from_slice(&n.to_be_bytes());
}

/// Appends 4 octets.
#[inline]
pub fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_be_bytes());
}

/// Appends 8 octets.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_be_bytes());
}

/// The longest front of `text` that fits behind a length of 1 octet and ends with a whole letter.
pub fn fit_short(text: &str) -> &str {
    let whole = (252..=255).rev().find(|&end| text.is_char_boundary(end));
    if text.len() <= 255 { text } else { text.get(..whole.unwrap_or(0)).unwrap_or_default() }
}

/// Appends text behind a length of 1 octet. What is longer than 255 octets is cut as
/// [`fit_short`] does: reply texts may be cut, and names are never that long, since whoever
/// takes one from outside refuses it there.
#[inline]
pub fn put_short_str(out: &mut Vec<u8>, text: &str) {
    put_short_bytes(out, fit_short(text).as_bytes());
}

/// Appends octets behind a length of 1 octet; what is beyond 255 is cut.
#[inline]
pub fn put_short_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..255).unwrap_or(bytes);
    out.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(bytes);
}

/// Appends octets behind a length of 4 octets; what is beyond 4 GiB is cut.
#[inline]
pub fn put_long_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = count(bytes.len());
    put_u32(out, length);
    let whole = usize::try_from(length).unwrap_or(usize::MAX);
    out.extend_from_slice(bytes.get(..whole).unwrap_or(bytes));
}

/// Appends what `content` writes behind a length of 4 octets.
#[inline]
pub fn put_long_with(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    put_u32(out, 0);
    let start = out.len();
    content(out);
    let length = count(out.len().saturating_sub(start));
    if let Some(place) = out.get_mut(at..start) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_network_order_and_offsets_follow() {
        let mut input = Reader::new(&[1, 2, 3, 4, 5, 6, 7, 0xFF]);
        assert_eq!(input.u8(), Ok(1));
        assert_eq!(input.u16(), Ok(0x0203));
        assert_eq!(input.u32(), Ok(0x0405_0607));
        assert_eq!(input.offset(), 7);
        assert_eq!(input.i8(), Ok(-1));
        assert_eq!(input.finish(), Ok(()));
    }

    #[test]
    fn a_value_past_the_end_takes_nothing_and_says_what_was_missing() {
        let mut input = Reader::at(&[0, 9], 10);
        assert_eq!(input.u32(), Err(WireError::Short { offset: 10, need: 4, have: 2 }));
        assert_eq!(input.remaining(), 2);
        assert_eq!(input.u8(), Ok(0));
        assert_eq!(input.short_str(), Err(WireError::Short { offset: 12, need: 9, have: 0 }));
    }

    /// Abuse row 24: 255 octets and NUL are text; what is not UTF-8 is refused.
    #[test]
    fn short_text_takes_255_octets_and_nul_but_only_utf_8() {
        let mut wire = Vec::new();
        put_short_str(&mut wire, &"\0".repeat(255));
        assert_eq!(Reader::new(&wire).short_str(), Ok("\0".repeat(255).as_str()));
        assert_eq!(Reader::new(&[1, 0xC3]).short_str(), Err(WireError::NotUtf8 { offset: 1 }));
    }

    #[test]
    fn a_longer_text_is_cut_between_letters() {
        let text = format!("{}\u{e9}", "a".repeat(254));
        assert_eq!(fit_short(&text), "a".repeat(254));
        let mut wire = Vec::new();
        put_short_str(&mut wire, &text);
        assert_eq!(wire.len(), 255);
        assert_eq!(wire.first(), Some(&254));
    }

    #[test]
    fn a_length_is_written_once_the_content_is_known() {
        let mut wire = vec![9];
        put_long_with(&mut wire, |out| out.extend_from_slice(b"abc"));
        assert_eq!(wire, b"\x09\0\0\0\x03abc");
        assert_eq!(Reader::at(&wire[1..], 1).long_bytes(), Ok(&b"abc"[..]));
    }

    #[test]
    fn a_length_of_four_gigabytes_reserves_nothing() {
        let mut input = Reader::new(&[0xFF, 0xFF, 0xFF, 0xFF, 0]);
        assert_eq!(
            input.long_bytes(),
            Err(WireError::Short { offset: 4, need: u32::MAX, have: 1 })
        );
    }
}
