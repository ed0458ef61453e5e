//! Starts the shards: one thread, one core, one executor each. Imports the executor.

use crate::cores::{allowed_cores, pin_to};
use crate::limits::{MEMLOCK_BYTES_MIN, limits, memlock_needed, raise_memlock};
use crate::mesh::{Hub, Remote};
use crate::probe::{ProbeError, check_io_uring};
use crate::shard::Shard;
use crate::shard_id::{SHARDS_MAX, ShardId};
use glommio::{Latency, LocalExecutor, LocalExecutorBuilder, Placement, Shares};
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// Memory that each executor registers with the kernel for direct file I/O, the least it takes. We do not use it; its default
/// of 10 MiB would be locked per shard.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// The executor shall not end our turns, see `tasks.rs`.
const NEVER: Duration = Duration::from_secs(24 * 3_600);

/// How to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many shards, 1 to [`SHARDS_MAX`].
    pub shards: usize,
    /// Whether each shard keeps to one core. More shards than cores share them in turn.
    pub pin: bool,
    /// Threads are called by this name and the shard's number.
    pub name: String,
}

impl Default for Options {
    /// One shard for each core that the process may use.
    fn default() -> Self {
        let cores = allowed_cores().map_or(1, |cores| cores.len());
        Self { shards: cores.clamp(1, SHARDS_MAX), pin: true, name: "ringmq".to_owned() }
    }
}

/// Why the shards did not start. Each text is one line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No shards, or too many.
    #[error("cannot start {0} shards: between 1 and {SHARDS_MAX} are possible")]
    Count(usize),
    /// The kernel gives no io_uring.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The limit of locked memory is too low.
    #[error(
        "the limit of locked memory is {hard_bytes} bytes, {needed_bytes} are needed; run: ulimit -l unlimited (systemd: \
         LimitMEMLOCK=infinity, docker run --ulimit memlock=-1)"
    )]
    LockedMemory {
        /// The hard limit in force.
        hard_bytes: u64,
        /// What this number of shards should have.
        needed_bytes: u64,
    },
    /// The cores or limits of the process cannot be read.
    #[error("cannot read the limits of this process: {0}")]
    Limits(io::Error),
    /// No thread.
    #[error("cannot make the thread of a shard: {0}")]
    Thread(io::Error),
    /// The executor of one shard could not be made.
    #[error("cannot start shard {shard}: {reason}")]
    Executor {
        /// The shard.
        shard: ShardId,
        /// What the executor says.
        reason: String,
    },
    /// A thread ended while it was starting.
    #[error("a shard ended while it was starting")]
    Lost,
}

/// A shard's thread panicked.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard} ended by a panic")]
pub struct ShardLost {
    /// The shard.
    pub shard: ShardId,
}

/// The shards while they run.
pub struct Running<M> {
    threads: Vec<JoinHandle<()>>,
    cores: Vec<Option<usize>>,
    hub: Arc<Hub<M>>,
}

impl<M> Running<M> {
    /// The core of each shard, in order; `None` if it is not bound to one.
    #[must_use]
    pub fn cores(&self) -> &[Option<usize>] {
        &self.cores
    }

    /// A handle for threads that are no shard.
    #[must_use]
    pub fn remote(&self) -> Remote<M> {
        Remote::new(Arc::clone(&self.hub))
    }

    /// Waits until the main future of every shard has ended.
    ///
    /// # Errors
    ///
    /// The first shard that panicked, after all have ended.
    pub fn join(self) -> Result<(), ShardLost> {
        let ends = self.threads.into_iter().map(JoinHandle::join).collect::<Vec<_>>();
        match ends.iter().position(Result::is_err).and_then(ShardId::from_index) {
            Some(shard) => Err(ShardLost { shard }),
            None => Ok(()),
        }
    }
}

impl<M> fmt::Debug for Running<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("cores", &self.cores).finish_non_exhaustive()
    }
}

/// Starts the shards and runs `make(shard)` on each. Either all of them run or none.
///
/// # Errors
///
/// What is missing, in one line with the remedy.
pub fn start<M, F, Fut>(options: &Options, make: F) -> Result<Running<M>, StartError>
where
    M: Send + 'static,
    F: Fn(Shard<M>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    if !(1..=SHARDS_MAX).contains(&options.shards) {
        return Err(StartError::Count(options.shards));
    }
    check_io_uring()?;
    check_memlock(options.shards)?;
    let cores = place(options)?;
    let hub = Hub::new(options.shards);
    let (ready_sender, ready) = mpsc::channel();
    let mut threads = Vec::with_capacity(options.shards);
    let mut gates = Vec::with_capacity(options.shards);
    let mut outcome = Ok(());
    for (index, core) in cores.iter().enumerate() {
        let Some(id) = ShardId::from_index(index) else { break };
        let (gate_sender, gate) = mpsc::channel();
        let seat = Seat { id, count: options.shards, core: *core, hub: Arc::clone(&hub) };
        let (make, ready) = (make.clone(), ready_sender.clone());
        let thread = std::thread::Builder::new()
            .name(format!("{}-{id}", options.name))
            .spawn(move || seat.run(&ready, &gate, make));
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => outcome = outcome.and(Err(StartError::Thread(error))),
        }
        gates.push(gate_sender);
    }
    drop(ready_sender);
    for _ in &threads {
        let ready = ready.recv().unwrap_or(Err(StartError::Lost));
        outcome = outcome.and(ready);
    }
    if let Err(error) = outcome {
        // A closed gate sends the threads home.
        drop(gates);
        threads.into_iter().for_each(|thread| drop(thread.join()));
        return Err(error);
    }
    for gate in gates {
        // Fails only if the thread has ended, which `join` will tell.
        let _ = gate.send(());
    }
    Ok(Running { threads, cores, hub })
}

/// Where one shard sits.
struct Seat<M> {
    id: ShardId,
    count: usize,
    core: Option<usize>,
    hub: Arc<Hub<M>>,
}

impl<M: Send + 'static> Seat<M> {
    /// The life of a shard's thread.
    fn run<F, Fut>(
        self,
        ready: &mpsc::Sender<Result<(), StartError>>,
        gate: &mpsc::Receiver<()>,
        make: F,
    ) where
        F: Fn(Shard<M>) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let executor = match self.executor() {
            Ok(executor) => executor,
            Err(reason) => {
                let _ = ready.send(Err(StartError::Executor { shard: self.id, reason }));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        if gate.recv().is_err() {
            return;
        }
        let (id, count, hub) = (self.id, self.count, Arc::clone(&self.hub));
        executor.run(async move {
            // A queue for which latency matters is woken by other threads at once, not when the executor next sleeps.
            let latency = Latency::Matters(NEVER);
            let queue = glommio::executor().create_task_queue(Shares::default(), latency, "shard");
            let shard = Shard::new(id, count, hub);
            let main = make(shard.clone());
            if let Ok(all) = glommio::spawn_local_into(shard.run(main), queue) {
                all.await;
            }
        });
        self.hub.abandon(self.id);
    }

    fn executor(&self) -> Result<LocalExecutor, String> {
        if let Some(core) = self.core {
            // We bind the thread and leave the executor unbound: it would read the machine's topology from files that
            // containers hide. First of all, so that what it allocates is near the core.
            pin_to(core).map_err(|error| format!("cannot bind to core {core}: {error}"))?;
        }
        LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(IO_MEMORY_BYTES)
            .preempt_timer(NEVER)
            .make()
            .map_err(|error| error.to_string())
    }
}

/// The core of each shard: those we may use, in turn.
fn place(options: &Options) -> Result<Vec<Option<usize>>, StartError> {
    if !options.pin {
        return Ok(vec![None; options.shards]);
    }
    let cores = allowed_cores().map_err(StartError::Limits)?;
    Ok(cores.into_iter().map(Some).cycle().take(options.shards).collect())
}

/// The executor fails below its minimum, so raise what may be raised and explain the rest.
fn check_memlock(shards: usize) -> Result<(), StartError> {
    let needed_bytes = memlock_needed(shards);
    let mut memlock = limits().map_err(StartError::Limits)?.memlock;
    if memlock.soft < needed_bytes && memlock.soft < memlock.hard {
        memlock = raise_memlock().map_err(StartError::Limits)?;
    }
    if memlock.soft < MEMLOCK_BYTES_MIN {
        return Err(StartError::LockedMemory { hard_bytes: memlock.hard, needed_bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_shards_than_cores_take_them_in_turn() {
        let cores = allowed_cores().unwrap();
        let options = Options { shards: cores.len() + 1, ..Options::default() };
        let placed = place(&options).unwrap();

        assert_eq!(placed.first(), placed.last());
        assert_eq!(placed.len(), cores.len() + 1);
    }

    #[test]
    fn without_pinning_no_shard_has_a_core() {
        let options = Options { shards: 3, pin: false, ..Options::default() };
        assert_eq!(place(&options).unwrap(), vec![None; 3]);
    }

    #[test]
    fn an_impossible_number_of_shards_is_refused() {
        for shards in [0, SHARDS_MAX + 1] {
            let options = Options { shards, ..Options::default() };
            let refused = start(&options, |_: Shard<()>| async {});
            assert!(matches!(refused, Err(StartError::Count(count)) if count == shards));
        }
    }
}
