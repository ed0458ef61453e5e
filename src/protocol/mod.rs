//! The protocols the broker speaks: one folder each, equal in rank, and what their codecs share.

#[cfg(feature = "amqp091")]
pub mod amqp091;
pub mod octets;
