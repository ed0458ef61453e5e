//! What clients with sessions do by seed, and how a history of them ends. May import their world.

use super::cluster::{Cluster, Rng};
use super::session_oracle::*;
use super::session_world::*;
use super::subscriber::*;

const CONNECTIONS_MAX: usize = 14;

impl SessionWorld {
    /// Until nothing happens without time passing.
    pub(super) fn finish(&mut self, c: &mut Cluster) {
        for _ in 0..100 {
            c.rest();
            self.hear_all(c);
            if c.is_cut() || !c.step() {
                self.oracle.at_rest();
                return;
            }
        }
        panic!("it never comes to rest");
    }

    pub(super) fn pass(&mut self, c: &mut Cluster, ms: u64) {
        self.finish(c);
        if c.is_cut() {
            return;
        }
        c.pass(ms);
        if !c.is_cut() {
            self.oracle.passed(c.now.wall_ms);
        }
        self.hear_all(c);
    }

    pub(super) fn settle_down(&mut self, c: &mut Cluster) {
        self.finish(c);
        for _ in 0..2 {
            if c.is_cut() || !c.settle_down() {
                return;
            }
            self.oracle.passed(c.now.wall_ms);
            self.hear_all(c);
        }
        self.oracle.durable();
        // One that a crash has doubled may still wait for the mourner, behind what it has not settled.
        let of_mourner = format!("session-s{MOURNER}");
        let waits = c.brokers.iter().any(|broker| {
            let queue = broker.vhosts[0].queues.get(&*of_mourner);
            queue.and_then(|id| broker.queues.get(*id)).is_some_and(|e| e.queue.ready() > 0)
        });
        for (id, left) in &mut self.wills {
            match left.state {
                _ if left.came => left.over |= !waits,
                WillState::Parked => left.owed = true,
                WillState::Left => {
                    left.owed = true;
                    if left.due <= c.now.wall_ms {
                        self.oracle.confirmed(*id);
                    }
                }
                WillState::Withdrawn => left.over = true,
                WillState::Unsure => {}
            }
        }
    }

    pub(super) fn act(&mut self, c: &mut Cluster) {
        let at = c.rng.below(self.connections.len());
        let idle = self.connections[at].asked.is_none()
            && self.connections[at].open
            && !self.connections[at].replaced;
        let fixed = self.connections[at].session == Some(MOURNER);
        match c.rng.below(40) {
            0..=8 => self.publish(c, at),
            9..=19 => self.settle(c, at),
            20 | 21 if self.connections.len() < CONNECTIONS_MAX => {
                let s = c.rng.below(SESSIONS.len());
                let fresh = s > MEMBERS[1] && c.rng.below(4) == 0;
                self.open(c, s, fresh);
            }
            22 | 23 => {
                // What has come is heard, or never reached the client.
                if c.rng.below(2) == 0 {
                    self.hear_all(c);
                } else {
                    let at = at.min(self.connections.len() - 1);
                    self.vanish(c, at);
                }
            }
            24 => self.leave(c, at),
            25..=27 if idle && !fixed => {
                let filter = FILTERS_TRIED[c.rng.below(FILTERS_TRIED.len())];
                let level = [ONCE, LEAST, EXACTLY][c.rng.below(3)];
                self.subscribe(c, at, &[(filter, level)]);
            }
            28 if idle && !fixed => {
                let filter = FILTERS_TRIED[c.rng.below(FILTERS_TRIED.len())];
                self.unsubscribe(c, at, filter);
            }
            29 | 30 => {
                let n = c.rng.below(PUBLISHERS);
                self.retain(c, n);
            }
            31 | 32 => {
                let ms = [1, 20, 60, 200, 500][c.rng.below(5)];
                self.pass(c, ms);
            }
            33 if c.rng.below(3) == 0 => self.settle_down(c),
            34 => self.finish(c),
            35..=37 => self.let_go(c, at),
            _ => {}
        }
        for _ in 0..c.rng.below(14) {
            c.step();
        }
        self.hear_all(c);
    }

    /// Retained messages are those that were confirmed last, or came later.
    pub(super) fn check_retained(&mut self, c: &mut Cluster) {
        let reader = c.connect(0);
        let there = c.read(reader, "r/#");
        for n in 0..PUBLISHERS {
            let topic = self.topics.entry(n).or_default();
            let body = there.get(&format!("r/{n}")).cloned().unwrap_or_default();
            let later = topic.later.iter().any(|(_, later)| *later == body);
            assert!(later || topic.confirmed == body, "{n}: {body}, not {topic:?}");
            *topic = Topic { confirmed: body, later: Vec::new() };
        }
        assert!(there.len() <= PUBLISHERS, "{there:?}");
        c.drop_connection(reader);
    }

    /// Every session that there has to be gets everything; then all end, and nothing is left.
    pub(super) fn conclude(&mut self, c: &mut Cluster) {
        self.check_retained(c);
        for s in 0..SESSIONS.len() {
            self.open(c, s, false);
            self.finish(c);
        }
        self.pass(c, 2_000);
        for _ in 0..2_000 {
            let before = self.oracle.deliveries;
            for at in 0..self.connections.len() {
                for _ in 0..self.connections[at].held.len() * 2 {
                    self.settle(c, at);
                }
            }
            self.finish(c);
            if before == self.oracle.deliveries
                && self.connections.iter().all(|at| at.held.is_empty())
            {
                break;
            }
        }
        self.settle_down(c);
        self.oracle.check_all_came();
        let lost: Vec<_> = self
            .wills
            .values()
            .filter(|left| {
                left.owed
                    && !left.came
                    && left.state == WillState::Left
                    && left.due <= c.now.wall_ms
            })
            .collect();
        assert!(lost.is_empty(), "wills are lost: {lost:?}");
        let count = self.connections.len();
        (0..count).rev().for_each(|at| self.leave(c, at));
        for n in 0..PUBLISHERS {
            c.drop_connection(self.connections[n].client);
        }
        c.forget_sessions();
        let last = c.connect(0);
        for n in 0..PUBLISHERS {
            c.retain(last, &format!("r/{n}"), "");
        }
        c.drop_connection(last);
        assert!(c.settle_down());
    }
}

/// Steps a process ends in, if it does.
pub(super) fn steps(rng: &mut Rng) -> u64 {
    1 + rng.below(300) as u64
}
