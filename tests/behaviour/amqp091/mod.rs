//! AMQP 0-9-1.

mod first_steps;
mod hostile_content;
mod hostile_frames;
mod hostile_handshake;
mod hostile_load;
mod hostile_patience;
mod hostile_topology;
mod process;
