//! Limits that operators set on single virtual hosts and users, while the broker runs.
//!
//! What is limited is counted on each shard and told to all others whenever it changes; what is not
//! costs a look into an empty table. A count that is told leaves a shard before the answer to whoever
//! changed it, and is read before the next connection's input: so two clients that come one after the
//! other are counted exactly, and of those that come at once at most one per shard is too many. May
//! import `command`, `ids` and of the broker `mail`.

use std::collections::HashMap;

use super::Broker;
use super::connections::Entered;
use super::mail::Mail;
use crate::command::Refusal;
use crate::ids::{ConnectionId, ShardId, VhostId};

/// What is limited.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Limited {
    /// Connections and queues of a virtual host.
    Vhost(VhostId),
    /// Connections and channels of a user.
    User(Box<str>),
}

/// Most of each; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Most {
    /// Connections.
    pub connections: Option<u32>,
    /// Queues of a virtual host, channels of a user.
    pub others: Option<u32>,
}

/// What there is of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) connections: u32,
    pub(crate) others: u32,
}

#[derive(Debug, Default)]
struct Quota {
    most: Most,
    here: Tally,
    elsewhere: Vec<(ShardId, Tally)>,
}

impl Quota {
    fn sum(&self, of: impl Fn(&Tally) -> u32) -> u64 {
        let elsewhere = self.elsewhere.iter().map(|(_, tally)| u64::from(of(tally)));
        elsewhere.sum::<u64>() + u64::from(of(&self.here))
    }
}

/// All limits, on every shard.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    all: HashMap<Limited, Quota, ahash::RandomState>,
}

impl Quotas {
    fn full_of_connections(&self, what: &Limited) -> Option<u32> {
        let quota = self.all.get(what)?;
        quota.most.connections.filter(|max| quota.sum(|tally| tally.connections) >= (*max).into())
    }

    fn full_of_others(&self, what: &Limited) -> Option<u32> {
        let quota = self.all.get(what)?;
        quota.most.others.filter(|max| quota.sum(|tally| tally.others) >= (*max).into())
    }

    pub(super) fn forget_vhost(&mut self, vhost: VhostId) {
        self.all.remove(&Limited::Vhost(vhost));
    }
}

impl Broker {
    /// Sets the limits of a virtual host. False: there is none of that name.
    pub fn limit_vhost(&mut self, name: &str, most: Most) -> bool {
        let Some(vhost) = self.vhost_named(name) else { return false };
        let queues = self.vhosts.get(vhost.0 as usize).map_or(0, |entry| entry.queues.len());
        let inside = |entered: &Entered| entered.vhost == vhost;
        let connections = self.count_entered(inside);
        let here = Tally { connections, others: u32::try_from(queues).unwrap_or(u32::MAX) };
        self.limit(&Limited::Vhost(vhost), most, here);
        true
    }

    /// Sets the limits of a user.
    pub fn limit_user(&mut self, name: &str, most: Most) {
        let connections = self.count_entered(|entered| entered.identity.name() == name);
        let own = self.connections.iter().filter(|(_, connection)| {
            let entered = connection.entered.as_ref();
            entered.is_some_and(|entered| entered.identity.name() == name)
        });
        let others = own.map(|(_, connection)| connection.channels).sum();
        self.limit(&Limited::User(name.into()), most, Tally { connections, others });
    }

    fn count_entered(&self, is_it: impl Fn(&Entered) -> bool) -> u32 {
        let entered = self.connections.iter().filter_map(|(_, c)| c.entered.as_ref());
        u32::try_from(entered.filter(|entered| is_it(entered)).count()).unwrap_or(u32::MAX)
    }

    fn limit(&mut self, what: &Limited, most: Most, here: Tally) {
        if most == Most::default() {
            self.quotas.all.remove(what);
            return;
        }
        let quota = self.quotas.all.entry(what.clone()).or_default();
        (quota.most, quota.here) = (most, here);
        self.tell_tally(what);
    }

    /// What another shard has.
    pub(super) fn heard_tally(&mut self, from: ShardId, what: Limited, tally: Tally) {
        // The limit itself may be on its way to this shard.
        let quota = self.quotas.all.entry(what).or_default();
        match quota.elsewhere.iter_mut().find(|(shard, _)| *shard == from) {
            Some((_, old)) => *old = tally,
            None => quota.elsewhere.push((from, tally)),
        }
    }

    fn tell_tally(&mut self, what: &Limited) {
        let Some(quota) = self.quotas.all.get(what) else { return };
        let tally = quota.here;
        let others: Vec<ShardId> = self.post.others().collect();
        for shard in others {
            self.post.send(shard, Mail::Tally { what: Box::new(what.clone()), tally });
        }
    }

    fn count(&mut self, what: &Limited, by: impl FnOnce(&mut Tally)) {
        if let Some(quota) = self.quotas.all.get_mut(what) {
            by(&mut quota.here);
            self.tell_tally(what);
        }
    }

    /// Whether one more connection may come in.
    pub(super) fn check_connections(&self, entered: &Entered) -> Result<(), Refusal> {
        if self.quotas.all.is_empty() {
            return Ok(());
        }
        let (user, vhost) = (entered.identity.name(), &entered.vhost_name);
        if let Some(max) = self.quotas.full_of_connections(&Limited::Vhost(entered.vhost)) {
            let text = format!(
                "access to vhost '{vhost}' refused for user '{user}': connection limit ({max}) is \
                 reached"
            );
            return Err(Refusal::LimitReached(text.into()));
        }
        if let Some(max) = self.quotas.full_of_connections(&Limited::User(user.into())) {
            let text = format!(
                "connection refused for user '{user}': user connection limit ({max}) is reached"
            );
            return Err(Refusal::LimitReached(text.into()));
        }
        Ok(())
    }

    /// A connection has come in, or is over with its channels.
    pub(super) fn count_connection(&mut self, entered: &Entered, channels: u32, came: bool) {
        if self.quotas.all.is_empty() {
            return;
        }
        let change = |tally: &mut Tally| {
            tally.connections = match came {
                true => tally.connections.saturating_add(1),
                false => tally.connections.saturating_sub(1),
            };
        };
        self.count(&Limited::Vhost(entered.vhost), change);
        self.count(&Limited::User(entered.identity.name().into()), |tally| {
            change(tally);
            tally.others = tally.others.saturating_sub(channels);
        });
    }

    /// A queue of this virtual host has come or gone here.
    pub(super) fn count_queues(&mut self, vhost: VhostId) {
        if self.quotas.all.is_empty() {
            return;
        }
        let queues = self.vhosts.get(vhost.0 as usize).map_or(0, |entry| entry.queues.len());
        let others = u32::try_from(queues).unwrap_or(u32::MAX);
        self.count(&Limited::Vhost(vhost), |tally| tally.others = others);
    }

    /// Whether one more queue may be made in this virtual host.
    pub(super) fn check_queues(&self, vhost: VhostId, queue: &str) -> Result<(), Refusal> {
        let Some(max) = self.quotas.full_of_others(&Limited::Vhost(vhost)) else { return Ok(()) };
        let name = self.vhosts.get(vhost.0 as usize).map_or("", |entry| &entry.name);
        let text = format!(
            "cannot declare queue '{queue}': queue limit in vhost '{name}' ({max}) is reached"
        );
        Err(Refusal::LimitReached(text.into()))
    }

    /// A channel of this connection is opened.
    ///
    /// # Errors
    /// `LimitReached`: its user has as many as allowed.
    pub fn open_channel(&mut self, connection: ConnectionId) -> Result<(), Refusal> {
        let Some(entry) = self.connections.get_mut(connection) else { return Ok(()) };
        if !self.quotas.all.is_empty()
            && let Some(entered) = &entry.entered
        {
            let user = entered.identity.name();
            let what = Limited::User(user.into());
            if let Some(max) = self.quotas.full_of_others(&what) {
                let text = format!(
                    "number of channels opened for user '{user}' has reached the maximum allowed \
                     user limit of ({max})"
                );
                return Err(Refusal::LimitReached(text.into()));
            }
            entry.channels = entry.channels.saturating_add(1);
            self.count(&what, |tally| tally.others = tally.others.saturating_add(1));
            return Ok(());
        }
        entry.channels = entry.channels.saturating_add(1);
        Ok(())
    }

    /// A channel of this connection, that was opened, is over.
    pub(super) fn count_closed_channel(&mut self, connection: ConnectionId) {
        let Some(entry) = self.connections.get_mut(connection) else { return };
        if entry.channels == 0 {
            return;
        }
        entry.channels -= 1;
        if !self.quotas.all.is_empty()
            && let Some(entered) = &entry.entered
        {
            let what = Limited::User(entered.identity.name().into());
            self.count(&what, |tally| tally.others = tally.others.saturating_sub(1));
        }
    }
}
