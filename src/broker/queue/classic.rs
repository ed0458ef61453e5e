//! The queue type `classic`: the plain queue, and what a queue is when nothing is said.
//!
//! May import `arguments`, `priority` and the parts of [`QueueType`].

use super::arguments::{BadArgument, Settings};
use super::priority::Scale;
use super::ready::ReturnOrder;
use super::{Counts, QueueDefaults, QueueSpec, QueueType};

/// See the module.
pub(crate) const TYPE: QueueType = QueueType {
    name: "classic",
    check,
    scale,
    returns: ReturnOrder::Original,
    counts: Counts::Every,
    channel_limits: true,
    keeps_all: false,
    counts_as_queue: true,
    active_consumer_yields: false,
    of_session: false,
};

/// Everything is allowed; nothing is counted unless `x-delivery-limit` asks for it (L46).
#[expect(clippy::unnecessary_wraps, reason = "the signature all types share")]
const fn check(
    _spec: &QueueSpec<'_>,
    _settings: &mut Settings,
    _defaults: &QueueDefaults,
) -> Result<(), BadArgument> {
    Ok(())
}

fn scale(settings: &Settings) -> Scale {
    Scale { max: settings.priority_max.unwrap_or(0), default: 0 }
}
