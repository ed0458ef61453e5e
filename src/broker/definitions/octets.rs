//! Definition <-> octets of its record. What is read may be anything: it is a definition with
//! nothing before or behind it, or it is refused. May import `definitions`, `value`.
//!
//! Little-endian. `u8 version | u8 kind`, then the fields of the kind in their order. A text is
//! `u32 octets | UTF-8`, a truth value one octet, a table `u32 entries`, each a text and a value,
//! and a value `u8 kind | content`. Numbers of kinds are never used again.

use ringmq_shards::log::QueueUid;

use super::{
    BindingDefinition, Definition, ExchangeDefinition, ExchangeUid, LinkDefinition, NamedExchange,
    QueueDefinition,
};
use crate::broker::mail::ExchangeSpec;
use crate::value::{Table, Value};

const VERSION: u8 = 1;

/// Tables and arrays within each other. More than any protocol lets in (32), and little enough to
/// walk on the stack.
const DEPTH_MAX: u32 = 64;

const EXCHANGE: u8 = 1;
const EXCHANGE_GONE: u8 = 2;
const LINK: u8 = 3;
const QUEUE: u8 = 4;
const QUEUE_GONE: u8 = 5;
const BINDING: u8 = 6;

const VOID: u8 = 0;
const BOOL: u8 = 1;
const I8: u8 = 2;
const U8: u8 = 3;
const I16: u8 = 4;
const U16: u8 = 5;
const I32: u8 = 6;
const U32: u8 = 7;
const I64: u8 = 8;
const F32: u8 = 9;
const F64: u8 = 10;
const DECIMAL: u8 = 11;
const TEXT: u8 = 12;
const BYTES: u8 = 13;
const TIMESTAMP: u8 = 14;
const ARRAY: u8 = 15;
const TABLE: u8 = 16;

impl Definition {
    /// Appends the record.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        match self {
            Self::Exchange(exchange) => {
                out.push(EXCHANGE);
                put_exchange(out, exchange);
            }
            Self::ExchangeGone(uid) => {
                out.push(EXCHANGE_GONE);
                put_u64(out, uid.0);
            }
            Self::Link { link, on } => {
                out.push(LINK);
                put_bool(out, *on);
                put_octets(out, link.vhost.as_bytes());
                put_named(out, &link.source);
                put_named(out, &link.destination);
                put_octets(out, link.key.as_bytes());
                put_table(out, &link.arguments, 0);
            }
            Self::Queue(queue) => {
                out.push(QUEUE);
                put_u64(out, queue.uid.0);
                put_octets(out, queue.vhost.as_bytes());
                put_octets(out, queue.name.as_bytes());
                put_octets(out, queue.kind.as_bytes());
                put_bool(out, queue.auto_delete);
                put_table(out, &queue.arguments, 0);
            }
            Self::QueueGone(uid) => {
                out.push(QUEUE_GONE);
                put_u64(out, uid.0);
            }
            Self::Binding { binding, on } => {
                out.push(BINDING);
                put_bool(out, *on);
                put_u64(out, binding.queue.0);
                put_octets(out, binding.vhost.as_bytes());
                put_named(out, &binding.exchange);
                put_octets(out, binding.key.as_bytes());
                put_table(out, &binding.arguments, 0);
            }
        }
    }

    /// Reads a record; `None` if it is none of this version.
    pub(crate) fn read(record: &[u8]) -> Option<Self> {
        let mut rest = Rest(record);
        if rest.u8()? != VERSION {
            return None;
        }
        let definition = match rest.u8()? {
            EXCHANGE => Self::Exchange(rest.exchange()?),
            EXCHANGE_GONE => Self::ExchangeGone(ExchangeUid(rest.u64()?)),
            LINK => {
                let on = rest.bool()?;
                let link = LinkDefinition {
                    vhost: rest.text()?,
                    source: rest.named()?,
                    destination: rest.named()?,
                    key: rest.text()?,
                    arguments: rest.table(0)?,
                };
                Self::Link { link, on }
            }
            QUEUE => Self::Queue(QueueDefinition {
                uid: QueueUid(rest.u64()?),
                vhost: rest.text()?,
                name: rest.text()?,
                kind: rest.text()?,
                auto_delete: rest.bool()?,
                arguments: rest.table(0)?,
            }),
            QUEUE_GONE => Self::QueueGone(QueueUid(rest.u64()?)),
            BINDING => {
                let on = rest.bool()?;
                let binding = BindingDefinition {
                    queue: QueueUid(rest.u64()?),
                    vhost: rest.text()?,
                    exchange: rest.named()?,
                    key: rest.text()?,
                    arguments: rest.table(0)?,
                };
                Self::Binding { binding, on }
            }
            _ => return None,
        };
        rest.0.is_empty().then_some(definition)
    }
}

fn put_exchange(out: &mut Vec<u8>, exchange: &ExchangeDefinition) {
    let ExchangeSpec { name, kind, durable, auto_delete, internal, arguments } = &exchange.spec;
    put_u64(out, exchange.uid.0);
    put_octets(out, exchange.vhost.as_bytes());
    put_octets(out, name.as_bytes());
    put_octets(out, kind.as_bytes());
    put_bool(out, *durable);
    put_bool(out, *auto_delete);
    put_bool(out, *internal);
    put_table(out, arguments, 0);
}

fn put_named(out: &mut Vec<u8>, exchange: &NamedExchange) {
    put_u64(out, exchange.uid.0);
    put_octets(out, exchange.name.as_bytes());
}

fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// How many octets or entries follow: of what came through a socket, never 2^32.
fn put_count(out: &mut Vec<u8>, count: usize) {
    debug_assert!(u32::try_from(count).is_ok());
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    put_count(out, octets.len());
    out.extend_from_slice(octets);
}

fn put_table(out: &mut Vec<u8>, table: &Table, depth: u32) {
    put_count(out, table.0.len());
    for (name, value) in &table.0 {
        put_octets(out, name.as_bytes());
        put_value(out, value, depth);
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value, depth: u32) {
    /// Kind and content.
    fn put<const N: usize>(out: &mut Vec<u8>, kind: u8, content: [u8; N]) {
        out.push(kind);
        out.extend_from_slice(&content);
    }
    match value {
        Value::Void => out.push(VOID),
        Value::Bool(b) => put(out, BOOL, [u8::from(*b)]),
        Value::I8(n) => put(out, I8, n.to_le_bytes()),
        Value::U8(n) => put(out, U8, n.to_le_bytes()),
        Value::I16(n) => put(out, I16, n.to_le_bytes()),
        Value::U16(n) => put(out, U16, n.to_le_bytes()),
        Value::I32(n) => put(out, I32, n.to_le_bytes()),
        Value::U32(n) => put(out, U32, n.to_le_bytes()),
        Value::I64(n) => put(out, I64, n.to_le_bytes()),
        Value::F32(n) => put(out, F32, n.to_le_bytes()),
        Value::F64(n) => put(out, F64, n.to_le_bytes()),
        Value::Decimal(scale, n) => {
            put(out, DECIMAL, [*scale]);
            out.extend_from_slice(&n.to_le_bytes());
        }
        Value::Text(text) => {
            out.push(TEXT);
            put_octets(out, text);
        }
        Value::Bytes(bytes) => {
            out.push(BYTES);
            put_octets(out, bytes);
        }
        Value::Timestamp(seconds) => put(out, TIMESTAMP, seconds.to_le_bytes()),
        // Deeper than any protocol lets in: better a declaration without it than one that can not
        // be read again.
        Value::Array(_) | Value::Table(_) if depth >= DEPTH_MAX => out.push(VOID),
        Value::Array(values) => {
            out.push(ARRAY);
            put_count(out, values.len());
            values.iter().for_each(|value| put_value(out, value, depth + 1));
        }
        Value::Table(table) => {
            out.push(TABLE);
            put_table(out, table, depth + 1);
        }
    }
}

/// What has not been read. Nothing is reserved by a count that it holds: each entry is read before
/// there is a place for it.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (octets, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*octets)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn octets(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.u32()?).ok()?;
        let (octets, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(octets)
    }

    fn text(&mut self) -> Option<Box<str>> {
        std::str::from_utf8(self.octets()?).ok().map(Into::into)
    }

    fn named(&mut self) -> Option<NamedExchange> {
        Some(NamedExchange { uid: ExchangeUid(self.u64()?), name: self.text()? })
    }

    fn exchange(&mut self) -> Option<ExchangeDefinition> {
        Some(ExchangeDefinition {
            uid: ExchangeUid(self.u64()?),
            vhost: self.text()?,
            spec: ExchangeSpec {
                name: self.text()?,
                kind: self.text()?,
                durable: self.bool()?,
                auto_delete: self.bool()?,
                internal: self.bool()?,
                arguments: self.table(0)?,
            },
        })
    }

    fn table(&mut self, depth: u32) -> Option<Table> {
        let mut table = Table::default();
        for _ in 0..self.u32()? {
            let name = self.text()?;
            table.0.push((name, self.value(depth)?));
        }
        Some(table)
    }

    fn value(&mut self, depth: u32) -> Option<Value> {
        Some(match self.u8()? {
            VOID => Value::Void,
            BOOL => Value::Bool(self.bool()?),
            I8 => Value::I8(i8::from_le_bytes(self.array()?)),
            U8 => Value::U8(self.u8()?),
            I16 => Value::I16(i16::from_le_bytes(self.array()?)),
            U16 => Value::U16(u16::from_le_bytes(self.array()?)),
            I32 => Value::I32(i32::from_le_bytes(self.array()?)),
            U32 => Value::U32(self.u32()?),
            I64 => Value::I64(i64::from_le_bytes(self.array()?)),
            F32 => Value::F32(f32::from_le_bytes(self.array()?)),
            F64 => Value::F64(f64::from_le_bytes(self.array()?)),
            DECIMAL => Value::Decimal(self.u8()?, self.u32()?),
            TEXT => Value::Text(self.octets()?.into()),
            BYTES => Value::Bytes(self.octets()?.into()),
            TIMESTAMP => Value::Timestamp(self.u64()?),
            ARRAY if depth < DEPTH_MAX => {
                let mut values = Vec::new();
                for _ in 0..self.u32()? {
                    values.push(self.value(depth + 1)?);
                }
                Value::Array(values)
            }
            TABLE if depth < DEPTH_MAX => Value::Table(self.table(depth + 1)?),
            _ => return None,
        })
    }
}
