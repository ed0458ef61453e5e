//! Accepting: one task per shard and address, since every shard listens on every port. Few
//! connections are spread badly by SO_REUSEPORT, so a crowded shard hands newcomers on.
//!
//! May import `hub`, `loads`, `connection`, `arrival_rate`, `protocol`, `ringmq_shards`.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use ringmq_shards::{AcceptError, Bound, Listener, Socket};

use crate::arrival_rate::{ArrivalRate, Rates};
use crate::connection;
use crate::hub::{Arrival, Crossing, Hub, Luggage};
use crate::loads::ListenerId;
use crate::protocol::ListenAt;

/// Pause after the machine ran out of something, milliseconds (abuse row 112).
const PAUSE_MS: u64 = 100;

/// Accepts until the node stops.
pub(crate) async fn accept(hub: Rc<Hub>, bound: Bound, listens_as: ListenerId) {
    let listener = match Listener::from_bound(bound) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot listen");
            return;
        }
    };
    let mut refusals = Refusals::default();
    let mut rate = ArrivalRate::new(rates(&hub, listens_as));
    // Ends with the listener closed: newcomers are refused while the others are seen off.
    while let Some(accepted) = newcomer(&hub, &listener).await {
        match accepted {
            Ok(socket) => {
                let now_ms = hub.now().mono_ms;
                if is_too_many(&mut rate, &socket, now_ms) {
                    refusals.note("too many from one address in a second");
                } else {
                    match hub.is_full(listens_as) {
                        Some(why) => refusals.note(why),
                        None => place(&hub, socket, listens_as),
                    }
                    // This one is let in; those behind it wait.
                    if let Some(pause_ms) = rate.pause_ms(now_ms) {
                        hub.shard.sleep(pause_ms).await;
                    }
                }
                // A queue full of newcomers must not keep those that are here waiting.
                hub.shard.yield_if_needed().await;
            }
            Err(error @ AcceptError::Other(_)) => {
                tracing::error!(%error, "listener is broken");
                return;
            }
            Err(error) => {
                refusals.note(&error.to_string());
                hub.shard.sleep(PAUSE_MS).await;
            }
        }
    }
}

/// What this shard may take of the rates of a listener.
fn rates(hub: &Hub, listens_as: ListenerId) -> Rates {
    let Some(listener) = hub.listener(listens_as) else {
        return Rates { in_all: 0, per_address: 0 };
    };
    let per_address = hub.config.main.connection_rate_per_address_max;
    let rates = Rates { in_all: listener.connection_rate_max, per_address };
    match listener.at {
        // Every shard accepts.
        ListenAt::Tcp(_) => rates.shared_by(hub.shard.count()),
        // One does.
        ListenAt::Unix { .. } => Rates { per_address: 0, ..rates },
    }
}

fn is_too_many(rate: &mut ArrivalRate, socket: &Socket, now_ms: u64) -> bool {
    // One that has no address any more is over before it begins.
    socket.peer_addr().is_ok_and(|peer| rate.is_too_many(peer.ip(), now_ms))
}

/// The next connection; `None` when the node stops.
async fn newcomer(hub: &Hub, listener: &Listener) -> Option<Result<Socket, AcceptError>> {
    poll_fn(|context| match hub.poll_stopped(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => listener.poll_accept(context).map(Some),
    })
    .await
}

/// Starts a connection here or sends it to where it is better off.
fn place(hub: &Rc<Hub>, socket: Socket, listener: ListenerId) {
    let arrival = Arrival { socket, listener, accepted_ms: hub.now().mono_ms, moved: None };
    let to = hub.place_connection();
    if to == hub.shard.id() {
        start(hub, arrival);
    } else {
        hub.send_connection(to, arrival);
    }
}

/// Connections that were not taken. One line for the first and then for each thousandth: a flood
/// must not fill the log.
#[derive(Debug, Default)]
struct Refusals(u64);

impl Refusals {
    fn note(&mut self, why: &str) {
        if self.0.is_multiple_of(1000) {
            tracing::warn!(why, before = self.0, "connections are refused");
        }
        self.0 += 1;
    }
}

/// Starts a connection of which another thread has read the beginning.
fn begin(hub: &Rc<Hub>, socket: Socket, listener: ListenerId, unread: Vec<u8>) {
    if let Some(why) = hub.is_full(listener) {
        tracing::warn!(why, "connections are refused");
        return;
    }
    let moved = Some(Luggage { unread, is_new: true, ..Luggage::default() });
    start(hub, Arrival { socket, listener, accepted_ms: hub.now().mono_ms, moved });
}

/// Counted before its task has its first turn: a storm would otherwise pass the limits.
fn start(hub: &Rc<Hub>, arrival: Arrival) {
    hub.came(arrival.listener);
    connection::serve(hub, arrival);
}

/// Reads the lanes while the shard is otherwise idle, and starts connections moved here.
pub(crate) async fn read_lanes(hub: Rc<Hub>) {
    loop {
        hub.end_turn(hub.now());
        for arrival in hub.take_arrivals() {
            match arrival {
                Crossing::Connection(arrival) => start(&hub, *arrival),
                Crossing::Begun(socket, listener, unread) => begin(&hub, socket, listener, unread),
                Crossing::Listen(bound, listener) => {
                    hub.shard.spawn(accept(hub.clone(), bound, listener));
                }
                Crossing::Broker(_)
                | Crossing::Load(..)
                | Crossing::Restore(..)
                | Crossing::Go
                | Crossing::Question(_)
                | Crossing::Stop => {}
            }
        }
        hub.wait_for_mail().await;
    }
}
