//! Brokers to test and clients to test them with.
#![allow(dead_code, clippy::allow_attributes, reason = "a box of tools is not always used up")]

pub(crate) mod broker;
pub(crate) mod client;
pub(crate) mod content;
pub(crate) mod expect;
pub(crate) mod handshake;
pub(crate) mod methods;
#[macro_use]
pub(crate) mod setup;
pub(crate) mod raw;
pub(crate) mod siege;

pub(crate) use broker::Broker;
pub(crate) use client::{Client, Event};
pub(crate) use content::properties;
pub(crate) use handshake::Login;
