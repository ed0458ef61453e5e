//! AMQP 0-9-1.

mod bounds_consumers;
mod bounds_counts;
mod bounds_gauge;
mod bounds_memory;
mod bounds_slow;
mod check;
mod disk_full;
mod disk_segments;
mod durability;
mod durability_delayed;
mod durability_marks;
mod durability_settings;
mod first_steps;
mod hostile_content;
mod hostile_frames;
mod hostile_handshake;
mod hostile_load;
mod hostile_patience;
mod hostile_rights;
mod hostile_topology;
mod lifecycle;
mod lines;
mod placement;
mod process;
mod shards;
mod user_files;
