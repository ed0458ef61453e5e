//! The header with which a proxy says whose connection it passes on: PROXY protocol, version 1 in
//! text and version 2 in octets, told apart by how they begin (S11, S15 to S17; abuse row 107).
//! Octets in, no I/O.
//!
//! May import nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A line of version 1 with its end; the specification's own bound.
const LINE_BYTES_MAX: usize = 107;

/// A header of version 2, additions included: what fits the smallest segment of TCP, to which the
/// specification holds its senders.
const HEADER_BYTES_MAX: usize = 536;

/// How version 1 begins.
const LINE_START: &[u8] = b"PROXY ";

/// How version 2 begins.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const HEAD_BYTES: usize = 16;

/// PP2_TYPE_SSL, and the common name within it.
const TLS: u8 = 0x20;
const TLS_COMMON_NAME: u8 = 0x22;

/// The client came by TLS, and showed a certificate in this connection or in the session that it
/// goes on with.
const BY_TLS: u8 = 0x01;
const WITH_CERTIFICATE: u8 = 0x02 | 0x04;

/// What the first octets of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opening {
    /// No header: they are the client's own.
    Client,
    /// A header may be told, or is whole, when there are so many in all.
    NeedMore {
        /// More than there are.
        bytes_min: usize,
    },
    /// A header; what follows is the client's.
    Header {
        /// What it says.
        header: Header,
        /// Its octets.
        taken: usize,
    },
}

/// What a proxy says of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Header {
    /// Where the client is. `None`: it is the proxy itself, or at no address of the network.
    pub(crate) source: Option<SocketAddr>,
    /// Whom the certificate names that the client has shown to the proxy and the proxy has verified.
    pub(crate) common_name: Option<Box<str>>,
}

/// A header that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// Version 1 does not end where it has to.
    #[error("a line of more than 107 octets")]
    LongLine,
    /// Version 1 says something else than it may.
    #[error("a line that is not PROXY TCP4|TCP6|UNKNOWN source destination port port")]
    Line,
    /// Another version than 2 after the signature of 2.
    #[error("a version that is not 2")]
    Version,
    /// Version 2 knows two commands.
    #[error("a command that is neither LOCAL nor PROXY")]
    Command,
    /// Version 2 knows four families and three transports.
    #[error("a family of addresses that is unknown")]
    Family,
    /// The length of version 2 has no room for its addresses.
    #[error("a length without room for the addresses")]
    Addresses,
    /// What follows the addresses is cut.
    #[error("an addition that is longer than the header")]
    Additions,
    /// Too long for anything that a proxy has to say.
    #[error("a header of more than 536 octets")]
    LongHeader,
}

/// Reads the header that `octets` begin with, if they do.
///
/// # Errors
/// They begin like a header and are none.
pub(crate) fn read(octets: &[u8]) -> Result<Opening, Wrong> {
    if let Some(whole) = begins(octets, LINE_START) {
        return if whole { read_line(octets) } else { Ok(need(LINE_START.len())) };
    }
    match begins(octets, SIGNATURE) {
        Some(true) => read_binary(octets),
        Some(false) => Ok(need(HEAD_BYTES)),
        None => Ok(Opening::Client),
    }
}

/// Whether `octets` begin with `start`; `Some(false)`: as far as they go.
fn begins(octets: &[u8], start: &[u8]) -> Option<bool> {
    if octets.starts_with(start) {
        return Some(true);
    }
    start.starts_with(octets).then_some(false)
}

const fn need(bytes_min: usize) -> Opening {
    Opening::NeedMore { bytes_min }
}

fn read_line(octets: &[u8]) -> Result<Opening, Wrong> {
    let shown = octets.get(..LINE_BYTES_MAX).unwrap_or(octets);
    let Some(end) = shown.windows(2).position(|pair| pair == b"\r\n") else {
        let is_too_long = octets.len() >= LINE_BYTES_MAX;
        return if is_too_long { Err(Wrong::LongLine) } else { Ok(need(octets.len() + 1)) };
    };
    let line = shown.get(LINE_START.len()..end).and_then(|line| std::str::from_utf8(line).ok());
    let source = source_in_line(line.ok_or(Wrong::Line)?)?;
    Ok(Opening::Header { header: Header { source, common_name: None }, taken: end + 2 })
}

fn source_in_line(line: &str) -> Result<Option<SocketAddr>, Wrong> {
    let mut words = line.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        // Whatever follows is to be ignored.
        return Ok(None);
    }
    let mut word = || words.next().ok_or(Wrong::Line);
    let (source, destination) = (word()?, word()?);
    let (source_port, destination_port) = (word()?, word()?);
    if words.next().is_some() {
        return Err(Wrong::Line);
    }
    let address = |text: &str| match family {
        Some("TCP4") => text.parse().map(IpAddr::V4).map_err(|_| Wrong::Line),
        Some("TCP6") => text.parse().map(IpAddr::V6).map_err(|_| Wrong::Line),
        Some(_) | None => Err(Wrong::Line),
    };
    // A destination that is none says as much about the sender as a source that is none.
    address(destination)?;
    port(destination_port)?;
    Ok(Some(socket_address(address(source)?, port(source_port)?)))
}

/// Digits without a sign or needless zeros, as the specification has them.
fn port(text: &str) -> Result<u16, Wrong> {
    let is_plain =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(Wrong::Line)
}

/// An IPv4 client of a proxy that listens on both is the same one as of a proxy that does not.
fn socket_address(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

fn read_binary(octets: &[u8]) -> Result<Opening, Wrong> {
    let Some((&[command, family, a, b], rest)) =
        octets.get(SIGNATURE.len()..).and_then(<[u8]>::split_first_chunk)
    else {
        return Ok(need(HEAD_BYTES));
    };
    if command >> 4 != 2 {
        return Err(Wrong::Version);
    }
    let length = usize::from(u16::from_be_bytes([a, b]));
    let taken = HEAD_BYTES + length;
    if taken > HEADER_BYTES_MAX {
        return Err(Wrong::LongHeader);
    }
    let is_local = match command & 0x0F {
        0 => true,
        1 => false,
        _ => return Err(Wrong::Command),
    };
    let Some(inside) = rest.get(..length) else { return Ok(need(taken)) };
    let header = if is_local { Header::default() } else { read_inside(family, inside)? };
    Ok(Opening::Header { header, taken })
}

/// Addresses and what follows them.
fn read_inside(family: u8, inside: &[u8]) -> Result<Header, Wrong> {
    let (family, transport) = (family >> 4, family & 0x0F);
    if family > 3 || transport > 2 {
        return Err(Wrong::Family);
    }
    let bytes = match family {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    let (addresses, additions) = inside.split_at_checked(bytes).ok_or(Wrong::Addresses)?;
    // What did not come by TCP has no address that anything here could compare. A path on the
    // proxy's machine says nothing on this one.
    let source = if transport == 1 { source_in(family, addresses) } else { None };
    Ok(Header { source, common_name: common_name(additions)? })
}

fn source_in(family: u8, addresses: &[u8]) -> Option<SocketAddr> {
    // Source, destination, port of the source, port of the destination.
    match family {
        1 => {
            let (ip, rest) = addresses.split_first_chunk::<4>()?;
            let port = rest.get(4..)?.first_chunk()?;
            Some(socket_address(Ipv4Addr::from(*ip).into(), u16::from_be_bytes(*port)))
        }
        2 => {
            let (ip, rest) = addresses.split_first_chunk::<16>()?;
            let port = rest.get(16..)?.first_chunk()?;
            Some(socket_address(Ipv6Addr::from(*ip).into(), u16::from_be_bytes(*port)))
        }
        _ => None,
    }
}

/// Type, length and value at the front, and what follows.
fn addition(octets: &[u8]) -> Result<(u8, &[u8], &[u8]), Wrong> {
    let (&[kind, a, b], rest) = octets.split_first_chunk().ok_or(Wrong::Additions)?;
    let length = usize::from(u16::from_be_bytes([a, b]));
    let (value, rest) = rest.split_at_checked(length).ok_or(Wrong::Additions)?;
    Ok((kind, value, rest))
}

/// Of all additions only that about TLS is of use; nginx, AWS and others have ones of their own.
fn common_name(mut additions: &[u8]) -> Result<Option<Box<str>>, Wrong> {
    let mut found = None;
    while !additions.is_empty() {
        let (kind, value, rest) = addition(additions)?;
        additions = rest;
        if kind == TLS {
            found = verified_name(value)?;
        }
    }
    Ok(found)
}

fn verified_name(tls: &[u8]) -> Result<Option<Box<str>>, Wrong> {
    let (&[client, a, b, c, d], mut inside) = tls.split_first_chunk().ok_or(Wrong::Additions)?;
    let has_shown_one = client & BY_TLS != 0 && client & WITH_CERTIFICATE != 0;
    let is_verified = has_shown_one && u32::from_be_bytes([a, b, c, d]) == 0;
    let mut found = None;
    while !inside.is_empty() {
        let (kind, value, rest) = addition(inside)?;
        inside = rest;
        if kind == TLS_COMMON_NAME {
            found = std::str::from_utf8(value).ok().filter(|name| !name.is_empty());
        }
    }
    Ok(found.filter(|_| is_verified).map(Into::into))
}

/// What the fuzz target runs on any octets: nothing panics, what is asked for is more than there is
/// and no more than a header may have, and what follows a header changes nothing.
#[doc(hidden)]
pub fn fuzz(input: &[u8]) {
    match read(input) {
        Ok(Opening::Client) | Err(_) => {}
        Ok(Opening::NeedMore { bytes_min }) => {
            assert!(bytes_min > input.len(), "there are so many already");
            assert!(bytes_min <= HEADER_BYTES_MAX, "nobody sends so many");
        }
        Ok(Opening::Header { taken, .. }) => {
            let alone = input.get(..taken);
            assert_eq!(alone.map(read), Some(read(input)), "what follows is not looked at");
            for cut in 0..taken {
                let short = input.get(..cut).map(read);
                assert!(matches!(short, Some(Ok(Opening::NeedMore { .. }))), "cut at {cut}");
            }
        }
    }
}

#[cfg(test)]
#[path = "proxy_protocol_tests.rs"]
mod tests;
