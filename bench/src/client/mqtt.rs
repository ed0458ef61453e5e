//! Clients of MQTT 3.1, 3.1.1 and 5: thousands of connections on one thread (`fleet`), each of them a
//! `connection` with a part that publishes (`sender`) and a part that receives (`inbox`).
//!
//! Messages do not pass through RingMQ's codec one by one: a sender patches packets that were
//! written once (`batch`), and what comes is read by it only if it is not of the plain kind
//! (`packet`).

pub(crate) mod batch;
pub(crate) mod connection;
pub(crate) mod inbox;
pub(crate) mod packet;
pub(crate) mod sender;
pub(crate) mod topic;

pub(crate) use ringmq::protocol::mqtt::wire::Version;
