//! RingMQ.
#![forbid(unsafe_code)]
pub mod auth;
pub mod broker;
pub mod command;
pub mod config;
pub mod ids;
pub mod limits;
pub mod logging;
pub mod message;
pub mod protocol;
pub mod value;
