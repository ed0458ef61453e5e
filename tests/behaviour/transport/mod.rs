//! Ways to the broker other than a TCP connection to a port of its own.

mod bridge;
mod crowds;
mod listeners;
#[cfg(feature = "mqtt")]
mod mqtt;
mod proxy;
mod sockets;
mod unix;
pub(crate) mod web;
mod websocket;
