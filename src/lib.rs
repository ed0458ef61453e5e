//! RingMQ.
#![forbid(unsafe_code)]
pub mod ids;
pub mod message;
pub mod protocol;
pub mod value;
