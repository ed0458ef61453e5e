//! Latencies: percentiles without a sample per message. Imports the histogram crate.

use std::ops::Range;

use hdrhistogram::Histogram;

/// An hour: a longer delay is counted as this.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Significant decimal digits: a value is at most a thousandth off.
const DIGITS: u8 = 3;

/// Delays of messages whose intended time of sending lies in the measured window.
///
/// A batch of messages has the same times, so equal neighbours are counted first and recorded
/// together; one per thread and kind.
#[derive(Debug)]
pub(crate) struct Latency {
    histogram: Option<Histogram<u64>>,
    delay_ns: u64,
    count: u64,
}

impl Latency {
    /// An empty one.
    pub(crate) fn new() -> Self {
        // The bounds are constants that the crate takes; without a histogram nothing is counted.
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS).ok();
        Self { histogram, delay_ns: 0, count: 0 }
    }

    /// Counts a message sent at `sent_ns` that arrived at `now_ns`.
    #[inline]
    pub(crate) fn add(&mut self, window: &Range<u64>, sent_ns: u64, now_ns: u64) {
        if !window.contains(&sent_ns) {
            return;
        }
        let delay_ns = now_ns.saturating_sub(sent_ns);
        if delay_ns != self.delay_ns {
            self.flush();
            self.delay_ns = delay_ns;
        }
        self.count = self.count.saturating_add(1);
    }

    fn flush(&mut self) {
        if let Some(histogram) = &mut self.histogram
            && self.count > 0
        {
            histogram.saturating_record_n(self.delay_ns, self.count);
        }
        self.count = 0;
    }

    /// The percentiles; `None` if nothing was counted.
    pub(crate) fn summary(&mut self) -> Option<Summary> {
        self.flush();
        let histogram = self.histogram.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(Summary {
            count: histogram.len(),
            p50_ns: histogram.value_at_quantile(0.5),
            p90_ns: histogram.value_at_quantile(0.9),
            p99_ns: histogram.value_at_quantile(0.99),
            p999_ns: histogram.value_at_quantile(0.999),
            max_ns: histogram.max(),
        })
    }
}

/// Percentiles of delays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Messages counted.
    pub(crate) count: u64,
    /// Median.
    pub(crate) p50_ns: u64,
    /// 90th percentile.
    pub(crate) p90_ns: u64,
    /// 99th percentile.
    pub(crate) p99_ns: u64,
    /// 99.9th percentile.
    pub(crate) p999_ns: u64,
    /// The longest.
    pub(crate) max_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_sent_within_the_window_count() {
        let mut latency = Latency::new();
        for sent_ns in [99, 100, 199, 200] {
            latency.add(&(100..200), sent_ns, sent_ns + 50);
        }
        assert_eq!(latency.summary().unwrap().count, 2);
        assert_eq!(Latency::new().summary(), None);
    }

    #[test]
    fn percentiles_are_those_of_all_messages() {
        let mut latency = Latency::new();
        for delay in 1..=1000 {
            latency.add(&(0..10), 5, 5 + delay);
        }
        let summary = latency.summary().unwrap();
        assert_eq!((summary.p50_ns, summary.p90_ns), (500, 900));
        assert_eq!((summary.p99_ns, summary.p999_ns, summary.max_ns), (990, 999, 1000));
    }
}
