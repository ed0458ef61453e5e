//! Sessions on a broker of one shard, without sockets: octets in, octets out.

mod channels;
mod client;
mod confirms;
mod deliveries;
mod fuzz;
mod handshake;
mod limits;
mod noise;
mod transactions;
