//! What happened in a second, from two samples of what has happened ever; both as RabbitMQ names
//! them.
//!
//! May import `stats`, `app` (totals).

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::app::Totals;
use crate::stats::{Counters, MessageCounts, QueueTotals};

/// How much that is in a second.
#[expect(clippy::cast_precision_loss, reason = "for people, who read three digits of it")]
fn in_a_second(change: i64, during: Duration) -> f64 {
    let seconds = during.as_secs_f64();
    if seconds > 0.0 { (change as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 }
}

/// The same of what only grows.
pub(super) fn rate(count: u64, during: Duration) -> f64 {
    in_a_second(i64::try_from(count).unwrap_or(i64::MAX), during)
}

/// A count and how fast it grows.
pub(super) fn put(object: &mut Map<String, Value>, name: &str, count: u64, rate: f64) {
    object.insert(name.into(), count.into());
    object.insert(format!("{name}_details"), json!({ "rate": rate }));
}

/// `message_stats` of a channel or a connection (amqp.md R104): so far, and what of it is of late.
pub(super) fn message_stats(all: &MessageCounts, since: &MessageCounts, during: Duration) -> Value {
    let mut stats = Map::new();
    let mut put = |name, of: fn(&MessageCounts) -> u64| {
        put(&mut stats, name, of(all), rate(of(since), during));
    };
    put("publish", |c| c.published);
    put("confirm", |c| c.stored);
    put("return_unroutable", |c| c.returned);
    put("deliver", |c| c.delivered);
    put("deliver_no_ack", |c| c.delivered_settled);
    put("get", |c| c.fetched);
    put("get_no_ack", |c| c.fetched_settled);
    put("get_empty", |c| c.fetched_none);
    put("deliver_get", |c| c.delivered + c.delivered_settled + c.fetched + c.fetched_settled);
    put("redeliver", |c| c.redelivered);
    put("ack", |c| c.accepted);
    Value::Object(stats)
}

/// What had happened at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    at: Instant,
    counters: Counters,
    queues: QueueTotals,
}

impl Sample {
    pub(super) const fn new(at: Instant, totals: &Totals) -> Self {
        Self { at, counters: totals.counters, queues: totals.queues }
    }
}

/// The last two samples.
#[derive(Debug, Default)]
pub(super) struct Rates {
    before: Option<Sample>,
    last: Option<Sample>,
}

impl Rates {
    pub(super) const fn add(&mut self, sample: Sample) {
        self.before = self.last;
        self.last = Some(sample);
    }

    pub(super) fn per_second(&self) -> PerSecond {
        let (Some(before), Some(last)) = (self.before, self.last) else {
            return PerSecond::default();
        };
        PerSecond {
            counted: last.counters.since(&before.counters),
            ready: difference(last.queues.ready, before.queues.ready),
            unsettled: difference(last.queues.unsettled, before.queues.unsettled),
            during: last.at.duration_since(before.at),
        }
    }
}

fn difference(now: u64, then: u64) -> i64 {
    let less = i64::try_from(then.saturating_sub(now)).unwrap_or(i64::MAX);
    i64::try_from(now.saturating_sub(then)).unwrap_or(i64::MAX).saturating_sub(less)
}

/// What happened between the last two samples.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PerSecond {
    pub(super) counted: Counters,
    pub(super) ready: i64,
    pub(super) unsettled: i64,
    during: Duration,
}

impl PerSecond {
    /// How much that is in a second.
    pub(super) fn of(&self, count: u64) -> f64 {
        rate(count, self.during)
    }

    /// The same of what may have become less.
    pub(super) fn of_change(&self, change: i64) -> f64 {
        in_a_second(change, self.during)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_happened_between_two_samples() {
        let began = Instant::now();
        let mut rates = Rates::default();
        assert_eq!(rates.per_second().of(100), 0.0);
        let mut totals = Totals::default();
        totals.counters.published = 100;
        totals.queues.ready = 30;
        rates.add(Sample::new(began, &totals));
        assert_eq!(rates.per_second().counted.published, 0);
        totals.counters.published = 350;
        totals.queues.ready = 10;
        rates.add(Sample::new(began + Duration::from_secs(5), &totals));
        let seen = rates.per_second();
        assert_eq!(seen.of(seen.counted.published), 50.0);
        assert_eq!(seen.of_change(seen.ready), -4.0);
    }
}
