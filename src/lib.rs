//! RingMQ.
#![forbid(unsafe_code)]
pub mod auth;
pub mod broker;
pub mod command;
pub mod config;
mod connection;
mod hub;
pub mod ids;
pub mod limits;
mod listener;
pub mod logging;
pub mod message;
pub mod node;
pub mod protocol;
pub mod value;
