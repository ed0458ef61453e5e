//! Message <-> octets: how a message crosses to another shard (and later to the log). The only
//! place that knows both. May import `ids`, `message`.
//!
//! Little-endian. `u8 flags | u8 protocol | i16 priority (-1 none) | i64 expiration_ms (-1 none) |
//! u64 received_ms | u16 exchange | u16 key | u32 properties | u32 body | octets of these four`,
//! then, if flagged, the extra keys and the death history. A large body does not go through the
//! record: its buffer crosses as a whole.

use std::rc::Rc;

use bytes::Bytes;

use crate::message::{
    BODY_APART_BYTES, Body, Death, DeathHistory, DeathReason, Message, ProtocolTag, Traits,
};

/// Where the length of the exchange's name stands, and how much comes before the name itself.
const EXCHANGE_AT: usize = 1 + 1 + 2 + 8 + 8;
const LENGTHS_BEHIND: usize = 2 + 4 + 4;
const PERSISTENT: u8 = 1;
const HAS_KEYS: u8 = 2;
const HAS_DEATHS: u8 = 4;

/// Appends a record; the large body, if there is one, is handed back to travel beside it.
pub(crate) fn write(message: &Message, out: &mut Vec<u8>) -> Option<Bytes> {
    let apart = message.body_apart().cloned();
    let body = if apart.is_some() { &[][..] } else { message.body() };
    write_with(message, body, out);
    apart
}

/// Appends a record with its body, however large.
pub(crate) fn write_whole(message: &Message, out: &mut Vec<u8>) {
    write_with(message, message.body(), out);
}

fn write_with(message: &Message, body: &[u8], out: &mut Vec<u8>) {
    let traits = message.traits();
    let mut flags = 0;
    if traits.persistent {
        flags |= PERSISTENT;
    }
    if !message.extra_keys().is_empty() {
        flags |= HAS_KEYS;
    }
    if message.deaths().is_some() {
        flags |= HAS_DEATHS;
    }
    out.push(flags);
    out.push(traits.protocol.0);
    out.extend_from_slice(&traits.priority.map_or(-1, i16::from).to_le_bytes());
    let expiration = traits.expiration_ms.and_then(|e| i64::try_from(e).ok()).unwrap_or(-1);
    out.extend_from_slice(&expiration.to_le_bytes());
    out.extend_from_slice(&message.received_ms().to_le_bytes());
    put_u16_len(out, message.exchange().len());
    put_u16_len(out, message.routing_key().len());
    put_u32_len(out, message.properties().len());
    put_u32_len(out, body.len());
    out.extend_from_slice(message.exchange().as_bytes());
    out.extend_from_slice(message.routing_key().as_bytes());
    out.extend_from_slice(message.properties());
    out.extend_from_slice(body);
    if flags & HAS_KEYS != 0 {
        put_keys(out, message.extra_keys());
    }
    if let Some(deaths) = message.deaths() {
        put_deaths(out, deaths);
    }
}

/// Makes a message of what [`write_whole`] wrote.
pub(crate) fn read_whole(
    record: &[u8],
    names: &mut impl FnMut(&str) -> Rc<str>,
) -> Option<Message> {
    read(record, None, names)
}

/// Appends keys beyond a message's own.
pub(crate) fn write_keys(keys: &[Box<str>], out: &mut Vec<u8>) {
    put_keys(out, keys);
}

/// Reads what [`write_keys`] wrote, and what follows it.
pub(crate) fn read_keys(octets: &[u8]) -> Option<(Vec<Box<str>>, &[u8])> {
    let mut cursor = Cursor(octets);
    Some((cursor.keys()?, cursor.0))
}

/// Makes a message of a record. `names` gives the shared name of an exchange.
pub(crate) fn read(
    record: &[u8],
    apart: Option<Bytes>,
    names: &mut impl FnMut(&str) -> Rc<str>,
) -> Option<Message> {
    let mut cursor = Cursor(record);
    let flags = cursor.u8()?;
    let protocol = ProtocolTag(cursor.u8()?);
    let priority = u8::try_from(i16::from_le_bytes(cursor.array()?)).ok();
    let expiration_ms = u64::try_from(i64::from_le_bytes(cursor.array()?)).ok();
    let received_ms = u64::from_le_bytes(cursor.array()?);
    let exchange_bytes = usize::from(u16::from_le_bytes(cursor.array()?));
    let key_bytes = usize::from(u16::from_le_bytes(cursor.array()?));
    let properties_bytes = u32::from_le_bytes(cursor.array()?) as usize;
    let body_bytes = u32::from_le_bytes(cursor.array()?) as usize;
    let exchange = std::str::from_utf8(cursor.take(exchange_bytes)?).ok()?;
    let key = std::str::from_utf8(cursor.take(key_bytes)?).ok()?;
    let properties = cursor.take(properties_bytes)?;
    let body = cursor.take(body_bytes)?;
    let traits = Traits { protocol, persistent: flags & PERSISTENT != 0, priority, expiration_ms };
    let body = match apart {
        Some(apart) => Body::Owned(apart),
        None if body.len() >= BODY_APART_BYTES => Body::Owned(Bytes::copy_from_slice(body)),
        None => Body::Slice(body),
    };
    let message = Message::new(names(exchange), key, traits, properties, body, received_ms)?;
    if flags & (HAS_KEYS | HAS_DEATHS) == 0 {
        return Some(message);
    }
    let keys = if flags & HAS_KEYS == 0 { None } else { Some(cursor.keys()?.into_boxed_slice()) };
    let deaths = if flags & HAS_DEATHS == 0 { None } else { Some(Box::new(cursor.deaths()?)) };
    Some(message.with(|inner| {
        inner.extra_keys = keys;
        inner.deaths = deaths;
    }))
}

/// The name of the exchange of a message that [`write_whole`] wrote.
pub(crate) fn exchange_of(record: &[u8]) -> Option<&str> {
    let mut cursor = Cursor(record.get(EXCHANGE_AT..)?);
    let bytes = usize::from(u16::from_le_bytes(cursor.array()?));
    let _ = cursor.take(LENGTHS_BEHIND)?;
    std::str::from_utf8(cursor.take(bytes)?).ok()
}

fn put_u16_len(out: &mut Vec<u8>, len: usize) {
    // No protocol has names longer than 65,535 octets.
    out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
}

fn put_u32_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u16_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_keys(out: &mut Vec<u8>, keys: &[Box<str>]) {
    put_u16_len(out, keys.len());
    for key in keys {
        put_text(out, key);
    }
}

const fn reason_code(reason: DeathReason) -> u8 {
    match reason {
        DeathReason::Rejected => 0,
        DeathReason::Expired => 1,
        DeathReason::MaxLength => 2,
        DeathReason::DeliveryLimit => 3,
    }
}

const fn reason_of(code: u8) -> Option<DeathReason> {
    match code {
        0 => Some(DeathReason::Rejected),
        1 => Some(DeathReason::Expired),
        2 => Some(DeathReason::MaxLength),
        3 => Some(DeathReason::DeliveryLimit),
        _ => None,
    }
}

fn put_deaths(out: &mut Vec<u8>, history: &DeathHistory) {
    for (queue, reason, exchange) in [&history.first, &history.last] {
        put_text(out, queue);
        out.push(reason_code(*reason));
        put_text(out, exchange);
    }
    put_u16_len(out, history.deaths.len());
    for death in &history.deaths {
        put_text(out, &death.queue);
        out.push(reason_code(death.reason));
        out.extend_from_slice(&death.count.to_le_bytes());
        out.extend_from_slice(&death.at_ms.to_le_bytes());
        put_text(out, &death.exchange);
        put_keys(out, &death.routing_keys);
        let original = death.original_expiration_ms.unwrap_or(u64::MAX);
        out.extend_from_slice(&original.to_le_bytes());
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*front)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }

    fn text(&mut self) -> Option<Box<str>> {
        let bytes = usize::from(u16::from_le_bytes(self.array()?));
        std::str::from_utf8(self.take(bytes)?).ok().map(Into::into)
    }

    fn keys(&mut self) -> Option<Vec<Box<str>>> {
        let count = u16::from_le_bytes(self.array()?);
        (0..count).map(|_| self.text()).collect()
    }

    fn place(&mut self) -> Option<(Box<str>, DeathReason, Box<str>)> {
        Some((self.text()?, reason_of(self.u8()?)?, self.text()?))
    }

    fn deaths(&mut self) -> Option<DeathHistory> {
        let first = self.place()?;
        let last = self.place()?;
        let count = u16::from_le_bytes(self.array()?);
        let deaths = (0..count)
            .map(|_| {
                Some(Death {
                    queue: self.text()?,
                    reason: reason_of(self.u8()?)?,
                    count: u64::from_le_bytes(self.array()?),
                    at_ms: u64::from_le_bytes(self.array()?),
                    exchange: self.text()?,
                    routing_keys: self.keys()?,
                    original_expiration_ms: Some(u64::from_le_bytes(self.array()?))
                        .filter(|ms| *ms != u64::MAX),
                })
            })
            .collect::<Option<_>>()?;
        Some(DeathHistory { deaths, first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(body: Body<'_>) -> Message {
        let traits = Traits {
            protocol: ProtocolTag(0),
            persistent: true,
            priority: Some(7),
            expiration_ms: Some(60_000),
        };
        let message = Message::new("logs".into(), "a.b", traits, b"props", body, 99).unwrap();
        message.with(|inner| {
            inner.extra_keys = Some(vec!["cc".into()].into_boxed_slice());
            let place = || ("q".into(), DeathReason::Expired, "logs".into());
            inner.deaths = Some(Box::new(DeathHistory {
                first: place(),
                last: place(),
                deaths: vec![Death {
                    queue: "q".into(),
                    reason: DeathReason::MaxLength,
                    count: 3,
                    at_ms: 5,
                    exchange: "logs".into(),
                    routing_keys: vec!["a.b".into(), "cc".into()],
                    original_expiration_ms: None,
                }],
            }));
        })
    }

    #[test]
    fn what_is_written_is_read_back() {
        for body in [Body::Slice(b"hello"), Body::Owned(Bytes::from(vec![1; 100_000]))] {
            let message = sample(body);
            let mut record = Vec::new();
            let apart = write(&message, &mut record);
            let again = read(&record, apart, &mut |n| n.into()).unwrap();
            assert_eq!(again, message);
        }
    }

    #[test]
    fn a_record_cut_anywhere_is_refused() {
        let mut record = Vec::new();
        write(&sample(Body::Slice(b"hello")), &mut record);
        for end in 0..record.len() {
            assert_eq!(read(&record[..end], None, &mut |n| n.into()), None, "{end}");
        }
    }
}
