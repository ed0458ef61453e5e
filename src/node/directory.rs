//! Users, virtual hosts and permissions of the start: what is stored, what the settings add, and the
//! virtual hosts that durable things are in.
//!
//! May import `auth`, `config`, `control`.

use std::path::Path;

use super::NodeError;
use crate::auth::Files;
use crate::config::Config;
use crate::control::{self, Basis, Begun, Change, Journal, LookNow, Opened, Setup, State};

/// What there is before the first shard.
pub(super) struct Directory {
    state: State,
    journal: Journal,
    basis: Basis,
    /// The password file and the ACL file, with the users of the state.
    pub(super) files: Files,
}

/// Reads what is stored, the definitions file and the files of users.
///
/// # Errors
/// A file that the settings name cannot be read. What is damaged of our own is told and no reason.
pub(super) fn open(config: &Config, root: &Path) -> Result<Directory, NodeError> {
    let opened = Journal::open(root);
    let Opened { journal, state, findings } =
        opened.map_err(|cause| NodeError::System { what: "cannot read control/", cause })?;
    for finding in findings {
        tracing::error!("{finding}");
    }
    let Begun { changes, not_loaded } = control::begin(config, state.as_ref())?;
    for (kind, count) in &not_loaded {
        tracing::warn!(count, "definitions file: {kind} are not loaded");
    }
    let state = state.unwrap_or_default();
    // `begin` has tried them.
    let state = state.changed(&changes).map_or(state, |(next, _)| next);
    let basis = Basis::new(config);
    let files = Files::load(&config.mqtt, basis.users(&state))?;
    Ok(Directory { state, journal, basis, files })
}

impl Directory {
    /// The virtual hosts of the shards, with those that only what is stored there names.
    pub(super) fn vhosts<'a>(&mut self, stored: impl Iterator<Item = &'a str>) -> Vec<Box<str>> {
        for name in stored {
            if self.state.vhosts.contains_key(name) {
                continue;
            }
            tracing::warn!(
                vhost = name,
                "a virtual host that nothing else names has durable queues"
            );
            let put = Change::PutVhost {
                name: name.into(),
                description: "".into(),
                tags: Vec::new(),
                default_queue_type: "".into(),
                is_protected: false,
            };
            if let Err(error) = self.state.change(&put) {
                tracing::error!(vhost = name, %error, "it cannot be kept");
            }
        }
        self.state.vhosts.keys().cloned().collect()
    }

    /// Stores what there is by now; the control thread starts with it.
    pub(super) fn store(mut self, look_now: LookNow) -> Setup {
        if let Err(error) = self.journal.begin(&self.state) {
            // The disk may be full. The next change tries again, and is refused if that fails.
            tracing::error!(%error, "users and virtual hosts of this start are not stored");
        }
        let Self { state, journal, basis, files } = self;
        Setup { state, journal, basis, files, look_now }
    }
}
