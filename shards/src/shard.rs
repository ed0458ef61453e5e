//! What runs on one core sees the machine through this. Imports the executor.

use crate::buffers::Buffers;
use crate::clock::Clock;
use crate::mesh::{Hub, Mesh};
use crate::shard_id::ShardId;
use crate::tasks::Tasks;
use glommio::timer::Timer;
use glommio::{Latency, Shares, TaskQueueHandle};
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long the executor runs tasks before it looks at its rings again while there is always something to run. Its default of
/// 100 ms is what makes sockets and wake-ups of other threads 100 ms late on a busy core; a look costs about 5 us, so this is
/// 1 % of a saturated core.
pub(crate) const TURN_MAX: Duration = Duration::from_micros(500);

/// Rounds of ending tasks whose end starts new ones.
const END_ROUNDS_MAX: usize = 100;

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
    queue: TaskQueueHandle,
    tasks: RefCell<Tasks>,
}

impl<M: 'static> Shard<M> {
    /// To be called inside the executor of this shard.
    pub(crate) fn new(id: ShardId, count: usize, hub: Arc<Hub<M>>) -> Self {
        // One queue for everything: with two, each has to wait for the other's share of the core.
        let queue = glommio::executor().create_task_queue(
            Shares::default(),
            Latency::Matters(TURN_MAX),
            "shard",
        );
        let core = Core {
            id,
            count,
            clock: Clock::new(),
            mesh: Mesh::new(id, hub),
            buffers: Buffers::new(),
            queue,
            tasks: RefCell::default(),
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

    /// Runs `future` on this shard, beginning in a later turn, until it ends or the shard's main future does.
    ///
    /// # Panics
    ///
    /// Outside of the shard's own thread.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let core = Rc::clone(&self.core);
        let slot = core.tasks.borrow_mut().reserve();
        let task = async move {
            future.await;
            core.tasks.borrow_mut().finish(slot);
        };
        let made = glommio::spawn_local_into(task, self.core.queue);
        // The queue was made with the shard and is never removed.
        assert!(made.is_ok(), "a shard spawns into its own queue");
        if let Ok(task) = made {
            self.core.tasks.borrow_mut().fill(slot, task.detach());
        }
    }

    /// Tasks of this shard that have not ended, without its main future.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.core.tasks.borrow().len()
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

    /// Whether the executor wants to look at its rings: something arrived, or the turn has lasted long enough. A plain read of
    /// two words; ask after each bounded piece of work.
    #[must_use]
    pub fn need_yield(&self) -> bool {
        glommio::executor().need_preempt()
    }

    /// [`Shard::yield_now`] if there is a reason to.
    pub async fn yield_if_needed(&self) {
        if self.need_yield() {
            self.yield_now().await;
        }
    }

    /// Runs the main future to its end in the shard's queue, then ends all tasks.
    pub(crate) async fn run_main(self, main: impl Future<Output = ()> + 'static) {
        if let Ok(main) = glommio::spawn_local_into(main, self.core.queue) {
            main.await;
        }
        for _ in 0..END_ROUNDS_MAX {
            let tasks = self.core.tasks.borrow_mut().take_all();
            if tasks.is_empty() {
                break;
            }
            for task in tasks {
                task.cancel();
                task.await;
            }
        }
        // One look at the rings, so that readiness requests of closed sockets are withdrawn and the peers see the end.
        Timer::new(Duration::from_millis(1)).await;
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
