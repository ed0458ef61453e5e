//! MQTT 3.1, 3.1.1 and 5.0.
//!
//! One session per connection: octets in, octets and calls of the broker out; no socket, no clock.
//! May import `broker` (its public calls and the tree of filters), `command`, `message`,
//! `properties`, `subscriber`, `value`, `ids`, `auth`, `limits`, `config`.
//!
//! | step | file |
//! |---|---|
//! | octets to packets and back | `wire/` |
//! | phases of the connection; which packet goes where | `session`, `packet` |
//! | CONNECT to CONNACK: login, the shard of the session | `connect` |
//! | AUTH: proofs before CONNACK and later | `authenticate` |
//! | farewells | `closing` |
//! | keep alive, rate of publishes | `liveness` |
//! | PUBLISH in; its answers in order; QoS 2 from clients | `publish`, `receive`, `acks` |
//! | PUBLISH out; what is out; how clients settle it | `deliver`, `outgoing`, `settle` |
//! | SUBSCRIBE, UNSUBSCRIBE; what filters want of a message | `subscribe`, `interest` |
//! | retained messages for new subscriptions | `retained` |
//! | wills | `will` |
//! | queues as topics: `$q/<queue>` | `queues` |
//! | what a message carries in the broker; messages of other protocols | `block`, `foreign` |
//! | topic aliases | `alias` |
//! | refusals to reason codes | `reason` |
//! | settings | `listeners`; `limits`; what was agreed with a client: `link` |
//!
//! # Decisions
//!
//! | what | the specification leaves | here |
//! |---|---|---|
//! | overlapping filters | one copy or several | one, with all subscription identifiers (H-22, H-23) |
//! | PUBACK 0x10 | optional | always when nobody has subscribed (H-03) |
//! | PUBREC 0x10 | optional | never, like Mosquitto: PUBREC says that the packet id is kept |
//! | a CONNECT of version 5 that cannot be read | CONNACK or close | CONNACK: it may be read (Mosquitto 2.1 answers); by a setting closed (Mosquitto 2.0) |
//! | a filter that is none | SUBACK or close | 0x8F for it (abuse row 64); by a setting closed, 0x81 (Mosquitto, VerneMQ); a topic that is none 0x90 or 0x81 likewise |
//! | a retained message whose publisher has lost its right | | not shown, unless a setting says so (abuse row 69) |
//! | packet ids after a restart | any that are not in use | they go on; after a crash some thousands later |
//! | a topic or filter with too many levels | | closed, 0x81 (V-040) |
//! | packet id 0 | | 0x82; of SUBSCRIBE and UNSUBSCRIBE 0x81, like Mosquitto |
//! | QoS 2 from clients | route at PUBLISH or at PUBREL | at PUBLISH; the packet id is kept (H-04) |
//! | a publish that is not allowed, version 3 | acknowledge or close | 3.1.1 closes, 3.1 acknowledges (V-041) |
//! | a publish that there is no room for, version 3 | no answer, or close | no answer to it and to what follows, closed when there is room or after 10 s |
//! | a filter that is refused, version 3.1 | no code for it | granted, and nothing comes (mqtt.md 2.2) |
//! | PUBACK for QoS 2 and the like | | 0x82, closed (abuse row 70) |
//! | reason strings | if the client does not forbid them | only to clients that ask for them; the log has all |
//! | PUBREC, PUBREL of what is not out | 0x92 or nothing said | 0x92 (abuse row 70); nothing to a negative PUBREC; success to a PUBREL in a session that goes on |
//! | a property of another packet | 0x81 by its chapter 2.2.2.2, 0x82 by others | 0x82 (abuse row 72); in SUBSCRIBE and UNSUBSCRIBE 0x81, like Mosquitto |
//! | control characters in texts | may close | they are text |
//! | a retained message without room | | delivered, not kept; version 5 hears 0x97 (abuse row 68) |
//! | a planned stop | | wills are not sent (H-35) |
//! | enhanced authentication | optional | SCRAM-SHA-256 and SCRAM-SHA-512; others 0x8C (H-30) |
//! | several connections with one client id, version 3 | the later one wins | by a setting each has a session of its own (V-034) |
//! | a proof in the name of another user, later | | 0x8C (abuse row 86) |
//!
//! # Where others are met
//!
//! What of mqtt.md 5.3 is built, and where. Not named here: not built.
//!
//! | | what | where |
//! |---|---|---|
//! | X-01 | virtual hosts by listener and user name | `connect` |
//! | X-02 to X-05 | topics are keys and keys are topics; dots within levels, topics that messages name, `$` topics where they are exposed | `broker::meeting`, `foreign` |
//! | X-06 | sessions are queues that others see and cannot use | `broker::subscriber` |
//! | X-07 | queues as topics, also for answers to queues that the broker has named, without the time after which a delivery is called back | `queues` |
//! | X-08 | exchanges by name, where it is set | `publish` |
//! | X-09 | QoS is persistence, and a header; what is not persistent comes with QoS 0 whatever that says | `foreign` |
//! | X-10 | who is answered knows that both sides have it | `broker::publish` |
//! | X-11 | publishing by key what is retained; retained messages for new bindings that ask for them | `broker::meeting`, `amqp091::retained` |
//! | X-12 | wills are messages; users, and what else only one side has a place for, where that is exposed | `foreign`, `block` |
//! | X-13 | topics and queues meet permissions | `broker::rights` |
//! | X-14 | what is left of a message's life | `deliver`, `foreign` |
//! | X-15 | dead letters of sessions, by a setting since there are no policies | `broker::queue::session` |
//! | X-16 | what is too large for a client does not go there | `deliver` |
//!
//! Not built: X-17, since there are no streams.

mod acks;
mod alias;
mod authenticate;
mod block;
mod closing;
mod connect;
mod deliver;
mod foreign;
#[doc(hidden)]
pub mod fuzzing;
mod interest;
mod limits;
mod link;
mod listeners;
mod liveness;
mod outgoing;
mod packet;
mod publish;
mod queues;
mod reason;
mod receive;
mod report;
mod retained;
mod session;
mod settle;
mod subscribe;
mod will;
pub mod wire;

#[cfg(test)]
mod tests;

use crate::message::PropertyReader;
use crate::protocol::{Protocol, Recognised};

pub use block::TAG;

/// See [`Protocol`].
pub const PROTOCOL: Protocol = Protocol {
    name: "mqtt",
    tag: TAG,
    listeners: listeners::listeners,
    // mqtt.md 6.0.0-3.
    web_names: &["mqtt", "mqttv3.1"],
    recognises,
    start: |peer| Box::new(session::Mqtt::new(peer)),
    properties: PropertyReader {
        headers: foreign::headers,
        property: foreign::property,
        topic: |_| None,
        neutral: foreign::neutral,
    },
    may_be_shown: retained::may_be_shown,
};

/// Octets of memory of an idle session.
#[cfg(test)]
pub(crate) const SESSION_BYTES: usize = size_of::<session::Mqtt>();

/// The fixed header of CONNECT and the protocol name behind it. A version that is not spoken is
/// ours as well: it is answered (3.1.2-2).
fn recognises(octets: &[u8]) -> Recognised {
    const CONNECT: u8 = 0x10;
    const NAMES: [&[u8]; 2] = [b"\x00\x04MQTT", b"\x00\x06MQIsdp"];
    let Some((&first, rest)) = octets.split_first() else { return Recognised::NeedMore(1) };
    if first != CONNECT {
        return Recognised::No;
    }
    let length_bytes = rest.iter().take(4).position(|octet| octet & 0x80 == 0);
    let Some(last) = length_bytes else {
        let is_cut = rest.len() < 4;
        let bytes_min = octets.len().saturating_add(1);
        return if is_cut { Recognised::NeedMore(bytes_min) } else { Recognised::No };
    };
    let name = rest.get(last.saturating_add(1)..).unwrap_or_default();
    if NAMES.iter().any(|known| name.starts_with(known)) {
        return Recognised::Yes;
    }
    match NAMES.iter().find(|known| known.starts_with(name)) {
        Some(known) => {
            let missing = known.len().saturating_sub(name.len());
            Recognised::NeedMore(octets.len().saturating_add(missing))
        }
        None => Recognised::No,
    }
}
