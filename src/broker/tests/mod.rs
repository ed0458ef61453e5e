//! The broker cores of several shards in one thread: what holds whatever the order in which their
//! mail arrives.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects; whatever else comes fails it"
)]

mod audit;
mod client;
mod cluster;

mod catch_up;
mod chaos;
mod consuming;
mod crash;
mod credit;
mod delayed;
mod disk;
mod disk_definitions;
mod disk_fanout;
mod disk_faults;
mod disk_groups;
mod disk_half_gone;
mod disk_machine;
mod disk_notes;
mod disk_once;
mod disk_oracle;
mod disk_planted;
mod disk_wills;
mod disk_world;
mod durability;
mod groups;
mod later;
mod meeting;
mod meeting_model;
mod pressure;
mod quotas;
mod restart;
mod retained;
mod retained_crash;
mod rights;
mod routing;
mod session_acts;
mod session_chaos;
mod session_histories;
mod session_oracle;
mod session_restart;
mod session_world;
mod sessions;
mod subscriber;
mod topology;
mod vhosts;
mod wills;
