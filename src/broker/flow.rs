//! Watermarks: which publishers are held back. Messages in memory are counted per shard and the
//! counts told around; above the watermark of the node, or when a lane holds as much as it may,
//! publishing connections are not read on.

use super::Broker;
use super::mail::{Census, Mail};
use crate::command::{AlarmReason, Event};
use crate::ids::{ConnectionId, ShardId};

/// What counts against limits of the node: this shard's share, exactly, and what the others said
/// of theirs.
#[derive(Debug)]
pub(super) struct Memory {
    here: Census,
    told: Census,
    others: Vec<Census>,
    max: u64,
    alarm: bool,
}

impl Memory {
    pub(super) fn new(shards: u16, max: u64) -> Self {
        let others = vec![Census::default(); usize::from(shards)];
        Self { here: Census::default(), told: Census::default(), others, max, alarm: false }
    }

    /// Something took `before` octets and takes `after` now.
    pub(super) fn moved(&mut self, before: u64, after: u64) {
        self.here.memory_bytes =
            self.here.memory_bytes.saturating_add(after).saturating_sub(before);
    }

    /// What the whole node has, as far as it was told.
    fn total(&self, of: impl Fn(&Census) -> u64) -> u64 {
        self.others.iter().fold(of(&self.here), |sum, census| sum.saturating_add(of(census)))
    }
}

impl Broker {
    /// Whether this connection must hold its next publish back until [`Event::PublishResumed`].
    /// Asked before each publish; starts the waiting.
    pub fn publish_paused(&mut self, connection: ConnectionId) -> bool {
        if !self.memory.alarm && !self.post.is_full() && !self.storage_is_behind() {
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
        if self.memory.alarm {
            return Some(AlarmReason::Memory);
        }
        self.disk_is_full().then_some(AlarmReason::Disk)
    }

    /// Messages in memory should move to the disk: at seven tenths of the watermark, so that
    /// publishers are not held back before that was tried.
    pub(super) fn memory_is_short(&self) -> bool {
        let total = self.memory.total(|census| census.memory_bytes);
        total > self.memory.max - self.memory.max / 10 * 3
    }

    /// Octets of memory that messages of this shard take.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.here.memory_bytes
    }

    /// Queues of the whole node, and bindings of its queues.
    pub(super) fn node_counts(&self) -> (u64, u64) {
        let others = |of: fn(&Census) -> u64| self.memory.others.iter().map(of).sum::<u64>();
        let queues = self.queues.len() as u64;
        (queues + others(|c| c.queues), self.bindings + others(|c| c.bindings))
    }

    /// Once per turn: tells the others when a count moved by more than a 256th of its limit, and
    /// looks whether the alarm begins or ends (at nine tenths, so that it does not flicker).
    pub(super) fn report_memory(&mut self) {
        let here = &mut self.memory.here;
        (here.queues, here.bindings) = (self.queues.len() as u64, self.bindings);
        let (here, told) = (self.memory.here, self.memory.told);
        let far = |now: u64, then: u64, max: u64| now.abs_diff(then) > max / 256;
        if far(here.memory_bytes, told.memory_bytes, self.memory.max)
            || far(here.queues, told.queues, self.limits.queues_max as u64)
            || far(here.bindings, told.bindings, self.limits.bindings_max as u64)
        {
            self.memory.told = here;
            for shard in self.post.others() {
                self.post.send(shard, Mail::Census(here));
            }
        }
        self.judge_memory();
        self.resume_publishers();
    }

    pub(super) fn census_told(&mut self, from: ShardId, census: Census) {
        if let Some(slot) = self.memory.others.get_mut(usize::from(from.0)) {
            *slot = census;
        }
    }

    fn judge_memory(&mut self) {
        let total = self.memory.total(|census| census.memory_bytes);
        if !self.memory.alarm && total > self.memory.max {
            self.memory.alarm = true;
            tracing::warn!(
                total,
                max = self.memory.max,
                "memory watermark passed, publishers wait"
            );
            let alarm = self.alarm();
            self.tell_all(|| Event::Alarm(alarm));
        } else if self.memory.alarm && total < self.memory.max - self.memory.max / 10 {
            self.memory.alarm = false;
            tracing::info!(total, "memory is below the watermark again, publishers go on");
            let alarm = self.alarm();
            self.tell_all(|| Event::Alarm(alarm));
        }
    }

    fn resume_publishers(&mut self) {
        if self.paused.is_empty()
            || self.memory.alarm
            || self.post.is_full()
            || self.storage_is_behind()
        {
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
