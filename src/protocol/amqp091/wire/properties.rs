//! The content header of class basic and its properties (AMQP 0-9-1 4.2.6.1; P3).
//! May import `octets`, `field_table` and the class number of `frame`.
//!
//! A property block is the flags and the values, as they stand in the header frame. The broker
//! keeps it as it came; [`PropertyScan`] reads from it what publishing needs, and
//! [`Properties`] all of it, to be written again with changes. Texts are octets here, not UTF-8:
//! correlation ids are often binary, and they must leave as they came (abuse row 24).

use super::field_table::TableRef;
use super::frame::CONTENT_CLASS;
use crate::protocol::octets::{Reader, WireError, put_short_bytes, put_u16, put_u64};

/// Bits of the flags word.
const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const CORRELATION_ID: u16 = 1 << 10;
const REPLY_TO: u16 = 1 << 9;
const EXPIRATION: u16 = 1 << 8;
const MESSAGE_ID: u16 = 1 << 7;
const TIMESTAMP: u16 = 1 << 6;
const TYPE: u16 = 1 << 5;
const USER_ID: u16 = 1 << 4;
const APP_ID: u16 = 1 << 3;
const CLUSTER_ID: u16 = 1 << 2;
const UNASSIGNED: u16 = 1 << 1;
const CONTINUES: u16 = 1;

/// The property block of a message without properties.
pub const NO_PROPERTIES: [u8; 2] = [0, 0];

/// The payload of a header frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// Must be that of the method, else 505 (P5).
    pub class: u16,
    /// Must be 0, else 505 (P5).
    pub weight: u16,
    /// Octets of body to come. Nothing may be reserved for them before a limit was applied
    /// (abuse row 15).
    pub body_bytes: u64,
    /// The property block; validated when class is basic, else not to be used.
    pub properties: &'a [u8],
}

impl<'a> ContentHeader<'a> {
    /// Reads and validates the payload of a header frame.
    ///
    /// # Errors
    /// Those of a property block. For another class than basic the properties cannot be
    /// validated and are not: the session refuses the class.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<Self, WireError> {
        Self::decode_scanned(payload).map(|(header, _)| header)
    }

    /// The same, with what validation came across.
    ///
    /// # Errors
    /// As [`Self::decode`].
    #[inline]
    pub fn decode_scanned(payload: &'a [u8]) -> Result<(Self, PropertyScan<'a>), WireError> {
        let mut input = Reader::new(payload);
        let class = input.u16()?;
        let weight = input.u16()?;
        let body_bytes = input.u64()?;
        let properties = input.rest();
        let scan = if class == CONTENT_CLASS {
            PropertyScan::read(input)?
        } else {
            PropertyScan::default()
        };
        Ok((Self { class, weight, body_bytes, properties }, scan))
    }
}

/// What publishing needs of a property block, found in the pass that validates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PropertyScan<'a> {
    /// 2 is persistent.
    pub delivery_mode: Option<u8>,
    /// As it came; abuse row 26 judges it.
    pub priority: Option<u8>,
    /// As it came; see [`expiration_ms`].
    pub expiration: Option<&'a [u8]>,
    /// As it came.
    pub user_id: Option<&'a [u8]>,
    /// As it came.
    pub reply_to: Option<&'a [u8]>,
    /// The headers.
    pub headers: Option<TableRef<'a>>,
    /// Where the headers' entries start in the property block; as long as `headers.as_bytes()`.
    pub headers_at: usize,
}

impl<'a> PropertyScan<'a> {
    /// Validates a property block.
    ///
    /// # Errors
    /// When flags continue or name properties that do not exist, values end early, a table is
    /// not valid, or octets follow the last value.
    #[inline]
    pub fn of(block: &'a [u8]) -> Result<Self, WireError> {
        Self::read(Reader::new(block))
    }

    #[inline]
    fn read(mut input: Reader<'a>) -> Result<Self, WireError> {
        let start = input.offset();
        let flags = read_flags(&mut input)?;
        let mut scan = Self::default();
        if flags & (CONTENT_TYPE | CONTENT_ENCODING) != 0 {
            short(&mut input, flags, CONTENT_TYPE)?;
            short(&mut input, flags, CONTENT_ENCODING)?;
        }
        if flags & HEADERS != 0 {
            let table = TableRef::read(&mut input)?;
            let end = input.offset().saturating_sub(start);
            scan.headers_at = end.saturating_sub(table.as_bytes().len());
            scan.headers = Some(table);
        }
        scan.delivery_mode = octet(&mut input, flags, DELIVERY_MODE)?;
        scan.priority = octet(&mut input, flags, PRIORITY)?;
        // Below priority most messages have nothing.
        if flags & (PRIORITY - 1) != 0 {
            short(&mut input, flags, CORRELATION_ID)?;
            scan.reply_to = short(&mut input, flags, REPLY_TO)?;
            scan.expiration = short(&mut input, flags, EXPIRATION)?;
            short(&mut input, flags, MESSAGE_ID)?;
            seconds(&mut input, flags)?;
            short(&mut input, flags, TYPE)?;
            scan.user_id = short(&mut input, flags, USER_ID)?;
            short(&mut input, flags, APP_ID)?;
            short(&mut input, flags, CLUSTER_ID)?;
        }
        input.finish()?;
        Ok(scan)
    }
}

/// All properties of a message, borrowed. To change some: read, replace fields, [`Self::put`];
/// headers go through a `TableBuffer`. What is not replaced keeps its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties<'a> {
    /// MIME type of the body.
    pub content_type: Option<&'a [u8]>,
    /// MIME encoding of the body.
    pub content_encoding: Option<&'a [u8]>,
    /// Headers of the application and of extensions.
    pub headers: Option<TableRef<'a>>,
    /// 1 transient, 2 persistent.
    pub delivery_mode: Option<u8>,
    /// 0 to 9 by the specification, 0 to 255 in use.
    pub priority: Option<u8>,
    /// For the application.
    pub correlation_id: Option<&'a [u8]>,
    /// Where answers should go.
    pub reply_to: Option<&'a [u8]>,
    /// Time to live in milliseconds, as decimal digits.
    pub expiration: Option<&'a [u8]>,
    /// For the application.
    pub message_id: Option<&'a [u8]>,
    /// Seconds since 1970-01-01 UTC.
    pub timestamp: Option<u64>,
    /// For the application: type of the message.
    pub kind: Option<&'a [u8]>,
    /// The publisher; checked against its login.
    pub user_id: Option<&'a [u8]>,
    /// For the application: the publishing one.
    pub app_id: Option<&'a [u8]>,
    /// Reserved; older clients send it.
    pub cluster_id: Option<&'a [u8]>,
}

impl<'a> Properties<'a> {
    /// Reads a property block.
    ///
    /// # Errors
    /// As [`PropertyScan::of`].
    pub fn decode(block: &'a [u8]) -> Result<Self, WireError> {
        let mut input = Reader::new(block);
        let flags = read_flags(&mut input)?;
        // In the order of the wire.
        let properties = Self {
            content_type: short(&mut input, flags, CONTENT_TYPE)?,
            content_encoding: short(&mut input, flags, CONTENT_ENCODING)?,
            headers: if flags & HEADERS == 0 { None } else { Some(TableRef::read(&mut input)?) },
            delivery_mode: octet(&mut input, flags, DELIVERY_MODE)?,
            priority: octet(&mut input, flags, PRIORITY)?,
            correlation_id: short(&mut input, flags, CORRELATION_ID)?,
            reply_to: short(&mut input, flags, REPLY_TO)?,
            expiration: short(&mut input, flags, EXPIRATION)?,
            message_id: short(&mut input, flags, MESSAGE_ID)?,
            timestamp: seconds(&mut input, flags)?,
            kind: short(&mut input, flags, TYPE)?,
            user_id: short(&mut input, flags, USER_ID)?,
            app_id: short(&mut input, flags, APP_ID)?,
            cluster_id: short(&mut input, flags, CLUSTER_ID)?,
        };
        input.finish()?;
        Ok(properties)
    }

    /// Appends the property block.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_u16(out, self.flags());
        put_short(out, self.content_type);
        put_short(out, self.content_encoding);
        if let Some(headers) = self.headers {
            headers.put(out);
        }
        out.extend(self.delivery_mode);
        out.extend(self.priority);
        put_short(out, self.correlation_id);
        put_short(out, self.reply_to);
        put_short(out, self.expiration);
        put_short(out, self.message_id);
        if let Some(seconds) = self.timestamp {
            put_u64(out, seconds);
        }
        put_short(out, self.kind);
        put_short(out, self.user_id);
        put_short(out, self.app_id);
        put_short(out, self.cluster_id);
    }

    /// The property block by itself.
    pub fn to_block(&self) -> Vec<u8> {
        let mut block = Vec::new();
        self.put(&mut block);
        block
    }

    fn flags(&self) -> u16 {
        let given = [
            (self.content_type.is_some(), CONTENT_TYPE),
            (self.content_encoding.is_some(), CONTENT_ENCODING),
            (self.headers.is_some(), HEADERS),
            (self.delivery_mode.is_some(), DELIVERY_MODE),
            (self.priority.is_some(), PRIORITY),
            (self.correlation_id.is_some(), CORRELATION_ID),
            (self.reply_to.is_some(), REPLY_TO),
            (self.expiration.is_some(), EXPIRATION),
            (self.message_id.is_some(), MESSAGE_ID),
            (self.timestamp.is_some(), TIMESTAMP),
            (self.kind.is_some(), TYPE),
            (self.user_id.is_some(), USER_ID),
            (self.app_id.is_some(), APP_ID),
            (self.cluster_id.is_some(), CLUSTER_ID),
        ];
        given.iter().filter(|(is_given, _)| *is_given).fold(0, |flags, (_, bit)| flags | bit)
    }
}

/// The milliseconds of an expiration: decimal digits and nothing else, up to `u64::MAX`;
/// `None` for all other octets, which are 406 (abuse row 26).
pub fn expiration_ms(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, octet| {
        let digit = char::from(*octet).to_digit(10)?;
        sum.checked_mul(10)?.checked_add(digit.into())
    })
}

/// The flags of the fourteen properties. A second word may follow if it is empty, which nobody
/// sends but the grammar allows; a third may not (abuse row 25).
#[inline]
fn read_flags(input: &mut Reader<'_>) -> Result<u16, WireError> {
    let flags = input.u16()?;
    if flags & (CONTINUES | UNASSIGNED) == 0 { Ok(flags) } else { read_more_flags(input, flags) }
}

#[cold]
fn read_more_flags(input: &mut Reader<'_>, flags: u16) -> Result<u16, WireError> {
    const CLAUSE: &str = "property flags (AMQP 0-9-1 4.2.6.1, abuse row 25)";
    if flags & UNASSIGNED != 0 {
        return Err(input.refuse(flags.into(), CLAUSE));
    }
    match input.u16()? {
        0 => Ok(flags & !CONTINUES),
        more => Err(input.refuse(more.into(), CLAUSE)),
    }
}

#[inline]
fn short<'a>(input: &mut Reader<'a>, flags: u16, bit: u16) -> Result<Option<&'a [u8]>, WireError> {
    if flags & bit == 0 { Ok(None) } else { input.short_bytes().map(Some) }
}

#[inline]
fn octet(input: &mut Reader<'_>, flags: u16, bit: u16) -> Result<Option<u8>, WireError> {
    if flags & bit == 0 { Ok(None) } else { input.u8().map(Some) }
}

#[inline]
fn seconds(input: &mut Reader<'_>, flags: u16) -> Result<Option<u64>, WireError> {
    if flags & TIMESTAMP == 0 { Ok(None) } else { input.u64().map(Some) }
}

fn put_short(out: &mut Vec<u8>, text: Option<&[u8]>) {
    if let Some(text) = text {
        put_short_bytes(out, text);
    }
}
