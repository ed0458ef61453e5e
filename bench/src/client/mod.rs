//! One module per protocol that brokers are loaded by.

pub(crate) mod amqp091;

pub(crate) use amqp091::error::ClientError;
