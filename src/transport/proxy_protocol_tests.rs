//! Headers as proxies write them, cut anywhere, and wrong ones.

use proptest::prelude::*;

use super::*;

/// A header of version 2.
fn binary(command: u8, family: u8, inside: &[u8]) -> Vec<u8> {
    let length = u16::try_from(inside.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, inside].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], value].concat()
}

/// PP2_TYPE_SSL as HAProxy writes it.
fn tls(client: u8, verify: u32, name: &[u8]) -> Vec<u8> {
    let inside = [
        &[client][..],
        &verify.to_be_bytes(),
        &tlv(0x21, b"TLSv1.3"),
        &tlv(0x23, b"TLS_AES_256_GCM_SHA384"),
        &tlv(0x22, name),
    ];
    tlv(0x20, &inside.concat())
}

const FOUR: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xC0, 0x01, 0x16, 0x28];

fn header(octets: &[u8]) -> Header {
    let Ok(Opening::Header { header, taken }) = read(octets) else {
        panic!("{:?}: {octets:?}", read(octets))
    };
    assert_eq!(taken, octets.len());
    // A client's octets behind it are none of its own.
    let longer = [octets, b"AMQP\0\0\x09\x01"].concat();
    assert_eq!(read(&longer), Ok(Opening::Header { header: header.clone(), taken }));
    fuzz(&longer);
    header
}

fn source(octets: &[u8]) -> Option<String> {
    header(octets).source.map(|source| source.to_string())
}

/// S15
#[test]
fn a_line_of_version_1_names_the_client() {
    for (line, expected) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 49153 5672\r\n", Some("192.0.2.7:49153")),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 49153 5672\r\n", Some("[2001:db8::7]:49153")),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", Some("192.0.2.7:1")),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            Some("255.255.255.255:65535"),
        ),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff::ffff ::1 65535 65535 and more\r\n", None),
    ] {
        assert_eq!(source(line.as_bytes()).as_deref(), expected, "{line}");
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(107 - 16));
    assert_eq!((longest.len(), source(longest.as_bytes())), (107, None));
}

/// S15, abuse row 107
#[test]
fn a_line_that_is_wrong_or_does_not_end_is_refused() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 49153\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 49153 5672 \r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 49153 5672\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 49153 65536\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +1 5672\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 01 5672\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.1 1 5672\r\n",
        "PROXY TCP4 ::1 ::1 1 5672\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 5672\r\n",
        "PROXY TCP5 192.0.2.7 198.51.100.1 1 5672\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 1 5672\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 5672\r\n",
    ] {
        assert_eq!(read(line.as_bytes()), Err(Wrong::Line), "{line}");
    }
    assert_eq!(read(b"PROXY TCP4 \xFF\xFE\r\n"), Err(Wrong::Line));
    let endless = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    assert_eq!(read(&endless[..106]), Ok(need(107)));
    assert_eq!(read(&endless[..107]), Err(Wrong::LongLine));
    assert_eq!(read(&endless), Err(Wrong::LongLine));
    // The end comes too late.
    let late = format!("PROXY UNKNOWN {}\r\n", "f".repeat(92));
    assert_eq!(read(late.as_bytes()), Err(Wrong::LongLine));
}

/// S16
#[test]
fn a_header_of_version_2_names_the_client() {
    assert_eq!(source(&binary(0x21, 0x11, &FOUR)).as_deref(), Some("192.0.2.7:49153"));
    let ip: Ipv6Addr = "2001:db8::7".parse().unwrap();
    let six = [&ip.octets()[..], &[0; 16], &[0xC0, 0x01, 0x16, 0x28]].concat();
    assert_eq!(source(&binary(0x21, 0x21, &six)).as_deref(), Some("[2001:db8::7]:49153"));
}

/// S16: the address of the socket counts.
#[test]
fn a_header_without_a_client_of_the_network_names_none() {
    for octets in [
        binary(0x20, 0x00, b""),
        binary(0x20, 0x11, &FOUR),
        binary(0x20, 0xFF, b"anything at all"),
        binary(0x21, 0x00, b""),
        binary(0x21, 0x31, &[b'/'; 216]),
        binary(0x21, 0x12, &FOUR),
        binary(0x21, 0x10, &FOUR),
    ] {
        assert_eq!(header(&octets), Header::default());
    }
}

/// S16: AWS names its endpoint (0xEA), Azure its link (0xEE), Google its service (0xE0); nginx and
/// HAProxy send ALPN (0x01), host name (0x02), CRC32c (0x03), padding (0x04), an id (0x05), the name
/// space (0x30).
#[test]
fn additions_of_any_kind_are_skipped() {
    for kind in [0x01, 0x02, 0x03, 0x04, 0x05, 0x30, 0xE0, 0xEA, 0xEE, 0xFF] {
        let additions = [tlv(kind, b"\x01vpce-08d2bf15fac5001c9"), tlv(kind, b"")].concat();
        let octets = binary(0x21, 0x11, &[&FOUR[..], &additions].concat());
        assert_eq!(source(&octets).as_deref(), Some("192.0.2.7:49153"), "{kind:#x}");
    }
    let padded = binary(0x21, 0x11, &[&FOUR[..], &tlv(0x04, &[0; 505])].concat());
    assert_eq!((padded.len(), source(&padded).is_some()), (536, true));
}

/// S16
#[test]
fn the_name_in_a_certificate_counts_when_the_proxy_has_verified_it() {
    let name = |additions: &[u8]| {
        header(&binary(0x21, 0x11, &[&FOUR[..], additions].concat())).common_name
    };
    assert_eq!(name(&tls(0x07, 0, b"device-1")).as_deref(), Some("device-1"));
    assert_eq!(name(&tls(0x05, 0, "z\u{fc}rich".as_bytes())).as_deref(), Some("z\u{fc}rich"));
    let among = [tlv(0xEA, b"x"), tls(0x03, 0, b"device-1"), tlv(0x04, b"")].concat();
    assert_eq!(name(&among).as_deref(), Some("device-1"));
    for (client, verify, said) in [
        (0x07, 1, &b"device-1"[..]),
        (0x01, 0, b"device-1"),
        (0x02, 0, b"device-1"),
        (0x00, 0, b"device-1"),
        (0x07, 0, b""),
        (0x07, 0, b"\xFF"),
    ] {
        assert_eq!(name(&tls(client, verify, said)), None, "{client} {verify} {said:?}");
    }
    assert_eq!(name(&tlv(0x20, &[7, 0, 0, 0, 0])), None, "no name at all");
}

/// Abuse row 107
#[test]
fn a_header_that_is_wrong_or_too_long_is_refused() {
    for (octets, wrong) in [
        (binary(0x11, 0x11, &FOUR), Wrong::Version),
        (binary(0x31, 0x11, &FOUR), Wrong::Version),
        (binary(0x22, 0x11, &FOUR), Wrong::Command),
        (binary(0x2F, 0x11, &FOUR), Wrong::Command),
        (binary(0x21, 0x41, &FOUR), Wrong::Family),
        (binary(0x21, 0x13, &FOUR), Wrong::Family),
        (binary(0x21, 0x11, &FOUR[..11]), Wrong::Addresses),
        (binary(0x21, 0x21, &FOUR), Wrong::Addresses),
        (binary(0x21, 0x31, &FOUR), Wrong::Addresses),
        (binary(0x21, 0x11, &[&FOUR[..], &[0x04, 0]].concat()), Wrong::Additions),
        (binary(0x21, 0x11, &[&FOUR[..], &[0x04, 0, 1]].concat()), Wrong::Additions),
        (binary(0x21, 0x11, &[&FOUR[..], &tlv(0x20, b"\x07")].concat()), Wrong::Additions),
        (binary(0x21, 0x11, &[&FOUR[..], &tlv(0x04, &[0; 506])].concat()), Wrong::LongHeader),
    ] {
        assert_eq!(read(&octets), Err(wrong), "{octets:?}");
    }
    // Nothing is waited for that is refused anyway.
    let huge = [SIGNATURE, &[0x21, 0x11, 0xFF, 0xFF]].concat();
    assert_eq!(read(&huge), Err(Wrong::LongHeader));
}

/// S11
#[test]
fn what_a_client_says_first_is_no_header() {
    for octets in [
        &b"AMQP\0\0\x09\x01"[..],
        b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c",
        b"\x16\x03\x01\x02\0\x01",
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"PROXZ TCP4",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\r\nAMQP",
    ] {
        assert_eq!(read(octets), Ok(Opening::Client), "{octets:?}");
    }
    assert_eq!(read(b""), Ok(need(6)));
}

proptest! {
    /// S17: every header, cut anywhere, waits for its rest.
    #[test]
    fn any_header_is_read_as_it_was_written(
        source in any::<SocketAddr>(),
        destination in any::<SocketAddr>(),
        kinds in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)), 0..8),
    ) {
        let source = SocketAddr::new(source.ip(), source.port());
        let expected = Some(SocketAddr::new(source.ip().to_canonical(), source.port()));
        let (family, mut inside) = match source.ip() {
            IpAddr::V4(ip) => (0x11, [&ip.octets()[..], &[1, 2, 3, 4]].concat()),
            IpAddr::V6(ip) => (0x21, [&ip.octets()[..], &[7; 16]].concat()),
        };
        inside.extend(source.port().to_be_bytes());
        inside.extend(destination.port().to_be_bytes());
        for (kind, value) in &kinds {
            inside.extend(tlv(if *kind == TLS { 0 } else { *kind }, value));
        }
        prop_assert_eq!(header(&binary(0x21, family, &inside)).source, expected);

        let word = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let (ip, port) = (source.ip(), source.port());
        let line = format!("PROXY {word} {ip} {ip} {port} {}\r\n", destination.port());
        prop_assert_eq!(header(line.as_bytes()).source, expected);
    }

    /// Octets behind a signature, so that they are looked at.
    #[test]
    fn no_octets_do_harm(
        start in prop::sample::select(vec![&b""[..], LINE_START, b"PROXY TCP4 ", SIGNATURE,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x40"]),
        octets in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        fuzz(&[start, &octets].concat());
    }
}

#[test]
fn every_corpus_file_passes_the_fuzz_target() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/proxy_header");
    let mut files = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        fuzz(&input);
        for cut in 0..input.len() {
            fuzz(&input[..cut]);
            let mut changed = input.clone();
            changed[cut] ^= 0xFF;
            fuzz(&changed);
        }
        files += 1;
    }
    assert!(files > 0);
}
