//! One value of a field table: its letter and octets, to and from the neutral `Value`
//! (AMQP 0-9-1 4.2.1, with the letters that RabbitMQ and LavinMQ read and write: P7).
//! May import `octets`, `value` and the views of `field_table`.
//!
//! `L` and `l` are one kind, as are `s` and `U`: a `Value` does not tell which it was. Whatever
//! must leave as it came is copied as octets and never passes through `Value`.

use super::field_table::{ArrayRef, DEPTH_MAX, TableRef};
use crate::protocol::octets::{
    Reader, WireError, count, put_long_bytes, put_long_with, put_short_bytes, put_u32,
};
use crate::value::{Table, Value};

/// A value, borrowed from a validated table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldRef<'a> {
    /// `V`
    Void,
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`; `U` is read too.
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`; `L` is read too.
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: digits after the point, unscaled value.
    Decimal(u8, u32),
    /// `S`: usually UTF-8, not guaranteed to be.
    Text(&'a [u8]),
    /// `x`
    Bytes(&'a [u8]),
    /// `T`: seconds since 1970-01-01 UTC.
    Timestamp(u64),
    /// `A`
    Array(ArrayRef<'a>),
    /// `F`
    Table(TableRef<'a>),
}

impl<'a> FieldRef<'a> {
    /// Reads a letter and its value. What is inside an array or a table is not looked at: only
    /// `field_table` makes views of unread octets, and validates them.
    pub(super) fn read(input: &mut Reader<'a>) -> Result<Self, WireError> {
        let letter = input.u8()?;
        Ok(match letter {
            b'V' => Self::Void,
            b't' => Self::Bool(read_bool(input)?),
            b'b' => Self::I8(input.i8()?),
            b'B' => Self::U8(input.u8()?),
            b's' | b'U' => Self::I16(input.i16()?),
            b'u' => Self::U16(input.u16()?),
            b'I' => Self::I32(input.i32()?),
            b'i' => Self::U32(input.u32()?),
            b'l' | b'L' => Self::I64(input.i64()?),
            b'f' => Self::F32(input.f32()?),
            b'd' => Self::F64(input.f64()?),
            b'D' => Self::Decimal(input.u8()?, input.u32()?),
            b'S' => Self::Text(input.long_bytes()?),
            b'x' => Self::Bytes(input.long_bytes()?),
            b'T' => Self::Timestamp(input.u64()?),
            b'A' => Self::Array(ArrayRef::unchecked(input.long_bytes()?)),
            b'F' => Self::Table(TableRef::unchecked(input.long_bytes()?)),
            _ => return Err(input.refuse(letter.into(), "field value letter (P7)")),
        })
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
    pub fn as_text(&self) -> Option<&'a str> {
        if let Self::Text(text) = *self { std::str::from_utf8(text).ok() } else { None }
    }

    /// The truth value, if it is one.
    pub const fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(truth) = *self { Some(truth) } else { None }
    }

    /// The neutral value. Recursion ends at the depth that validation allowed.
    pub fn to_value(&self) -> Value {
        match *self {
            Self::Void => Value::Void,
            Self::Bool(truth) => Value::Bool(truth),
            Self::I8(n) => Value::I8(n),
            Self::U8(n) => Value::U8(n),
            Self::I16(n) => Value::I16(n),
            Self::U16(n) => Value::U16(n),
            Self::I32(n) => Value::I32(n),
            Self::U32(n) => Value::U32(n),
            Self::I64(n) => Value::I64(n),
            Self::F32(n) => Value::F32(n),
            Self::F64(n) => Value::F64(n),
            Self::Decimal(scale, n) => Value::Decimal(scale, n),
            Self::Text(text) => Value::Text(text.into()),
            Self::Bytes(bytes) => Value::Bytes(bytes.into()),
            Self::Timestamp(seconds) => Value::Timestamp(seconds),
            Self::Array(array) => Value::Array(array.iter().map(|item| item.to_value()).collect()),
            Self::Table(table) => Value::Table(table.to_value()),
        }
    }

    /// Appends letter and value.
    pub fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Void => out.push(b'V'),
            Self::Bool(truth) => out.extend_from_slice(&[b't', truth.into()]),
            Self::I8(n) => put_number(out, b'b', n.to_be_bytes()),
            Self::U8(n) => put_number(out, b'B', [n]),
            Self::I16(n) => put_number(out, b's', n.to_be_bytes()),
            Self::U16(n) => put_number(out, b'u', n.to_be_bytes()),
            Self::I32(n) => put_number(out, b'I', n.to_be_bytes()),
            Self::U32(n) => put_number(out, b'i', n.to_be_bytes()),
            Self::I64(n) => put_number(out, b'l', n.to_be_bytes()),
            Self::F32(n) => put_number(out, b'f', n.to_be_bytes()),
            Self::F64(n) => put_number(out, b'd', n.to_be_bytes()),
            Self::Decimal(scale, n) => {
                out.extend_from_slice(&[b'D', scale]);
                put_u32(out, n);
            }
            Self::Text(text) => put_octets(out, b'S', text),
            Self::Bytes(bytes) => put_octets(out, b'x', bytes),
            Self::Timestamp(seconds) => put_number(out, b'T', seconds.to_be_bytes()),
            Self::Array(array) => put_octets(out, b'A', array.as_bytes()),
            Self::Table(table) => put_octets(out, b'F', table.as_bytes()),
        }
    }
}

/// Abuse row 21: 0 and 1 are the only truth values, although RabbitMQ takes 2 for true.
fn read_bool(input: &mut Reader<'_>) -> Result<bool, WireError> {
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(input.refuse(other.into(), "boolean (AMQP 0-9-1 4.2.5.2)")),
    }
}

fn put_number<const N: usize>(out: &mut Vec<u8>, letter: u8, octets: [u8; N]) {
    out.push(letter);
    out.extend_from_slice(&octets);
}

fn put_octets(out: &mut Vec<u8>, letter: u8, octets: &[u8]) {
    out.push(letter);
    put_long_bytes(out, octets);
}

/// Appends letter and value; `depth` is that of the table or array it lies in.
pub(super) fn put_value(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), WireError> {
    let plain = match value {
        Value::Array(items) => {
            return put_nested(out, b'A', depth, |out, depth| {
                items.iter().try_for_each(|item| put_value(out, item, depth))
            });
        }
        Value::Table(table) => {
            return put_nested(out, b'F', depth, |out, depth| put_entries(out, table, depth));
        }
        Value::Void => FieldRef::Void,
        Value::Bool(truth) => FieldRef::Bool(*truth),
        Value::I8(n) => FieldRef::I8(*n),
        Value::U8(n) => FieldRef::U8(*n),
        Value::I16(n) => FieldRef::I16(*n),
        Value::U16(n) => FieldRef::U16(*n),
        Value::I32(n) => FieldRef::I32(*n),
        Value::U32(n) => FieldRef::U32(*n),
        Value::I64(n) => FieldRef::I64(*n),
        Value::F32(n) => FieldRef::F32(*n),
        Value::F64(n) => FieldRef::F64(*n),
        Value::Decimal(scale, n) => FieldRef::Decimal(*scale, *n),
        Value::Text(text) => FieldRef::Text(text),
        Value::Bytes(bytes) => FieldRef::Bytes(bytes),
        Value::Timestamp(seconds) => FieldRef::Timestamp(*seconds),
    };
    plain.put(out);
    Ok(())
}

/// Appends the entries of a table that lies at `depth`, the outermost at 1. On an error `out`
/// holds a part of them.
pub(super) fn put_entries(out: &mut Vec<u8>, table: &Table, depth: usize) -> Result<(), WireError> {
    for (name, value) in &table.0 {
        put_name(out, name)?;
        put_value(out, value, depth)?;
    }
    Ok(())
}

/// Appends the name of an entry. It is never cut: it would name something else.
pub(super) fn put_name(out: &mut Vec<u8>, name: &str) -> Result<(), WireError> {
    if name.len() > 255 {
        return Err(limit(out, 255, "octets of a field name (AMQP 0-9-1 4.2.5.5)"));
    }
    put_short_bytes(out, name.as_bytes());
    Ok(())
}

fn put_nested(
    out: &mut Vec<u8>,
    letter: u8,
    depth: usize,
    content: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), WireError>,
) -> Result<(), WireError> {
    if depth >= DEPTH_MAX {
        return Err(limit(out, DEPTH_MAX, "depth of field tables (abuse row 22)"));
    }
    out.push(letter);
    let mut result = Ok(());
    put_long_with(out, |out| result = content(out, depth.saturating_add(1)));
    result
}

fn limit(out: &[u8], max: usize, clause: &'static str) -> WireError {
    WireError::Limit { offset: count(out.len()), max: count(max), clause }
}
