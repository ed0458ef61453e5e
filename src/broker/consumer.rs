//! One consumer as the shard that owns its queue sees it: what it asked for and what it may take.
//!
//! May import `ids`, `value` and the queue's argument readers.

use super::queue::arguments::{self, BadArgument};
use crate::ids::{ChannelRef, ConsumerId, ConsumerKey};
use crate::value::Table;

/// What a consumer asks for.
#[derive(Debug)]
pub(crate) struct NewConsumer<'a> {
    /// The conversation its deliveries go to.
    pub(crate) at: ChannelRef,
    /// Echoed in each delivery.
    pub(crate) key: ConsumerKey,
    /// Its name as operators see it.
    pub(crate) tag: &'a str,
    /// Most deliveries it may have unsettled; 0: the default bound.
    pub(crate) prefetch: u32,
    /// Its deliveries count as settled when they leave.
    pub(crate) no_settle: bool,
    /// It wants the queue alone.
    pub(crate) exclusive: bool,
    /// Further arguments.
    pub(crate) arguments: &'a Table,
}

/// Why a consumer is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConsumeRefused {
    /// An exclusive consumer is there, or was asked for beside others or on a queue that chooses
    /// its active consumer itself (P43, R15).
    ExclusiveUse,
    /// A bad argument.
    BadArgument(BadArgument),
    /// The queue has as many consumers as it may (abuse row 29).
    LimitReached {
        /// How many.
        consumers_max: u32,
    },
}

/// A consumer that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Consuming {
    /// Its place in the queue's table.
    pub(crate) id: ConsumerId,
    /// Longest time a delivery may stay unsettled, ms.
    pub(crate) timeout_ms: Option<u64>,
}

/// What a consumer's own arguments say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ConsumerArguments {
    /// Higher ones are served first (R16).
    pub(crate) priority: i64,
    /// Overrules the queue's.
    pub(crate) timeout_ms: Option<u64>,
}

impl ConsumerArguments {
    /// Reads and checks; unknown ones mean nothing.
    pub(crate) fn read(table: &Table) -> Result<Self, BadArgument> {
        const PRIORITY: &str = "x-priority";
        const TIMEOUT: &str = "x-consumer-timeout";
        let mut read = Self::default();
        if let Some(value) = table.get(PRIORITY) {
            let reason = || format!("must be an integer, not {value:?}");
            read.priority =
                value.as_integer().ok_or_else(|| BadArgument::new(PRIORITY, reason()))?;
        }
        if let Some(value) = table.get(TIMEOUT) {
            let ms = arguments::time(value).map_err(|reason| BadArgument::new(TIMEOUT, reason))?;
            read.timeout_ms = Some(ms);
        }
        Ok(read)
    }
}

/// A share of a limit that all consumers of a channel have together (P42). The channel's
/// home counts; the queue gets a token for each delivery it may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelShare {
    /// No such limit.
    Unlimited,
    /// Deliveries it may still send.
    Tokens(u32),
    /// It has none, and has said that it wants one.
    Asked,
}

/// A consumer of a queue.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) at: ChannelRef,
    pub(crate) key: ConsumerKey,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "listings for operators come with the management API")
    )]
    pub(crate) tag: Box<str>,
    pub(crate) no_settle: bool,
    pub(crate) exclusive: bool,
    pub(crate) priority: i64,
    /// Most deliveries unsettled; never 0.
    pub(crate) prefetch: u32,
    /// Deliveries that are out and take its credit.
    pub(crate) unsettled: u32,
    /// The order of subscription.
    pub(crate) joined: u64,
    pub(crate) share: ChannelShare,
    /// Its connection had no room when it was last asked.
    pub(crate) no_room: bool,
    /// Its channel stopped deliveries.
    pub(crate) paused: bool,
    /// Where one consumer is active, this is it; elsewhere always true.
    pub(crate) active: bool,
}

impl Consumer {
    /// Whether a message may be offered to it now.
    pub(crate) const fn is_ready(&self) -> bool {
        self.active
            && !self.paused
            && !self.no_room
            && !matches!(self.share, ChannelShare::Asked)
            && (self.no_settle || self.unsettled < self.prefetch)
    }

    /// It got a delivery.
    pub(crate) fn charge(&mut self) {
        if self.no_settle {
            return;
        }
        self.unsettled = self.unsettled.saturating_add(1);
        if let ChannelShare::Tokens(tokens) = &mut self.share {
            *tokens = tokens.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::testing::table;
    use super::*;
    use crate::value::Value;

    #[test]
    fn a_priority_may_have_any_width_and_sign_but_must_be_a_number() {
        let read = |value| ConsumerArguments::read(&table(&[("x-priority", value)]));
        assert_eq!(read(Value::I8(-3)).unwrap().priority, -3);
        assert_eq!(read(Value::I64(1 << 40)).unwrap().priority, 1 << 40);
        assert_eq!(&*read(Value::text("1")).unwrap_err().argument, "x-priority");
        assert_eq!(ConsumerArguments::read(&Table::default()), Ok(ConsumerArguments::default()));
    }

    #[test]
    fn a_timeout_must_be_a_time() {
        let read = |value| ConsumerArguments::read(&table(&[("x-consumer-timeout", value)]));
        assert_eq!(read(Value::I32(5)).unwrap().timeout_ms, Some(5));
        assert!(read(Value::I32(-5)).is_err());
    }
}
