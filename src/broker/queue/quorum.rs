//! The queue type `quorum`: always durable, counts failed deliveries, gives returned messages first.
//!
//! Clients ask for it by name for its safety (R1): what makes it a quorum, members on other
//! nodes, is the store's business; its rules are here.
//! May import `arguments`, `priority` and the parts of [`QueueType`].

use super::arguments::{BadArgument, DeliveryLimit, Settings};
use super::priority::Scale;
use super::ready::ReturnOrder;
use super::{Counts, QueueDefaults, QueueSpec, QueueType};

/// See the module.
pub(crate) const TYPE: QueueType = QueueType {
    name: "quorum",
    check,
    scale,
    returns: ReturnOrder::Returned,
    counts: Counts::Failed,
    channel_limits: false,
    keeps_all: true,
    counts_as_queue: true,
    active_consumer_yields: true,
    of_session: false,
};

/// R2, R3, P33.
fn check(
    spec: &QueueSpec<'_>,
    settings: &mut Settings,
    defaults: &QueueDefaults,
) -> Result<(), BadArgument> {
    let refuse = |property, reason| Err(BadArgument::new(property, reason));
    if !spec.durable {
        return refuse("non-durable", "a quorum queue must be durable");
    }
    if spec.exclusive.is_some() {
        return refuse("exclusive-owner", "a quorum queue can not be exclusive");
    }
    if spec.auto_delete {
        return refuse("auto-delete", "a quorum queue can not be deleted automatically");
    }
    if spec.server_named {
        return refuse("x-queue-type", "a quorum queue needs a name chosen by its client");
    }
    if settings.priority_max.is_some() {
        return refuse("x-max-priority", "a quorum queue has its priorities without it");
    }
    if spec.arguments.get("x-delivery-limit").is_none() {
        settings.delivery_limit = defaults.delivery_limit;
    }
    if settings.delivery_limit == DeliveryLimit::Uncounted {
        settings.delivery_limit = DeliveryLimit::Unlimited;
    }
    Ok(())
}

/// 32 strict priorities, 4 for a message that has none (R6).
const fn scale(_settings: &Settings) -> Scale {
    Scale { max: 31, default: 4 }
}
