//! AMQP 0-9-1 with the extensions that RabbitMQ's clients expect.

pub mod wire;
