//! AMQP 0-9-1.

mod bounds_consumers;
mod bounds_counts;
mod bounds_gauge;
mod bounds_memory;
mod bounds_slow;
mod first_steps;
mod lifecycle;
mod placement;
mod process;
mod shards;
