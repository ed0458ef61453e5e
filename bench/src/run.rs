//! A run: connections, threads, and what came out. Imports `client`, `worker`, `director`.

use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering;

use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};

use crate::client::ClientError;
use crate::client::amqp091::consumer::Consumer;
use crate::client::amqp091::link::Link;
use crate::client::amqp091::producer::Producer;
use crate::client::amqp091::setup;
use crate::client::broker::Broker;
use crate::client::tally::{Dispatch, Receipts};
use crate::clock::Clock;
use crate::director::{Director, Moment};
use crate::error::PerfError;
use crate::histogram::Summary;
use crate::options::LoadOptions;
use crate::plan::{Plan, Stock};
use crate::verify::{Faults, Topology, Verifier};
use crate::worker::{Follow, Habits, Shared, Worker};

/// How a run is made, apart from what it does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner<'a> {
    /// The broker.
    pub(crate) broker: &'a Broker,
    /// Whether producers have a thread of their own.
    pub(crate) has_two_threads: bool,
    /// Processors: the first thread's, the second thread's.
    pub(crate) pin: &'a [usize],
    /// Process of the broker.
    pub(crate) broker_pid: Option<u32>,
    /// No line per second.
    pub(crate) is_quiet: bool,
}

impl<'a> Manner<'a> {
    /// What the options say.
    pub(crate) fn of(options: &'a LoadOptions, broker: &'a Broker) -> Self {
        Self {
            broker,
            has_two_threads: options.threads == 2,
            pin: &options.pin,
            broker_pid: options.broker_pid,
            is_quiet: options.quiet,
        }
    }
}

/// What came out of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Messages stamped, by producer.
    pub(crate) published: Vec<u64>,
    /// Start of the window.
    pub(crate) start: Moment,
    /// End of the window.
    pub(crate) end: Moment,
    /// After the drain.
    pub(crate) last: Moment,
    /// End-to-end delays.
    pub(crate) end_to_end: Option<Summary>,
    /// Delays of confirms.
    pub(crate) confirm: Option<Summary>,
    /// What was wrong.
    pub(crate) faults: Faults,
    /// Why the run ended early.
    pub(crate) failure: Option<ClientError>,
}

/// Makes a run.
///
/// # Errors
/// What stood in the way before the load began; later failures are part of the outcome.
pub(crate) fn run(plan: &Plan, manner: Manner<'_>) -> Result<Outcome, PerfError> {
    let mut control = Link::open(manner.broker, "ringmqperf control")?;
    let outcome = match &plan.stock {
        None => {
            setup::declare(&mut control, plan)?;
            load(plan, manner)
        }
        Some(stock) => {
            let waiting = setup::find(&mut control, plan)?;
            let deliveries = Some(stock.deliveries.unwrap_or(waiting));
            let told = Stock { deliveries, ..stock.clone() };
            load(&Plan { stock: Some(told), ..plan.clone() }, manner)
        }
    };
    if let Ok(Outcome { failure: Some(_), .. }) = &outcome {
        // The broker is likely gone; what is wrong with it is in the outcome.
        return outcome;
    }
    setup::remove(&mut control, plan)?;
    control.close()?;
    outcome
}

fn load(plan: &Plan, manner: Manner<'_>) -> Result<Outcome, PerfError> {
    let clock = Clock::start();
    let shared = Shared::new();
    let mut director = Director::new(&plan.course(), manner.broker_pid, manner.is_quiet);
    if plan.stock.is_some() {
        // What is in the queues comes as soon as the first consumer is there.
        director.begin(clock.now_ns(), &shared);
    }
    let links = Links::open(manner.broker, plan)?;
    let start_ns = clock.now_ns();
    pin(manner.pin.first())?;
    let mut first = worker(plan, &shared, clock, true)?;
    let mut second = worker(plan, &shared, clock, false)?;
    for (index, link) in links.consumers.into_iter().enumerate() {
        first.consumers.push(Consumer::new(link, plan, index, start_ns)?);
    }
    let publishing = if manner.has_two_threads { &mut second } else { &mut first };
    for (index, link) in links.producers.into_iter().enumerate() {
        publishing.producers.push(Producer::new(link, plan, index, start_ns)?);
    }
    if plan.stock.is_none() {
        director.begin(start_ns, &shared);
    }
    let failure = if manner.has_two_threads {
        run_both(&mut first, &mut second, &mut director, (manner.pin.get(1), &shared))?
    } else {
        first.run(&mut director).err()
    };
    let failure = failure.or_else(|| first.acknowledge_rest().err());
    let last = director.read(clock.now_ns(), &shared);
    let publishing = if manner.has_two_threads { second } else { first_half(&mut first, second) };
    Ok(conclude(plan, [first, publishing], &director, (last, failure)))
}

/// With one thread the producers are the first worker's; what they share goes where it would be
/// with two.
fn first_half<'a>(first: &mut Worker<'a>, mut second: Worker<'a>) -> Worker<'a> {
    std::mem::swap(&mut first.dispatch, &mut second.dispatch);
    std::mem::swap(&mut first.producers, &mut second.producers);
    second
}

fn conclude(
    plan: &Plan,
    [consuming, mut publishing]: [Worker<'_>; 2],
    director: &Director,
    (last, failure): (Moment, Option<ClientError>),
) -> Outcome {
    let published: Vec<u64> = publishing.producers.iter().map(Producer::published).collect();
    let Receipts { verifier, mut latency, .. } = consuming.receipts;
    let mut faults = match &plan.stock {
        None => verifier.finish(&published),
        Some(Stock { published: Some(published), .. }) => verifier.finish(published),
        Some(Stock { published: None, .. }) => verifier.finish_unknown(plan.deliveries),
    };
    faults.add(publishing.dispatch.faults);
    faults.unconfirmed += publishing.producers.iter().map(Producer::unconfirmed).sum::<u64>();
    Outcome {
        published,
        start: director.start.unwrap_or(last),
        end: director.end.unwrap_or(last),
        last,
        // The clock that stamped messages from before the run was another one.
        end_to_end: if plan.stock.is_none() { latency.summary() } else { None },
        confirm: publishing.dispatch.latency.summary(),
        faults,
        failure,
    }
}

/// Runs two workers; the failure of one ends both.
fn run_both(
    first: &mut Worker<'_>,
    second: &mut Worker<'_>,
    director: &mut Director,
    (second_pin, shared): (Option<&usize>, &Shared),
) -> Result<Option<ClientError>, PerfError> {
    std::thread::scope(|scope| {
        let publishing = std::thread::Builder::new()
            .name("publishers".to_owned())
            .spawn_scoped(scope, || {
                let result = match pin(second_pin) {
                    Ok(()) => second.run(&mut Follow),
                    Err(error) => Err(ClientError::Io(io::Error::other(error))),
                };
                shared.is_over.store(true, Ordering::Release);
                result
            })
            .map_err(PerfError::system("starting a thread"))?;
        let failure = first.run(director).err();
        shared.is_over.store(true, Ordering::Release);
        let other = publishing.join().unwrap_or(Err(ClientError::Unexpected("end of a thread")));
        Ok(failure.or_else(|| other.err()))
    })
}

#[derive(Debug)]
struct Links {
    consumers: Vec<Link>,
    producers: Vec<Link>,
}

impl Links {
    fn open(broker: &Broker, plan: &Plan) -> Result<Self, ClientError> {
        let topology = plan.topology;
        let consumer = |index| setup::consume(broker, plan, index);
        let producer = |index| setup::produce(broker, plan, index);
        Ok(Self {
            consumers: (0..topology.consumers).map(consumer).collect::<Result<_, _>>()?,
            producers: (0..plan.publishing()).map(producer).collect::<Result<_, _>>()?,
        })
    }
}

/// A worker without connections; the tables of a verifier are large, so only one has them.
fn worker<'a>(
    plan: &Plan,
    shared: &'a Shared,
    clock: Clock,
    is_consuming: bool,
) -> Result<Worker<'a>, PerfError> {
    let nobody = Topology { producers: 0, consumers: 0, body_bytes: 0, ..plan.topology };
    let topology = if is_consuming { plan.topology } else { nobody };
    let dispatch = Dispatch::new();
    let verifier = match &plan.stock {
        Some(Stock { published: None, .. }) => Verifier::of_unknown_run(topology),
        None | Some(Stock { published: Some(_), .. }) => Verifier::new(topology),
    };
    let receipts = Receipts::new(verifier);
    let habits = Habits {
        is_spinning: plan.is_spinning,
        backlog_max: plan.backlog_max,
        copies: u64::try_from(plan.topology.copies()).unwrap_or(1),
    };
    Worker::new(dispatch, receipts, shared, clock, habits)
        .map_err(PerfError::system("creating an epoll instance"))
}

/// Binds this thread to a processor, and has its timers fire on time.
pub(crate) fn pin(processor: Option<&usize>) -> Result<(), PerfError> {
    // The default of 50 us would be in every measured delay of a slow open-loop producer.
    set_current_timer_slack(NonZeroU64::new(1))
        .map_err(PerfError::system("setting timer slack"))?;
    let Some(&processor) = processor else { return Ok(()) };
    if processor >= CpuSet::MAX_CPU {
        return Err(PerfError::Settings(format!("--pin: no processor {processor}")));
    }
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).map_err(PerfError::system("--pin"))
}
