//! The HTTP API on the control thread: RabbitMQ's paths and JSON, and metrics for Prometheus
//! (issue 5; amqp.md L70-L93, R89-R110). A resource is one file and one line in [`routes`].
//!
//! One server per process. What it knows comes from [`crate::control::Control`]: the state that
//! operators change, and questions to the shards, page by page, so that no list stalls a shard.
//! Bounds: connections, octets of heads and bodies and time for both, in [`server`].
//! May import `control`, `stats`, `config`, `protocol` (listeners), `hub` (to pass WebSockets on).

mod access;
mod app;
mod change;
mod channels;
mod connections;
mod definitions;
mod gathered;
mod head;
mod health;
mod io;
mod limits;
mod machine;
mod metrics;
mod nodes;
mod overview;
mod page;
mod parameters;
mod permissions;
mod rates;
mod reply;
mod request;
mod routes;
mod server;
mod topic_permissions;
mod users;
mod vhosts;
mod visit;
mod whoami;

pub(crate) use app::{About, App};
pub(crate) use server::{Door, Entrance, PassOn, serve};
