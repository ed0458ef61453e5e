//! What the broker does, asked over real sockets: one folder per protocol, one file per subject,
//! one sentence per test. Every behaviour holds for one shard, for several, and where queues live
//! on other shards than their connections: see `on_every_setup!`.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "these are clients with threads and a clock of their own, not shards"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_in_result,
    reason = "a test picks the one answer it waits for and fails by panicking on all others"
)]

#[macro_use]
mod support;

mod amqp091;
mod http;
mod meeting;
mod mqtt;
mod tls;
mod transport;
