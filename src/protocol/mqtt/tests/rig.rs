//! Clients made of our own codec, and a broker whose clock is moved by hand.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringmq_shards::{Buffers, Output};

use crate::auth::Users;
use crate::auth::password::PasswordHash;
use crate::auth::permission::Permission;
use crate::auth::scram::{Mechanism, client};
use crate::auth::user::User;
use crate::broker::placement::Placement;
use crate::broker::{Broker, Envelope, NodeLimits, Setup};
use crate::command::Now;
use crate::config::Config;
use crate::ids::{ConnectionRef, ShardId};
use crate::message::PropertyReader;
use crate::protocol::mqtt::PROTOCOL;
use crate::protocol::mqtt::session::Mqtt;
use crate::protocol::mqtt::wire::ack::{Ack, AckKind};
use crate::protocol::mqtt::wire::connect::{Connect, ConnectProperties};
use crate::protocol::mqtt::wire::disconnect::Disconnect;
use crate::protocol::mqtt::wire::encode::{Encode, put};
use crate::protocol::mqtt::wire::header::split;
use crate::protocol::mqtt::wire::packet::{PINGREQ, Packet};
use crate::protocol::mqtt::wire::properties::UserProperties;
use crate::protocol::mqtt::wire::publish::{Promise, PublishHead};
use crate::protocol::mqtt::wire::reason_code::ReasonCode;
use crate::protocol::mqtt::wire::suback::AnswerKind;
use crate::protocol::mqtt::wire::subscribe::{Filters, Options, Subscribe, put_filter};
use crate::protocol::mqtt::wire::unsubscribe::{FilterTexts, Unsubscribe, put_filter_text};
use crate::protocol::mqtt::wire::{PACKET_BYTES_MAX, PacketId, Qos, Sender, Version};
use crate::protocol::octets::Decoded;
use crate::protocol::{Context, ListenerSettings, Logins, Next, PROTOCOLS, Peer, Session};

/// Salt and SHA-256 of "guest".
const GUEST: &str = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";

/// One connection.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) session: Mqtt,
    id: ConnectionRef,
    out: Output,
    input: Vec<u8>,
    pub(super) next: Next,
    version: Version,
    /// The connection is over for the broker too.
    is_gone: bool,
}

/// A broker of one or more shards and connections to it.
#[derive(Debug)]
pub(super) struct Rig {
    brokers: Vec<Broker>,
    mail: VecDeque<(ShardId, ShardId, Envelope)>,
    pub(super) seats: Vec<Seat>,
    pub(super) now: Now,
    config: Rc<Config>,
    logins: Rc<RefCell<Logins>>,
}

/// A connection of the rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client(pub(super) usize);

fn readers() -> Vec<PropertyReader> {
    (0..=1)
        .map(|tag| PROTOCOLS.iter().find(|p| p.tag.0 == tag).unwrap_or(&PROTOCOLS[0]).properties)
        .collect()
}

fn broker(shard: u16, shards: u16) -> Broker {
    Broker::new(Setup {
        shard: ShardId(shard),
        placement: Placement::new(shards, 64, false),
        vhosts: vec!["/".into(), "other".into()],
        readers: readers(),
        boot: 0,
        storage: None,
        durabilities: Vec::new(),
        secret: [7; 32],
        limits: NodeLimits {
            memory_bytes_max: u64::MAX,
            queues_max: 1000,
            exchanges_max: 1000,
            bindings_max: 1_000_000,
            retained_max: u64::MAX,
            retained_bytes_max: u64::MAX,
            near_members_first: false,
            members_in_turn: false,
            prefetch_default: 65_535,
            consumer_timeout_ms: None,
            durability: crate::durability::Durability::Sync,
        },
    })
}

fn logins() -> Rc<RefCell<Logins>> {
    let mut guest = User {
        name: "guest".into(),
        password: Some(PasswordHash::parse(GUEST, None).unwrap()),
        tags: vec![],
        permissions: vec![],
    };
    guest.permit("/", Permission::all());
    guest.permit("other", Permission::all());
    let provers = [("prover", Mechanism::Sha256), ("prover512", Mechanism::Sha512)];
    let provers = provers.map(|(name, mechanism)| User {
        name: name.into(),
        password: Some(PasswordHash::of_verifier(client::verifier(mechanism, "secret"))),
        ..guest.clone()
    });
    let users = Arc::new(Users::new([guest].into_iter().chain(provers), None));
    Rc::new(RefCell::new(Logins { users, ..Logins::default() }))
}

/// A CONNECT that is let in.
pub(super) fn hello(version: Version, id: &str) -> Connect<'_> {
    Connect {
        version,
        is_bridge: false,
        clean_start: true,
        keep_alive_s: 0,
        client_id: id,
        will: None,
        user_name: Some("guest"),
        password: Some(b"guest"),
        properties: ConnectProperties::default(),
    }
}

pub(super) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// The head of a PUBLISH.
pub(super) fn head(topic: &str, promise: Promise) -> PublishHead<'_> {
    PublishHead {
        dup: false,
        retain: false,
        promise,
        topic,
        alias: None,
        expiry_s: None,
        subscription_ids: &[],
        forwarded: &[],
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        Self::on(1, config)
    }

    pub(super) fn on(shards: u16, config: Config) -> Self {
        Self {
            brokers: (0..shards).map(|shard| broker(shard, shards)).collect(),
            mail: VecDeque::new(),
            seats: Vec::new(),
            now: Now { mono_ms: 0, wall_ms: 1_700_000_000_000 },
            config: Rc::new(config),
            logins: logins(),
        }
    }

    /// There is another snapshot of users from now on.
    pub(super) fn replace_users(&self, users: Users) {
        self.logins.borrow_mut().users = Arc::new(users);
    }

    /// A connection that has said nothing.
    pub(super) fn silent(&mut self, version: Version) -> Client {
        let shard = self.seats.len() % self.brokers.len();
        let id = self.brokers[shard].attach().unwrap();
        let session = Mqtt::new(self.peer(id, false));
        self.seats.push(Seat {
            session,
            id,
            out: Output::new(&Buffers::new()),
            input: Vec::new(),
            next: Next::Read { bytes_min: 1 },
            version,
            is_gone: false,
        });
        Client(self.seats.len() - 1)
    }

    fn peer(&self, id: ConnectionRef, moved: bool) -> Peer {
        let remote: SocketAddr = "127.0.0.1:40000".parse().unwrap();
        Peer {
            id,
            remote: remote.into(),
            certified: None,
            accepted_ms: self.now.mono_ms,
            moved,
            listener: Rc::new(ListenerSettings {
                takes_nameless: self.config.mqtt.allow_anonymous,
                connection_s_max: self.config.mqtt.connection_lifetime_max_s,
                ..ListenerSettings::nowhere(&PROTOCOL)
            }),
            config: self.config.clone(),
            logins: self.logins.clone(),
        }
    }

    /// A connection that has said this.
    pub(super) fn connect(&mut self, connect: &Connect<'_>) -> Client {
        let client = self.silent(connect.version);
        self.packet(client, connect);
        client
    }

    /// A connection that is open.
    pub(super) fn open(&mut self, version: Version, id: &str) -> Client {
        let client = self.connect(&hello(version, id));
        let heard = self.heard(client);
        assert!(heard[0].starts_with("CONNACK 00 new"), "{heard:?}");
        client
    }

    pub(super) fn packet(&mut self, client: Client, packet: &impl Encode) {
        let mut octets = Vec::new();
        put(&mut octets, packet, self.seats[client.0].version, PACKET_BYTES_MAX).unwrap();
        self.say(client, &octets);
    }

    pub(super) fn say(&mut self, client: Client, octets: &[u8]) {
        self.seats[client.0].input.extend_from_slice(octets);
        self.work();
    }

    pub(super) fn publish(&mut self, client: Client, head: PublishHead<'_>, body: &str) {
        let mut octets = Vec::new();
        let version = self.seats[client.0].version;
        head.put(&mut octets, version, body.as_bytes(), PACKET_BYTES_MAX).unwrap();
        self.say(client, &octets);
    }

    /// With an identifier 100 where it needs one.
    pub(super) fn send(&mut self, client: Client, topic: &str, qos: u8, body: &str) {
        let promise = match qos {
            0 => Promise::AtMostOnce,
            1 => Promise::AtLeastOnce(id(100)),
            _ => Promise::ExactlyOnce(id(100)),
        };
        self.publish(client, head(topic, promise), body);
    }

    pub(super) fn subscribe_with(
        &mut self,
        client: Client,
        number: u16,
        filters: &[(&str, Options)],
        subscription_id: Option<u32>,
    ) {
        let version = self.seats[client.0].version;
        let mut octets = Vec::new();
        for (filter, options) in filters {
            put_filter(&mut octets, filter, *options, version);
        }
        let filters = Filters::written(&octets, version);
        let user_properties = UserProperties::NONE;
        let packet = Subscribe { packet_id: id(number), subscription_id, user_properties, filters };
        self.packet(client, &packet);
    }

    /// Subscribes with packet id 1 and expects the QoS to be granted.
    pub(super) fn subscribe(&mut self, client: Client, filter: &str, qos: u8) {
        let options = Options { qos: Qos::from_bits(qos).unwrap(), ..Options::default() };
        self.subscribe_with(client, 1, &[(filter, options)], None);
        assert_eq!(self.heard(client), [format!("SUBACK 1 [0{qos}]")]);
    }

    pub(super) fn unsubscribe(&mut self, client: Client, number: u16, filters: &[&str]) {
        let mut octets = Vec::new();
        for filter in filters {
            put_filter_text(&mut octets, filter);
        }
        let filters = FilterTexts::written(&octets);
        let user_properties = UserProperties::NONE;
        self.packet(client, &Unsubscribe { packet_id: id(number), user_properties, filters });
    }

    pub(super) fn ack(&mut self, client: Client, kind: AckKind, number: u16) {
        self.ack_with(client, kind, number, ReasonCode::Success);
    }

    pub(super) fn ack_with(
        &mut self,
        client: Client,
        kind: AckKind,
        number: u16,
        code: ReasonCode,
    ) {
        self.packet(client, &Ack::new(kind, id(number), code));
    }

    pub(super) fn ping(&mut self, client: Client) {
        self.say(client, &PINGREQ);
    }

    pub(super) fn disconnect(&mut self, client: Client, code: ReasonCode) {
        self.packet(client, &Disconnect::new(code, None));
    }

    /// Lets everybody do all they can. Fails when they never come to rest.
    pub(super) fn work(&mut self) {
        for _ in 0..100_000 {
            let mut is_quiet = true;
            for index in 0..self.seats.len() {
                is_quiet &= self.turn(index);
            }
            for broker in &mut self.brokers {
                // Whatever was received before has been taken in above.
                if broker.begin_catching_up() {
                    broker.caught_up(self.now);
                    is_quiet = false;
                }
                broker.end_turn(self.now);
                let (from, mail) = (broker.shard(), &mut self.mail);
                broker.collect(|to, envelope| mail.push_back((from, to, envelope)));
                let mut ready = Vec::new();
                broker.take_ready(&mut ready);
                is_quiet &= ready.is_empty();
            }
            while let Some((from, to, envelope)) = self.mail.pop_front() {
                self.brokers[usize::from(to.0)].receive(from, envelope, self.now);
                is_quiet = false;
            }
            if is_quiet {
                return;
            }
        }
        panic!("broker and sessions never come to rest");
    }

    /// One turn of a connection; whether nothing happened.
    fn turn(&mut self, index: usize) -> bool {
        let Self { brokers, seats, now, .. } = self;
        let seat = &mut seats[index];
        if seat.is_gone {
            return true;
        }
        let broker = &mut brokers[usize::from(seat.id.shard.0)];
        let mut is_quiet = true;
        let mut events = Vec::new();
        broker.take_events(seat.id.connection, &mut events);
        for event in events {
            is_quiet = false;
            let mut cx = Context { broker, out: &mut seat.out, now: *now };
            seat.next = seat.session.on_event(event, &mut cx);
        }
        let mut cx = Context { broker, out: &mut seat.out, now: *now };
        if let Next::Read { .. } = seat.next {
            let (taken, next) = seat.session.on_bytes(&seat.input, &mut cx);
            seat.input.drain(..taken);
            if let Next::Read { bytes_min } = next {
                let left = seat.input.len();
                assert!(bytes_min > left || left == 0, "{left} octets are left unread");
            }
            seat.next = next;
            is_quiet &= taken == 0;
        }
        seat.session.on_turn_end(&mut cx);
        broker.drained(seat.id.connection);
        if let Next::Move(shard) = seat.next {
            self.move_to(index, shard);
            is_quiet = false;
        } else if seat.next == Next::Close {
            self.lose(Client(index));
            is_quiet = false;
        }
        is_quiet
    }

    fn move_to(&mut self, index: usize, shard: ShardId) {
        let old = self.seats[index].id;
        self.brokers[usize::from(old.shard.0)].detach(old.connection, self.now);
        let id = self.brokers[usize::from(shard.0)].attach().unwrap();
        let session = Mqtt::new(self.peer(id, true));
        let seat = &mut self.seats[index];
        assert!(seat.out.is_empty(), "written before the move");
        (seat.id, seat.session, seat.next) = (id, session, Next::Read { bytes_min: 1 });
    }

    /// The socket is gone.
    pub(super) fn lose(&mut self, client: Client) {
        let seat = &mut self.seats[client.0];
        if std::mem::replace(&mut seat.is_gone, true) {
            return;
        }
        let broker = &mut self.brokers[usize::from(seat.id.shard.0)];
        let mut cx = Context { broker, out: &mut seat.out, now: self.now };
        seat.session.on_lost("test", &mut cx);
        broker.detach(seat.id.connection, self.now);
    }

    /// The same, and everybody does what follows of it.
    pub(super) fn cut(&mut self, client: Client) {
        self.lose(client);
        self.work();
    }

    /// Whether the server has closed the connection.
    pub(super) fn is_closed(&self, client: Client) -> bool {
        self.seats[client.0].next == Next::Close
    }

    /// Whether the connection is over.
    pub(super) fn is_gone(&self, client: Client) -> bool {
        self.seats[client.0].is_gone
    }

    /// Moves the clock and lets everybody look at it.
    pub(super) fn tick(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        for broker in &mut self.brokers {
            broker.on_time(self.now);
        }
        for seat in &mut self.seats {
            if !seat.is_gone {
                let now = self.now;
                let broker = &mut self.brokers[usize::from(seat.id.shard.0)];
                let mut cx = Context { broker, out: &mut seat.out, now };
                let (next, deadline) = seat.session.on_tick(&mut cx);
                assert!(deadline.is_none_or(|at| at > now.mono_ms), "ticks never end");
                seat.next = next;
            }
        }
        self.work();
    }

    pub(super) fn stop(&mut self) {
        for seat in &mut self.seats {
            if !seat.is_gone {
                let broker = &mut self.brokers[usize::from(seat.id.shard.0)];
                let mut cx = Context { broker, out: &mut seat.out, now: self.now };
                seat.next = seat.session.on_stop(&mut cx);
            }
        }
        self.work();
    }

    /// Everything the server has written to a client since the last call.
    pub(super) fn octets(&mut self, client: Client) -> Vec<u8> {
        let out = &mut self.seats[client.0].out;
        let mut all = Vec::new();
        while !out.is_empty() {
            let front = out.front().to_vec();
            out.consume(front.len());
            all.extend(front);
        }
        all
    }

    /// The same as packets.
    pub(super) fn heard(&mut self, client: Client) -> Vec<String> {
        let octets = self.octets(client);
        let version = self.seats[client.0].version;
        let mut rest = &octets[..];
        let mut said = Vec::new();
        while !rest.is_empty() {
            let Ok(Decoded::Frame { frame, taken }) = split(rest, PACKET_BYTES_MAX) else {
                panic!("no whole packet: {rest:?}");
            };
            let packet = Packet::decode(&frame, version, Sender::Server);
            said.push(printed(&packet.unwrap_or_else(|fault| panic!("{fault}: {rest:?}"))));
            rest = &rest[taken..];
        }
        said
    }
}

fn proof(text: &mut String, method: Option<&str>, data: Option<&[u8]>) {
    for part in [method.map(str::as_bytes), data].into_iter().flatten() {
        let _ = write!(text, " {}", String::from_utf8_lossy(part));
    }
}

/// The name of a packet, and what matters of it.
fn printed(packet: &Packet<'_>) -> String {
    let code = |code: ReasonCode| {
        let is_usual = code == ReasonCode::Success;
        if is_usual { String::new() } else { format!(" {:02x}", code.octet()) }
    };
    match packet {
        Packet::Connack(c) => {
            let present = if c.session_present { "resumed" } else { "new" };
            let mut text = format!("CONNACK {:02x} {present}", c.code.octet());
            if c.properties.assigned_client_id.is_some() {
                text.push_str(" assigned");
            }
            if let Some(s) = c.properties.server_keep_alive_s {
                let _ = write!(text, " keep-alive={s}");
            }
            if let Some(s) = c.properties.session_expiry_s {
                let _ = write!(text, " expiry={s}");
            }
            if let Some(prefix) = c.properties.response_information {
                let _ = write!(text, " answers={prefix}");
            }
            proof(&mut text, c.properties.auth_method, c.properties.auth_data);
            text
        }
        Packet::Auth(a) => {
            let mut text = format!("AUTH {:02x}", a.code.octet());
            proof(&mut text, a.method, a.data);
            text
        }
        Packet::Publish(p) => printed_publish(p),
        Packet::Ack(a) => {
            let name = match a.kind {
                AckKind::Puback => "PUBACK",
                AckKind::Pubrec => "PUBREC",
                AckKind::Pubrel => "PUBREL",
                AckKind::Pubcomp => "PUBCOMP",
            };
            format!("{name} {}{}", a.packet_id.get(), code(a.code))
        }
        Packet::Suback(s) => {
            let name = match s.kind {
                AnswerKind::Suback => "SUBACK",
                AnswerKind::Unsuback => "UNSUBACK",
            };
            let codes: Vec<String> = s.codes.iter().map(|c| format!("{c:02x}")).collect();
            format!("{name} {} [{}]", s.packet_id.get(), codes.join(" "))
        }
        Packet::Pingresp => "PINGRESP".into(),
        Packet::Disconnect(d) => format!("DISCONNECT {:02x}", d.code.octet()),
        Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::Pingreq => {
            panic!("a server says no {packet:?}")
        }
    }
}

fn printed_publish(p: &crate::protocol::mqtt::wire::publish::Publish<'_>) -> String {
    let mut text = format!("PUBLISH {:?} q{}", p.topic, p.promise.qos().bits());
    if let Some(id) = p.promise.packet_id() {
        let _ = write!(text, " #{}", id.get());
    }
    for (is, name) in [(p.dup, " dup"), (p.retain, " retain")] {
        if is {
            text.push_str(name);
        }
    }
    if let Some(alias) = p.properties.topic_alias {
        let _ = write!(text, " alias={alias}");
    }
    if let Some(s) = p.properties.message.expiry_s {
        let _ = write!(text, " expiry={s}");
    }
    let mut ids: Vec<u32> = p.properties.subscription_ids.iter().collect();
    ids.sort_unstable();
    if !ids.is_empty() {
        let _ = write!(text, " ids={ids:?}");
    }
    for (name, value) in p.properties.message.user_properties.iter() {
        let _ = write!(text, " {name}={value}");
    }
    let _ = write!(text, " {}", String::from_utf8_lossy(p.payload));
    text
}
