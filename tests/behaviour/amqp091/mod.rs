//! AMQP 0-9-1.

mod first_steps;
mod process;
