//! MQTT 3.1, 3.1.1 and 5.0. The client here is written by hand, octet by octet.

mod answers;
pub(crate) mod client;
mod deny;
mod flow;
mod greetings;
mod ground;
mod host;
mod hostile_packets;
mod hostile_sessions;
mod hostile_topics;
mod lines;
pub(crate) mod octets;
mod passwd;
mod proving;
mod quality;
mod quiet;
mod rates;
mod restarts;
mod retained;
mod room;
mod sessions;
mod settings;
mod slow;
mod subscriptions;
mod tables;
mod version3;
mod wills;
