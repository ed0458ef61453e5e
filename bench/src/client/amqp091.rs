//! Clients of AMQP 0-9-1. Set up with blocking calls (`link`, `setup`), then driven by `worker`
//! without blocking (`producer`, `consumer` on a `socket`). Imports RingMQ's codec.
//!
//! Messages do not pass through the codec one by one: a producer patches frames that the codec
//! wrote once (`batch`), and a consumer compares the octets around a body with those of an
//! earlier delivery (`shape`) and calls the codec when they differ.

pub(crate) mod batch;
pub(crate) mod caller;
pub(crate) mod consumer;
pub(crate) mod link;
pub(crate) mod many;
pub(crate) mod producer;
pub(crate) mod setup;
pub(crate) mod shape;

/// The only channel of a connection.
pub(crate) const CHANNEL: u16 = 1;
