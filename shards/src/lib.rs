//! The machine under RingMQ: shards, the lanes between them, their sockets, buffers and timers. It knows no protocol, no
//! routing and no queue.
//!
//! # What a shard is
//!
//! One thread, pinned to one core, with one io_uring executor. It accepts its own connections, owns its own memory and its
//! own timers, and talks to other shards by mail only. [`start()`] makes them all; each runs one main future that receives its
//! [`Shard`], from which everything else follows: tasks, the [`Mesh`], the [`Clock`], the [`Buffers`].
//!
//! # The rules of sharing nothing
//!
//! 1. State belongs to one shard. Another shard's state is reached by mail and an answer, never by a lock or a counter.
//! 2. Mail carries values that own what they carry; a reference count never crosses between cores per message. Gather what
//!    goes to one shard during a turn and send it as one value.
//! 3. Nothing blocks: no lock, no file call, no sleep. Work is cut into bounded pieces with [`Shard::need_yield`] and
//!    [`Shard::yield_now`] between them; mail is looked at once per turn ([`Mesh::try_drain`]) as well as waited for.
//! 4. Time comes from the [`Clock`] and is passed on as milliseconds; nothing else reads it.
//! 5. What a peer can make grow has a bound: pools have caps, reads and writes a budget per turn. Lanes never block their
//!    sender, so whoever sends bounds them by bytes ([`Mesh::queued`]).
//!
//! A panic on one shard ends the process ([`abort_on_panic`]): a broker that lost one core's state must not go on half-alive.
//!
//! # Which file may use what
//!
//! The executor's crate (glommio) appears in `start.rs`, `shard.rs`, `turn.rs`, `stream.rs`, `quiet.rs`, `listener.rs` and `log/ring.rs`, and
//! in no signature. System calls without a safe wrapper have `cores.rs`, `epoll.rs`, `inherited.rs`, `limits.rs`, `probe.rs`, `signals.rs`,
//! `slice.rs`, `stream.rs` and, under `log/`,
//! `dir_lock.rs`, `file_system.rs`, `mapped.rs`, `real_files.rs` and `worker.rs`. Everything else is plain safe Rust.

mod buffers;
mod chunks;
mod clock;
mod cores;
mod doorbell;
mod epoll;
mod inherited;
mod limits;
mod listener;
pub mod log;
mod mesh;
mod output;
mod panics;
mod probe;
mod quiet;
mod shard;
mod shard_id;
mod signals;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod slice;
mod socket;
mod socket_file;
mod start;
mod stream;
mod tasks;
mod timers;
pub mod tls;
mod turn;

pub use buffers::{Buffers, READ_BLOCK_BYTES, ReadBuffer};
pub use chunks::Chunks;
pub use clock::Clock;
pub use cores::allowed_cores;
pub use inherited::{InheritError, Inherited, InheritedAt, inherited};
pub use limits::{
    Limit, Limits, MEMLOCK_BYTES_MIN, is_for_newcomers, keep_files, limits, memlock_needed,
    raise_memlock, raise_nofile,
};
pub use listener::{AcceptError, BindOptions, Bound, Listener, port_is_free};
pub use mesh::{Mesh, Origin, Remote};
pub use output::Output;
pub use panics::abort_on_panic;
pub use probe::{ProbeError, check_io_uring};
pub use quiet::Quiet;
pub use shard::Shard;
pub use shard_id::{SHARDS_MAX, ShardId};
pub use signals::{Signal, Signals};
pub use slice::set_slice;
pub use socket::Socket;
pub use socket_file::SocketFile;
pub use start::{Options, Running, ShardLost, StartError, start};
pub use stream::Stream;
pub use timers::{TimerId, Timers};
