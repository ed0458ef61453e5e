//! Watermarks: which publishers are held back. Messages in memory are counted per shard and the
//! counts told around; above the watermark of the node, or when a lane holds as much as it may,
//! publishing connections are not read on.

use super::Broker;
use super::mail::Mail;
use crate::command::{AlarmReason, Event};
use crate::ids::{ConnectionId, ShardId};

/// Memory that messages take.
#[derive(Debug)]
pub(super) struct Memory {
    here: u64,
    told: u64,
    others: Vec<u64>,
    max: u64,
    alarm: bool,
}

impl Memory {
    pub(super) fn new(shards: u16, max: u64) -> Self {
        Self { here: 0, told: 0, others: vec![0; usize::from(shards)], max, alarm: false }
    }

    /// Something took `before` octets and takes `after` now.
    pub(super) fn moved(&mut self, before: u64, after: u64) {
        self.here = self.here.saturating_add(after).saturating_sub(before);
    }

    fn total(&self) -> u64 {
        self.others.iter().fold(self.here, |sum, bytes| sum.saturating_add(*bytes))
    }
}

impl Broker {
    /// Whether this connection must hold its next publish back until [`Event::PublishResumed`].
    /// Asked before each publish; starts the waiting.
    pub fn publish_paused(&mut self, connection: ConnectionId) -> bool {
        if !self.memory.alarm && !self.post.is_full() {
            return false;
        }
        if let Some(entry) = self.connections.get_mut(connection)
            && !entry.paused
        {
            entry.paused = true;
            self.paused.push(connection);
        }
        true
    }

    /// The alarm in force.
    pub fn alarm(&self) -> Option<AlarmReason> {
        self.memory.alarm.then_some(AlarmReason::Memory)
    }

    /// Octets of memory that messages of this shard take.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.here
    }

    /// Once per turn: tells the others when the count moved by more than a 256th of the watermark,
    /// and looks whether the alarm begins or ends (at nine tenths, so that it does not flicker).
    pub(super) fn report_memory(&mut self) {
        let step = self.memory.max / 256;
        if self.memory.here.abs_diff(self.memory.told) > step {
            let bytes = self.memory.here;
            self.memory.told = bytes;
            for shard in self.post.others() {
                self.post.send(shard, Mail::Memory { bytes });
            }
        }
        self.judge_memory();
        self.resume_publishers();
    }

    pub(super) fn memory_told(&mut self, from: ShardId, bytes: u64) {
        if let Some(slot) = self.memory.others.get_mut(usize::from(from.0)) {
            *slot = bytes;
        }
    }

    fn judge_memory(&mut self) {
        let total = self.memory.total();
        if !self.memory.alarm && total > self.memory.max {
            self.memory.alarm = true;
            tracing::warn!(
                total,
                max = self.memory.max,
                "memory watermark passed, publishers wait"
            );
            self.tell_all(|| Event::Alarm(Some(AlarmReason::Memory)));
        } else if self.memory.alarm && total < self.memory.max - self.memory.max / 10 {
            self.memory.alarm = false;
            tracing::info!(total, "memory is below the watermark again, publishers go on");
            self.tell_all(|| Event::Alarm(None));
        }
    }

    fn resume_publishers(&mut self) {
        if self.paused.is_empty() || self.memory.alarm || self.post.is_full() {
            return;
        }
        for connection in std::mem::take(&mut self.paused) {
            if let Some(entry) = self.connections.get_mut(connection) {
                entry.paused = false;
            }
            self.tell(connection, Event::PublishResumed);
        }
    }
}
