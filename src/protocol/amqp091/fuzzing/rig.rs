//! A session, the brokers behind it and the connection loop around it, without a socket; and what
//! must hold of them. May import the session, `broker`, `auth`, `config`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use ringmq_shards::{Buffers, Output};

use super::Shape;
use super::listener::Listener;
use super::sayings::QUEUES;
use crate::auth::Users;
use crate::auth::password::PasswordHash;
use crate::auth::permission::Permission;
use crate::auth::user::User;
use crate::broker::placement::Placement;
use crate::broker::{Broker, Envelope, NodeLimits, Setup};
use crate::command::{Answer, Command, Event, Now};
use crate::config::Config;
use crate::ids::{ChannelId, ConnectionId, ConnectionRef, ShardId};
use crate::limits::OUTPUT_BYTES_HIGH;
use crate::protocol::amqp091::session::{Amqp, Phase};
use crate::protocol::amqp091::wire::frame;
use crate::protocol::amqp091::wire::method::{channel, connection};
use crate::protocol::amqp091::wire::protocol_header::PROTOCOL_HEADER;
use crate::protocol::amqp091::wire::table_buffer::TableBuffer;
use crate::protocol::amqp091::{PROTOCOL, TAG};
use crate::protocol::{Context, ListenerSettings, Logins, Next, Peer, Session};
use crate::value::{Table, Value};

/// Salt and SHA-256 of "guest".
const GUEST: &str = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";

/// Turns after which everything must have come to rest.
const TURNS_MAX: usize = 20_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Rig {
    shape: Shape,
    brokers: Vec<Broker>,
    mail: VecDeque<(ShardId, ShardId, Envelope)>,
    is_mail_held: bool,
    session: Amqp,
    id: ConnectionRef,
    out: Output,
    now: Now,
    /// On its way from the client.
    said: Vec<u8>,
    /// Octets that the session has not taken.
    input: Vec<u8>,
    /// Taken from the broker, not shown to the session yet.
    events: VecDeque<Event>,
    next: Next,
    is_eager: bool,
    is_reading: bool,
    /// The broker has not been told yet that the output was written.
    unwritten: bool,
    listener: Listener,
    /// Octets that had been written when the session wanted to be closed.
    last_octet: Option<usize>,
}

impl Rig {
    pub(super) fn new(shape: Shape) -> Self {
        let placement = Placement::new(shape.shards(), 16, shape.is_apart());
        let mut shards = (0..shape.shards()).map(ShardId);
        let mut brokers: Vec<_> =
            shards.clone().map(|shard| broker(shard, placement, shape)).collect();
        let home = shards.rfind(|shard| placement.takes_connections(*shard));
        let home = home.unwrap_or(ShardId(0));
        let id = brokers.get_mut(usize::from(home.0)).and_then(Broker::attach);
        assert!(id.is_some(), "there is room for one");
        let id = id.unwrap_or(ConnectionRef { shard: home, connection: ConnectionId::new(0, 0) });
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        let mut config = Config::default();
        config.amqp.heartbeat_s = 0;
        let config = Rc::new(config);
        let peer = Peer {
            id,
            remote: remote.into(),
            certified: None,
            listener: Rc::new(ListenerSettings::nowhere(&PROTOCOL)),
            accepted_ms: 0,
            moved: false,
            config,
            logins: logins(),
        };
        let mut rig = Self {
            shape,
            brokers,
            mail: VecDeque::new(),
            is_mail_held: false,
            session: Amqp::new(peer),
            id,
            out: Output::new(&Buffers::new()),
            now: Now { mono_ms: 0, wall_ms: 1_700_000_000_000 },
            said: Vec::new(),
            input: Vec::new(),
            events: VecDeque::new(),
            next: Next::Read { bytes_min: 1 },
            is_eager: false,
            is_reading: true,
            unwritten: false,
            listener: Listener::new(),
            last_octet: None,
        };
        if shape.is_open() {
            rig.log_in();
        }
        rig
    }

    fn log_in(&mut self) {
        let names =
            ["authentication_failure_close", "consumer_cancel_notify", "connection.blocked"];
        let all = names.map(|name| (name.into(), Value::Bool(self.shape.is_modern())));
        let properties = Table(vec![("capabilities".into(), Value::Table(Table(all.into())))]);
        let properties = TableBuffer::from_table(&properties).unwrap_or_default();
        let start_ok = connection::StartOk {
            client_properties: properties.view(),
            mechanism: "PLAIN",
            response: b"\0guest\0guest",
            locale: "en_US",
        };
        let frame_max = self.shape.frame_bytes_max();
        let heartbeat = self.shape.heartbeat_s();
        let tune_ok = connection::TuneOk { channel_max: 0, frame_max, heartbeat };
        let open = connection::Open { virtual_host: "/", capabilities: "", insist: false };
        let mut octets = PROTOCOL_HEADER.to_vec();
        frame::put_method(&mut octets, 0, &start_ok);
        frame::put_method(&mut octets, 0, &tune_ok);
        frame::put_method(&mut octets, 0, &open);
        frame::put_method(&mut octets, 1, &channel::Open { out_of_band: "" });
        self.say(&octets);
        self.arrive(usize::MAX);
        self.come_to_rest();
        assert!(matches!(self.session.phase, Phase::Running));
        assert_eq!(self.session.open_count, 1);
    }

    /// The client sends; [`Self::arrive`] says when it comes.
    pub(super) fn say(&mut self, octets: &[u8]) {
        self.said.extend_from_slice(octets);
    }

    /// So many octets of what was said come in.
    pub(super) fn arrive(&mut self, count: usize) {
        let count = count.min(self.said.len());
        self.input.extend(self.said.drain(..count));
    }

    pub(super) fn hold_mail(&mut self) {
        self.is_mail_held = true;
    }

    pub(super) fn release_mail(&mut self) {
        self.is_mail_held = false;
        self.turn();
    }

    pub(super) const fn stop_reading(&mut self) {
        self.is_reading = false;
    }

    pub(super) fn go_on_reading(&mut self) {
        self.is_reading = true;
        self.turn();
    }

    /// From now on the session is fed even when it asked for more than there is.
    pub(super) const fn be_eager(&mut self) {
        self.is_eager = true;
    }

    /// The address and the delivery tag that were heard last.
    pub(super) fn heard(&self) -> (String, u64) {
        (self.listener.reply_to.clone(), self.listener.tag)
    }

    /// The server stops, or an operator closes the connection.
    pub(super) fn end_of_the_server(&mut self, how: u8) {
        match how {
            0..8 => self.with_session(|session, cx| session.on_stop(cx)),
            8..16 => self.event(Event::Close { reason: "because".into() }),
            _ => {}
        }
        self.turn();
    }

    pub(super) fn advance(&mut self, ms: u64) {
        self.now.mono_ms = self.now.mono_ms.saturating_add(ms);
        self.now.wall_ms = self.now.wall_ms.saturating_add(ms);
        for broker in &mut self.brokers {
            broker.on_time(self.now);
        }
        self.turn();
    }

    /// One turn of the connection, and the mail. False: nothing more can be done.
    pub(super) fn turn(&mut self) -> bool {
        let mut worked = false;
        if self.next != Next::Close {
            worked |= self.take_events();
            self.tick();
            worked |= self.take_input();
        }
        if self.next != Next::Close {
            let next = self.next;
            self.with_session(|session, cx| {
                session.on_turn_end(cx);
                next
            });
        }
        worked |= self.end_turn();
        let before = self.out.len();
        self.write();
        worked | (self.out.len() < before)
    }

    fn tick(&mut self) {
        if self.session.deadline_ms().is_some_and(|at_ms| at_ms <= self.now.mono_ms) {
            self.with_session(|session, cx| {
                let (next, deadline) = session.on_tick(cx);
                assert_eq!(deadline, session.deadline_ms());
                next
            });
            let deadline = self.session.deadline_ms();
            assert!(deadline.is_none_or(|at| at > self.now.mono_ms), "ticks never end");
        }
    }

    pub(super) fn come_to_rest(&mut self) {
        let quiet = (0..TURNS_MAX).find(|_| !self.turn());
        assert!(quiet.is_some(), "never comes to rest");
    }

    fn with_session(&mut self, call: impl FnOnce(&mut Amqp, &mut Context<'_>) -> Next) {
        let home = usize::from(self.id.shard.0);
        let Some(broker) = self.brokers.get_mut(home) else { return };
        let mut cx = Context { broker, out: &mut self.out, now: self.now };
        let next = call(&mut self.session, &mut cx);
        let written = self.listener.octets.saturating_add(self.out.len());
        if let Some(last_octet) = self.last_octet {
            assert_eq!(written, last_octet, "written after Close");
            assert_eq!(next, Next::Close, "Close is for ever");
        } else if next == Next::Close {
            self.last_octet = Some(written);
        }
        self.next = next;
    }

    fn event(&mut self, event: Event) {
        self.with_session(|session, cx| session.on_event(event, cx));
    }

    fn take_events(&mut self) -> bool {
        if self.is_full(1) {
            return false;
        }
        if self.events.is_empty() {
            let mut taken = Vec::new();
            if let Some(broker) = self.brokers.get_mut(usize::from(self.id.shard.0)) {
                broker.take_events(self.id.connection, &mut taken);
            }
            self.events = VecDeque::from(taken);
        }
        let mut worked = false;
        while !self.is_full(1)
            && let Some(event) = self.events.pop_front()
        {
            self.event(event);
            worked = true;
        }
        self.unwritten |= worked;
        worked
    }

    /// The output has so many times what it should have.
    fn is_full(&self, times: u64) -> bool {
        let octets = u64::try_from(self.out.len()).unwrap_or(u64::MAX);
        octets >= OUTPUT_BYTES_HIGH.saturating_mul(times)
    }

    fn take_input(&mut self) -> bool {
        let Next::Read { bytes_min } = self.next else { return false };
        let enough = if self.is_eager { 1 } else { bytes_min };
        if self.is_full(2) || self.input.len() < enough {
            return false;
        }
        let input = std::mem::take(&mut self.input);
        let mut taken = 0;
        self.with_session(|session, cx| {
            let next;
            (taken, next) = session.on_bytes(&input, cx);
            next
        });
        let left = input.len().checked_sub(taken);
        assert!(left.is_some(), "took {taken} of {}", input.len());
        let left = left.unwrap_or_default();
        if let Next::Read { bytes_min } = self.next {
            // A publish of one body frame is taken as a whole.
            let max = u64::from(self.session.link.frame_bytes_max.max(8192));
            let max = max.saturating_add(8).saturating_mul(3);
            assert!(u64::try_from(bytes_min).is_ok_and(|min| min <= max), "wants {bytes_min}");
            assert!(bytes_min > left || left == 0 || self.is_full(2), "{left} left unread");
        }
        self.input = input.get(taken..).unwrap_or_default().to_vec();
        taken > 0
    }

    /// Brokers deliver; mail goes round, unless it is held. True: there was some.
    fn end_turn(&mut self) -> bool {
        let mut worked = false;
        for _ in 0..TURNS_MAX {
            for broker in &mut self.brokers {
                broker.end_turn(self.now);
                let from = broker.shard();
                broker.collect(|to, envelope| self.mail.push_back((from, to, envelope)));
                broker.take_ready(&mut Vec::new());
            }
            if self.is_mail_held {
                return worked;
            }
            let Some((from, to, envelope)) = self.mail.pop_front() else { return worked };
            if let Some(broker) = self.brokers.get_mut(usize::from(to.0)) {
                broker.receive(from, envelope, self.now);
            }
            worked = true;
        }
        assert!(self.mail.is_empty(), "mail without end");
        worked
    }

    fn write(&mut self) {
        if self.is_reading {
            while !self.out.is_empty() {
                let front = self.out.front();
                let octets = front.len();
                self.listener.hear(front, self.session.link.frame_bytes_max);
                self.out.consume(octets);
            }
            self.listener.assert_whole();
            let answers = std::mem::take(&mut self.listener.answers);
            if self.shape.is_polite() && !answers.is_empty() {
                self.said.extend_from_slice(&answers);
                self.arrive(usize::MAX);
            }
        }
        let low = u64::try_from(self.out.len()).is_ok_and(|len| len <= OUTPUT_BYTES_HIGH / 2);
        if low && self.events.is_empty() && std::mem::take(&mut self.unwritten) {
            if let Some(broker) = self.brokers.get_mut(usize::from(self.id.shard.0)) {
                broker.drained(self.id.connection);
            }
            self.end_turn();
        }
    }

    /// The connection ends; with `in_peace` when everything has come to rest.
    pub(super) fn end(mut self, in_peace: bool) {
        if in_peace {
            self.is_mail_held = false;
            self.is_reading = true;
            self.come_to_rest();
            let waiting = &self.session.waiting;
            assert!(waiting.is_none(), "never answered: {waiting:?}");
            assert!(!matches!(self.session.phase, Phase::Ending { .. }), "no farewell");
            assert!(self.events.is_empty() && self.out.is_empty());
        }
        self.with_session(|session, cx| {
            session.on_lost("gone", cx);
            Next::Close
        });
        while let Some(event) = self.events.pop_front() {
            self.event(event);
        }
        if let Some(broker) = self.brokers.get_mut(usize::from(self.id.shard.0)) {
            broker.detach(self.id.connection, self.now);
        }
        let link = &self.session.link;
        assert_eq!(link.transaction_bytes, 0);
        assert_eq!((link.assemblies, link.assembly_bytes), (0, 0));
        assert_eq!(self.session.deadline_ms(), None);
        self.is_mail_held = false;
        self.end_turn();
        for broker in &self.brokers {
            assert_eq!(broker.connection_count(), 0);
        }
        self.audit();
    }

    /// Somebody else looks: nobody consumes, and what is there can be deleted.
    fn audit(&mut self) {
        let home = usize::from(self.id.shard.0);
        let Some(id) = self.brokers.get_mut(home).and_then(Broker::attach) else { return };
        let identity = logins().borrow().users.login("guest", b"guest", Ipv4Addr::LOCALHOST.into());
        let Ok(identity) = identity else { return };
        if let Some(broker) = self.brokers.get_mut(home) {
            assert!(broker.enter(id.connection, &identity, "/").is_ok());
        }
        let mut names = std::mem::take(&mut self.listener.queues);
        names.extend(QUEUES.iter().take(4).map(|name| (*name).to_owned()));
        names.sort_unstable();
        names.dedup();
        for name in names {
            let declare = Command::DeclareQueue {
                name: name.as_str().into(),
                passive: true,
                durable: false,
                exclusive: false,
                auto_delete: false,
                arguments: Table::default(),
            };
            let answer = self.ask(id, declare);
            if let Answer::QueueDeclared { consumers, messages, .. } = answer {
                assert_eq!(consumers, 0, "consumers of {name} stayed");
                let name = name.as_str().into();
                let delete = Command::DeleteQueue { name, if_unused: true, if_empty: false };
                let answer = self.ask(id, delete);
                let is_all = matches!(answer, Answer::Removed { messages: n } if n == messages);
                assert!(is_all, "{messages} messages were ready: {answer:?}");
            }
        }
    }

    fn ask(&mut self, id: ConnectionRef, command: Command) -> Answer {
        let home = usize::from(id.shard.0);
        let mut events = Vec::new();
        if let Some(broker) = self.brokers.get_mut(home)
            && let Some(answer) = broker.execute(id.connection, ChannelId(1), command, self.now)
        {
            return answer;
        }
        self.end_turn();
        if let Some(broker) = self.brokers.get_mut(home) {
            broker.take_events(id.connection, &mut events);
        }
        let answer = events.into_iter().find_map(|event| match event {
            Event::Answer { answer, .. } => Some(answer),
            Event::Delivery(_)
            | Event::Stored { .. }
            | Event::Returned { .. }
            | Event::ConsumerGone { .. }
            | Event::SubscriptionsGone { .. }
            | Event::PublishResumed
            | Event::Retained { .. }
            | Event::TakenOver
            | Event::Alarm(_)
            | Event::LoginChecked(_)
            | Event::Close { .. } => None,
        });
        assert!(answer.is_some(), "no answer at rest");
        answer.unwrap_or(Answer::Done)
    }
}

fn broker(shard: ShardId, placement: Placement, shape: Shape) -> Broker {
    Broker::new(Setup {
        shard,
        placement,
        vhosts: vec!["/".into()],
        readers: vec![PROTOCOL.properties; usize::from(TAG.0).saturating_add(1)],
        boot: 0,
        storage: None,
        durabilities: Vec::new(),
        secret: [7; 32],
        limits: NodeLimits {
            memory_bytes_max: shape.memory_bytes_max(),
            queues_max: 1000,
            exchanges_max: 1000,
            bindings_max: 10_000,
            prefetch_default: 65_535,
            consumer_timeout_ms: Some(60_000),
            durability: crate::durability::Durability::Sync,
            retained_max: crate::limits::RETAINED_MAX,
            retained_bytes_max: crate::limits::RETAINED_BYTES_MAX,
            near_members_first: false,
            members_in_turn: false,
        },
    })
}

fn logins() -> Rc<RefCell<Logins>> {
    let mut guest = User {
        name: "guest".into(),
        password: PasswordHash::parse(GUEST, None).ok(),
        tags: vec![],
        permissions: vec![],
    };
    guest.permit("/", Permission::all());
    let users = Arc::new(Users::new([guest], None));
    Rc::new(RefCell::new(Logins { users, ..Logins::default() }))
}
