//! Whom a client's certificate names (RabbitMQ's `ssl_cert_login_from`). Whether it is good has been
//! decided by then: this only reads, and what it cannot read names nobody.
//!
//! May import nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Where in a certificate the user's name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertificateName {
    /// The subject's common name; several are joined by commas, as RabbitMQ does.
    #[default]
    CommonName,
    /// The whole subject as RFC 4514 writes it, `CN=device,O=plant`.
    DistinguishedName,
    /// Another name of the subject: of this kind, this one in their order, from 0.
    AlternativeName(AlternativeKind, u16),
}

/// Kinds of other names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlternativeKind {
    /// A host.
    #[default]
    Dns,
    /// An address.
    Ip,
    /// A mailbox.
    Email,
    /// A URI.
    Uri,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
const VERSION: u8 = 0xA0;
const EXTENSIONS: u8 = 0xA3;

/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1D, 0x11];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Object identifiers and what they are called in a name.
const ATTRIBUTES: &[(&[u8], &str)] = &[
    (COMMON_NAME, "CN"),
    (&[0x55, 0x04, 0x04], "SN"),
    (&[0x55, 0x04, 0x05], "SERIALNUMBER"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x09], "STREET"),
    (&[0x55, 0x04, 0x0A], "O"),
    (&[0x55, 0x04, 0x0B], "OU"),
    (&[0x55, 0x04, 0x0C], "TITLE"),
    (&[0x55, 0x04, 0x2A], "GIVENNAME"),
    (&[0x55, 0x04, 0x2B], "INITIALS"),
    (&[0x55, 0x04, 0x2C], "GENERATIONQUALIFIER"),
    (&[0x55, 0x04, 0x41], "PSEUDONYM"),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x09, 0x01], "EMAILADDRESS"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 0x01, 0x01], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 0x01, 0x19], "DC"),
];

/// The name in a certificate (DER); `None` if there is none, or an empty one.
pub fn name_in(certificate: &[u8], wanted: CertificateName) -> Option<String> {
    let body = Der(Der(certificate).take(SEQUENCE)?).take(SEQUENCE)?;
    let mut body = Der(body);
    body.skip(VERSION);
    body.take(INTEGER)?;
    // The algorithm, the issuer, how long it is good.
    for _ in 0..3 {
        body.take(SEQUENCE)?;
    }
    let subject = body.take(SEQUENCE)?;
    let name = match wanted {
        CertificateName::CommonName => common_name(subject)?,
        CertificateName::DistinguishedName => distinguished_name(subject)?,
        CertificateName::AlternativeName(kind, place) => alternative_name(body, kind, place)?,
    };
    (!name.is_empty()).then_some(name)
}

/// What is left of some DER.
pub(super) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// When a certificate begins and ends.
    pub(super) fn validity(certificate: &'a [u8]) -> Option<Self> {
        let mut body = Der(Der(Der(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
        body.skip(VERSION);
        body.take(INTEGER)?;
        // The algorithm and the issuer.
        body.take(SEQUENCE)?;
        body.take(SEQUENCE)?;
        body.take(SEQUENCE).map(Der)
    }

    /// The next value, whatever it is: its tag and what is in it.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7F => (usize::from(first), rest),
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
                let length = octets.iter().fold(0_u32, |sum, octet| (sum << 8) | u32::from(*octet));
                (usize::try_from(length).ok()?, rest)
            }
            0x80 | 0x85..=0xFF => return None,
        };
        let (inside, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, inside))
    }

    /// The next value, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut after = Der(self.0);
        let inside = after.next().filter(|(found, _)| *found == tag)?.1;
        self.0 = after.0;
        Some(inside)
    }

    /// Passes over a value with this tag, if it is the next.
    fn skip(&mut self, tag: u8) {
        let _ = self.take(tag);
    }
}

/// The attributes of one part of a name.
fn attributes(part: &[u8]) -> Option<Vec<(&[u8], String)>> {
    let mut part = Der(part);
    let mut all = Vec::new();
    while !part.0.is_empty() {
        let mut attribute = Der(part.take(SEQUENCE)?);
        let kind = attribute.take(OBJECT)?;
        let (tag, value) = attribute.next()?;
        all.push((kind, text(tag, value)?));
    }
    Some(all)
}

fn text(tag: u8, octets: &[u8]) -> Option<String> {
    match tag {
        // UTF-8, digits, printable, IA5.
        0x0C | 0x12 | 0x13 | 0x16 => std::str::from_utf8(octets).ok().map(Into::into),
        // Teletex: in practice Latin-1.
        0x14 => Some(octets.iter().map(|octet| char::from(*octet)).collect()),
        0x1E => {
            let (pairs, rest) = octets.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            rest.is_empty().then(|| String::from_utf16(&units).ok())?
        }
        _ => None,
    }
}

fn common_name(subject: &[u8]) -> Option<String> {
    let mut subject = Der(subject);
    let mut names = Vec::new();
    while !subject.0.is_empty() {
        let all = attributes(subject.take(SET)?)?;
        names
            .extend(all.into_iter().filter(|(kind, _)| *kind == COMMON_NAME).map(|(_, name)| name));
    }
    Some(names.join(","))
}

/// The last part comes first (RFC 4514 2.1).
fn distinguished_name(subject: &[u8]) -> Option<String> {
    let mut subject = Der(subject);
    let mut parts = Vec::new();
    while !subject.0.is_empty() {
        let mut shown = Vec::new();
        for (kind, value) in attributes(subject.take(SET)?)? {
            let known = ATTRIBUTES.iter().find(|(object, _)| *object == kind);
            let name = known.map_or_else(|| dotted(kind), |(_, name)| (*name).into());
            shown.push(format!("{name}={}", escaped(&value)));
        }
        parts.push(shown.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

/// An object identifier in figures.
fn dotted(object: &[u8]) -> String {
    let mut figures: Vec<String> = Vec::new();
    let mut sum = 0_u64;
    for octet in object {
        sum = (sum << 7) | u64::from(octet & 0x7F);
        if octet & 0x80 != 0 {
            continue;
        }
        if figures.is_empty() {
            let first = sum.min(80) / 40;
            figures.push(first.to_string());
            sum -= first * 40;
        }
        figures.push(sum.to_string());
        sum = 0;
    }
    figures.join(".")
}

/// As RFC 4514 2.4 wants it.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(value.len());
    for (place, c) in value.chars().enumerate() {
        let is_special = matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';')
            || (c == '#' && place == 0)
            || (c == ' ' && (place == 0 || place == last));
        if is_special {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// `rest`: what comes after the subject.
fn alternative_name(mut rest: Der<'_>, kind: AlternativeKind, place: u16) -> Option<String> {
    let mut extensions = loop {
        match rest.next()? {
            (EXTENSIONS, inside) => break Der(Der(inside).take(SEQUENCE)?),
            _ => continue,
        }
    };
    let mut names = loop {
        let mut extension = Der(extensions.take(SEQUENCE)?);
        let object = extension.take(OBJECT)?;
        extension.skip(BOOLEAN);
        if object == ALTERNATIVE_NAMES {
            break Der(Der(extension.take(OCTETS)?).take(SEQUENCE)?);
        }
    };
    let wanted = match kind {
        AlternativeKind::Email => 0x81,
        AlternativeKind::Dns => 0x82,
        AlternativeKind::Uri => 0x86,
        AlternativeKind::Ip => 0x87,
    };
    let mut left = place;
    loop {
        let (tag, value) = names.next()?;
        if tag != wanted {
            continue;
        }
        if left > 0 {
            left -= 1;
            continue;
        }
        return match kind {
            AlternativeKind::Ip => match value.len() {
                4 => <[u8; 4]>::try_from(value).ok().map(|ip| Ipv4Addr::from(ip).to_string()),
                _ => <[u8; 16]>::try_from(value).ok().map(|ip| Ipv6Addr::from(ip).to_string()),
            },
            AlternativeKind::Dns | AlternativeKind::Email | AlternativeKind::Uri => {
                std::str::from_utf8(value).ok().map(Into::into)
            }
        };
    }
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
