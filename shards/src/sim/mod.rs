//! The simulation: a disk that loses, tears and fails by seed, and a driver that carries jobs out on
//! it in any allowed order. For tests only. May import `log` and what stands beside it.
//!
//! Everything is decided by seed: the same seed and the same calls give the same outcome, so a
//! failing seed is a test case.
//!
//! # What the disk promises, and what not
//!
//! It is meant to be as bad as a file system in its right mind may be, so that code which is right on
//! it is right on ext4 and xfs (facts F1, F7, F8 and F9 are those of reliability.md 2.1):
//!
//! | | a process is killed | the power is cut |
//! |---|---|---|
//! | content, synced | stays | stays |
//! | content, unsynced | stays | per page of 4096 octets the old or a newer state, and in a torn page per sector of 512 |
//! | length, unsynced | stays | all of it, or 0 (F1) |
//! | names, synced | stay | stay |
//! | names, unsynced | stay | of each directory's changes the first few, in order; a rename is never half done |
//! | content of which a sync failed | still in the cache, not on the disk (F7, F8) | the old |
//! | names of a directory of which a sync failed | stay | the old, from some change on, even if later syncs succeeded |
//!
//! Syncing a file makes its name no more durable, and syncing a directory not the name of that
//! directory, though ext4 does both in passing.
//!
//! What the disk does *not* do: change what it once had durably, unless told to ([`SimDisk::flip`],
//! [`SimDisk::truncate`]); tear a sector; write a sector that nobody wrote.

mod content;
mod disk;
mod driver;
mod faults;
mod files;
mod random;
mod tree;

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod driver_tests;
#[cfg(test)]
mod protocol_tests;

pub use disk::SimDisk;
pub use driver::{RunJob, SimDriver};
pub use faults::{Counters, FaultKind, Faults, Operation};
pub use random::Random;
