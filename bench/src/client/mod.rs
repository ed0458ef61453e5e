//! One module per protocol that brokers are loaded by, and what they share.

pub(crate) mod amqp091;
pub(crate) mod broker;
pub(crate) mod confirms;
pub(crate) mod error;
pub(crate) mod fleet;
mod layers;
pub(crate) mod member;
pub(crate) mod mqtt;
pub(crate) mod socket;
pub(crate) mod tally;
pub(crate) mod tls;
pub(crate) mod uri;
mod web;

pub(crate) use error::ClientError;
