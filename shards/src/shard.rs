//! What runs on one core sees the machine through this. Imports the executor.

use crate::buffers::Buffers;
use crate::clock::Clock;
use crate::mesh::{Hub, Mesh};
use crate::quiet::Quiet;
use crate::shard_id::ShardId;
use crate::tasks::Tasks;
use crate::turn::{Looks, NextLook, Turn};
use glommio::timer::Timer;
use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// One shard, for the code that runs on it. A cheap handle that stays on its thread.
pub struct Shard<M> {
    core: Rc<Core<M>>,
}

struct Core<M> {
    id: ShardId,
    count: usize,
    clock: Clock,
    mesh: Mesh<M>,
    buffers: Buffers,
    quiet: Quiet,
    turn: Turn,
    looks: Looks,
    tasks: Tasks,
}

impl<M: 'static> Shard<M> {
    pub(crate) fn new(id: ShardId, count: usize, hub: Arc<Hub<M>>) -> Self {
        let clock = Clock::new();
        let core = Core {
            id,
            count,
            clock,
            mesh: Mesh::new(id, hub),
            buffers: Buffers::new(),
            quiet: Quiet::new(),
            turn: Turn::new(clock),
            looks: Looks::default(),
            tasks: Tasks::new(),
        };
        Self { core: Rc::new(core) }
    }

    /// Which shard this is.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.core.id
    }

    /// How many shards there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.core.count
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.core.clock
    }

    /// The lanes to and from the other shards.
    #[must_use]
    pub fn mesh(&self) -> &Mesh<M> {
        &self.core.mesh
    }

    /// The buffer pool of this shard.
    #[must_use]
    pub fn buffers(&self) -> &Buffers {
        &self.core.buffers
    }

    /// The sockets of this shard.
    #[must_use]
    pub fn quiet(&self) -> &Quiet {
        &self.core.quiet
    }

    /// Runs `future` on this shard, beginning later in this turn or in the next, until it ends or the shard's main future does.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.core.tasks.spawn(future);
    }

    /// Tasks of this shard that have not ended, its main future among them.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.core.tasks.len()
    }

    /// Resolves after `wait_ms` milliseconds. For a few long-lived tasks; deadlines of connections belong into
    /// [`Timers`](crate::Timers).
    pub async fn sleep(&self, wait_ms: u64) {
        Timer::new(Duration::from_millis(wait_ms)).await;
    }

    /// Resolves when the clock shows `deadline_ms`.
    pub async fn sleep_until(&self, deadline_ms: u64) {
        // The executor's timer may come a fraction of a millisecond before our clock turns.
        loop {
            let now_ms = self.core.clock.now_ms();
            if now_ms >= deadline_ms {
                return;
            }
            self.sleep(deadline_ms - now_ms).await;
        }
    }

    /// Lets every other task that can run have its turn.
    pub async fn yield_now(&self) {
        futures_lite::future::yield_now().await;
    }

    /// Whether this turn has lasted long enough and others should run. Reads the clock (25 ns): ask after each bounded piece of
    /// work, not after each message.
    #[must_use]
    pub fn need_yield(&self) -> bool {
        self.core.turn.is_over()
    }

    /// [`Shard::yield_now`] if there is a reason to.
    pub async fn yield_if_needed(&self) {
        if self.need_yield() {
            self.yield_now().await;
        }
    }

    /// Resolves when the executor has looked at its rings once more and the tasks that were woken by then, among them those
    /// whose sockets had something to read, have had a turn.
    pub async fn after_look(&self) {
        let looks = &self.core.looks;
        let before = looks.count();
        poll_fn(|context| {
            if looks.count() != before {
                return Poll::Ready(());
            }
            looks.want(context.waker());
            Poll::Pending
        })
        .await;
    }

    /// Runs the main future and all tasks until the main future ends, then drops the rest. The only task of the executor.
    pub(crate) async fn run(self, main: impl Future<Output = ()> + 'static) {
        let ended = Rc::new(Cell::new(false));
        let ending = Rc::clone(&ended);
        self.spawn(async move {
            main.await;
            ending.set(true);
        });
        let mut look = NextLook::new();
        poll_fn(|context| self.poll_turn(context, &ended, &mut look)).await;
        self.core.tasks.clear(self.core.id);
        self.core.quiet.end();
        // One look at the rings, so that readiness requests of closed sockets are withdrawn and the peers see the end.
        Timer::new(Duration::from_millis(1)).await;
    }

    fn poll_turn(
        &self,
        context: &mut Context<'_>,
        ended: &Cell<bool>,
        look: &mut NextLook,
    ) -> Poll<()> {
        let core = &self.core;
        core.turn.begin();
        // Before those who waited for a look, who are to run after the tasks that it wakes.
        core.quiet.look(context, core.turn.began_ms(), core.looks.are_wanted());
        core.looks.looked();
        loop {
            while core.tasks.run_next() {
                if ended.get() {
                    return Poll::Ready(());
                }
                if core.turn.is_over() || core.looks.are_wanted() {
                    look.wake_after(context);
                    return Poll::Pending;
                }
            }
            if core.tasks.poll_woken(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl<M> Clone for Shard<M> {
    fn clone(&self) -> Self {
        Self { core: Rc::clone(&self.core) }
    }
}

impl<M> fmt::Debug for Shard<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("id", &self.core.id).finish_non_exhaustive()
    }
}
