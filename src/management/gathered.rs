//! The connections of the node as their shards tell of them, page by page, and what each had done
//! some time before, so that rates can be told. Nothing is gathered, and nothing kept, that nobody
//! asks for. One per process, on the control thread.
//!
//! May import `app`, `control`, `stats`, `reply`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use ringmq_shards::ShardId;
use tokio::sync::{Mutex, oneshot};
use tokio::time::Instant;

use super::app::App;
use super::reply::Problem;
use crate::control::Asked;
use crate::ids::ConnectionRef;
use crate::stats::{ChannelNumber, ConnectionReport, MessageCounts};

/// Connections that tell of themselves at a time: a shard does other things between two pages.
const CONNECTIONS_PER_PAGE: usize = 256;
/// A list is as old as this many times what it took to gather it, so that those who ask all the
/// time take a tenth of the shards' time at most (abuse row 93).
const AGE_MAX: u32 = 10;
/// Samples are let go when the newer is as old as this many of them should be.
const SAMPLES_UNASKED_MAX: u32 = 12;
/// What is gathered faster is gathered anew whenever somebody asks.
const QUICK: Duration = Duration::from_millis(50);

/// How long what was gathered is good enough.
pub(super) fn good_until(began: Instant, now: Instant) -> Instant {
    let took = now.duration_since(began);
    if took > QUICK { now + took * AGE_MAX } else { began }
}

/// What a connection had done at a moment.
#[derive(Debug, Clone, Default)]
struct Past {
    octets_in: u64,
    octets_out: u64,
    messages: MessageCounts,
    channels: Vec<(ChannelNumber, MessageCounts)>,
}

impl Past {
    fn of(report: &ConnectionReport) -> Self {
        Self {
            octets_in: report.octets_in,
            octets_out: report.octets_out,
            messages: report.messages,
            channels: report.channels.iter().map(|c| (c.number, c.messages)).collect(),
        }
    }
}

/// What all connections had done at a moment.
#[derive(Debug)]
struct Pasts {
    at: Instant,
    all: HashMap<ConnectionRef, Past>,
}

/// A connection, and what it had done before.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    report: ConnectionReport,
    past: Past,
    during: Duration,
}

impl Deref for Seen {
    type Target = ConnectionReport;

    fn deref(&self) -> &ConnectionReport {
        &self.report
    }
}

impl Seen {
    /// What has been done since: octets in and out, messages.
    pub(super) fn since(&self) -> (u64, u64, MessageCounts) {
        let Self { report, past, .. } = self;
        let octets_in = report.octets_in.saturating_sub(past.octets_in);
        let octets_out = report.octets_out.saturating_sub(past.octets_out);
        (octets_in, octets_out, report.messages.since(&past.messages))
    }

    /// The same of a channel. One that has its number from another that is closed may have done less
    /// than that: it counts from nothing.
    pub(super) fn since_of(&self, channel: ChannelNumber, now: &MessageCounts) -> MessageCounts {
        let before = self.past.channels.iter().find(|(number, _)| *number == channel);
        now.since(&before.map(|(_, messages)| *messages).unwrap_or_default())
    }

    /// How long ago that was.
    pub(super) const fn during(&self) -> Duration {
        self.during
    }
}

/// What was gathered last.
#[derive(Debug, Clone)]
struct Gathered<T> {
    what: T,
    began: Instant,
    until: Instant,
}

/// Something that is gathered from the shards when somebody asks.
#[derive(Debug)]
pub(super) struct Gathering<T> {
    /// Who gathers; whoever asks meanwhile waits and gets the same as the next who asks.
    gate: Mutex<()>,
    last: RefCell<Option<Gathered<T>>>,
}

impl<T> Default for Gathering<T> {
    fn default() -> Self {
        Self { gate: Mutex::default(), last: RefCell::default() }
    }
}

impl<T: Clone> Gathering<T> {
    /// What is known, if it is good enough, or what `gather` brings.
    ///
    /// # Errors
    /// Those of `gather`.
    pub(super) async fn get(
        &self,
        gather: impl AsyncFnOnce() -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let asked = Instant::now();
        let _gate = self.gate.lock().await;
        let is_good = |last: &&Gathered<T>| last.until > asked || last.began >= asked;
        let known = self.last.borrow().as_ref().filter(is_good).map(|last| last.what.clone());
        if let Some(known) = known {
            return Ok(known);
        }
        let began = Instant::now();
        let what = gather().await?;
        let until = good_until(began, Instant::now());
        *self.last.borrow_mut() = Some(Gathered { what: what.clone(), began, until });
        Ok(what)
    }

    fn forget(&self) {
        *self.last.borrow_mut() = None;
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Connections {
    gathering: Gathering<Rc<Vec<Seen>>>,
    /// Taken when the newer is as old as a sample is to be; the older is what rates are told from.
    older: RefCell<Option<Pasts>>,
    newer: RefCell<Option<Pasts>>,
}

impl Connections {
    /// What was known is not true any more.
    pub(super) fn forget(&self) {
        self.gathering.forget();
    }

    /// What nobody has asked for in a while is not kept.
    pub(super) fn let_go(&self, now: Instant, every: Duration) {
        let is_stale =
            |pasts: &mut Pasts| now.duration_since(pasts.at) > every * SAMPLES_UNASKED_MAX;
        if self.newer.borrow_mut().take_if(is_stale).is_some() {
            *self.older.borrow_mut() = None;
            self.forget();
        }
    }

    /// Puts beside each connection what it had done some time before. Of one that was not there then,
    /// that is nothing, when it came.
    fn compare(&self, reports: Vec<ConnectionReport>, now: Instant, every: Duration) -> Vec<Seen> {
        let is_old = |pasts: &Pasts| now.duration_since(pasts.at) >= every;
        let is_due = self.newer.borrow().as_ref().is_none_or(is_old);
        if is_due {
            let all = reports.iter().filter_map(|report| Some((report.id?, Past::of(report))));
            let newest = Pasts { at: now, all: all.collect() };
            *self.older.borrow_mut() = self.newer.replace(Some(newest));
        }
        let older = self.older.borrow();
        reports
            .into_iter()
            .map(|report| {
                let found = older.as_ref().and_then(|older| {
                    let past = older.all.get(&report.id?)?.clone();
                    Some((past, now.duration_since(older.at)))
                });
                let whole = || (Past::default(), Duration::from_millis(report.age_ms));
                let (past, during) = found.unwrap_or_else(whole);
                Seen { report, past, during }
            })
            .collect()
    }
}

impl App {
    /// All connections of the node, each as it was a moment ago.
    ///
    /// # Errors
    /// A shard does not answer.
    pub(super) async fn connections(&self) -> Result<Rc<Vec<Seen>>, Problem> {
        let gather = async || {
            let mut reports = Vec::new();
            for shard in self.control.shards() {
                self.connections_of(shard, &mut reports).await?;
            }
            let (now, every) = (Instant::now(), self.stats_every());
            Ok(Rc::new(self.connections.compare(reports, now, every)))
        };
        self.connections.gathering.get(gather).await
    }

    /// The same, whatever was known.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn connections_anew(&self) -> Result<Rc<Vec<Seen>>, Problem> {
        self.connections.forget();
        self.connections().await
    }

    async fn connections_of(
        &self,
        shard: ShardId,
        all: &mut Vec<ConnectionReport>,
    ) -> Result<(), Problem> {
        let mut place = Some(0);
        while let Some(from) = place {
            let (sender, told) = oneshot::channel();
            let ask = move |asked: &mut Asked<'_>| {
                let (ids, next) = asked.broker.connections_page(from, CONNECTIONS_PER_PAGE);
                // Whoever asked may have given up.
                asked.hub.ask_for_reports(&ids, Box::new(move |page| drop(sender.send(page))));
                next
            };
            place = self.control.ask(shard, ask).await?;
            all.append(&mut told.await.unwrap_or_default());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ConnectionId, ShardId};

    const EVERY: Duration = Duration::from_secs(5);

    fn report(octets_in: u64, published: u64) -> ConnectionReport {
        let messages = MessageCounts { published, ..MessageCounts::default() };
        ConnectionReport {
            id: Some(ConnectionRef { shard: ShardId(0), connection: ConnectionId::new(1, 1) }),
            age_ms: 60_000,
            octets_in,
            messages,
            ..ConnectionReport::default()
        }
    }

    fn rate(connections: &Connections, now: Instant, octets_in: u64) -> (u64, u64) {
        let seen = connections.compare(vec![report(octets_in, octets_in / 10)], now, EVERY);
        (seen[0].since().0, seen[0].during().as_secs())
    }

    #[test]
    fn rates_are_told_from_a_sample_that_is_old_enough() {
        let connections = Connections::default();
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(rate(&connections, at(0), 600), (600, 60), "since the connection came");
        assert_eq!(rate(&connections, at(1), 700), (700, 60), "the sample is too young");
        assert_eq!(rate(&connections, at(6), 1200), (600, 6), "the first sample");
        assert_eq!(rate(&connections, at(8), 1400), (800, 8), "still that");
        assert_eq!(rate(&connections, at(12), 1800), (600, 6), "the second");
        let seen = connections.compare(vec![report(1800, 100)], at(13), EVERY);
        assert_eq!(seen[0].since_of(1, &seen[0].messages).published, 100, "a new channel");
        connections.let_go(at(70), EVERY);
        assert_eq!(rate(&connections, at(71), 6000).1, 59, "it is not too old yet");
        connections.let_go(at(132), EVERY);
        assert_eq!(rate(&connections, at(133), 6000), (6000, 60), "nobody has asked for long");
    }
}
