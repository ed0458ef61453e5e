//! RingMQ.
#![forbid(unsafe_code)]
pub mod broker;
pub mod ids;
pub mod message;
pub mod value;
