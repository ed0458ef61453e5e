//! Packets as a client writes and reads them. Written apart from RingMQ's codec: a generator with
//! the broker's codec would share its mistakes. Imports nothing but the client's errors.

use super::Version;
use crate::client::ClientError;

/// Largest remaining length (3.1.1 and 5.0, 2.2.3 and 1.5.5).
const LENGTH_MAX: usize = 268_435_455;

const CONNECT: u8 = 0x10;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
/// Keep-alive.
pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
/// A farewell without a reason.
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// Answers that have a packet identifier and nothing else, with their flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// QoS 1: the message is taken.
    Puback,
    /// QoS 2: the message is taken.
    Pubrec,
    /// QoS 2: it will not come again.
    Pubrel,
    /// QoS 2: it is forgotten.
    Pubcomp,
}

impl Answer {
    const fn first_octet(self) -> u8 {
        match self {
            Self::Puback => 0x40,
            Self::Pubrec => 0x50,
            Self::Pubrel => 0x62,
            Self::Pubcomp => 0x70,
        }
    }
}

/// What a CONNECT says; no will.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connect<'a> {
    /// What is spoken.
    pub(crate) version: Version,
    /// Client identifier.
    pub(crate) client_id: &'a str,
    /// User name and password; an empty user is none.
    pub(crate) login: (&'a str, &'a str),
    /// Clean session, clean start.
    pub(crate) is_clean: bool,
    /// How long the session lives without a connection, in seconds; 5.0 only.
    pub(crate) expiry_s: u32,
    /// Keep alive in seconds; 0 for none.
    pub(crate) keep_alive_s: u16,
}

/// What a PUBLISH says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publish<'a> {
    /// What is spoken.
    pub(crate) version: Version,
    /// Topic name.
    pub(crate) topic: &'a str,
    /// Quality of service.
    pub(crate) qos: u8,
    /// To be retained, or retained.
    pub(crate) is_retained: bool,
    /// Sent again.
    pub(crate) is_again: bool,
    /// Packet identifier; 0 for QoS 0.
    pub(crate) packet_id: u16,
    /// The payload.
    pub(crate) body: &'a [u8],
}

/// What a broker can do (5.0, 3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Messages of QoS 1 and 2 in flight.
    pub(crate) receive_max: u16,
    /// Highest quality of service.
    pub(crate) qos_max: u8,
    /// Whether messages are retained.
    pub(crate) can_retain: bool,
    /// Octets of a packet.
    pub(crate) packet_bytes_max: u32,
}

impl Limits {
    /// What holds unless the broker says otherwise.
    pub(crate) const NONE: Self =
        Self { receive_max: u16::MAX, qos_max: 2, can_retain: true, packet_bytes_max: u32::MAX };
}

/// What a broker sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// Answer to CONNECT.
    Connack {
        /// The broker had a session.
        has_session: bool,
        /// 0 for success.
        code: u8,
        /// What the broker can do.
        limits: Limits,
    },
    /// A message.
    Publish(Delivery<'a>),
    /// Word on a message or a step of QoS 2; code 0 in 3.1.1.
    Answer(Answer, u16, u8),
    /// Answer to SUBSCRIBE: a code for each filter.
    Suback(&'a [u8]),
    /// Answer to PINGREQ.
    Pingresp,
    /// The broker's farewell and why (5.0).
    Disconnect(u8),
}

/// A message as it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery<'a> {
    /// Topic name.
    pub(crate) topic: &'a [u8],
    /// Quality of service.
    pub(crate) qos: u8,
    /// Retained.
    pub(crate) is_retained: bool,
    /// Sent again.
    pub(crate) is_again: bool,
    /// Packet identifier; 0 for QoS 0.
    pub(crate) packet_id: u16,
    /// The payload.
    pub(crate) body: &'a [u8],
}

/// Writes a CONNECT.
pub(crate) fn put_connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let (user, password) = connect.login;
    let has_login = !user.is_empty();
    let flags = (u8::from(has_login) * 0xC0) | (u8::from(connect.is_clean) << 1);
    let mut rest = vec![0, 4, b'M', b'Q', b'T', b'T', connect.version.level(), flags];
    rest.extend_from_slice(&connect.keep_alive_s.to_be_bytes());
    if connect.version == Version::V5 {
        if connect.expiry_s > 0 {
            rest.extend_from_slice(&[5, 0x11]);
            rest.extend_from_slice(&connect.expiry_s.to_be_bytes());
        } else {
            rest.push(0);
        }
    }
    put_text(&mut rest, connect.client_id);
    if has_login {
        put_text(&mut rest, user);
        put_text(&mut rest, password);
    }
    put_packet(out, CONNECT, &rest);
}

/// Writes a SUBSCRIBE.
pub(crate) fn put_subscribe(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    filters: &[String],
    qos: u8,
) {
    let mut rest = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        rest.push(0);
    }
    for filter in filters {
        put_text(&mut rest, filter);
        rest.push(qos);
    }
    put_packet(out, SUBSCRIBE, &rest);
}

/// Writes a PUBLISH; behind its topic stand the packet identifier (not in QoS 0), in 5.0 an
/// octet for no properties, and the body.
pub(crate) fn put_publish(out: &mut Vec<u8>, publish: &Publish<'_>) {
    let mut rest = Vec::with_capacity(publish.topic.len() + publish.body.len() + 5);
    put_text(&mut rest, publish.topic);
    if publish.qos > 0 {
        rest.extend_from_slice(&publish.packet_id.to_be_bytes());
    }
    if publish.version == Version::V5 {
        rest.push(0);
    }
    rest.extend_from_slice(publish.body);
    let flags =
        (u8::from(publish.is_again) << 3) | (publish.qos << 1) | u8::from(publish.is_retained);
    put_packet(out, PUBLISH | flags, &rest);
}

/// Writes an answer in its shortest form, which is the same in 3.1.1 and 5.0.
#[inline]
pub(crate) fn put_answer(out: &mut Vec<u8>, answer: Answer, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[answer.first_octet(), 2, high, low]);
}

fn put_packet(out: &mut Vec<u8>, first_octet: u8, rest: &[u8]) {
    out.push(first_octet);
    let mut length = rest.len();
    loop {
        // Seven bits are under 128.
        let digit = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        if length == 0 {
            out.push(digit);
            break;
        }
        out.push(digit | 0x80);
    }
    out.extend_from_slice(rest);
}

/// A text longer than 65535 octets is cut: options allow none.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes().get(..usize::from(length)).unwrap_or_default());
}

/// A variable byte integer and what follows; `None` if its end has not come.
#[inline]
fn split_length(input: &[u8]) -> Result<Option<(usize, &[u8])>, ClientError> {
    let mut length = 0_usize;
    let mut rest = input;
    for shift in [0, 7, 14, 21] {
        let Some((&octet, behind)) = rest.split_first() else { return Ok(None) };
        length |= usize::from(octet & 0x7F) << shift;
        rest = behind;
        if octet & 0x80 == 0 {
            return Ok(Some((length.min(LENGTH_MAX), rest)));
        }
    }
    Err(ClientError::Octets("a length of more than four octets"))
}

/// The packet at the front and what follows; `None` if its end has not come.
///
/// # Errors
/// `Octets` for what no broker may send to a client.
#[inline]
pub(crate) fn split(
    input: &[u8],
    version: Version,
) -> Result<Option<(Packet<'_>, &[u8])>, ClientError> {
    let Some((&first, behind)) = input.split_first() else { return Ok(None) };
    let Some((length, behind)) = split_length(behind)? else { return Ok(None) };
    let Some((content, rest)) = behind.split_at_checked(length) else { return Ok(None) };
    let packet = match (first >> 4, first & 0x0F) {
        (3, flags) => Packet::Publish(publish(flags, content, version)?),
        (2, 0) => connack(content, version)?,
        (4, 0) => answer(Answer::Puback, content)?,
        (5, 0) => answer(Answer::Pubrec, content)?,
        (6, 2) => answer(Answer::Pubrel, content)?,
        (7, 0) => answer(Answer::Pubcomp, content)?,
        (9, 0) => Packet::Suback(suback(content, version)?),
        (13, 0) if content.is_empty() => Packet::Pingresp,
        (14, 0) if version == Version::V5 => {
            Packet::Disconnect(content.first().copied().unwrap_or(0))
        }
        _ => return Err(ClientError::Octets("a packet that no broker sends")),
    };
    Ok(Some((packet, rest)))
}

const CUT: ClientError = ClientError::Octets("a packet that ends too early");

#[inline]
fn split_u16(input: &[u8]) -> Result<(u16, &[u8]), ClientError> {
    let (octets, rest) = input.split_first_chunk::<2>().ok_or(CUT)?;
    Ok((u16::from_be_bytes(*octets), rest))
}

/// The properties and what follows them; none in 3.1.1.
#[inline]
fn split_properties(input: &[u8], version: Version) -> Result<(&[u8], &[u8]), ClientError> {
    match version {
        Version::V4 => Ok((&[], input)),
        Version::V5 => {
            let (length, rest) = split_length(input)?.ok_or(CUT)?;
            rest.split_at_checked(length).ok_or(CUT)
        }
    }
}

#[inline]
fn publish(flags: u8, content: &[u8], version: Version) -> Result<Delivery<'_>, ClientError> {
    let (length, rest) = split_u16(content)?;
    let (topic, rest) = rest.split_at_checked(length.into()).ok_or(CUT)?;
    let qos = flags >> 1 & 3;
    let (packet_id, rest) = if qos > 0 { split_u16(rest)? } else { (0, rest) };
    let (_, body) = split_properties(rest, version)?;
    if qos == 3 || (qos > 0) != (packet_id > 0) {
        return Err(ClientError::Octets("QoS 3, or packet identifier 0"));
    }
    let (is_retained, is_again) = (flags & 1 != 0, flags & 8 != 0);
    Ok(Delivery { topic, qos, is_retained, is_again, packet_id, body })
}

#[inline]
fn answer(answer: Answer, content: &[u8]) -> Result<Packet<'_>, ClientError> {
    let (packet_id, rest) = split_u16(content)?;
    Ok(Packet::Answer(answer, packet_id, rest.first().copied().unwrap_or(0)))
}

fn suback(content: &[u8], version: Version) -> Result<&[u8], ClientError> {
    let (_, rest) = split_u16(content)?;
    split_properties(rest, version).map(|(_, codes)| codes)
}

fn connack(content: &[u8], version: Version) -> Result<Packet<'_>, ClientError> {
    let ([flags, code], rest) = content.split_first_chunk::<2>().ok_or(CUT)?;
    let mut limits = Limits::NONE;
    if version == Version::V5 {
        let (properties, _) = split_properties(rest, version)?;
        read_limits(properties, &mut limits)?;
    }
    Ok(Packet::Connack { has_session: flags & 1 != 0, code: *code, limits })
}

/// Reads the properties of a CONNACK (5.0, 3.2.2.3).
fn read_limits(properties: &[u8], limits: &mut Limits) -> Result<(), ClientError> {
    let mut rest = properties;
    while let Some((&id, behind)) = rest.split_first() {
        let value_bytes = match id {
            0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 1,
            0x13 | 0x21 | 0x22 => 2,
            0x11 | 0x27 => 4,
            0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => 2 + usize::from(split_u16(behind)?.0),
            0x26 => {
                let (name_bytes, pair) = split_u16(behind)?;
                let value = pair.get(usize::from(name_bytes)..).ok_or(CUT)?;
                4 + usize::from(name_bytes) + usize::from(split_u16(value)?.0)
            }
            _ => return Err(ClientError::Octets("a property that CONNACK does not have")),
        };
        let (value, behind) = behind.split_at_checked(value_bytes).ok_or(CUT)?;
        match (id, value) {
            (0x21, &[high, low]) => limits.receive_max = u16::from_be_bytes([high, low]),
            (0x24, &[qos]) => limits.qos_max = qos,
            (0x25, &[flag]) => limits.can_retain = flag != 0,
            (0x27, &[a, b, c, d]) => limits.packet_bytes_max = u32::from_be_bytes([a, b, c, d]),
            _ => {}
        }
        rest = behind;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(version: Version, login: (&'static str, &'static str)) -> Connect<'static> {
        Connect { version, client_id: "c", login, is_clean: true, expiry_s: 0, keep_alive_s: 60 }
    }

    #[test]
    fn packets_are_written_as_the_specification_says() {
        let mut out = Vec::new();
        put_connect(&mut out, &connect(Version::V4, ("", "")));
        assert_eq!(out, b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01c");
        out.clear();
        let login = Connect { expiry_s: 9, is_clean: false, ..connect(Version::V5, ("u", "p")) };
        put_connect(&mut out, &login);
        assert_eq!(out, b"\x10\x19\0\x04MQTT\x05\xC0\0\x3C\x05\x11\0\0\0\x09\0\x01c\0\x01u\0\x01p");
        out.clear();
        put_subscribe(&mut out, Version::V5, 7, &["a".to_owned(), "b/#".to_owned()], 1);
        assert_eq!(out, b"\x82\x0D\0\x07\0\0\x01a\x01\0\x03b/#\x01");
        out.clear();
        put_answer(&mut out, Answer::Pubrel, 258);
        assert_eq!(out, b"\x62\x02\x01\x02");
    }

    #[test]
    fn a_message_comes_back_as_it_was_written_however_long() {
        for (version, qos, body_bytes) in
            [(Version::V4, 0, 0), (Version::V4, 2, 120), (Version::V5, 1, 16_400)]
        {
            let body = vec![7; body_bytes];
            let packet_id = if qos > 0 { 513 } else { 0 };
            let (is_retained, is_again) = (qos == 1, false);
            let mut out = Vec::new();
            let publish = Publish {
                version,
                topic: "a/b",
                qos,
                is_retained,
                is_again,
                packet_id,
                body: &body,
            };
            put_publish(&mut out, &publish);
            let delivery =
                Delivery { topic: b"a/b", qos, is_retained, is_again, packet_id, body: &body };
            for cut in 0..out.len() {
                assert!(split(&out[..cut], version).unwrap().is_none(), "cut at {cut}");
            }
            let (packet, rest) = split(&out, version).unwrap().unwrap();
            assert_eq!((packet, rest), (Packet::Publish(delivery), &[][..]));
        }
    }

    #[test]
    fn what_a_broker_can_do_is_read() {
        let octets = b"\x20\x14\x01\x00\x11\x21\0\x14\x26\0\x01a\0\x01b\x24\x01\x25\0\x22\0\x0A";
        let (packet, _) = split(octets, Version::V5).unwrap().unwrap();
        let limits = Limits { receive_max: 20, qos_max: 1, can_retain: false, ..Limits::NONE };
        assert_eq!(packet, Packet::Connack { has_session: true, code: 0, limits });
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        for octets in [
            &b"\x30\x80\x80\x80\x80\x01"[..],
            b"\x36\x05\0\x01a\0\x01",
            b"\x32\x05\0\x01a\0\0",
            b"\x30\x02\0\x09",
            b"\x10\0",
            b"\x20\x01\0",
            b"\x20\x05\0\0\x02\x7F\0",
            b"\x40\x01\0",
        ] {
            assert!(split(octets, Version::V5).is_err(), "{octets:?}");
        }
    }
}
