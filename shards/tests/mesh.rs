//! Mail between running shards: nothing lost, in order, seen by a busy shard as well.

mod support;

use ringmq_shards::{Clock, Origin, Shard, ShardId};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Watchdog, begin, run};

const FIRST: ShardId = ShardId(0);
const SECOND: ShardId = ShardId(1);

/// Answers everything until it has answered `total`.
async fn echo(shard: &Shard<u64>, total: u64) {
    let mut answered = 0;
    while answered < total {
        shard.mesh().wait().await;
        shard.mesh().try_drain(|_, value| {
            answered += 1;
            shard.mesh().send(FIRST, value);
        });
    }
}

/// Sends `total` numbers, at most `window` under way, and expects them back in order.
async fn ask(shard: &Shard<u64>, total: u64, window: u64) {
    let (mut sent, mut returned) = (0, 0);
    while returned < total {
        while sent < total && sent - returned < window {
            shard.mesh().send(SECOND, sent);
            sent += 1;
        }
        shard.mesh().wait().await;
        shard.mesh().try_drain(|_, value| {
            assert_eq!(value, returned, "in order");
            returned += 1;
        });
    }
}

#[test]
fn three_hundred_thousand_messages_with_parks_between_them_lose_no_wake_up() {
    let _watchdog = Watchdog::new("ping-pong");
    // Small windows park both sides nearly every time; large ones cross sending with going to sleep.
    let rounds: [(u64, u64); 4] = [(30_000, 1), (30_000, 2), (40_000, 5), (50_000, 40)];
    run(2, move |shard: Shard<u64>| async move {
        if shard.id() == SECOND {
            // One call for all rounds: its last bite of one may hold the first values of the next.
            return echo(&shard, rounds.iter().map(|(total, _)| total).sum()).await;
        }
        for (total, window) in rounds {
            ask(&shard, total, window).await;
        }
    });
}

#[test]
fn each_lane_keeps_its_order_while_all_send_at_once() {
    const EACH: u64 = 30_000;
    let _watchdog = Watchdog::new("order");
    let running = begin(2, |shard: Shard<u64>| async move {
        if shard.id() == SECOND {
            for value in 0..EACH {
                shard.mesh().send(FIRST, value);
                shard.yield_if_needed().await;
            }
            return;
        }
        for value in 0..EACH {
            shard.mesh().send(FIRST, value);
        }
        let mut next = [0; 3];
        while next != [EACH; 3] {
            shard.mesh().wait().await;
            shard.mesh().try_drain(|from, value| {
                let lane = match from {
                    Origin::Shard(shard) => shard.index(),
                    Origin::Outside => 2,
                };
                assert_eq!(value, next[lane]);
                next[lane] += 1;
            });
        }
    });
    let remote = running.remote();
    for value in 0..EACH {
        remote.send(FIRST, value);
    }
    running.join().expect("no shard panics");
}

/// Keeps its shard busy: always has something to do, yields after each bit of it, never idles.
fn saturate(shard: &Shard<u64>) -> Rc<Cell<u64>> {
    let turns = Rc::new(Cell::new(0));
    let (counted, busy) = (Rc::clone(&turns), shard.clone());
    shard.spawn(async move {
        loop {
            counted.set(counted.get() + 1);
            busy.yield_now().await;
        }
    });
    turns
}

#[test]
fn a_saturated_shard_that_looks_each_turn_sees_all_mail() {
    const TOTAL: u64 = 10_000;
    let _watchdog = Watchdog::new("saturated shard, looking");
    run(2, |shard: Shard<u64>| async move {
        if shard.id() == SECOND {
            return echo(&shard, TOTAL).await;
        }
        saturate(&shard);
        let (mut sent, mut returned) = (0, 0);
        while returned < TOTAL {
            if sent == returned {
                shard.mesh().send(SECOND, sent);
                sent += 1;
            }
            shard.mesh().try_drain(|_, value| {
                assert_eq!(value, returned);
                returned += 1;
            });
            shard.yield_now().await;
        }
    });
}

#[test]
fn even_a_task_that_only_waits_is_woken_on_a_saturated_shard() {
    // With the executor's default of 100 ms a wake-up costs 100 ms and this takes 10 s. 5 s is generous for 0.5 ms each.
    const TOTAL: u64 = 100;
    const LIMIT_MS: u64 = 5_000;
    let _watchdog = Watchdog::new("saturated shard, waiting");
    run(2, |shard: Shard<u64>| async move {
        if shard.id() == SECOND {
            return echo(&shard, TOTAL).await;
        }
        let turns = saturate(&shard);
        let begin_ms = Clock::new().now_ms();
        ask(&shard, TOTAL, 1).await;
        assert!(turns.get() > TOTAL, "the shard was busy meanwhile");
        assert!(Clock::new().now_ms() - begin_ms < LIMIT_MS, "woken within the latency bound");
    });
}

/// Counts how often it was dropped.
struct Dropped(Arc<AtomicUsize>);
impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn tasks_end_with_their_shard_and_what_they_own_is_dropped() {
    let _watchdog = Watchdog::new("end");
    let dropped = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&dropped);
    run(2, move |shard: Shard<u64>| {
        let dropped = Arc::clone(&seen);
        async move {
            for number in 0..10 {
                let (owned, sleeper) = (Dropped(Arc::clone(&dropped)), shard.clone());
                shard.spawn(async move {
                    // Half of them end by themselves, half would sleep for a week.
                    if number % 2 == 0 {
                        sleeper.sleep(7 * 24 * 3_600_000).await;
                    }
                    drop(owned);
                });
            }
            // The main future is one of them.
            while shard.task_count() > 6 {
                shard.sleep(1).await;
            }
            assert_eq!(shard.task_count(), 6);
        }
    });
    assert_eq!(dropped.load(Ordering::SeqCst), 20);
}

#[test]
fn more_shards_than_cores_talk_to_each_other() {
    const SHARDS: usize = 6;
    let _watchdog = Watchdog::new("many shards");
    run(SHARDS, |shard: Shard<u64>| async move {
        for to in (0..SHARDS).filter_map(ShardId::from_index) {
            shard.mesh().send(to, 1);
        }
        let mut received = 0;
        while received < SHARDS {
            shard.mesh().wait().await;
            received += shard.mesh().try_drain(|_, value| assert_eq!(value, 1));
        }
    });
}

#[test]
fn a_sleep_ends_no_earlier_than_its_deadline() {
    let _watchdog = Watchdog::new("sleep");
    run(1, |shard: Shard<u64>| async move {
        let deadline_ms = shard.clock().now_ms() + 20;
        shard.sleep_until(deadline_ms).await;
        assert!(shard.clock().now_ms() >= deadline_ms);
    });
}
