//! One module per protocol that brokers are loaded by, and what they share.

pub(crate) mod amqp091;
pub(crate) mod confirms;
pub(crate) mod error;
pub(crate) mod mqtt;
pub(crate) mod socket;
pub(crate) mod tally;
pub(crate) mod uri;

pub(crate) use error::ClientError;
