//! Virtual hosts that come and go while the broker runs.
//!
//! The keeper adds one and tells the others, over the lanes on which they hear of exchanges: so the
//! number of a virtual host and those of its first exchanges are the same everywhere. One that goes is
//! closed everywhere first, then its queues go on their owners, some at a time, then its exchanges on
//! the keeper; its number stays used, its name is free. May import `auth` and of the broker `calls`,
//! `mail`, `topology`, `vhost`.

use super::Broker;
use super::calls::Then;
use super::exchange::Destination;
use super::mail::{BindingSpec, CallId, Mail};
use super::queue::QUEUE_TYPES;
use super::topology::KEEPER;
use super::vhost::Vhost;
use crate::command::{Event, Now};
use crate::ids::{ConnectionId, ExchangeId, VhostId};

/// Queues of a virtual host that are deleted in one turn.
const QUEUES_PER_TURN: usize = 128;

/// Something that who is no shard has asked for, and that takes more than a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outside(pub(super) u64);

impl Broker {
    /// A call whose end is found in [`Self::take_outside`].
    fn open_outside(&mut self) -> Option<(Outside, CallId)> {
        self.outside_seen += 1;
        let outside = Outside(self.outside_seen);
        self.open_call(Then::Outside(outside)).map(|call| (outside, call))
    }

    /// What has come to its end since the last call.
    pub fn take_outside(&mut self) -> Vec<Outside> {
        std::mem::take(&mut self.outside_done)
    }

    /// Keeper: a virtual host of this name is there when what is returned has come to its end; `None`:
    /// it is there already.
    pub fn make_vhost(&mut self, name: &str) -> Option<Outside> {
        debug_assert_eq!(self.shard, KEEPER, "the order of virtual hosts is the keeper's");
        if self.vhost_named(name).is_some() {
            return None;
        }
        let vhost = VhostId(u32::try_from(self.vhosts.len()).unwrap_or(u32::MAX));
        let (outside, call) = self.open_outside()?;
        self.add_vhost(name);
        self.tell_others(call, |call| Mail::VhostMade { vhost, name: name.into(), call });
        self.release(call, true);
        Some(outside)
    }

    /// The keeper has added a virtual host.
    pub(super) fn add_vhost(&mut self, name: &str) {
        let vhost = VhostId(u32::try_from(self.vhosts.len()).unwrap_or(u32::MAX));
        self.vhosts.push(Vhost::new(name));
        self.retained_in_new_vhost(name);
        self.predeclare_in(vhost);
        self.read_early();
    }

    /// The place of a virtual host by its name.
    pub(super) fn vhost_named(&self, name: &str) -> Option<VhostId> {
        let index = self.vhosts.iter().position(|vhost| *vhost.name == *name)?;
        u32::try_from(index).ok().map(VhostId)
    }

    /// Sets what a queue of this virtual host is whose declaration does not say. A type that there is
    /// not counts as none: it would make every declaration fail.
    pub fn set_queue_type(&mut self, vhost: &str, kind: &str) {
        let known = QUEUE_TYPES.iter().any(|known| known.name == kind && !known.of_session);
        let vhost = self.vhost_named(vhost);
        if let Some(entry) = vhost.and_then(|vhost| self.vhosts.get_mut(vhost.0 as usize)) {
            entry.queue_type = known.then(|| kind.into());
        }
    }

    /// Nobody gets into this virtual host any more, and who is in it is told to leave. Wills of those
    /// are not published: there is nowhere to publish them to.
    pub fn close_vhost(&mut self, name: &str) {
        let Some(vhost) = self.vhost_named(name) else { return };
        if let Some(entry) = self.vhosts.get_mut(vhost.0 as usize) {
            entry.is_leaving = true;
        }
        let inside = |connection: &super::Connection| {
            connection.entered.as_ref().is_some_and(|entered| entered.vhost == vhost)
        };
        let all = self.connections.iter().filter(|(_, connection)| inside(connection));
        let all: Vec<ConnectionId> = all.map(|(id, _)| id).collect();
        for connection in all {
            self.forget_will(connection);
            let reason = format!("vhost '{name}' is deleted").into();
            self.tell(connection, Event::Close { reason });
        }
        self.revision += 1;
    }

    /// Whether commands in this virtual host are refused.
    pub(super) fn is_leaving(&self, vhost: VhostId) -> bool {
        self.vhosts.get(vhost.0 as usize).is_none_or(|entry| entry.is_leaving)
    }

    /// Deletes some of the queues and sessions of a virtual host that is closed. How many there were, and
    /// what ends when the deletion of these is durable and known.
    pub fn empty_vhost(&mut self, name: &str, now: Now) -> (usize, Option<Outside>) {
        let Some(vhost) = self.vhost_named(name) else { return (0, None) };
        let queues = self.queues.iter().filter(|(_, entry)| entry.vhost == vhost);
        let queues: Vec<_> = queues.map(|(id, _)| id).collect();
        let sessions = self.sessions.of_vhost(vhost);
        let found = queues.len() + sessions.len();
        if found == 0 {
            return (0, None);
        }
        let Some((outside, call)) = self.open_outside() else { return (found, None) };
        for id in sessions.iter().take(QUEUES_PER_TURN) {
            self.dismiss(*id, call, now);
        }
        for id in queues.into_iter().take(QUEUES_PER_TURN.saturating_sub(sessions.len())) {
            // One that has gone with its session is not there any more.
            self.delete_queue(id, call, None);
        }
        self.hold_definitions(call);
        self.release(call, true);
        (found, Some(outside))
    }

    /// Keeper: deletes what was declared in a virtual host that has no queues any more.
    pub fn bare_vhost(&mut self, name: &str) -> Option<Outside> {
        debug_assert_eq!(self.shard, KEEPER, "exchanges are the keeper's");
        let vhost = self.vhost_named(name)?;
        let (outside, call) = self.open_outside()?;
        self.unlink_exchanges(vhost, call);
        let declared = self.exchanges.iter().filter(|(_, entry)| {
            entry.vhost == vhost && !entry.uid.is_some_and(|uid| uid.is_predeclared())
        });
        let declared: Vec<ExchangeId> = declared.map(|(id, _)| *id).collect();
        for id in declared {
            // It may be on its way out as an exchange that deletes itself.
            if self.exchanges.contains_key(&id) {
                self.expect(call);
                self.remove_exchange(id, Then::Done { shard: self.shard, call }, true);
            }
        }
        self.hold_definitions(call);
        self.release(call, true);
        Some(outside)
    }

    /// Bindings between exchanges are known by name where these are there from the start: they would
    /// come back with the next virtual host of this name.
    fn unlink_exchanges(&mut self, vhost: VhostId, call: CallId) {
        let mut links = Vec::new();
        for (source, entry) in self.exchanges.iter().filter(|(_, entry)| entry.vhost == vhost) {
            for listed in entry.bindings.iter() {
                if let Destination::Exchange(destination) = listed.to {
                    let (key, arguments) = (listed.key.into(), listed.arguments.clone());
                    links.push((BindingSpec { exchange: *source, key, arguments }, destination));
                }
            }
        }
        for (binding, destination) in links {
            self.tell_others(call, |call| Mail::ExchangeBound {
                binding: Box::new(binding.clone()),
                destination,
                on: false,
                call,
            });
            self.apply_exchange_binding(&binding, destination, false, Some(call));
        }
    }

    /// Nothing is left in this virtual host, on any shard: forgets it.
    pub fn forget_vhost(&mut self, name: &str) {
        let Some(vhost) = self.vhost_named(name) else { return };
        let exchanges = self.exchanges.iter().filter(|(_, entry)| entry.vhost == vhost);
        let exchanges: Vec<ExchangeId> = exchanges.map(|(id, _)| *id).collect();
        for id in exchanges {
            self.drop_exchange(id, None);
        }
        self.forget_retained_of(vhost);
        self.quotas.forget_vhost(vhost);
        if let Some(entry) = self.vhosts.get_mut(vhost.0 as usize) {
            // No virtual host has this name.
            *entry = Vhost::new("");
            entry.is_leaving = true;
        }
        self.revision += 1;
    }
}
