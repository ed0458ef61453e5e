//! Many connections that do nothing: how fast they come, what each costs, whether they stay, and
//! whether the broker forgets them when they have gone. For every protocol. Imports `fleet`,
//! `phases`, `process`.

use serde_json::json;

use super::phases::{Phases, moment};
use crate::client::ClientError;
use crate::client::fleet::{Fleet, Look, Ramp};
use crate::client::member::Member;
use crate::clock::SECOND_NS;
use crate::director::Moment;
use crate::histogram::Latency;
use crate::process::{Usage, files};
use crate::verify::Topology;

/// Longer than the default keep alive: each connection is heard of at least once.
const HOLD_SECONDS: u64 = 15;
/// How long a broker may take to close what clients have closed.
const FORGET_NS: u64 = 10 * SECOND_NS;
/// How long a broker without connections is watched: timers that are left would show.
const REST_NS: u64 = 2 * SECOND_NS;
/// Files that a broker may have opened meanwhile for other reasons, such as a new part of a log.
const FILES_SPARE: usize = 4;
const LOOK_NS: u64 = 50_000_000;

/// Nobody publishes or receives.
pub(in crate::scenario) const NOBODY: Topology = Topology {
    run: 0,
    body_bytes: 0,
    producers: 0,
    consumers: 0,
    queues: 0,
    topics: 1,
    is_ordered: true,
};

/// What is done.
#[derive(Debug, Clone, Copy)]
pub(in crate::scenario) struct Course {
    /// Connections.
    pub(in crate::scenario) count: u32,
    /// How fast they are opened.
    pub(in crate::scenario) ramp: Ramp,
    /// How often all of it is done.
    pub(in crate::scenario) rounds: u16,
    /// How long they are held.
    pub(in crate::scenario) hold_seconds: Option<u64>,
    /// Process of the broker.
    pub(in crate::scenario) broker_pid: Option<u32>,
}

/// Opens connections, holds them, closes them and looks what is left of them.
pub(in crate::scenario) fn gather<M: Member>(
    fleet: &mut Fleet<M>,
    phases: &mut Phases,
    course: Course,
    mut make: impl FnMut(usize) -> M::Spec,
) {
    fleet.is_tolerant = true;
    let before = moment(fleet, course.broker_pid);
    let files_before = course.broker_pid.and_then(|pid| files(pid).ok());
    let (mut held_kib, mut left_kib) = (0, Vec::new());
    for round in 1..=course.rounds {
        let number = if course.rounds > 1 { format!(" {round}") } else { String::new() };
        let mut part = Part { fleet, phases, course, number, before: &before };
        let rest = match part.hold(&mut make) {
            Ok(usage) => {
                held_kib = usage.map_or(0, |usage| usage.anonymous_kib);
                part.forget(files_before)
            }
            Err(error) => Err(error),
        };
        match rest {
            Ok(usage) => left_kib.extend(usage.map(|usage| usage.anonymous_kib)),
            Err(error) => phases.fail(Some(error)),
        }
        if phases.failure.is_some() {
            break;
        }
    }
    let failed = fleet.load.counts.failed;
    if let (Some(failure), 1..) = (&fleet.failure, failed) {
        phases.fail(Some(format!("{failed} connections failed, the first so: {failure}")));
    }
    // What the first round leaves is what an allocator keeps for the next one, and it keeps now more
    // and now less: half of what the connections took is more than that, and in several rounds a
    // leak comes to it.
    let took_kib = held_kib.saturating_sub(before.broker.map_or(0, |usage| usage.anonymous_kib));
    if let [first, .., last] = *left_kib
        && last > first.saturating_add(took_kib / 2)
    {
        phases.fail(Some(format!("the broker keeps {last} KiB, after the first round {first}")));
    }
}

/// One round.
struct Part<'a, M: Member> {
    fleet: &'a mut Fleet<M>,
    phases: &'a mut Phases,
    course: Course,
    /// Behind the name of each phase.
    number: String,
    before: &'a Moment,
}

impl<M: Member> Part<'_, M> {
    /// Tells what the broker used at the end of holding them.
    fn hold(
        &mut self,
        make: &mut impl FnMut(usize) -> M::Spec,
    ) -> Result<Option<Usage>, ClientError> {
        let Course { count, ramp, hold_seconds, .. } = self.course;
        let counts = self.fleet.load.counts;
        let start = self.now();
        self.fleet.open_all(usize::try_from(count).unwrap_or(0), ramp, make)?;
        let opened = self.fleet.load.counts.opened.saturating_sub(counts.opened);
        let connected = self.now();
        self.add("connect", ("connected", opened), (&start, &connected));
        if opened == 0 {
            return Ok(None);
        }
        self.watch(hold_seconds.unwrap_or(HOLD_SECONDS).saturating_mul(SECOND_NS))?;
        let held = self.now();
        let pings = self.fleet.load.counts.pings.saturating_sub(counts.pings);
        self.add("hold", ("pinged", pings), (&connected, &held));
        self.phases.add_memory(opened, (self.before, &held));
        let left_before = self.fleet.load.counts.left;
        self.fleet.leave_all(0)?;
        let left = self.fleet.load.counts.left.saturating_sub(left_before);
        let gone = self.now();
        self.add("disconnect", ("disconnected", left), (&held, &gone));
        Ok(held.broker)
    }

    /// Waits until the broker has closed its files, and watches it having nothing to do.
    fn forget(&mut self, files_before: Option<usize>) -> Result<Option<Usage>, ClientError> {
        let Some((pid, before)) = self.course.broker_pid.zip(files_before) else { return Ok(None) };
        let end_ns = self.fleet.clock.now_ns().saturating_add(FORGET_NS);
        let allowed = before.saturating_add(FILES_SPARE);
        let is_forgotten = || files(pid).is_ok_and(|count| count <= allowed);
        self.fleet.drive(|_, now_ns| {
            let is_over = is_forgotten() || now_ns >= end_ns;
            Ok(if is_over { Look::Done } else { Look::Again(now_ns.saturating_add(LOOK_NS)) })
        })?;
        let start = self.now();
        self.watch(REST_NS)?;
        let end = self.now();
        self.add("after", ("left", 0), (&start, &end));
        let count = files(pid).unwrap_or(0);
        if count > allowed {
            self.phases.fail(Some(format!("the broker has {count} files open, before {before}")));
        }
        Ok(end.broker)
    }

    fn watch(&mut self, duration_ns: u64) -> Result<(), ClientError> {
        let end_ns = self.fleet.clock.now_ns().saturating_add(duration_ns);
        self.fleet.drive(|_, now_ns| {
            let next_ns = now_ns.saturating_add(LOOK_NS).min(end_ns);
            Ok(if now_ns >= end_ns { Look::Done } else { Look::Again(next_ns) })
        })
    }

    fn now(&self) -> Moment {
        moment(self.fleet, self.course.broker_pid)
    }

    fn add(&mut self, name: &str, done: (&str, u64), (start, end): (&Moment, &Moment)) {
        self.phases.add(&format!("{name}{}", self.number), done, (start, end));
        if let Some(usage) = end.broker {
            self.phases.add_number("broker_anonymous_mib", json!(usage.anonymous_kib / 1024));
        }
        if let Some(count) = self.course.broker_pid.and_then(|pid| files(pid).ok()) {
            self.phases.add_number("broker_files", json!(count));
        }
    }
}

/// Connections that come and go, so many at a time; `next` gives the next one of a place, if
/// there is to be one. Each takes as long as `delays` says.
///
/// # Errors
/// That of a connection; silence.
pub(in crate::scenario) fn turn_over<M: Member>(
    fleet: &mut Fleet<M>,
    (places, end_ns): (usize, u64),
    delays: &mut Latency,
    mut next: impl FnMut(&Fleet<M>, usize) -> Option<M::Spec>,
) -> Result<(), ClientError> {
    let mut started_ns = vec![0; places];
    let mut running = 0_usize;
    for (place, started_ns) in started_ns.iter_mut().enumerate() {
        if let Some(spec) = next(fleet, place) {
            *started_ns = fleet.clock.now_ns();
            fleet.open(spec)?;
            running = running.saturating_add(1);
        }
    }
    fleet.wait_for("connecting and disconnecting", |fleet, now_ns| {
        for place in std::mem::take(&mut fleet.closed) {
            let Some(started_ns) = started_ns.get_mut(place) else { continue };
            delays.add(&(0..u64::MAX), *started_ns, now_ns);
            *started_ns = now_ns;
            match if now_ns < end_ns { next(fleet, place) } else { None } {
                Some(spec) => fleet.reopen(place, spec)?,
                None => running = running.saturating_sub(1),
            }
        }
        let again = Look::Again(now_ns.saturating_add(2 * LOOK_NS));
        Ok(if running == 0 { Look::Done } else { again })
    })
}
