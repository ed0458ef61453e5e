//! The course of a run: warm-up, measured window, drain; a line per second. Imports `worker`'s
//! counters, `process`.

use std::io::Write;
use std::sync::atomic::Ordering;

use crate::clock::SECOND_NS;
use crate::process::Usage;
use crate::worker::{Conductor, Shared};

/// How long a run goes on after everything has come, to see whether something comes again.
const LINGER_NS: u64 = 200_000_000;
/// How often the director looks whether a stage is over.
const LOOK_NS: u64 = 1_000_000;

/// What a director must know of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// Deliveries of messages that are in the queues before the run; `None` if they are empty.
    pub(crate) stock: Option<u64>,
    /// Whether the broker says of each message that it has it.
    pub(crate) has_confirms: bool,
    /// Whether anybody receives.
    pub(crate) has_consumers: bool,
    /// Deliveries that a message causes.
    pub(crate) copies: u64,
    /// Whether a number of messages ends the window.
    pub(crate) is_counted: bool,
    /// Deliveries that end the window.
    pub(crate) deliveries_max: u64,
    /// Longest window.
    pub(crate) window_ns: u64,
    /// Load before the window.
    pub(crate) warm_up_ns: u64,
    /// Silence after which missing messages are lost.
    pub(crate) drain_timeout_ns: u64,
}

/// Counters and readings at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moment {
    /// When.
    pub(crate) time_ns: u64,
    /// Messages stamped.
    pub(crate) published: u64,
    /// Messages confirmed.
    pub(crate) confirmed: u64,
    /// Deliveries.
    pub(crate) received: u64,
    /// What the broker has used.
    pub(crate) broker: Option<Usage>,
    /// What this process has used.
    pub(crate) generator: Option<Usage>,
}

impl Moment {
    fn count(time_ns: u64, shared: &Shared) -> Self {
        Self {
            time_ns,
            published: shared.published.load(Ordering::Relaxed),
            confirmed: shared.confirmed.load(Ordering::Relaxed),
            received: shared.received.load(Ordering::Relaxed),
            broker: None,
            generator: None,
        }
    }

    const fn progress(&self) -> u64 {
        self.published.saturating_add(self.confirmed).saturating_add(self.received)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Load without measuring.
    WarmingUp,
    /// Load and measuring.
    Measuring,
    /// No more load; waiting for what is on its way.
    Draining,
    /// Everything has come.
    Lingering {
        /// Until then nothing should come again.
        until_ns: u64,
    },
    /// Over.
    Ended,
}

/// One per run, on the first thread.
#[derive(Debug)]
pub(crate) struct Director {
    stage: Stage,
    start_ns: u64,
    course: Course,
    broker_pid: Option<u32>,
    is_quiet: bool,
    last_line: Moment,
    /// The last moment at which something had moved.
    last_progress: Moment,
    /// Start of the window.
    pub(crate) start: Option<Moment>,
    /// End of the window.
    pub(crate) end: Option<Moment>,
}

impl Director {
    /// For a run that has yet to begin.
    pub(crate) fn new(course: &Course, broker_pid: Option<u32>, is_quiet: bool) -> Self {
        Self {
            stage: Stage::WarmingUp,
            start_ns: 0,
            course: *course,
            broker_pid,
            is_quiet,
            last_line: Moment::default(),
            last_progress: Moment::default(),
            start: None,
            end: None,
        }
    }

    /// Begins the run. Without a warm-up the window is open before the first message.
    pub(crate) fn begin(&mut self, now_ns: u64, shared: &Shared) {
        self.start_ns = now_ns;
        self.last_line.time_ns = now_ns;
        self.last_progress.time_ns = now_ns;
        if self.course.warm_up_ns == 0 {
            self.stage = self.next_stage(self.start_ns, shared);
        }
    }

    /// The counters now and what broker and generator have used.
    pub(crate) fn read(&self, time_ns: u64, shared: &Shared) -> Moment {
        let broker = self.broker_pid.and_then(|pid| Usage::of(pid).ok());
        let generator = Usage::of(std::process::id()).ok();
        Moment { broker, generator, ..Moment::count(time_ns, shared) }
    }

    /// Whether all that was published has been confirmed and has come.
    fn is_complete(&self, shared: &Shared) -> bool {
        if self.course.stock.is_none() && !shared.is_flushed.load(Ordering::Acquire) {
            return false;
        }
        let now = Moment::count(0, shared);
        let expected = self.expected(now.published);
        (!self.course.has_confirms || now.confirmed >= now.published)
            && (!self.course.has_consumers || now.received >= expected)
    }

    /// Deliveries to come in all, when so many messages are published.
    const fn expected(&self, published: u64) -> u64 {
        match self.course.stock {
            Some(deliveries) => deliveries,
            None => published.saturating_mul(self.course.copies),
        }
    }

    fn is_window_over(&self, now_ns: u64, shared: &Shared) -> bool {
        let since_ns = self.start.map_or(now_ns, |start| start.time_ns);
        now_ns.saturating_sub(since_ns) >= self.course.window_ns
            || shared.received.load(Ordering::Relaxed) >= self.course.deliveries_max
            || (self.course.is_counted && (self.is_complete(shared) || self.is_silent(now_ns)))
    }

    const fn is_silent(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_progress.time_ns) >= self.course.drain_timeout_ns
    }

    fn next_stage(&mut self, now_ns: u64, shared: &Shared) -> Stage {
        match self.stage {
            Stage::WarmingUp if now_ns.saturating_sub(self.start_ns) >= self.course.warm_up_ns => {
                self.start = Some(self.read(now_ns, shared));
                shared.window_start_ns.store(now_ns, Ordering::Relaxed);
                Stage::Measuring
            }
            Stage::Measuring if self.is_window_over(now_ns, shared) => {
                self.end = Some(self.read(now_ns, shared));
                shared.window_end_ns.store(now_ns, Ordering::Relaxed);
                shared.is_open.store(false, Ordering::Relaxed);
                Stage::Draining
            }
            Stage::Draining if self.is_complete(shared) => {
                Stage::Lingering { until_ns: now_ns.saturating_add(LINGER_NS) }
            }
            Stage::Draining if self.is_silent(now_ns) => Stage::Ended,
            Stage::Lingering { until_ns } if now_ns >= until_ns => Stage::Ended,
            stage @ (Stage::WarmingUp
            | Stage::Measuring
            | Stage::Draining
            | Stage::Lingering { .. }
            | Stage::Ended) => stage,
        }
    }

    /// A broken standard error is no reason to end a run.
    fn print_line(&mut self, now: Moment) {
        let last = std::mem::replace(&mut self.last_line, now);
        if self.is_quiet {
            return;
        }
        let elapsed_ns = now.time_ns.saturating_sub(last.time_ns);
        let rate = |now: u64, last: u64| {
            let count = now.saturating_sub(last).saturating_mul(SECOND_NS);
            count.checked_div(elapsed_ns).unwrap_or(0)
        };
        let seconds = now.time_ns.saturating_sub(self.start_ns) / SECOND_NS;
        let stage = match self.stage {
            Stage::WarmingUp => "warm-up",
            Stage::Measuring => "measure",
            Stage::Draining | Stage::Lingering { .. } | Stage::Ended => "drain",
        };
        let on_the_way = self.expected(now.published).saturating_sub(now.received);
        let _ = writeln!(
            std::io::stderr(),
            "{seconds:>4} s {stage}: published {}/s, confirmed {}/s, received {}/s, \
             on the way {on_the_way}",
            rate(now.published, last.published),
            rate(now.confirmed, last.confirmed),
            rate(now.received, last.received),
        );
    }
}

impl Conductor for Director {
    fn on_turn(&mut self, now_ns: u64, shared: &Shared) -> u64 {
        let now = Moment::count(now_ns, shared);
        if now.progress() != self.last_progress.progress() {
            self.last_progress = now;
        }
        self.stage = self.next_stage(now_ns, shared);
        if self.stage == Stage::Ended {
            shared.is_over.store(true, Ordering::Release);
        }
        if now_ns.saturating_sub(self.last_line.time_ns) >= SECOND_NS {
            self.print_line(now);
        }
        now_ns.saturating_add(LOOK_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND_NS: u64 = 1_000_000;

    fn course() -> Course {
        Course {
            stock: None,
            has_confirms: true,
            has_consumers: true,
            copies: 1,
            is_counted: false,
            deliveries_max: u64::MAX,
            window_ns: 100 * MILLISECOND_NS,
            warm_up_ns: 10 * MILLISECOND_NS,
            drain_timeout_ns: 50 * MILLISECOND_NS,
        }
    }

    fn set(shared: &Shared, published: u64, confirmed: u64, received: u64) {
        shared.published.store(published, Ordering::Relaxed);
        shared.confirmed.store(confirmed, Ordering::Relaxed);
        shared.received.store(received, Ordering::Relaxed);
    }

    #[test]
    fn what_is_on_its_way_at_the_end_of_the_window_is_awaited() {
        let shared = Shared::new();
        let mut director = Director::new(&course(), None, true);
        set(&shared, 5, 0, 0);
        director.on_turn(10 * MILLISECOND_NS, &shared);
        set(&shared, 50, 20, 30);
        director.on_turn(110 * MILLISECOND_NS, &shared);
        assert_eq!(director.start.unwrap().published, 5);
        assert_eq!(director.end.unwrap().received, 30);
        assert!(!shared.is_open.load(Ordering::Relaxed));
        set(&shared, 50, 50, 50);
        director.on_turn(120 * MILLISECOND_NS, &shared);
        assert_eq!(director.stage, Stage::Draining);
        shared.is_flushed.store(true, Ordering::Relaxed);
        director.on_turn(121 * MILLISECOND_NS, &shared);
        director.on_turn(122 * MILLISECOND_NS, &shared);
        assert!(!shared.is_over.load(Ordering::Relaxed));
        director.on_turn(400 * MILLISECOND_NS, &shared);
        assert!(shared.is_over.load(Ordering::Relaxed));
    }

    #[test]
    fn a_drain_without_progress_ends() {
        let shared = Shared::new();
        let mut director = Director::new(&course(), None, true);
        set(&shared, 50, 20, 30);
        shared.is_flushed.store(true, Ordering::Relaxed);
        for time_ms in [10, 110, 140, 150] {
            director.on_turn(time_ms * MILLISECOND_NS, &shared);
        }
        assert_eq!(director.stage, Stage::Ended);
    }

    #[test]
    fn a_run_by_number_is_measured_until_the_last_message_has_come() {
        let shared = Shared::new();
        let counted = Course { is_counted: true, window_ns: u64::MAX, warm_up_ns: 0, ..course() };
        let mut director = Director::new(&counted, None, true);
        director.begin(0, &shared);
        set(&shared, 50, 50, 49);
        shared.is_flushed.store(true, Ordering::Relaxed);
        director.on_turn(MILLISECOND_NS, &shared);
        assert_eq!(director.stage, Stage::Measuring);
        set(&shared, 50, 50, 50);
        director.on_turn(2 * MILLISECOND_NS, &shared);
        assert_eq!(director.end.unwrap().received, 50);
        assert_eq!(director.start.unwrap().published, 0);
    }

    #[test]
    fn a_drain_of_what_was_there_is_measured_until_all_of_it_has_come() {
        let shared = Shared::new();
        let stock = Some(40);
        let drain =
            Course { stock, is_counted: true, has_confirms: false, warm_up_ns: 0, ..course() };
        let mut director = Director::new(&Course { window_ns: u64::MAX, ..drain }, None, true);
        director.begin(MILLISECOND_NS, &shared);
        set(&shared, 0, 0, 39);
        director.on_turn(2 * MILLISECOND_NS, &shared);
        assert_eq!(director.stage, Stage::Measuring);
        set(&shared, 0, 0, 40);
        director.on_turn(3 * MILLISECOND_NS, &shared);
        assert_eq!(director.stage, Stage::Draining);
        let (start, end) = (director.start.unwrap(), director.end.unwrap());
        assert_eq!((start.time_ns, end.time_ns), (MILLISECOND_NS, 3 * MILLISECOND_NS));
    }
}
