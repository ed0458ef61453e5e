//! Frames, whole and in pieces, right and wrong.

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use ringmq_shards::Buffers;

use super::*;

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// What came out of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    data: Vec<u8>,
    reply: Vec<u8>,
    end: Option<Ended>,
}

/// A frame of a client, its length written in the shortest form.
fn frame(first: u8, inside: &[u8]) -> Vec<u8> {
    let length = inside.len();
    let mut octets = vec![first];
    match length {
        0..=125 => octets.push(MASKED | u8::try_from(length).unwrap()),
        126..=0xFFFF => {
            octets.push(MASKED | 126);
            octets.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            octets.push(MASKED | 127);
            octets.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    octets.extend_from_slice(&MASK);
    octets.extend(inside.iter().zip(MASK.iter().cycle()).map(|(octet, mask)| octet ^ mask));
    octets
}

fn all_of(out: &mut Output) -> Vec<u8> {
    let mut octets = Vec::new();
    while !out.is_empty() {
        let count = out.front().len();
        octets.extend_from_slice(out.front());
        out.consume(count);
    }
    octets
}

/// Feeds a stream in pieces.
fn come<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Came {
    let buffers = Buffers::new();
    let (mut decoder, mut end) = (Decoder::new(), None);
    let (mut input, mut reply) = (ReadBuffer::new(&buffers), Output::new(&buffers));
    for piece in pieces {
        end = decoder.decode(piece, &mut input, &mut reply).err();
        if end.is_some() {
            break;
        }
    }
    Came { data: input.filled().to_vec(), reply: all_of(&mut reply), end }
}

/// The code with which a stream ends.
fn code_of(octets: &[u8]) -> Option<u16> {
    come([octets]).end?.code
}

/// A long stream with all there is.
fn everything() -> Vec<u8> {
    [
        frame(FIN | BINARY, b"one"),
        frame(BINARY, b"two, "),
        frame(FIN | PING, b"are you there?"),
        frame(CONTINUATION, b""),
        frame(FIN | PONG, b""),
        frame(FIN | CONTINUATION, &[b'x'; 300]),
        frame(FIN | PING, b""),
        frame(FIN | BINARY, b""),
        frame(FIN | BINARY, b"three"),
        frame(FIN | CLOSE, &[&1000_u16.to_be_bytes()[..], b"bye"].concat()),
    ]
    .concat()
}

/// RFC 6455 5.4, 5.5.2, 5.5.1; MQTT-6.0.0-2
#[test]
fn a_stream_passes_through_whatever_its_frames_and_control_frames_in_between() {
    let came = come([&*everything()]);
    let expected = [&b"onetwo, "[..], &[b'x'; 300], b"three"].concat();
    assert_eq!(came.data, expected);
    assert_eq!(came.reply, b"\x8A\x0Eare you there?\x8A\x00");
    assert_eq!(came.end.unwrap().code, Some(1000));
}

#[test]
fn every_cut_of_a_stream_gives_the_same() {
    let stream = everything();
    let whole = come([&*stream]);
    assert_eq!(come(stream.chunks(1)), whole);
    for cut in 0..stream.len() {
        let (before, after) = stream.split_at(cut);
        assert_eq!(come([before, after]), whole, "cut at {cut}");
    }
}

fn random() -> TestRng {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    println!("seed {seed:?}");
    TestRng::from_seed(RngAlgorithm::ChaCha, &seed)
}

#[test]
fn random_streams_in_random_pieces_come_through() {
    let mut random = random();
    for round in 0..200 {
        let (mut stream, mut expected, mut is_fragmented) = (Vec::new(), Vec::new(), false);
        for _ in 0..random.next_u32() % 12 {
            let length = match random.next_u32() % 4 {
                0 => random.next_u32() % 8,
                1 => 120 + random.next_u32() % 12,
                2 => 65_530 + random.next_u32() % 12,
                _ => random.next_u32() % 100_000,
            };
            let mut inside = vec![0; length as usize];
            random.fill_bytes(&mut inside);
            expected.extend_from_slice(&inside);
            let opcode = if is_fragmented { CONTINUATION } else { BINARY };
            is_fragmented = random.next_u32().is_multiple_of(2);
            stream.extend(frame(if is_fragmented { opcode } else { FIN | opcode }, &inside));
            if random.next_u32().is_multiple_of(3) {
                stream.extend(frame(FIN | PING, b"x"));
            }
        }
        let (mut pieces, mut rest) = (Vec::new(), &stream[..]);
        while !rest.is_empty() {
            let most = if random.next_u32().is_multiple_of(2) { 9 } else { 70_000 };
            let (piece, after) = rest.split_at((random.next_u32() as usize % most).min(rest.len()));
            (rest, _) = (after, pieces.push(piece));
        }
        let came = come(pieces);
        assert!(came.data == expected && came.end.is_none(), "round {round}");
    }
}

/// Octets of any kind end a stream or pass, but nothing else.
#[test]
fn noise_does_no_harm() {
    let mut random = random();
    for _ in 0..2_000 {
        let mut noise = vec![0; (random.next_u32() % 300) as usize];
        random.fill_bytes(&mut noise);
        // Half of them begin well.
        if let [first, second, ..] = &mut noise[..]
            && random.next_u32().is_multiple_of(2)
        {
            (*first, *second) = (FIN | BINARY, *second | MASKED);
        }
        assert_eq!(come([&*noise]), come(noise.chunks(3)));
    }
}

/// Abuse row 108, RFC 6455 5.1, 5.2
#[test]
fn what_is_against_the_protocol_ends_the_stream() {
    for (octets, what) in [
        (&[FIN | BINARY, 1, b'x'][..], "not masked"),
        (&[FIN | BINARY | 0x40, MASKED, 0, 0, 0, 0], "a reserved bit"),
        (&[FIN | 3, MASKED, 0, 0, 0, 0], "a reserved opcode"),
        (&[FIN | 11, MASKED, 0, 0, 0, 0], "a reserved control opcode"),
        (&frame(PING, b""), "a control frame in fragments"),
        (&frame(FIN | PING, &[0; 126]), "a control frame of 126 octets"),
        (&frame(FIN | CONTINUATION, b"x"), "a fragment of nothing"),
        (&[FIN | BINARY, MASKED | 126, 0, 125, 0, 0, 0, 0], "a length in too long a form"),
        (&[FIN | BINARY, MASKED | 127, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0], "the same"),
        (&[FIN | BINARY, MASKED | 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "2^63"),
        (&frame(FIN | CLOSE, b"x"), "half a code"),
        (&frame(FIN | CLOSE, &1005_u16.to_be_bytes()), "a code that is never sent"),
        (&frame(FIN | CLOSE, &[3, 0xE8, 0xFF]), "a reason that is no text"),
    ] {
        assert_eq!(code_of(octets), Some(1002), "{what}");
    }
    let two = [frame(BINARY, b"x"), frame(FIN | BINARY, b"y")].concat();
    assert_eq!(code_of(&two), Some(1002), "a message within a message");
    assert_eq!(come([&*two]).data, b"x", "what came before is shown");
}

/// MQTT-6.0.0-1; abuse rows 108, 111
#[test]
fn text_and_too_much_are_refused_by_their_heads() {
    assert_eq!(code_of(&frame(FIN | TEXT, b"hello")), Some(1003));
    let huge = (FRAME_BYTES_MAX + 1).to_be_bytes();
    let head = [&[FIN | BINARY, MASKED | 127][..], &huge, &MASK].concat();
    assert_eq!(code_of(&head), Some(1009));
    let empty = frame(FIN | BINARY, b"").repeat(EMPTY_FRAMES_MAX as usize);
    assert_eq!(come([&*empty]).end, None);
    let more = [&empty[..], &frame(FIN | BINARY, b"")].concat();
    assert_eq!(code_of(&more), Some(1008));
}

/// RFC 6455 5.5.1, 7.1.5
#[test]
fn a_goodbye_is_returned() {
    for (inside, said) in [
        (&b""[..], &b"\x88\x00"[..]),
        (b"\x03\xE8", b"\x88\x02\x03\xE8"),
        (b"\x0F\xA0private", b"\x88\x02\x0F\xA0"),
    ] {
        let ended = come([&*frame(FIN | CLOSE, inside)]).end.unwrap();
        let mut out = Output::new(&Buffers::new());
        put_close(ended, &mut out);
        assert_eq!(all_of(&mut out), said);
    }
}

#[test]
fn heads_are_written_in_the_shortest_form() {
    for (length, head) in [
        (0, &[0x82, 0][..]),
        (125, &[0x82, 125]),
        (126, &[0x82, 126, 0, 126]),
        (65_535, &[0x82, 126, 255, 255]),
        (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let mut out = Output::new(&Buffers::new());
        put_data_head(length, &mut out);
        assert_eq!(all_of(&mut out), head);
    }
}
