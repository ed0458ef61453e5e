//! Certificates made by another library, and what is left when octets of them are missing or wrong.

use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

use super::*;

fn certificate(name: DistinguishedName, others: Vec<SanType>) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = name;
    params.subject_alt_names = others;
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn name(parts: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, text) in parts {
        name.push(kind.clone(), DnValue::Utf8String((*text).into()));
    }
    name
}

/// R50
#[test]
fn a_certificate_names_its_user_in_one_of_three_ways() {
    let subject = [
        (DnType::CountryName, "DE"),
        (DnType::OrganizationName, "Plant, 2 + \"x\""),
        (DnType::CommonName, "gerät-7"),
    ];
    let others = vec![
        SanType::DnsName("a.example".try_into().unwrap()),
        SanType::Rfc822Name("a@b.example".try_into().unwrap()),
        SanType::DnsName("b.example".try_into().unwrap()),
        SanType::IpAddress("192.0.2.7".parse().unwrap()),
        SanType::IpAddress("2001:db8::7".parse().unwrap()),
        SanType::URI("urn:device:7".try_into().unwrap()),
    ];
    let der = certificate(name(&subject), others);
    let is =
        |wanted, expected: Option<&str>| assert_eq!(name_in(&der, wanted).as_deref(), expected);
    is(CertificateName::CommonName, Some("gerät-7"));
    is(CertificateName::DistinguishedName, Some("CN=gerät-7,O=Plant\\, 2 \\+ \\\"x\\\",C=DE"));
    for (kind, place, expected) in [
        (AlternativeKind::Dns, 0, Some("a.example")),
        (AlternativeKind::Dns, 1, Some("b.example")),
        (AlternativeKind::Dns, 2, None),
        (AlternativeKind::Email, 0, Some("a@b.example")),
        (AlternativeKind::Ip, 0, Some("192.0.2.7")),
        (AlternativeKind::Ip, 1, Some("2001:db8::7")),
        (AlternativeKind::Uri, 0, Some("urn:device:7")),
        (AlternativeKind::Uri, 1, None),
    ] {
        is(CertificateName::AlternativeName(kind, place), expected);
    }
}

#[test]
fn a_certificate_without_the_name_names_nobody() {
    let der = certificate(name(&[(DnType::OrganizationName, "Plant")]), vec![]);
    assert_eq!(name_in(&der, CertificateName::CommonName), None);
    assert_eq!(name_in(&der, CertificateName::AlternativeName(AlternativeKind::Dns, 0)), None);
    assert_eq!(name_in(&der, CertificateName::DistinguishedName).as_deref(), Some("O=Plant"));
    assert_eq!(name_in(&certificate(name(&[]), vec![]), CertificateName::DistinguishedName), None);
}

#[test]
fn attributes_that_nobody_named_are_shown_by_their_figures() {
    let kind = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 311, 2]);
    let der = certificate(name(&[(kind, "x"), (DnType::CommonName, " #y ")]), vec![]);
    let shown = name_in(&der, CertificateName::DistinguishedName);
    assert_eq!(shown.as_deref(), Some("CN=\\ #y\\ ,1.3.6.1.4.1.311.2=x"));
}

/// Nothing panics, whatever the octets are.
#[test]
fn damaged_certificates_are_read_without_harm() {
    let others = vec![SanType::DnsName("a.example".try_into().unwrap())];
    let der = certificate(name(&[(DnType::CommonName, "x")]), others);
    let ways = [
        CertificateName::CommonName,
        CertificateName::DistinguishedName,
        CertificateName::AlternativeName(AlternativeKind::Dns, 0),
    ];
    for place in 0..der.len() {
        for wanted in ways {
            name_in(&der[..place], wanted);
            for value in [0, 0x7F, 0x80, 0x84, 0xFF] {
                let mut damaged = der.clone();
                damaged[place] = value;
                name_in(&damaged, wanted);
            }
        }
    }
}
