//! RingMQ.
#![forbid(unsafe_code)]
pub mod broker;
pub mod command;
pub mod ids;
pub mod message;
pub mod protocol;
pub mod value;
