//! A client made of our own codec, and a broker whose clock is moved by hand.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringmq_shards::{Buffers, Output};

use crate::auth::Users;
use crate::auth::password::PasswordHash;
use crate::auth::permission::Permission;
use crate::auth::user::User;
use crate::broker::placement::Placement;
use crate::broker::{Broker, NodeLimits, Setup};
use crate::command::{Event, Now};
use crate::config::Config;
use crate::ids::ShardId;
use crate::protocol::amqp091::session::Amqp;
use crate::protocol::amqp091::wire::field_table::TableRef;
use crate::protocol::amqp091::wire::frame::{self, Frame};
use crate::protocol::amqp091::wire::method::{Encode, Method, basic, connection};
use crate::protocol::amqp091::wire::protocol_header::PROTOCOL_HEADER;
use crate::protocol::amqp091::{PROTOCOL, TAG};
use crate::protocol::octets::Decoded;
use crate::protocol::{Context, ListenerSettings, Logins, Next, Peer, Session};
use crate::value::{Table, Value};

/// What the server said, method by method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Channel and method, printed.
    Method(u16, String),
    /// Channel, property block and body size.
    Header(u16, Vec<u8>, u64),
    Body(u16, Vec<u8>),
    Heartbeat,
}

/// A broker of one shard and one connection to it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) broker: Broker,
    pub(super) session: Amqp,
    out: Output,
    pub(super) now: Now,
    /// Octets that the session has not taken.
    input: Vec<u8>,
    pub(super) next: Next,
}

/// Salt and SHA-256 of "guest".
const GUEST: &str = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";

pub(super) fn broker() -> Broker {
    let readers = vec![PROTOCOL.properties; usize::from(TAG.0) + 1];
    Broker::new(Setup {
        shard: ShardId(0),
        placement: Placement::new(1, 1, false),
        vhosts: vec!["/".into()],
        readers,
        boot: 0,
        storage: None,
        durabilities: Vec::new(),
        secret: [7; 32],
        limits: NodeLimits {
            memory_bytes_max: u64::MAX,
            queues_max: 1000,
            exchanges_max: 1000,
            bindings_max: 1_000_000,
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
        password: Some(PasswordHash::parse(GUEST, None).unwrap()),
        tags: vec![],
        permissions: vec![],
    };
    guest.permit("/", Permission::all());
    let users = Arc::new(Users::new([guest], None));
    Rc::new(RefCell::new(Logins { users, ..Logins::default() }))
}

impl Client {
    /// A connection that has said nothing.
    pub(super) fn silent() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        let mut broker = broker();
        let remote: SocketAddr = "127.0.0.1:40000".parse().unwrap();
        let peer = Peer {
            id: broker.attach().unwrap(),
            remote: remote.into(),
            certified: None,
            listener: Rc::new(ListenerSettings::nowhere(&PROTOCOL)),
            accepted_ms: 0,
            moved: false,
            config: Rc::new(config),
            logins: logins(),
        };
        Self {
            broker,
            session: Amqp::new(peer),
            out: Output::new(&Buffers::new()),
            now: Now { mono_ms: 0, wall_ms: 1_700_000_000_000 },
            input: Vec::new(),
            next: Next::Read { bytes_min: 1 },
        }
    }

    /// A connection that is open, with channel 1.
    pub(super) fn open() -> Self {
        let mut client = Self::logged_in(Config::default(), 131_072);
        client.open_channel(1);
        client
    }

    pub(super) fn logged_in(config: Config, frame_max: u32) -> Self {
        let mut client = Self::with(config);
        client.say(&PROTOCOL_HEADER);
        client.start_ok(&all_capabilities(), "PLAIN", b"\0guest\0guest");
        client.tune_ok(0, frame_max, 0);
        let open = connection::Open { virtual_host: "", capabilities: "", insist: false };
        client.method(0, &open);
        assert_eq!(client.heard().last(), Some(&method(0, "connection.open-ok")));
        client
    }

    pub(super) fn open_channel(&mut self, number: u16) {
        use crate::protocol::amqp091::wire::method::channel;
        self.method(number, &channel::Open { out_of_band: "" });
        assert_eq!(self.heard(), [method(number, "channel.open-ok")]);
    }

    pub(super) fn start_ok(&mut self, properties: &Table, mechanism: &str, response: &[u8]) {
        use crate::protocol::amqp091::wire::table_buffer::TableBuffer;
        let properties = TableBuffer::from_table(properties).unwrap();
        let client_properties = properties.view();
        let locale = "en_US";
        self.method(0, &connection::StartOk { client_properties, mechanism, response, locale });
    }

    pub(super) fn tune_ok(&mut self, channel_max: u16, frame_max: u32, heartbeat: u16) {
        self.method(0, &connection::TuneOk { channel_max, frame_max, heartbeat });
    }

    pub(super) fn method(&mut self, channel: u16, method: &impl Encode) {
        let mut octets = Vec::new();
        frame::put_method(&mut octets, channel, method);
        self.say(&octets);
    }

    pub(super) fn publish(&mut self, channel: u16, exchange: &str, key: &str, body: &[u8]) {
        self.say(&publish(channel, exchange, key, &[0, 0], body));
    }

    /// Hands octets over and lets broker and session work until both are quiet.
    pub(super) fn say(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        self.work();
    }

    pub(super) fn work(&mut self) {
        for _ in 0..10_000 {
            let mut is_quiet = true;
            let mut events = Vec::new();
            let id = self.session.link.id();
            self.broker.take_events(id, &mut events);
            for event in events {
                is_quiet = false;
                self.event(event);
            }
            if let Next::Read { .. } = self.next {
                let mut cx =
                    Context { broker: &mut self.broker, out: &mut self.out, now: self.now };
                let (taken, next) = self.session.on_bytes(&self.input, &mut cx);
                self.input.drain(..taken);
                self.next = next;
                is_quiet &= taken == 0;
            }
            let mut cx = Context { broker: &mut self.broker, out: &mut self.out, now: self.now };
            self.session.on_turn_end(&mut cx);
            self.broker.end_turn(self.now);
            let mut ready = Vec::new();
            self.broker.take_ready(&mut ready);
            if is_quiet && ready.is_empty() {
                return;
            }
        }
        panic!("broker and session never come to rest");
    }

    pub(super) const fn out(&mut self) -> &mut Output {
        &mut self.out
    }

    pub(super) fn event(&mut self, event: Event) {
        let mut cx = Context { broker: &mut self.broker, out: &mut self.out, now: self.now };
        self.next = self.session.on_event(event, &mut cx);
    }

    /// Moves the clock and lets the session look at it.
    pub(super) fn tick(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        let mut cx = Context { broker: &mut self.broker, out: &mut self.out, now: self.now };
        (self.next, _) = self.session.on_tick(&mut cx);
        self.work();
    }

    /// Everything the server has written since the last call.
    pub(super) fn octets(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while !self.out.is_empty() {
            let front = self.out.front().to_vec();
            self.out.consume(front.len());
            all.extend(front);
        }
        all
    }

    /// The same as frames. An empty body frame or a cut frame fails.
    pub(super) fn heard(&mut self) -> Vec<Said> {
        let octets = self.octets();
        let mut rest = &octets[..];
        let mut said = Vec::new();
        while !rest.is_empty() {
            let Ok(Decoded::Frame { frame, taken }) = frame::decode(rest, 0) else {
                panic!("no whole frame: {rest:?}");
            };
            said.push(match frame {
                Frame::Method { channel, payload } => {
                    Said::Method(channel, printed(&Method::decode(payload).unwrap()))
                }
                Frame::Header { channel, payload } => {
                    let size = u64::from_be_bytes(payload[4..12].try_into().unwrap());
                    Said::Header(channel, payload[12..].to_vec(), size)
                }
                Frame::Body { channel, payload } => Said::Body(channel, payload.to_vec()),
                Frame::Heartbeat { .. } => Said::Heartbeat,
            });
            rest = &rest[taken..];
        }
        said
    }
}

/// The name of a method, and what matters of its arguments.
#[expect(clippy::wildcard_enum_match_arm, reason = "a test names what it looks at")]
fn printed(method: &Method<'_>) -> String {
    use crate::protocol::amqp091::wire::method::{Basic, Channel, Connection, Queue};
    let name = method.name();
    match method {
        Method::Connection(Connection::Close(connection::Close {
            reply_code,
            reply_text,
            class_id,
            method_id,
        })) => {
            format!("{name} {reply_code} {reply_text} ({class_id}, {method_id})")
        }
        Method::Channel(Channel::Close(close)) => format!(
            "{name} {} {} ({}, {})",
            close.reply_code, close.reply_text, close.class_id, close.method_id
        ),
        Method::Connection(Connection::Tune(tune)) => {
            format!("{name} {} {} {}", tune.channel_max, tune.frame_max, tune.heartbeat)
        }
        Method::Connection(Connection::Blocked(blocked)) => format!("{name} {}", blocked.reason),
        Method::Basic(Basic::Ack(ack)) => format!("{name} {} {}", ack.delivery_tag, ack.multiple),
        Method::Basic(Basic::Nack(nack)) => {
            format!("{name} {} {}", nack.delivery_tag, nack.multiple)
        }
        Method::Basic(Basic::ConsumeOk(ok)) => format!("{name} {}", ok.consumer_tag),
        Method::Basic(Basic::Cancel(cancel)) => format!("{name} {}", cancel.consumer_tag),
        Method::Basic(Basic::CancelOk(ok)) => format!("{name} {}", ok.consumer_tag),
        Method::Basic(Basic::Return(back)) => {
            format!("{name} {} {}", back.reply_code, back.routing_key)
        }
        Method::Basic(Basic::Deliver(deliver)) => format!(
            "{name} {} {} {} {}",
            deliver.consumer_tag, deliver.delivery_tag, deliver.redelivered, deliver.routing_key
        ),
        Method::Basic(Basic::GetOk(ok)) => {
            format!("{name} {} {} {}", ok.delivery_tag, ok.redelivered, ok.message_count)
        }
        Method::Queue(Queue::DeclareOk(ok)) => {
            format!("{name} {} {} {}", ok.queue, ok.message_count, ok.consumer_count)
        }
        Method::Queue(Queue::DeleteOk(ok)) => format!("{name} {}", ok.message_count),
        Method::Queue(Queue::PurgeOk(ok)) => format!("{name} {}", ok.message_count),
        _ => name.to_owned(),
    }
}

/// A method as [`Client::heard`] tells it.
pub(super) fn method(channel: u16, text: &str) -> Said {
    Said::Method(channel, text.to_owned())
}

/// Method, header and body frames of a publish.
pub(super) fn publish(
    channel: u16,
    exchange: &str,
    key: &str,
    block: &[u8],
    body: &[u8],
) -> Vec<u8> {
    let mut octets = Vec::new();
    let method = basic::Publish {
        ticket: 0,
        exchange,
        routing_key: key,
        mandatory: false,
        immediate: false,
    };
    frame::put_content(&mut octets, channel, &method, block, body, 131_072);
    octets
}

/// Client properties that announce everything.
pub(super) fn all_capabilities() -> Table {
    let names = ["authentication_failure_close", "consumer_cancel_notify", "connection.blocked"];
    let all = names.map(|name| (name.into(), Value::Bool(true)));
    Table(vec![("capabilities".into(), Value::Table(Table(all.into())))])
}

/// queue.declare of a plain queue.
pub(super) fn declare(queue: &str) -> crate::protocol::amqp091::wire::method::queue::Declare<'_> {
    crate::protocol::amqp091::wire::method::queue::Declare {
        ticket: 0,
        queue,
        passive: false,
        durable: false,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments: TableRef::EMPTY,
    }
}

/// basic.consume with acknowledgements.
pub(super) fn consume<'a>(queue: &'a str, tag: &'a str) -> basic::Consume<'a> {
    basic::Consume {
        ticket: 0,
        queue,
        consumer_tag: tag,
        no_local: false,
        no_ack: false,
        exclusive: false,
        no_wait: false,
        arguments: TableRef::EMPTY,
    }
}
