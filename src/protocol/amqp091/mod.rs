//! AMQP 0-9-1 with the extensions that RabbitMQ's clients expect.
//!
//! One session per connection: octets in, octets and calls of the broker out; no socket, no clock.
//! May import `broker` (its public calls), `command`, `message`, `value`, `ids`, `auth`, `limits`,
//! `config`.
//!
//! | step | file |
//! |---|---|
//! | octets to frames, methods and properties | `wire/` |
//! | phases of the connection; which frame goes where | `session`, `dispatch` |
//! | header, start, tune, open; who logs in | `handshake`, `sasl` |
//! | farewells of connection and channel | `closing` |
//! | heartbeats and rates | `liveness` |
//! | a channel's state; which method goes where; answers of the broker | `channel`, `answer` |
//! | exchange.*, queue.* | `declare` |
//! | publishes: assembling, vetting | `publish`, `vet` |
//! | confirms; transactions | `confirm`, `transaction` |
//! | consumers; deliveries out, headers of the dead; what is out | `consume`, `deliver`, `death`, `unacked` |
//! | refusals to reply codes | `reply_code` |
//!
//! # Extensions (RabbitMQ's)
//!
//! Publisher confirms, basic.nack, exchange to exchange bindings, consumer_cancel_notify,
//! connection.blocked, consumer priorities, authentication_failure_close, prefetch per consumer,
//! direct reply-to, CC and BCC, update-secret, AMQPLAIN, x-death and x-delivery-count headers.
//!
//! # Deviations
//!
//! | what | the specification or RabbitMQ | here |
//! |---|---|---|
//! | a mechanism that is not offered, a response that is none | 503, 502 | refused like a wrong password: 403 after a delay (abuse row 48) |
//! | tune-ok with 0 | no limit | our limit (abuse row 10) |
//! | connection.open of vhost "" | a vhost of that name | vhost "/" (P74) |
//! | body larger than allowed | 406 | 406; from 2 GiB on 311 (P6, abuse row 15) |
//! | unknown exchange type | 503 on the connection; 406 in RabbitMQ's coming versions (R18) | 406 on the channel, as pika's suite expects |
//! | priority above 9 | invalid | taken as it is; the queue caps it (P77) |
//! | basic.recover(requeue=false), immediate=true, prefetch_size | in the specification | 540, as RabbitMQ |
//! | channel.flow(active=false) | 540 in RabbitMQ | deliveries of the channel pause |
//! | methods on a channel that the client closed | 504 | publish, ack, nack, reject are dropped (L9), others 504 |
//! | one unanswered command per channel | | nothing more of the connection is read until it is answered (P73) |

mod ahead;
mod answer;
mod channel;
mod closing;
mod confirm;
mod consume;
mod death;
mod declare;
mod deliver;
mod dispatch;
mod foreign;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod link;
mod listeners;
mod liveness;
mod publish;
mod reply_code;
mod report;
mod retained;
mod sasl;
mod session;
mod transaction;
mod unacked;
mod vet;
pub mod wire;

#[cfg(test)]
mod tests;

use crate::message::PropertyReader;
use crate::message::ProtocolTag;
use crate::protocol::octets::Decoded;
use crate::protocol::{Protocol, Recognised};
use crate::value::{Table, Value};

use wire::properties::{Properties, PropertyScan};
use wire::protocol_header::{self, Opening};

/// The mark of property blocks in AMQP's encoding.
pub const TAG: ProtocolTag = ProtocolTag(0);

/// The pseudo-queue that a client consumes from, and names as reply-to, for direct replies.
const REPLY_QUEUE: &str = "amq.rabbitmq.reply-to";

/// Octets of memory of an idle session without channels.
#[cfg(test)]
pub(crate) const SESSION_BYTES: usize = size_of::<session::Amqp>();

/// See [`Protocol`].
pub const PROTOCOL: Protocol = Protocol {
    name: "amqp",
    tag: TAG,
    listeners: listeners::listeners,
    web_names: &[],
    recognises,
    start: |peer| Box::new(session::Amqp::new(peer)),
    properties: PropertyReader {
        headers,
        property,
        topic: foreign::topic,
        neutral: foreign::neutral,
    },
    // Nothing that is published here names its publisher.
    may_be_shown: |_, _, _| true,
};

/// Any header of AMQP is ours: who speaks another version of it is answered with the one we speak
/// (P9).
fn recognises(octets: &[u8]) -> Recognised {
    match protocol_header::recognise(octets) {
        Decoded::NeedMore { bytes_min } => Recognised::NeedMore(bytes_min),
        Decoded::Frame { frame, .. } => match frame {
            Opening::Amqp091 | Opening::Amqp09 | Opening::Amqp10 { .. } | Opening::AmqpOther => {
                Recognised::Yes
            }
            Opening::Tls | Opening::Http | Opening::Unknown => Recognised::No,
        },
    }
}

fn headers(block: &[u8]) -> Table {
    let scan = PropertyScan::of(block).unwrap_or_default();
    scan.headers.map(|table| table.to_value()).unwrap_or_default()
}

fn property(block: &[u8], name: &str) -> Option<Value> {
    let all = Properties::decode(block).ok()?;
    let text = match name {
        "content_type" => all.content_type,
        "content_encoding" => all.content_encoding,
        "correlation_id" => all.correlation_id,
        "reply_to" => all.reply_to,
        "expiration" => all.expiration,
        "message_id" => all.message_id,
        "type" => all.kind,
        "user_id" => all.user_id,
        "app_id" => all.app_id,
        "cluster_id" => all.cluster_id,
        "delivery_mode" => return all.delivery_mode.map(Value::U8),
        "priority" => return all.priority.map(Value::U8),
        "timestamp" => return all.timestamp.map(Value::Timestamp),
        _ => return None,
    };
    text.map(|text| Value::Text(text.into()))
}
