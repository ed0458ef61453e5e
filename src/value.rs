//! Values of arguments and headers, in no protocol's encoding.
//!
//! Used on the control path and where an exchange asks for headers; never for a plain publish.
//! May import nothing.

use std::fmt;

/// One value. Integer widths are kept, because a header must leave as it came, but they compare
/// equal through [`Value::as_integer`] (amqp.md P32, P76).
#[derive(Clone, PartialEq)]
pub enum Value {
    /// No value.
    Void,
    /// True or false.
    Bool(bool),
    /// 8-bit signed.
    I8(i8),
    /// 8-bit unsigned.
    U8(u8),
    /// 16-bit signed.
    I16(i16),
    /// 16-bit unsigned.
    U16(u16),
    /// 32-bit signed.
    I32(i32),
    /// 32-bit unsigned.
    U32(u32),
    /// 64-bit signed.
    I64(i64),
    /// Single precision.
    F32(f32),
    /// Double precision.
    F64(f64),
    /// Decimal: number of decimal digits after the point, unscaled value.
    Decimal(u8, u32),
    /// Text; usually UTF-8, not guaranteed to be.
    Text(Box<[u8]>),
    /// Octets that are not text.
    Bytes(Box<[u8]>),
    /// Seconds since 1970-01-01 UTC.
    Timestamp(u64),
    /// Ordered values.
    Array(Vec<Self>),
    /// Named values, in the order they came; when a name repeats the last one counts.
    Table(Table),
}

impl Value {
    /// A text value.
    pub fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().into())
    }

    /// The number, whatever its width; `None` for anything that is not an integer.
    pub fn as_integer(&self) -> Option<i64> {
        match *self {
            Self::I8(n) => Some(n.into()),
            Self::U8(n) => Some(n.into()),
            Self::I16(n) => Some(n.into()),
            Self::U16(n) => Some(n.into()),
            Self::I32(n) => Some(n.into()),
            Self::U32(n) => Some(n.into()),
            Self::I64(n) => Some(n),
            Self::Void
            | Self::Bool(_)
            | Self::F32(_)
            | Self::F64(_)
            | Self::Decimal(..)
            | Self::Text(_)
            | Self::Bytes(_)
            | Self::Timestamp(_)
            | Self::Array(_)
            | Self::Table(_) => None,
        }
    }

    /// The text, if it is text and UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { std::str::from_utf8(text).ok() } else { None }
    }

    /// The truth value, if it is one.
    pub const fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(b) = self { Some(*b) } else { None }
    }

    /// Equal as arguments of a declaration are: integers by number, all else exactly.
    pub fn same_as(&self, other: &Self) -> bool {
        match (self.as_integer(), other.as_integer()) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self == other,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Void => f.write_str("void"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::I8(n) => write!(f, "{n}"),
            Self::U8(n) => write!(f, "{n}"),
            Self::I16(n) => write!(f, "{n}"),
            Self::U16(n) => write!(f, "{n}"),
            Self::I32(n) => write!(f, "{n}"),
            Self::U32(n) => write!(f, "{n}"),
            Self::I64(n) => write!(f, "{n}"),
            Self::F32(n) => write!(f, "{n}"),
            Self::F64(n) => write!(f, "{n}"),
            Self::Decimal(scale, n) => write!(f, "{n}e-{scale}"),
            Self::Text(t) => write!(f, "'{}'", String::from_utf8_lossy(t)),
            Self::Bytes(b) => write!(f, "{} octets", b.len()),
            Self::Timestamp(s) => write!(f, "{s} s"),
            Self::Array(a) => f.debug_list().entries(a).finish(),
            Self::Table(t) => write!(f, "{t:?}"),
        }
    }
}

/// Named values in the order they came. Small, so looked up by walking it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table(pub Vec<(Box<str>, Value)>);

impl Table {
    /// The value under `name`; the last one when the name repeats.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().rev().find(|(n, _)| &**n == name).map(|(_, v)| v)
    }

    /// Replaces or appends.
    pub fn set(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().rev().find(|(n, _)| &**n == name) {
            Some((_, v)) => *v = value,
            None => self.0.push((name.into(), value)),
        }
    }

    /// Removes every value under `name`; tells whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(n, _)| &**n != name);
        self.0.len() != before
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Same names with the same values, in any order, integers by number.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().all(|(n, v)| other.get(n).is_some_and(|w| v.same_as(w)))
    }
}
