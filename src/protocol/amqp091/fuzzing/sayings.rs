//! Frames that a client may send, made of any octets: mostly methods that servers take, with names
//! from a small world so that they meet. May import the codec.

use super::Script;
use crate::protocol::amqp091::REPLY_QUEUE;
use crate::protocol::amqp091::wire::field_table::TableRef;
use crate::protocol::amqp091::wire::frame;
use crate::protocol::amqp091::wire::method::{channel, exchange, queue};
use crate::protocol::amqp091::wire::method_table::{
    BASIC, CHANNEL, CONFIRM, EXCHANGE, Kind, METHODS, MethodRow, QUEUE, TX, find,
};
use crate::protocol::amqp091::wire::properties::Properties;
use crate::protocol::amqp091::wire::table_buffer::TableBuffer;
use crate::protocol::octets::{put_long_bytes, put_short_str, put_u16, put_u32, put_u64};
use crate::value::{Table, Value};

/// Class and method id, as often as they should be said.
const MENU: &[(u16, u16)] = &[
    (BASIC, 40),
    (BASIC, 40),
    (BASIC, 40),
    (BASIC, 40),
    (BASIC, 40),
    (BASIC, 40),
    (BASIC, 20),
    (BASIC, 20),
    (BASIC, 20),
    (BASIC, 30),
    (BASIC, 10),
    (BASIC, 70),
    (BASIC, 70),
    (BASIC, 80),
    (BASIC, 80),
    (BASIC, 80),
    (BASIC, 90),
    (BASIC, 120),
    (BASIC, 110),
    (QUEUE, 10),
    (QUEUE, 10),
    (QUEUE, 10),
    (QUEUE, 20),
    (QUEUE, 20),
    (QUEUE, 30),
    (QUEUE, 40),
    (QUEUE, 50),
    (EXCHANGE, 10),
    (EXCHANGE, 10),
    (EXCHANGE, 20),
    (EXCHANGE, 30),
    (EXCHANGE, 40),
    (CHANNEL, 20),
    (CHANNEL, 40),
    (CONFIRM, 10),
    (TX, 10),
    (TX, 20),
    (TX, 30),
];

pub(super) const QUEUES: [&str; 6] = ["q0", "q1", "q2", "q3", "", REPLY_QUEUE];
const EXCHANGES: [&str; 12] = [
    "",
    "e0",
    "",
    "e0",
    "",
    "e0",
    "e1",
    "amq.direct",
    "amq.fanout",
    "amq.topic",
    "amq.headers",
    "e2",
];
const KEYS: [&str; 8] = ["q0", "q1", "q2", "q3", "k.k", "k.#", "*", "1"];
const TAGS: [&str; 4] = ["", "c0", "c1", "c2"];
const TYPES: [&str; 8] = [
    "direct",
    "fanout",
    "topic",
    "headers",
    "x-consistent-hash",
    "x-delayed-message",
    "x-modulus-hash",
    "x-random",
];
/// Entries of tables: arguments of queues, exchanges and consumers, headers of messages.
const NAMES: [&str; 22] = [
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-delivery-limit",
    "x-single-active-consumer",
    "x-max-priority",
    "x-expires",
    "x-queue-type",
    "x-message-deduplication",
    "x-deduplication-header",
    "x-consumer-timeout",
    "x-priority",
    "x-delay",
    "x-delayed-type",
    "x-match",
    "alternate-exchange",
    "CC",
    "BCC",
    "connection_name",
];
const TEXTS: [&str; 12] = [
    "q0",
    "q1",
    "e0",
    "e1",
    "reject-publish",
    "drop-head",
    "reject-publish-dlx",
    "direct",
    "fanout",
    "any",
    "quorum",
    "",
];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sayings {
    /// An address that the client has heard of.
    pub(super) reply_to: String,
    /// The delivery tag that it has heard last.
    pub(super) tag: u64,
}

/// What most scripts would begin with: three channels, the queues, exchanges of which one leads to
/// all queues.
pub(super) fn world() -> Vec<u8> {
    let mut octets = Vec::new();
    for number in 2..4 {
        frame::put_method(&mut octets, number, &channel::Open { out_of_band: "" });
    }
    let exchange = exchange::Declare {
        ticket: 0,
        exchange: "e0",
        kind: "fanout",
        passive: false,
        durable: false,
        auto_delete: false,
        internal: false,
        no_wait: false,
        arguments: TableRef::EMPTY,
    };
    frame::put_method(&mut octets, 1, &exchange);
    for queue in QUEUES.iter().take(4) {
        let declare = queue::Declare {
            ticket: 0,
            queue,
            passive: false,
            durable: false,
            exclusive: false,
            auto_delete: false,
            no_wait: false,
            arguments: TableRef::EMPTY,
        };
        frame::put_method(&mut octets, 1, &declare);
        let bind = queue::Bind {
            ticket: 0,
            queue,
            exchange: "e0",
            routing_key: "",
            no_wait: false,
            arguments: TableRef::EMPTY,
        };
        frame::put_method(&mut octets, 1, &bind);
    }
    octets
}

impl Sayings {
    /// One frame, or a method with its content.
    pub(super) fn next(&self, what: u8, script: &mut Script<'_>) -> Vec<u8> {
        let row = if what < 198 {
            MENU.get(usize::from(what).checked_rem(MENU.len()).unwrap_or_default())
                .and_then(|(class, method)| find(*class, *method))
        } else {
            METHODS.get(usize::from(script.octet()).checked_rem(METHODS.len()).unwrap_or_default())
        };
        let Some(row) = row else { return Vec::new() };
        // Who has heard of no delivery had better publish than settle.
        let settles = row.class == BASIC && matches!(row.method, 80 | 90 | 120);
        let row = if settles && self.tag == 0 { find(BASIC, 40).unwrap_or(row) } else { row };
        let number = match script.octet() {
            // Each mode has a channel of its own, mostly.
            ..253 if row.class == TX => 3,
            ..253 if row.class == CONFIRM => 2,
            0..150 => 1,
            150..220 => 2,
            220..253 => 3,
            253 => 4,
            // Where it does not belong, and above channel_max.
            254 => 0,
            255 => u16::MAX,
        };
        let number = if row.class < CHANNEL { 0 } else { number };
        let mut octets = Vec::new();
        frame::put_method_frame(&mut octets, number, |out| {
            put_u16(out, row.class);
            put_u16(out, row.method);
            self.put_arguments(row, script, out);
        });
        if row.has_content {
            put_content(number, script, &mut octets);
        }
        octets
    }

    fn put_arguments(&self, row: &MethodRow, script: &mut Script<'_>, out: &mut Vec<u8>) {
        let mut texts = 0_usize;
        let mut bits = 0_u8;
        for kind in row.arguments {
            if *kind == Kind::Bit {
                if bits == 0 {
                    // Seldom: many of them are refused.
                    out.push(script.octet() & script.octet() & script.octet());
                }
                bits = bits.saturating_add(1);
                continue;
            }
            bits = 0;
            match kind {
                Kind::Octet => out.push(script.octet()),
                Kind::Short => put_u16(out, u16::from(script.octet() % 8)),
                // Only basic.qos has one, and it must be 0.
                Kind::Long => put_u32(out, u32::from(script.octet() / 250)),
                Kind::LongLong => put_u64(out, self.tag(script)),
                Kind::ShortText => {
                    put_short_str(out, self.text((row.class, row.method), texts, script));
                    texts = texts.saturating_add(1);
                }
                Kind::LongText => put_long_bytes(out, b"\0guest\0guest"),
                Kind::Table => put_table(script, out),
                Kind::Bit => {}
            }
        }
    }

    fn tag(&self, script: &mut Script<'_>) -> u64 {
        let near = script.octet();
        match near {
            ..220 => self.tag.saturating_sub(u64::from(near % 4)),
            _ => u64::from(near % 8),
        }
    }

    fn text(&self, method: (u16, u16), index: usize, script: &mut Script<'_>) -> &str {
        let key = |script: &mut Script<'_>| match script.octet() {
            255 => &*self.reply_to,
            which => Script(&[which]).pick(&KEYS).unwrap_or_default(),
        };
        let chosen = match (method, index) {
            ((EXCHANGE, 10), 1) => script.pick(&TYPES),
            ((EXCHANGE, _), 0 | 1) | ((QUEUE, _), 1) | ((BASIC, 40), 0) => script.pick(&EXCHANGES),
            ((QUEUE, _) | (BASIC, 20 | 70), 0) => script.pick(&QUEUES),
            ((BASIC, 20), 1) | ((BASIC, 30), 0) => script.pick(&TAGS),
            _ => return key(script),
        };
        chosen.unwrap_or_default()
    }
}

fn value(name: &str, script: &mut Script<'_>) -> Value {
    let number = script.octet();
    match name {
        "x-single-active-consumer" | "x-message-deduplication" => {
            Value::Bool(!number.is_multiple_of(4))
        }
        "x-priority" | "x-max-priority" | "x-max-length" => Value::I32(i32::from(number % 5)),
        "CC" | "BCC" => Value::Array(
            (0..number % 4).map(|_| Value::text(script.pick(&KEYS).unwrap_or_default())).collect(),
        ),
        "x-message-ttl" | "x-expires" | "x-delay" | "x-consumer-timeout" => {
            Value::I64(i64::from(number).saturating_mul(20))
        }
        "x-max-length-bytes" | "x-delivery-limit" => Value::U8(number),
        _ => Value::text(script.pick(&TEXTS).unwrap_or_default()),
    }
}

fn table(script: &mut Script<'_>) -> TableBuffer {
    let count = script.octet() % 16;
    // Mostly none.
    let entries = (0..count.saturating_sub(11)).map(|_| {
        let name = script.pick(&NAMES).unwrap_or_default();
        (name.into(), value(name, script))
    });
    TableBuffer::from_table(&Table(entries.collect())).unwrap_or_default()
}

fn put_table(script: &mut Script<'_>, out: &mut Vec<u8>) {
    put_long_bytes(out, table(script).view().as_bytes());
}

/// Header and body frames; now and then of another size than announced.
fn put_content(number: u16, script: &mut Script<'_>, out: &mut Vec<u8>) {
    const SIZES: [usize; 8] = [0, 1, 10, 100, 1_000, 5_000, 5_000, 60_000];
    let kind = script.octet();
    let headers = table(script);
    let has = |bit: u8| kind & (1 << bit) != 0;
    let properties = Properties {
        headers: has(0).then(|| headers.view()),
        delivery_mode: has(1).then_some(2),
        priority: has(2).then(|| script.octet() % 12),
        expiration: (kind % 16 == 9).then(|| &b"100"[..]),
        reply_to: (kind % 16 == 10).then(|| REPLY_QUEUE.as_bytes()),
        user_id: (kind == 250).then(|| &b"other"[..]),
        timestamp: has(5).then_some(1),
        ..Properties::default()
    };
    let block = if kind < 64 { vec![0, 0] } else { properties.to_block() };
    let body = vec![kind; script.pick(&SIZES).unwrap_or_default()];
    let frame_bytes_max = if has(3) { 1_000 } else { 4_096 };
    let announced = u64::try_from(body.len()).unwrap_or(u64::MAX);
    match kind {
        251 => frame::put_header_frame(out, number, announced.saturating_add(1), &block),
        252 => frame::put_header_frame(out, number, announced.saturating_sub(1), &block),
        253 => return,
        254 => frame::put_header_frame(out, number, u64::MAX, &block),
        _ => frame::put_header_frame(out, number, announced, &block),
    }
    frame::put_body_frames(out, number, &body, frame_bytes_max);
}
