//! The client of the behaviour tests, of which this needs a part.
#![allow(dead_code, clippy::allow_attributes, reason = "a box of tools is not always used up")]

#[path = "../behaviour/support/client.rs"]
pub(crate) mod client;
#[path = "../behaviour/support/content.rs"]
pub(crate) mod content;
#[path = "../behaviour/support/expect.rs"]
pub(crate) mod expect;
#[path = "../behaviour/support/handshake.rs"]
pub(crate) mod handshake;
#[path = "../behaviour/support/methods.rs"]
pub(crate) mod methods;
