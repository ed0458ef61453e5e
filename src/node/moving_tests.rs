//! Connections that go to another shard, with sessions that do nothing else: whatever has been
//! read before, and however it came, the session there is shown the same octets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::*;
use crate::command::Event;
use crate::durability::Durability;
use crate::message::PropertyReader;
use crate::message::ProtocolTag;
use crate::protocol::{Context, Next, Peer, Protocol, Recognised, Session};

/// Octets of a packet of this protocol.
const PACKET: usize = 8;
const CONNECT: &[u8; PACKET] = b"CONNECT!";
const GOODBYE: &[u8; PACKET] = b"GOODBYE!";
/// As the brief of every broker: far above what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Its sessions move when they have seen a packet, then return every packet.
const MOVER: Protocol = Protocol {
    name: "mover",
    tag: ProtocolTag(200),
    listeners: |_, _| Vec::new(),
    web_names: &[],
    recognises: |_| Recognised::Yes,
    start: |peer| Box::new(Mover { peer, is_connected: false }),
    properties: PropertyReader {
        headers: |_| crate::value::Table::default(),
        property: |_, _| None,
        topic: |_| None,
        neutral: |_| crate::properties::Properties::default(),
    },
    may_be_shown: |_, _, _| true,
};

#[derive(Debug)]
struct Mover {
    peer: Peer,
    is_connected: bool,
}

impl Session for Mover {
    fn on_bytes(&mut self, input: &[u8], cx: &mut Context<'_>) -> (usize, Next) {
        let here = self.peer.id.shard;
        let mut taken = 0;
        for packet in input.chunks_exact(PACKET) {
            if !self.peer.moved {
                assert_eq!(packet, CONNECT, "shown from its first octet");
                return (0, Next::Move(ShardId(1 - here.0)));
            }
            taken += PACKET;
            if packet == CONNECT {
                assert!(!self.is_connected, "shown once");
                self.is_connected = true;
                cx.out.put(&[b'0' + u8::try_from(here.0).unwrap(); PACKET]);
            } else {
                cx.out.put(packet);
            }
            if packet == GOODBYE {
                return (taken, Next::Close);
            }
        }
        (taken, Next::Read { bytes_min: PACKET })
    }

    fn on_event(&mut self, _: Event, _: &mut Context<'_>) -> Next {
        Next::Read { bytes_min: 1 }
    }

    fn on_tick(&mut self, _: &mut Context<'_>) -> (Next, Option<u64>) {
        (Next::Read { bytes_min: 1 }, None)
    }

    fn deadline_ms(&self) -> Option<u64> {
        None
    }

    fn on_turn_end(&mut self, _: &mut Context<'_>) {}

    fn on_lost(&mut self, _: &str, _: &mut Context<'_>) {
        assert!(self.peer.moved, "a session that moves is told nothing");
    }

    fn describe(&self, _: &mut crate::stats::ConnectionReport) {}

    fn on_stop(&mut self, _: &mut Context<'_>) -> Next {
        Next::Close
    }
}

/// Two shards with a listener of movers, and one where they come through a WebSocket.
struct Node {
    running: Running<Crossing>,
    plain: SocketAddr,
    web: SocketAddr,
    root: PathBuf,
}

impl Node {
    fn start(name: &str, max_connections: u32) -> Self {
        let root = std::env::temp_dir().join(format!("ringmq-{name}-{}", std::process::id()));
        let mut config = Config::default();
        config.main.data_dir = root.clone();
        config.main.durability = Durability::Os;
        let data_dir = open_data_dir(&config).unwrap();
        let placement = Placement::new(2, data_dir.groups, false);
        let at = || ListenAt::Tcp("127.0.0.1:0".parse().unwrap());
        let plain = ListenerSettings::new("plain", &MOVER, at());
        let web = ListenerSettings::new("web", &MOVER, at());
        let mut listeners = vec![
            ListenerSettings { max_connections, ..plain },
            ListenerSettings { web_path: Some("/mover".into()), ..web },
        ];
        let doors = doors::open(&mut listeners, &config, (2, &[]), Vec::new()).unwrap();
        let address = |index: usize| match &listeners[index].at {
            ListenAt::Tcp(address) => *address,
            ListenAt::Unix { path, .. } => panic!("{path:?}"),
        };
        let (plain, web) = (address(0), address(1));
        let recovered = restart::recover(&data_dir, placement).unwrap();
        let (restored, shards_restored) = mpsc::channel();
        let plan = Arc::new(Plan {
            http: Vec::new(),
            users: Arc::new(Users::default()),
            vhosts: vec!["/".into()],
            storage: restart::storage_setup(&config, &data_dir),
            root: root.clone(),
            config,
            tls: Vec::new(),
            listeners,
            placement,
            memory_bytes_max: 1 << 30,
            secret: [0; 32],
            hasher: control::hasher().0,
            restored,
            closed: AtomicUsize::new(0),
        });
        let options = Options { shards: 2, pin: false, name: "moving".into() };
        let running =
            ringmq_shards::start(&options, move |shard| run_shard(shard, plan.clone())).unwrap();
        recovered.hand_out(&running, &shards_restored);
        for Door { listener, sockets, .. } in doors {
            for (shard, bound) in (0..).map(ShardId).zip(sockets) {
                running.remote().send(shard, Crossing::Listen(bound, listener));
            }
        }
        Self { running, plain, web, root }
    }

    fn stop(self) {
        for shard in [0, 1].map(ShardId) {
            self.running.remote().send(shard, Crossing::Stop);
        }
        self.running.join().unwrap();
        std::fs::remove_dir_all(self.root).unwrap();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// CONNECT, a thousand packets and a goodbye.
fn conversation() -> Vec<u8> {
    let packets = (0..1000_u64).flat_map(|number| (number | 1 << 63).to_be_bytes());
    CONNECT.iter().copied().chain(packets).chain(*GOODBYE).collect()
}

/// What comes back is all of it, in order, once.
fn check(answer: &[u8], said: &[u8]) {
    let shard = answer.first().copied();
    assert!(matches!(shard, Some(b'0' | b'1')), "{shard:?}");
    assert!(answer[PACKET..] == said[PACKET..], "{} octets of {}", answer.len(), said.len());
}

#[test]
fn a_connection_moves_with_all_that_was_sent() {
    let node = Node::start("move", 0);
    let said = conversation();
    for pieces in [vec![1; PACKET], vec![said.len()], vec![3], vec![7, 1, 1, 13], vec![PACKET]] {
        let mut stream = connect(node.plain);
        let mut rest = &said[..];
        for count in pieces {
            let (piece, after) = rest.split_at(count);
            stream.write_all(piece).unwrap();
            rest = after;
            std::thread::yield_now();
        }
        stream.write_all(rest).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        check(&answer, &said);
    }
    node.stop();
}

/// Frames of a client without a mask to speak of.
fn framed(octets: &[u8], most: usize) -> Vec<u8> {
    let frame = |piece: &[u8]| {
        let length = u8::try_from(piece.len()).unwrap();
        [&[0x82, 0x80 | length, 0, 0, 0, 0][..], piece].concat()
    };
    octets.chunks(most).flat_map(frame).collect()
}

/// What is inside the frames of a server; the last one is its goodbye.
fn unframed(mut octets: &[u8]) -> Vec<u8> {
    let mut inside = Vec::new();
    loop {
        let (&[first, length], rest) = octets.split_first_chunk().unwrap();
        let (length, rest) = match length {
            126 => {
                let (length, rest) = rest.split_first_chunk().unwrap();
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            length => (usize::from(length), rest),
        };
        if first == 0x88 {
            return inside;
        }
        let (piece, rest) = rest.split_at(length);
        inside.extend_from_slice(piece);
        octets = rest;
    }
}

/// The frame under way goes on where it was.
#[test]
fn a_websocket_moves_in_the_middle_of_a_frame() {
    let node = Node::start("move-web", 0);
    let said = conversation();
    for most in [1, 5, 8, 11, 125] {
        let mut stream = connect(node.web);
        let mut octets = b"GET /mover HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
        octets.extend(framed(&said, most));
        // The first part ends within a frame, and often within its head.
        for piece in octets.chunks(octets.len() / 2 + most) {
            stream.write_all(piece).unwrap();
            std::thread::yield_now();
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        check(&unframed(&answer[end..]), &said);
    }
    node.stop();
}

/// Who has moved away counts no more where it was, and is counted where it is until it goes.
#[test]
fn connections_that_moved_are_counted_once() {
    let node = Node::start("move-count", 2);
    let mut served = 0;
    // Who is refused comes again: that a place is free is told by mail.
    for _ in 0..10_000 {
        let mut stream = connect(node.plain);
        let said = [&CONNECT[..], GOODBYE].concat();
        let mut answer = Vec::new();
        let is_served = stream.write_all(&said).is_ok()
            && stream.read_to_end(&mut answer).is_ok()
            && !answer.is_empty();
        if is_served {
            check(&answer, &said);
            served += 1;
        }
        if served == 100 {
            break;
        }
    }
    assert_eq!(served, 100);
    node.stop();
}
