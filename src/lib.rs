//! RingMQ: one server for AMQP 0-9-1 and MQTT 3.1, 3.1.1 and 5.0 on Linux, one thread per core,
//! nothing shared between them, on io_uring.
//!
//! # The picture
//!
//! A node is N shards, each a pinned executor with its own listeners (`SO_REUSEPORT`), connections,
//! sessions, exchanges and queues. What another shard owns is reached by mail over a lane; there is
//! no lock and no shared counter.
//!
//! # The way of a message
//!
//! `shards` fills a pooled buffer from the socket; `connection` feeds it to the session, out of
//! TLS and its WebSocket if it has them; the codec (`protocol::amqp091::wire`, `protocol::mqtt::wire`) makes frames
//! or packets of it; the session makes one call of [`broker::Broker::publish`] or
//! [`broker::Broker::publish_topic`]; the exchange gives local queues and shards with an interest; local
//! queues append, other shards get one entry of this turn's batch and route once more to their own
//! queues; at the end of the turn queues deliver to consumers with credit and room, here as an
//! [`command::Event`], elsewhere by mail; the session of the consumer's connection writes octets into
//! the output, which goes out in one write per turn. README.md has the same as a table; a test keeps it true.
//!
//! # Ownership
//!
//! - A queue belongs to the shard of its group, hash(vhost, name) mod G mod N
//!   ([`broker::placement::Placement`]). Only the owner decides about it: its definition, bindings,
//!   consumers, messages, deliveries that are out.
//! - Every shard has every exchange. Shard 0, the keeper, gives them their numbers and the order in
//!   which they come and go.
//! - A binding lives on its queue's owner. Other shards have one bit per binding: that shard has at
//!   least one queue bound so. Exchange types that pick one queue among all (consistent hash, random)
//!   have every binding everywhere, by queue name.
//! - An answer goes to the client when every shard has applied what it says: who has seen `bind-ok`
//!   can publish from any connection and be routed.
//!
//! # Subscribers
//!
//! What MQTT needs is made of what was there; the broker's words for it are in [`subscriber`].
//!
//! - What a client has while it is away (its *session*, which is not the state machine of its
//!   connection) is a queue of the type `session` with that client as its only consumer. It is durable
//!   if it lasts, and its definition says how long. What is unanswered has the packet id that follows
//!   from its position, so a resend needs no table. Numbers that the two sides of QoS 2 keep are notes
//!   in the queue's log.
//! - A filter is a binding of that queue to the exchange `amq.filter`; what the client wants of it
//!   (QoS, no local, ...) stands in the binding's arguments. QoS is therefore a property of each
//!   delivery. Shared subscriptions are bindings to `amq.group`: every shard knows all members and who
//!   of them is away, and the publisher's shard picks one.
//! - A connection lives on the shard of its session ([`broker::Broker::session_home`]). Until CONNECT
//!   has come nobody knows which that is: then socket, octets read so far and state machine move
//!   there ([`protocol::Next::Move`]), once, before anything is answered. So deliveries to sessions
//!   never cross shards; publishes do.
//! - The retained messages of a virtual host are in 64 parts by hash of the topic, each a durable
//!   queue of the type `latest` that no name reaches. A table by topic says where in the store the
//!   latest message lies. Readers come page by page, and before its first page a shard waits for what
//!   other shards had on their way when the subscription was made.
//! - Wills lie among the messages that wait for their time, in memory and in the log.
//! - `amq.topic` and `amq.filter` know each other (`broker::meeting`): a walk that comes by one goes
//!   on at the other under the translated key, if anything is bound there. A message keeps the
//!   property block of its publisher; only where it leaves by another protocol it is translated, by
//!   way of [`properties::Properties`].
//!
//! # Storage
//!
//! One append-only log per shard (`ringmq_shards::log`), on which the shard's queues write messages and
//! settlements, and the owners of definitions what was declared. Nobody blocks on it: the core hands
//! out jobs and is told what is done, the `hub` carries both between the core and the shard's driver.
//! Confirms (PUBACK and PUBREC are some) and answers wait in `broker::storage::waits` for the sync of
//! their batch. Messages are in
//! memory while they are new; what outgrows its queue's share or its log file moves into segments of
//! the queue, which are written once and then mapped. A queue names messages by position through its
//! `Store` and keeps no state per ready message, wherever they lie. At a start `node::restart` reads
//! all logs into what each shard needs; the shards write it again into their new logs and only then
//! let the old ones go, so that a crash at any moment finds one of the two.
//!
//! # The control thread
//!
//! One thread beside the shards ([`control`], tokio) owns what is global and rarely written: users,
//! virtual hosts, permissions, limits. It stores a change, has every shard apply it and then answers. It
//! reaches shards by questions, functions that run there between two turns; shards reach it by nothing
//! but passwords that take too long to check. No message passes through it.
//!
//! # Bounds
//!
//! Everything a peer can make grow has a limit, in [`limits`] or as a setting. A lane holds at most
//! `LANE_BYTES_MAX`, what is on its way to one connection from one owner `LINK_BYTES_MAX`, an output
//! `OUTPUT_BYTES_HIGH` before deliveries wait and twice that before reading stops. A session takes as
//! many messages as the settings say; what it drops is no concern of the publisher. Messages in memory
//! near `max_memory` move to disk; above it, or when the disk cannot keep up, publishers wait, with
//! notice to those who asked for it.
//!
//! # Which module may use which
//!
//! ```text
//! main -> node -> hub, listener -> connection -> protocol -> broker -> exchange, queue
//!                                       \           \------> command, message, value, ids
//!                                        \------> transport -> protocol (the trait)
//! node -> control -> hub, broker, auth
//! main -> check -> broker, control (what they store)
//! main -> passwd -> auth
//! ```
//!
//! - `ringmq_shards` knows no protocol, exchange or queue. All `unsafe` and all of glommio are there.
//! - `broker` speaks no protocol and has no socket and no clock. It refuses in its own words
//!   ([`command::Refusal`]); each protocol translates in one exhaustive match.
//! - `protocol::*::wire` is a pure function of its octets. Sessions do no I/O; time is an argument.
//! - Only `connection` awaits with a session in hand; a borrow of the broker never lives across an
//!   await.
//! - Permissions are asked in one place, [`auth::authorise`].
//!
//! # What must stay absent
//!
//! No lock, no blocking call and no clock on a shard; no reference count of a single message that
//! crosses cores; no panic that input, settings or a peer can cause; no allocation that a length field
//! controls; no protocol word in `broker` or `shards`. `tests/tidy.rs` and the lints look after these.
#![forbid(unsafe_code)]

mod arrival_rate;
pub mod auth;
pub mod broker;
pub mod check;
pub mod command;
pub mod config;
mod connection;
pub mod control;
mod doorstep;
pub mod durability;
mod hub;
pub mod ids;
pub mod limits;
mod listener;
mod loads;
pub mod logging;
mod management;
pub mod message;
pub mod node;
pub mod passwd;
pub mod properties;
pub mod protocol;
mod reports;
pub mod stats;
pub mod subscriber;
mod transport;
pub mod value;

#[doc(hidden)]
pub use transport::proxy_protocol::fuzz as fuzz_proxy_header;
