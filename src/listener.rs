//! Accepting: one task per shard and address, since every shard listens on every port. Few
//! connections are spread badly by SO_REUSEPORT, so a crowded shard hands newcomers on.
//!
//! May import `hub`, `connection`, `protocol`, `ringmq_shards`.

use std::rc::Rc;

use ringmq_shards::{AcceptError, Bound, Listener};

use crate::connection;
use crate::hub::{Crossing, Hub};
use crate::protocol::Protocol;

/// Pause after the machine ran out of something, milliseconds (abuse row 112).
const PAUSE_MS: u64 = 100;

/// Accepts until the node stops.
pub(crate) async fn accept(hub: Rc<Hub>, bound: Bound, protocol: &'static Protocol) {
    let listener = match Listener::from_bound(bound) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot listen");
            return;
        }
    };
    let mut refusals: u64 = 0;
    while !hub.is_stopping() {
        match listener.accept().await {
            Ok(socket) => {
                if is_full(&hub) {
                    tracing::warn!("connection refused: max_connections is reached");
                    continue;
                }
                let to = hub.place_connection(hub.broker.borrow().placement());
                if to == hub.shard.id() {
                    start(&hub, socket, protocol);
                } else {
                    // Counted at once, so that the next newcomer goes elsewhere.
                    if let Some(load) = hub.loads.borrow_mut().get_mut(to.index()) {
                        *load += 1;
                    }
                    hub.shard.mesh().send(to, Crossing::Connection(socket, protocol));
                }
            }
            Err(error @ AcceptError::Other(_)) => {
                tracing::error!(%error, "listener is broken");
                return;
            }
            Err(error) => {
                // One line for the first and then for each thousandth: a flood must not fill the log.
                if refusals.is_multiple_of(1000) {
                    tracing::warn!(%error, refusals, "cannot accept for now");
                }
                refusals += 1;
                hub.shard.sleep(PAUSE_MS).await;
            }
        }
    }
}

fn is_full(hub: &Hub) -> bool {
    let max = hub.config.main.max_connections;
    let all: u64 = hub.loads.borrow().iter().map(|load| u64::from(*load)).sum();
    max != 0 && all >= u64::from(max)
}

fn start(hub: &Rc<Hub>, socket: ringmq_shards::Socket, protocol: &'static Protocol) {
    hub.shard.spawn(connection::serve(hub.clone(), socket, protocol));
}

/// Reads the lanes while the shard is otherwise idle, and starts connections moved here.
pub(crate) async fn read_lanes(hub: Rc<Hub>) {
    loop {
        hub.end_turn(hub.now());
        for arrival in hub.take_arrivals() {
            match arrival {
                Crossing::Connection(socket, protocol) => start(&hub, socket, protocol),
                Crossing::Listen(bound, protocol) => {
                    hub.shard.spawn(accept(hub.clone(), bound, protocol));
                }
                Crossing::Broker(_) | Crossing::Load(_) | Crossing::Stop => {}
            }
        }
        hub.wait_for_mail().await;
    }
}
