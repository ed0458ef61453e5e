//! Changes of the state: what operators ask for, what a definitions file consists of and what the
//! journal keeps are the same words. May import `state` and `limits`.

use std::sync::Arc;

use serde_json::Value;

use super::state::{
    Password, PermissionEntry, State, TopicPermissionEntry, UserEntry, UserLimits, VhostEntry,
    VhostLimits,
};
use crate::limits::NAME_BYTES_MAX;

/// One change. What is put replaces what was there, but for what the variant does not name.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A user; the limits stay.
    PutUser {
        /// The login name.
        name: Box<str>,
        /// `None`: no password, so no login by one.
        password: Option<Password>,
        /// The tags.
        tags: Vec<Box<str>>,
    },
    /// A user with all rights; the connections of the user are closed.
    DeleteUser {
        /// The login name.
        name: Box<str>,
    },
    /// The limits of a user.
    SetUserLimits {
        /// The login name.
        name: Box<str>,
        /// All of them.
        limits: UserLimits,
    },
    /// A virtual host; the limits stay.
    PutVhost {
        /// Its name.
        name: Box<str>,
        /// For people.
        description: Box<str>,
        /// For people.
        tags: Vec<Box<str>>,
        /// Empty: the node's.
        default_queue_type: Box<str>,
        /// Whether it can be deleted.
        is_protected: bool,
    },
    /// A virtual host with all that is in it.
    DeleteVhost {
        /// Its name.
        name: Box<str>,
    },
    /// The shards have nothing of a deleted virtual host any more.
    ForgetVhost {
        /// Its name.
        name: Box<str>,
    },
    /// The limits of a virtual host.
    SetVhostLimits {
        /// Its name.
        name: Box<str>,
        /// All of them.
        limits: VhostLimits,
    },
    /// The rights of a user in a virtual host.
    PutPermission {
        /// The login name.
        user: Box<str>,
        /// The virtual host.
        vhost: Box<str>,
        /// The patterns.
        permission: PermissionEntry,
    },
    /// The rights of a user in a virtual host, which the user may not enter any more.
    DeletePermission {
        /// The login name.
        user: Box<str>,
        /// The virtual host.
        vhost: Box<str>,
    },
    /// What keys a user may use with an exchange.
    PutTopicPermission {
        /// The login name.
        user: Box<str>,
        /// The virtual host.
        vhost: Box<str>,
        /// The exchange.
        exchange: Box<str>,
        /// The patterns.
        permission: TopicPermissionEntry,
    },
    /// The same taken back.
    DeleteTopicPermission {
        /// The login name.
        user: Box<str>,
        /// The virtual host.
        vhost: Box<str>,
        /// `None`: at all exchanges of the virtual host.
        exchange: Option<Box<str>>,
    },
    /// A parameter that is kept for those who exported it.
    PutGlobalParameter {
        /// Its name.
        name: Box<str>,
        /// Its value.
        value: Arc<Value>,
    },
    /// The same taken away.
    DeleteGlobalParameter {
        /// Its name.
        name: Box<str>,
    },
    /// A definitions file has been imported.
    Imported {
        /// What its octets sum up to.
        checksum: Box<str>,
    },
}

/// What a change has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// There was none before.
    Created,
    /// It was there.
    Updated,
    /// It is gone.
    Deleted,
    /// Nothing: it was so already.
    Nothing,
}

/// Why something is not changed. The texts are for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such thing.
    #[error("there is no {kind} '{name}'")]
    NotFound {
        /// user, vhost, permission, ...
        kind: &'static str,
        /// Which.
        name: Box<str>,
    },
    /// It says something that cannot be.
    #[error("{0}")]
    Bad(Box<str>),
    /// It must not be deleted.
    #[error(
        "Cannot delete this virtual host '{0}': it is protected from deletion. To lift the \
         protection, inspect and update its metadata"
    )]
    Protected(Box<str>),
    /// It cannot be stored, or a shard does not answer; the log says why.
    #[error("{0}")]
    Unavailable(Box<str>),
}

fn not_found(kind: &'static str, name: &str) -> Refused {
    Refused::NotFound { kind, name: name.into() }
}

fn check_name(kind: &str, name: &str) -> Result<(), Refused> {
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(()),
        0 => Err(Refused::Bad(format!("the name of a {kind} is empty").into())),
        n => Err(Refused::Bad(
            format!("the name of a {kind} has {n} bytes, more than {NAME_BYTES_MAX}").into(),
        )),
    }
}

const fn put<T>(before: Option<&T>, is_same: bool) -> Changed {
    match (before, is_same) {
        (None, _) => Changed::Created,
        (Some(_), true) => Changed::Nothing,
        (Some(_), false) => Changed::Updated,
    }
}

impl State {
    /// Makes all changes, or none.
    ///
    /// # Errors
    /// The first that cannot be, by its place.
    pub fn changed(&self, changes: &[Change]) -> Result<(Self, Vec<Changed>), (usize, Refused)> {
        let mut next = self.clone();
        let mut done = Vec::with_capacity(changes.len());
        for (index, change) in changes.iter().enumerate() {
            done.push(next.change(change).map_err(|refused| (index, refused))?);
        }
        Ok((next, done))
    }

    /// Makes one change. After a refusal nothing is different.
    ///
    /// # Errors
    /// Why not.
    pub fn change(&mut self, change: &Change) -> Result<Changed, Refused> {
        match change {
            Change::PutUser { name, password, tags } => self.put_user(name, password, tags),
            Change::DeleteUser { name } => self.delete_user(name),
            Change::SetUserLimits { name, limits } => self.set_user_limits(name, *limits),
            Change::PutVhost { name, description, tags, default_queue_type, is_protected } => {
                let entry = VhostEntry {
                    description: description.clone(),
                    tags: tags.clone(),
                    default_queue_type: default_queue_type.clone(),
                    is_protected: *is_protected,
                    ..VhostEntry::default()
                };
                self.put_vhost(name, entry)
            }
            Change::DeleteVhost { name } => self.delete_vhost(name),
            Change::ForgetVhost { name } => self.forget_vhost(name),
            Change::SetVhostLimits { name, limits } => self.set_vhost_limits(name, *limits),
            Change::PutPermission { user, vhost, permission } => {
                self.check_place(user, vhost)?;
                let key = (user.clone(), vhost.clone());
                let before = self.permissions.insert(key, Arc::new(permission.clone()));
                Ok(put(before.as_ref(), before.as_deref() == Some(permission)))
            }
            Change::DeletePermission { user, vhost } => {
                self.check_place(user, vhost)?;
                let gone = self.permissions.remove(&(user.clone(), vhost.clone()));
                // RabbitMQ does not mind, and its tools rely on it.
                Ok(if gone.is_some() { Changed::Deleted } else { Changed::Nothing })
            }
            Change::PutTopicPermission { user, vhost, exchange, permission } => {
                self.check_place(user, vhost)?;
                let key = (user.clone(), vhost.clone(), exchange.clone());
                let before = self.topic_permissions.insert(key, Arc::new(permission.clone()));
                Ok(put(before.as_ref(), before.as_deref() == Some(permission)))
            }
            Change::DeleteTopicPermission { user, vhost, exchange } => {
                self.check_place(user, vhost)?;
                let before = self.topic_permissions.len();
                self.topic_permissions.retain(|(u, v, e), _| {
                    (u, v) != (user, vhost) || exchange.as_ref().is_some_and(|only| only != e)
                });
                let is_gone = self.topic_permissions.len() < before;
                Ok(if is_gone { Changed::Deleted } else { Changed::Nothing })
            }
            Change::PutGlobalParameter { name, value } => {
                check_name("parameter", name)?;
                let before = self.global_parameters.insert(name.clone(), value.clone());
                Ok(put(before.as_ref(), before.as_ref() == Some(value)))
            }
            Change::DeleteGlobalParameter { name } => match self.global_parameters.remove(name) {
                Some(_) => Ok(Changed::Deleted),
                None => Err(not_found("global parameter", name)),
            },
            Change::Imported { checksum } => {
                self.imported = Some(checksum.clone());
                Ok(Changed::Updated)
            }
        }
    }

    fn put_user(
        &mut self,
        name: &str,
        password: &Option<Password>,
        tags: &[Box<str>],
    ) -> Result<Changed, Refused> {
        check_name("user", name)?;
        let limits = self.users.get(name).map(|user| user.limits).unwrap_or_default();
        let entry = UserEntry { password: password.clone(), tags: tags.into(), limits };
        let before = self.users.get(name);
        let done = put(before, before.is_some_and(|before| **before == entry));
        self.users.insert(name.into(), Arc::new(entry));
        Ok(done)
    }

    fn delete_user(&mut self, name: &str) -> Result<Changed, Refused> {
        self.users.remove(name).ok_or_else(|| not_found("user", name))?;
        self.permissions.retain(|(user, _), _| **user != *name);
        self.topic_permissions.retain(|(user, ..), _| **user != *name);
        Ok(Changed::Deleted)
    }

    fn set_user_limits(&mut self, name: &str, limits: UserLimits) -> Result<Changed, Refused> {
        let user = self.users.get_mut(name).ok_or_else(|| not_found("user", name))?;
        let is_same = user.limits == limits;
        Arc::make_mut(user).limits = limits;
        Ok(if is_same { Changed::Nothing } else { Changed::Updated })
    }

    fn put_vhost(&mut self, name: &str, mut entry: VhostEntry) -> Result<Changed, Refused> {
        check_name("vhost", name)?;
        let before = self.vhosts.get(name);
        if before.is_some_and(|before| before.is_leaving) {
            return Err(Refused::Unavailable(format!("vhost '{name}' is being deleted").into()));
        }
        entry.limits = before.map(|before| before.limits).unwrap_or_default();
        let done = put(before, before.is_some_and(|before| **before == entry));
        self.vhosts.insert(name.into(), Arc::new(entry));
        Ok(done)
    }

    fn delete_vhost(&mut self, name: &str) -> Result<Changed, Refused> {
        let entry = self.vhosts.get_mut(name).ok_or_else(|| not_found("vhost", name))?;
        if entry.is_protected {
            return Err(Refused::Protected(name.into()));
        }
        // What it was is of no use any more.
        *entry = Arc::new(VhostEntry { is_leaving: true, ..VhostEntry::default() });
        self.permissions.retain(|(_, vhost), _| **vhost != *name);
        self.topic_permissions.retain(|(_, vhost, _), _| **vhost != *name);
        Ok(Changed::Deleted)
    }

    fn forget_vhost(&mut self, name: &str) -> Result<Changed, Refused> {
        match self.vhosts.get(name).map(|entry| entry.is_leaving) {
            Some(true) => {
                self.vhosts.remove(name);
                Ok(Changed::Deleted)
            }
            Some(false) => Ok(Changed::Nothing),
            None => Err(not_found("vhost", name)),
        }
    }

    fn set_vhost_limits(&mut self, name: &str, limits: VhostLimits) -> Result<Changed, Refused> {
        self.vhost(name).ok_or_else(|| not_found("vhost", name))?;
        let Some(entry) = self.vhosts.get_mut(name) else { return Err(not_found("vhost", name)) };
        let is_same = entry.limits == limits;
        Arc::make_mut(entry).limits = limits;
        Ok(if is_same { Changed::Nothing } else { Changed::Updated })
    }

    fn check_place(&self, user: &str, vhost: &str) -> Result<(), Refused> {
        if self.vhost(vhost).is_none() {
            return Err(not_found("vhost", vhost));
        }
        if !self.users.contains_key(user) {
            return Err(not_found("user", user));
        }
        Ok(())
    }
}
