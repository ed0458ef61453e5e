//! What the shards are told of a change: virtual hosts that come and go, limits. May import `ask`,
//! `change`, `state`, and of the broker `Most`.

use std::sync::Arc;

use super::ask::{NoAnswer, Shards};
use super::change::Change;
use super::state::{State, UserLimits, VhostLimits};
use crate::broker::Most;
use crate::ids::ShardId;

/// The shard that keeps the order of virtual hosts and exchanges.
const KEEPER: ShardId = ShardId(0);

const fn most_of_vhost(limits: VhostLimits) -> Most {
    Most { connections: limits.max_connections, others: limits.max_queues }
}

const fn most_of_user(limits: UserLimits) -> Most {
    Most { connections: limits.max_connections, others: limits.max_channels }
}

impl Shards {
    /// A virtual host of this name is there, on all shards.
    pub(super) async fn make_vhost(&self, name: &str) -> Result<(), NoAnswer> {
        let name: Box<str> = name.into();
        self.ask_for_end(KEEPER, move |asked| ((), asked.broker.make_vhost(&name))).await
    }

    /// What a queue of this virtual host is whose declaration does not say.
    pub(super) async fn set_queue_type(&self, vhost: &str, kind: &str) -> Result<(), NoAnswer> {
        let (vhost, kind): (Arc<str>, Arc<str>) = (vhost.into(), kind.into());
        self.ask_all(move |asked| asked.broker.set_queue_type(&vhost, &kind)).await.map(drop)
    }

    /// A virtual host goes with all that is in it.
    pub(super) async fn delete_vhost(&self, name: &str) -> Result<(), NoAnswer> {
        let name: Arc<str> = name.into();
        let of = name.clone();
        self.ask_all(move |asked| asked.broker.close_vhost(&of)).await?;
        for shard in self.ids() {
            loop {
                let of = name.clone();
                let empty = self.ask_for_end(shard, move |asked| {
                    let now = asked.now;
                    asked.broker.empty_vhost(&of, now)
                });
                if empty.await? == 0 {
                    break;
                }
            }
        }
        let of = name.clone();
        self.ask_for_end(KEEPER, move |asked| ((), asked.broker.bare_vhost(&of))).await?;
        self.ask_all(move |asked| asked.broker.forget_vhost(&name)).await.map(drop)
    }

    /// The limits that these changes set, as the state has them now.
    pub(super) async fn limit(&self, changes: &[Change], state: &State) -> Result<(), NoAnswer> {
        for change in changes {
            let (vhost, user) = match change {
                Change::SetVhostLimits { name, .. } => (Some(name), None),
                Change::DeleteUser { name } | Change::SetUserLimits { name, .. } => {
                    (None, Some(name))
                }
                Change::PutUser { .. }
                | Change::PutVhost { .. }
                | Change::DeleteVhost { .. }
                | Change::ForgetVhost { .. }
                | Change::PutPermission { .. }
                | Change::DeletePermission { .. }
                | Change::PutTopicPermission { .. }
                | Change::DeleteTopicPermission { .. }
                | Change::PutGlobalParameter { .. }
                | Change::DeleteGlobalParameter { .. }
                | Change::Imported { .. } => (None, None),
            };
            if let Some(name) = vhost {
                let most = state.vhost(name).map(|vhost| most_of_vhost(vhost.limits));
                self.limit_vhost(name, most.unwrap_or_default()).await?;
            }
            if let Some(name) = user {
                let most = state.users.get(name).map(|user| most_of_user(user.limits));
                self.limit_user(name, most.unwrap_or_default()).await?;
            }
        }
        Ok(())
    }

    /// All limits of the start, and the types of queues.
    pub(super) async fn limit_all(&self, state: &State) -> Result<(), NoAnswer> {
        for (name, vhost) in &state.vhosts {
            if !vhost.default_queue_type.is_empty() {
                self.set_queue_type(name, &vhost.default_queue_type).await?;
            }
            let most = most_of_vhost(vhost.limits);
            if most != Most::default() {
                self.limit_vhost(name, most).await?;
            }
        }
        for (name, user) in &state.users {
            let most = most_of_user(user.limits);
            if most != Most::default() {
                self.limit_user(name, most).await?;
            }
        }
        Ok(())
    }

    async fn limit_vhost(&self, name: &str, most: Most) -> Result<(), NoAnswer> {
        let name: Arc<str> = name.into();
        self.ask_all(move |asked| asked.broker.limit_vhost(&name, most)).await.map(drop)
    }

    async fn limit_user(&self, name: &str, most: Most) -> Result<(), NoAnswer> {
        let name: Arc<str> = name.into();
        self.ask_all(move |asked| asked.broker.limit_user(&name, most)).await.map(drop)
    }
}
