//! Password and ACL files that change while the node runs: one thread looks at them, and the shards
//! get what comes of it.
//!
//! May import `auth`, `hub`, `ringmq_shards`.

use std::time::Duration;

use ringmq_shards::{Remote, ShardId};

use super::NodeError;
use crate::auth::{Files, Look};
use crate::hub::Crossing;

/// What [`Files::second_passed`] is called after.
const SECOND: Duration = Duration::from_secs(1);

/// Starts the thread, if anything may change. It ends with the process.
pub(super) fn watch(mut files: Files, remote: Remote<Crossing>) -> Result<(), NodeError> {
    if !files.is_watching() {
        return Ok(());
    }
    let look_again_and_again = move || {
        loop {
            // Nobody unparks it; waking early would only mean to look earlier.
            std::thread::park_timeout(SECOND);
            tell(files.second_passed(), &remote);
        }
    };
    let thread = std::thread::Builder::new().name("ringmq-files".into());
    thread
        .spawn(look_again_and_again)
        .map(drop)
        .map_err(|cause| NodeError::System { what: "no thread for password and ACL files", cause })
}

fn tell(look: Look, remote: &Remote<Crossing>) {
    for note in &look.notes {
        tracing::info!("{note}");
    }
    for error in &look.errors {
        tracing::error!("{error}; what was read before stays in force");
    }
    let Some(users) = look.users else { return };
    for shard in (0..remote.shards()).filter_map(ShardId::from_index) {
        remote.send(shard, Crossing::Users(users.clone()));
    }
}
