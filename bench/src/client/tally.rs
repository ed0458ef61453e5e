//! What the connections of a thread count together, whatever their protocol. Imports `histogram`,
//! `verify`.

use std::ops::Range;

use crate::histogram::Latency;
use crate::verify::{Faults, Verifier};

/// What all producers of a thread share.
#[derive(Debug)]
pub(crate) struct Dispatch {
    /// Delays of confirms.
    pub(crate) latency: Latency,
    /// Intended times of sending that are measured.
    pub(crate) window: Range<u64>,
    /// Messages stamped, to be written at once.
    pub(crate) published: u64,
    /// Messages confirmed.
    pub(crate) confirmed: u64,
    /// What was wrong.
    pub(crate) faults: Faults,
    /// Messages that may be published before consumers have taken more.
    pub(crate) room: u64,
    /// Whether messages are published at all.
    pub(crate) is_open: bool,
}

impl Dispatch {
    /// Nothing published yet.
    pub(crate) fn new() -> Self {
        Self {
            latency: Latency::new(),
            window: 0..0,
            published: 0,
            confirmed: 0,
            faults: Faults::default(),
            room: u64::MAX,
            is_open: true,
        }
    }
}

/// What all consumers of a thread share.
#[derive(Debug)]
pub(crate) struct Receipts {
    /// Judges every delivery.
    pub(crate) verifier: Verifier,
    /// End-to-end delays.
    pub(crate) latency: Latency,
    /// Intended times of sending that are measured.
    pub(crate) window: Range<u64>,
    /// Deliveries.
    pub(crate) count: u64,
}

impl Receipts {
    /// Nothing received yet.
    pub(crate) fn new(verifier: Verifier) -> Self {
        Self { verifier, latency: Latency::new(), window: 0..0, count: 0 }
    }

    /// Counts a delivery, and its delay if nothing was wrong with it.
    #[inline]
    pub(crate) fn add(&mut self, sent_ns: Option<u64>, now_ns: u64) {
        self.count = self.count.saturating_add(1);
        if let Some(sent_ns) = sent_ns {
            self.latency.add(&self.window, sent_ns, now_ns);
        }
    }
}
