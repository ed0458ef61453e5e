//! The queue type `session`: what waits for one subscriber, who alone consumes from it.
//!
//! Sessions make, consume from and delete such queues; commands of clients do not. What is not to be
//! kept never gets here (`broker::subscriber`), so a durable one keeps everything.
//! May import `arguments`, `priority` and the parts of [`QueueType`].

use super::arguments::{BadArgument, Settings};
use super::priority::Scale;
use super::ready::ReturnOrder;
use super::{Counts, QueueDefaults, QueueSpec, QueueType};

/// The name of the type.
pub(crate) const NAME: &str = "session";

/// See the module.
pub(crate) const TYPE: QueueType = QueueType {
    name: NAME,
    check,
    scale,
    returns: ReturnOrder::Original,
    counts: Counts::Every,
    channel_limits: false,
    keeps_all: true,
    counts_as_queue: true,
    active_consumer_yields: false,
    of_session: true,
};

/// Its definition is the broker's own: there is nothing to refuse.
#[expect(clippy::unnecessary_wraps, reason = "the signature all types share")]
fn check(
    _spec: &QueueSpec<'_>,
    settings: &mut Settings,
    defaults: &QueueDefaults,
) -> Result<(), BadArgument> {
    // As it is set now, also for sessions that were there before (mqtt.md X-15).
    if settings.dead_letter.is_none() {
        settings.dead_letter.clone_from(&defaults.session_dead_letter);
    }
    Ok(())
}

/// In the order of publishing, whatever its publishers say.
const fn scale(_settings: &Settings) -> Scale {
    Scale { max: 0, default: 0 }
}
