//! Field tables and arrays as validated octets, read without copying (AMQP 0-9-1 4.2.5.5; P7;
//! abuse rows 21 to 23). May import `octets`, `value` and `field_value`.
//!
//! A [`TableRef`] exists only for octets that were validated down to the last entry, so reading
//! it cannot fail. Validation uses a stack of its own, never the thread's.

use super::field_value::FieldRef;
use crate::protocol::octets::{Reader, WireError, put_long_bytes};
use crate::value::Table;

/// Tables and arrays within each other, the outermost counted (abuse row 22).
pub const DEPTH_MAX: usize = 32;
/// Entries of one table (abuse row 23).
pub const TABLE_ENTRIES_MAX: usize = 1024;
/// Items of one array. Arbitrary: it keeps a neutral copy of an array of voids below 2 MiB.
pub const ARRAY_ITEMS_MAX: usize = 65_536;

/// A table: names with values, in the order they came. A name may come twice; the last counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableRef<'a> {
    bytes: &'a [u8],
}

/// An array of values of any kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArrayRef<'a> {
    bytes: &'a [u8],
}

impl<'a> TableRef<'a> {
    /// A table without entries.
    pub const EMPTY: TableRef<'static> = TableRef { bytes: &[] };

    /// Reads a table behind its length and validates it.
    ///
    /// # Errors
    /// For octets past the end, unknown letters, names that are not UTF-8, and all that is
    /// beyond the limits above.
    #[inline]
    pub fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let bytes = input.long_bytes()?;
        if !bytes.is_empty() {
            validate(bytes, input.offset().saturating_sub(bytes.len()))?;
        }
        Ok(Self { bytes })
    }

    /// For octets that are validated already, or about to be.
    pub(super) const fn unchecked(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The entries' octets, without the length before them.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether it has no entries.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, FieldRef<'a>)> + use<'a> {
        self.entries().filter_map(|e| Some((std::str::from_utf8(e.name).ok()?, e.value)))
    }

    /// The entries with their octets.
    pub(super) const fn entries(&self) -> Entries<'a> {
        Entries { input: Reader::new(self.bytes) }
    }

    /// The value under `name`; the last one when the name repeats (abuse row 23).
    pub fn get(&self, name: &str) -> Option<FieldRef<'a>> {
        self.entries().filter(|e| e.name == name.as_bytes()).last().map(|e| e.value)
    }

    /// The neutral table.
    pub fn to_value(&self) -> Table {
        Table(self.iter().map(|(name, value)| (name.into(), value.to_value())).collect())
    }

    /// Appends it behind its length.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>) {
        put_long_bytes(out, self.bytes);
    }
}

impl<'a> ArrayRef<'a> {
    /// For octets that are validated already, or about to be.
    pub(super) const fn unchecked(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The items' octets, without the length before them.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether it has no items.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = FieldRef<'a>> + use<'a> {
        let mut input = Reader::new(self.bytes);
        std::iter::from_fn(
            move || {
                if input.is_empty() { None } else { FieldRef::read(&mut input).ok() }
            },
        )
    }
}

/// An entry and the octets it stands in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// Its name, UTF-8.
    pub(super) name: &'a [u8],
    /// Its value.
    pub(super) value: FieldRef<'a>,
    /// Where its octets start in the table's.
    pub(super) start: usize,
    /// Where they end.
    pub(super) end: usize,
}

/// Walks the entries of a validated table.
#[derive(Debug, Clone)]
pub(super) struct Entries<'a> {
    input: Reader<'a>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.input.is_empty() {
            return None;
        }
        let start = self.input.offset();
        let name = self.input.short_bytes().ok()?;
        let value = FieldRef::read(&mut self.input).ok()?;
        Some(Entry { name, value, start, end: self.input.offset() })
    }
}

/// A table or array whose entries are being validated.
#[derive(Clone, Copy)]
struct Level<'a> {
    input: Reader<'a>,
    is_table: bool,
    entries_left: usize,
}

impl<'a> Level<'a> {
    const fn table(bytes: &'a [u8], offset: usize) -> Self {
        Self { input: Reader::at(bytes, offset), is_table: true, entries_left: TABLE_ENTRIES_MAX }
    }

    const fn array(bytes: &'a [u8], offset: usize) -> Self {
        Self { input: Reader::at(bytes, offset), is_table: false, entries_left: ARRAY_ITEMS_MAX }
    }

    /// Validates entries up to the end (`None`) or to one with something inside.
    fn advance(&mut self) -> Result<Option<Self>, WireError> {
        while !self.input.is_empty() {
            let Some(left) = self.entries_left.checked_sub(1) else {
                return Err(self.too_many());
            };
            self.entries_left = left;
            if self.is_table {
                self.input.short_str()?;
            }
            let value = FieldRef::read(&mut self.input)?;
            let start = |bytes: &[u8]| self.input.offset().saturating_sub(bytes.len());
            match value {
                FieldRef::Table(t) => return Ok(Some(Self::table(t.bytes, start(t.bytes)))),
                FieldRef::Array(a) => return Ok(Some(Self::array(a.bytes, start(a.bytes)))),
                FieldRef::Void
                | FieldRef::Bool(_)
                | FieldRef::I8(_)
                | FieldRef::U8(_)
                | FieldRef::I16(_)
                | FieldRef::U16(_)
                | FieldRef::I32(_)
                | FieldRef::U32(_)
                | FieldRef::I64(_)
                | FieldRef::F32(_)
                | FieldRef::F64(_)
                | FieldRef::Decimal(..)
                | FieldRef::Text(_)
                | FieldRef::Bytes(_)
                | FieldRef::Timestamp(_) => {}
            }
        }
        Ok(None)
    }

    #[cold]
    fn too_many(&self) -> WireError {
        if self.is_table {
            self.input.limit(TABLE_ENTRIES_MAX, "entries of a field table (abuse row 23)")
        } else {
            self.input.limit(ARRAY_ITEMS_MAX, "items of a field array")
        }
    }
}

/// Validates a table's entries; `offset` is where they start in the payload.
fn validate(bytes: &[u8], offset: usize) -> Result<(), WireError> {
    let mut top = Level::table(bytes, offset);
    // Most tables are flat: they pay for no stack.
    match top.advance()? {
        None => Ok(()),
        Some(inner) => validate_nested(top, inner),
    }
}

/// Depth first, with the levels above in an array.
fn validate_nested<'a>(top: Level<'a>, inner: Level<'a>) -> Result<(), WireError> {
    let mut above = [Level::table(&[], 0); DEPTH_MAX];
    let mut depth = 0_usize;
    let mut current = top;
    let mut below = Some(inner);
    loop {
        if let Some(inner) = below {
            // `current` is at depth + 1 and stays there; `inner` would be at depth + 2.
            match above.get_mut(depth) {
                Some(place) if depth.saturating_add(2) <= DEPTH_MAX => *place = current,
                Some(_) | None => {
                    return Err(current.input.limit(DEPTH_MAX, "depth (abuse row 22)"));
                }
            }
            depth = depth.saturating_add(1);
            current = inner;
        } else {
            let Some(up) = depth.checked_sub(1) else { return Ok(()) };
            let Some(level) = above.get(up) else { return Ok(()) };
            depth = up;
            current = *level;
        }
        below = current.advance()?;
    }
}
