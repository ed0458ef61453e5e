//! What the fuzz target of sessions runs: scripts of what two clients and the clock do, with a
//! broker behind. Nothing panics, everybody comes to rest, and what clients hear are packets that a
//! server may send. May import the session, `broker`, `auth`, `config`.
//!
//! The first octet says which versions are spoken and whether sessions last; then each octet is a
//! deed, its highest bit says whose.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringmq_shards::{Buffers, Output};

use super::session::Mqtt;
use super::wire::connect::{Connect, ConnectProperties};
use super::wire::encode::put;
use super::wire::fuzzing::Target;
use super::wire::header::split;
use super::wire::packet::Packet;
use super::wire::{PACKET_BYTES_MAX, Sender, Version};
use super::{PROTOCOL, TAG};
use crate::auth::Users;
use crate::auth::password::PasswordHash;
use crate::auth::permission::Permission;
use crate::auth::user::User;
use crate::broker::placement::Placement;
use crate::broker::{Broker, NodeLimits, Setup};
use crate::command::Now;
use crate::config::Config;
use crate::ids::{ConnectionRef, ShardId};
use crate::protocol::octets::Decoded;
use crate::protocol::{Context, ListenerSettings, Logins, Next, Peer, Session};

/// All of them.
pub const TARGETS: &[Target] = &[("mqtt_session", mqtt_session)];

/// Salt and SHA-256 of "guest".
const GUEST: &str = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";

/// Turns until everybody must have come to rest.
const TURNS_MAX: usize = 10_000;

const TOPICS: [&str; 4] = ["a", "a/b", "$x/a", "+"];
const FILTERS: [&str; 6] = ["a", "a/+", "#", "$share/g/#", "a#", "$x/#"];

/// One client, if it is connected.
struct Seat {
    version: Version,
    session: Mqtt,
    id: ConnectionRef,
    out: Output,
    input: Vec<u8>,
    next: Next,
    /// It has heard CONNACK; DISCONNECT.
    is_let_in: bool,
    is_told_goodbye: bool,
}

struct Rig {
    broker: Broker,
    seats: [Option<Seat>; 2],
    now: Now,
    config: Rc<Config>,
    logins: Rc<RefCell<Logins>>,
    lasts: bool,
}

/// What is left of the octets that a script is made of.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// The next one; 0 where there is none.
    fn octet(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// As many as the next one says.
    fn octets(&mut self) -> &'a [u8] {
        let count = usize::from(self.octet()).min(self.0.len());
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        head
    }

    fn one<T: Copy + Default>(&mut self, all: &[T]) -> T {
        let index = usize::from(self.octet()).checked_rem(all.len()).unwrap_or(0);
        all.get(index).copied().unwrap_or_default()
    }
}

/// Runs a script.
pub fn mqtt_session(input: &[u8]) {
    let mut script = Script(input);
    let shape = script.octet();
    let versions = [shape % 3, shape / 3 % 3].map(|n| match n {
        0 => Version::V3,
        1 => Version::V4,
        _ => Version::V5,
    });
    let mut rig = Rig::new(shape & 0x80 != 0);
    while !script.0.is_empty() {
        let octet = script.octet();
        let whose = usize::from(octet >> 7);
        let version = versions.get(whose).copied().unwrap_or(Version::V4);
        if rig.seats.get(whose).is_none_or(Option::is_none) {
            rig.connect(whose, version, octet & 1 != 0);
        }
        match octet & 7 {
            5 => rig.advance(u64::from(script.octet()).saturating_mul(100)),
            6 => rig.lose(whose),
            deed => rig.say(whose, &saying(deed, version, &mut script)),
        }
    }
    for whose in 0..2 {
        rig.lose(whose);
    }
    rig.come_to_rest();
}

/// What a client says.
fn saying(deed: u8, version: Version, script: &mut Script<'_>) -> Vec<u8> {
    let block: &[u8] = if version.is_v5() { &[0] } else { &[] };
    let mut body = Vec::new();
    let text = |body: &mut Vec<u8>, text: &str| {
        body.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    };
    let first = match deed {
        1 => {
            let flags = script.octet() & 0x0F;
            text(&mut body, script.one(&TOPICS));
            if flags & 6 != 0 {
                body.extend_from_slice(&[0, script.octet() % 8]);
            }
            body.extend_from_slice(block);
            body.extend_from_slice(script.octets());
            0x30 | flags
        }
        2 => {
            body.extend_from_slice(&[0, script.octet() % 8]);
            body.extend_from_slice(block);
            text(&mut body, script.one(&FILTERS));
            body.push(script.octet());
            0x82
        }
        3 => {
            body.extend_from_slice(&[0, script.octet() % 8]);
            script.one(&[0x40, 0x50, 0x62, 0x70])
        }
        4 => {
            body.extend_from_slice(&[0, script.octet() % 8]);
            body.extend_from_slice(block);
            text(&mut body, script.one(&FILTERS));
            0xA2
        }
        7 => 0xC0,
        _ => return script.octets().to_vec(),
    };
    let mut octets = vec![first];
    let mut rest = body.len();
    while rest > 0x7F {
        octets.push(u8::try_from(rest % 0x80).unwrap_or(0) | 0x80);
        rest /= 0x80;
    }
    octets.push(u8::try_from(rest).unwrap_or(0));
    octets.extend(body);
    octets
}

impl Rig {
    fn new(lasts: bool) -> Self {
        let mut guest = User {
            name: "guest".into(),
            password: PasswordHash::parse(GUEST, None).ok(),
            tags: vec![],
            permissions: vec![],
        };
        guest.permit("/", Permission::all());
        let users = Arc::new(Users::new([guest], None));
        Self {
            broker: broker(),
            seats: [None, None],
            now: Now { mono_ms: 0, wall_ms: 1_700_000_000_000 },
            config: Rc::new(Config::default()),
            logins: Rc::new(RefCell::new(Logins { users, ..Logins::default() })),
            lasts,
        }
    }

    fn connect(&mut self, whose: usize, version: Version, clean_start: bool) {
        let remote = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let id = self.broker.attach();
        assert!(id.is_some(), "no place for a connection");
        let Some(id) = id else { return };
        let session = Mqtt::new(Peer {
            id,
            remote: remote.into(),
            certified: None,
            listener: Rc::new(ListenerSettings::nowhere(&PROTOCOL)),
            accepted_ms: self.now.mono_ms,
            moved: false,
            config: self.config.clone(),
            logins: self.logins.clone(),
        });
        let seat = Seat {
            version,
            session,
            id,
            out: Output::new(&Buffers::new()),
            input: Vec::new(),
            next: Next::Read { bytes_min: 1 },
            is_let_in: false,
            is_told_goodbye: false,
        };
        if let Some(place) = self.seats.get_mut(whose) {
            *place = Some(seat);
        }
        let session_expiry_s = if self.lasts && version.is_v5() { 1_000 } else { 0 };
        let connect = Connect {
            version,
            is_bridge: false,
            clean_start: clean_start || !self.lasts,
            keep_alive_s: 20,
            client_id: if whose == 0 { "one" } else { "two" },
            will: None,
            user_name: Some("guest"),
            password: Some(b"guest"),
            properties: ConnectProperties { session_expiry_s, ..ConnectProperties::default() },
        };
        let mut octets = Vec::new();
        let written = put(&mut octets, &connect, version, PACKET_BYTES_MAX);
        assert_eq!(written, Ok(()), "CONNECT can be written");
        self.say(whose, &octets);
    }

    fn say(&mut self, whose: usize, octets: &[u8]) {
        if let Some(Some(seat)) = self.seats.get_mut(whose) {
            seat.input.extend_from_slice(octets);
        }
        self.come_to_rest();
    }

    fn advance(&mut self, ms: u64) {
        self.now.mono_ms = self.now.mono_ms.saturating_add(ms);
        self.now.wall_ms = self.now.wall_ms.saturating_add(ms);
        self.broker.on_time(self.now);
        let Self { broker, seats, now, .. } = self;
        for seat in seats.iter_mut().flatten() {
            let mut cx = Context { broker, out: &mut seat.out, now: *now };
            let (next, deadline) = seat.session.on_tick(&mut cx);
            assert!(deadline.is_none_or(|at| at > now.mono_ms), "ticks never end");
            seat.next = next;
        }
        self.come_to_rest();
    }

    fn lose(&mut self, whose: usize) {
        let Some(mut seat) = self.seats.get_mut(whose).and_then(Option::take) else { return };
        let mut cx = Context { broker: &mut self.broker, out: &mut seat.out, now: self.now };
        seat.session.on_lost("the script", &mut cx);
        self.broker.detach(seat.id.connection, self.now);
    }

    fn come_to_rest(&mut self) {
        let quiet = (0..TURNS_MAX).find(|_| !self.turn());
        assert!(quiet.is_some(), "never comes to rest");
    }

    /// One turn of both connections. False: nothing more can be done.
    fn turn(&mut self) -> bool {
        let mut worked = false;
        for whose in 0..2 {
            let Self { broker, seats, now, .. } = self;
            let Some(Some(seat)) = seats.get_mut(whose) else { continue };
            worked |= seat.turn(broker, *now);
            if seat.next == Next::Close {
                self.lose(whose);
                worked = true;
            }
        }
        if self.broker.begin_catching_up() {
            self.broker.caught_up(self.now);
        }
        self.broker.end_turn(self.now);
        let mut ready = Vec::new();
        self.broker.take_ready(&mut ready);
        worked || !ready.is_empty()
    }
}

impl Seat {
    fn turn(&mut self, broker: &mut Broker, now: Now) -> bool {
        let mut events = Vec::new();
        broker.take_events(self.id.connection, &mut events);
        let mut worked = !events.is_empty();
        for event in events {
            let mut cx = Context { broker, out: &mut self.out, now };
            self.next = self.session.on_event(event, &mut cx);
        }
        let mut cx = Context { broker, out: &mut self.out, now };
        if let Next::Read { .. } = self.next {
            let (taken, next) = self.session.on_bytes(&self.input, &mut cx);
            assert!(taken <= self.input.len(), "took {taken} of {}", self.input.len());
            self.input.drain(..taken.min(self.input.len()));
            let left = self.input.len();
            if let Next::Read { bytes_min } = next {
                assert!(bytes_min > left || left == 0, "{left} octets are left unread");
            }
            assert!(!matches!(next, Next::Move(_)), "there is one shard");
            self.next = next;
            worked |= taken > 0;
        }
        self.session.on_turn_end(&mut cx);
        self.hear();
        broker.drained(self.id.connection);
        worked
    }

    /// What was written are whole packets that a server may send, in an order that it may have.
    fn hear(&mut self) {
        let mut all = Vec::new();
        while !self.out.is_empty() {
            let front = self.out.front().to_vec();
            self.out.consume(front.len());
            all.extend(front);
        }
        let mut rest = &all[..];
        while !rest.is_empty() {
            let found = split(rest, PACKET_BYTES_MAX);
            let is_whole = matches!(found, Ok(Decoded::Frame { .. }));
            assert!(is_whole, "no whole packet: {rest:?}");
            let Ok(Decoded::Frame { frame, taken }) = found else { return };
            let packet = Packet::decode(&frame, self.version, Sender::Server);
            assert!(packet.is_ok(), "{packet:?}: {rest:?}");
            assert!(!self.is_told_goodbye, "after DISCONNECT: {packet:?}");
            let is_connack = matches!(packet, Ok(Packet::Connack(_)));
            assert_ne!(is_connack, self.is_let_in, "CONNACK comes first and once: {packet:?}");
            self.is_let_in = true;
            self.is_told_goodbye = matches!(packet, Ok(Packet::Disconnect(_)));
            rest = rest.get(taken..).unwrap_or_default();
        }
    }
}

fn broker() -> Broker {
    Broker::new(Setup {
        shard: ShardId(0),
        placement: Placement::new(1, 1, false),
        vhosts: vec!["/".into()],
        readers: vec![PROTOCOL.properties; usize::from(TAG.0).saturating_add(1)],
        boot: 0,
        storage: None,
        durabilities: Vec::new(),
        secret: [7; 32],
        limits: NodeLimits {
            memory_bytes_max: u64::MAX,
            queues_max: 1000,
            exchanges_max: 1000,
            bindings_max: 10_000,
            prefetch_default: 65_535,
            consumer_timeout_ms: None,
            durability: crate::durability::Durability::Sync,
            retained_max: crate::limits::RETAINED_MAX,
            retained_bytes_max: crate::limits::RETAINED_BYTES_MAX,
            near_members_first: false,
            members_in_turn: false,
        },
    })
}
