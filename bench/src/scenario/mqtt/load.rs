//! Publishers and subscribers on a fleet: the part that most scenarios share. Imports `fleet`,
//! `director`, `options`.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::client::ClientError;
use crate::client::broker::Broker;
use crate::client::fleet::{Harbour, Look, Ramp};
use crate::client::member::Load;
use crate::client::mqtt::Version;
use crate::client::mqtt::batch::Template;
use crate::client::mqtt::connection::{Connection, Spec, Task};
use crate::client::mqtt::inbox::Inbox;
use crate::client::mqtt::packet::put_subscribe;
use crate::client::mqtt::sender::{Job, Sender};
use crate::client::tally::{Dispatch, Receipts};
use crate::client::uri::MQTT;
use crate::clock::SECOND_NS;
use crate::director::{Course, Director};
use crate::error::PerfError;
use crate::options::mqtt::MqttOptions;
use crate::pace::Pace;
use crate::payload::BODY_BYTES_MIN;
use crate::plan::share_of;
use crate::run::{Outcome, pin};
use crate::scenario::throughput::random_token;
use crate::verify::{Topology, Verifier};
use crate::worker::{Conductor, Shared};

/// Seconds of a measured window when neither time nor number is given.
const WINDOW_SECONDS: u64 = 10;
/// Seconds of warm-up before a window that is measured by time.
const WARM_UP_SECONDS: u64 = 1;
/// Messages in flight of all publishers: more would measure how long queues are.
const WINDOW_TOTAL: u16 = 1000;
/// Largest body: with its topic it must be a packet of less than 256 MiB.
const BODY_BYTES_MAX: u32 = 128 * 1024 * 1024;
/// Octets that one publisher writes at once, and all of them have ready.
const BATCH_BYTES: usize = 128 * 1024;
const BATCHES_BYTES: usize = 4 * 1024 * 1024;
/// How often the director looks.
const LOOK_NS: u64 = 500_000;

/// What is published and received.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Who publishes where.
    pub(super) topology: Topology,
    /// Start of all topics.
    pub(super) base: String,
    /// Quality of service of messages.
    pub(super) qos: u8,
    /// Quality of service of subscriptions.
    pub(super) subscribe_qos: u8,
    /// Messages are retained, each under a topic of its own.
    pub(super) is_retained: bool,
    /// Subscribers of a topic share its messages.
    pub(super) is_shared: bool,
    /// Messages in flight per publisher.
    pub(super) window: u16,
    /// Messages that a publisher writes at once.
    pub(super) batch_messages: usize,
    /// Messages per second of all publishers.
    pub(super) rate: Option<u64>,
    /// Messages of all publishers.
    pub(super) messages: Option<u64>,
    /// Longest window.
    pub(super) window_ns: u64,
    /// Load before the window.
    pub(super) warm_up_ns: u64,
    /// Silence after which missing messages are lost.
    pub(super) drain_timeout_ns: u64,
    /// Messages on their way that stop publishers; `u64::MAX` for no limit.
    pub(super) backlog_max: u64,
    /// How fast connections are opened.
    pub(super) ramp: Ramp,
}

impl Plan {
    /// The plan of these options, with so many publishers, subscribers and topics by default.
    ///
    /// # Errors
    /// `Settings` for options that contradict each other.
    pub(super) fn new(options: &MqttOptions, defaults: (u16, u16, u16)) -> Result<Self, PerfError> {
        let publishers = options.publishers.unwrap_or(defaults.0);
        let subscribers = options.subscribers.unwrap_or(defaults.1);
        let topics = options.topics.unwrap_or(defaults.2);
        check(options, (publishers, subscribers, topics))?;
        let run = random_token();
        let is_counted = options.pmessages.is_some();
        let window_seconds = options.time.or(if is_counted { None } else { Some(WINDOW_SECONDS) });
        let warm_up = options.warm_up.unwrap_or(if is_counted { 0 } else { WARM_UP_SECONDS });
        let seconds_ns = |seconds: u64| seconds.saturating_mul(SECOND_NS);
        let qos = options.qos.unwrap_or(0);
        Ok(Self {
            topology: Topology {
                run,
                body_bytes: usize::try_from(options.size).unwrap_or(usize::MAX),
                producers: publishers.into(),
                consumers: subscribers.into(),
                queues: if options.share || subscribers == 0 { topics } else { subscribers }.into(),
                topics: topics.into(),
                is_ordered: true,
            },
            base: options.topic.clone().unwrap_or_else(|| format!("ringmqperf/{run:04x}")),
            qos,
            subscribe_qos: options.subscribe_qos.unwrap_or(qos),
            is_retained: false,
            is_shared: options.share,
            window: options
                .in_flight
                .unwrap_or_else(|| WINDOW_TOTAL.checked_div(publishers).unwrap_or(1).max(1)),
            batch_messages: options.batch.map_or(usize::MAX, usize::from),
            rate: options.rate,
            messages: options.pmessages,
            window_ns: window_seconds.map_or(u64::MAX, seconds_ns),
            warm_up_ns: seconds_ns(warm_up),
            drain_timeout_ns: seconds_ns(options.drain_timeout),
            backlog_max: if options.backlog == 0 { u64::MAX } else { options.backlog },
            ramp: ramp(options),
        })
    }

    /// The settings that only the plan knows.
    pub(super) fn settings(&self) -> Value {
        json!({
            "publishers": self.topology.producers,
            "subscribers": self.topology.consumers,
            "topics": self.topology.topics,
            "qos": self.qos,
            "subscribe_qos": self.subscribe_qos,
            "shared": self.is_shared,
            "in_flight": self.window,
            "messages": self.messages,
            "rate": self.rate,
            "warm_up_seconds": self.warm_up_ns / SECOND_NS,
        })
    }

    /// Quality of service of deliveries.
    pub(super) fn delivered_qos(&self) -> u8 {
        self.qos.min(self.subscribe_qos)
    }

    /// The topic of publisher or subscriber `index`.
    pub(super) fn topic_of(&self, index: usize) -> String {
        let topic = index.checked_rem(self.topology.topics).unwrap_or(0);
        format!("{}/load/{topic}", self.base)
    }

    /// The filter of subscriber `index`.
    pub(super) fn filter_of(&self, index: usize) -> String {
        let share = if self.is_shared { "$share/ringmqperf/" } else { "" };
        format!("{share}{}", self.topic_of(index))
    }

    fn course(&self) -> Course {
        Course {
            stock: None,
            has_confirms: self.qos > 0,
            has_consumers: self.topology.consumers > 0,
            copies: u64::try_from(self.topology.copies()).unwrap_or(1),
            is_counted: self.messages.is_some(),
            deliveries_max: u64::MAX,
            window_ns: self.window_ns,
            warm_up_ns: self.warm_up_ns,
            drain_timeout_ns: self.drain_timeout_ns,
        }
    }

    /// Publisher `index`; its pace is set when it begins.
    fn sender(&self, version: Version, index: usize) -> Sender {
        let Topology { run, body_bytes, producers, .. } = self.topology;
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let share = BATCHES_BYTES.checked_div(producers).unwrap_or(BATCH_BYTES);
        let template = Template {
            version,
            run,
            producer: u16::try_from(index).unwrap_or(u16::MAX),
            topic: &if self.is_retained { self.base.clone() } else { self.topic_of(index) },
            stride: self.is_retained.then(|| wide(producers)),
            qos: self.qos,
            is_retained: self.is_retained,
            body_bytes,
            batch_bytes: share.min(BATCH_BYTES),
            batch_messages: self.batch_messages,
        };
        let messages = share_of(self.messages, producers, index);
        Sender::new(&Job { template, window: self.window, messages, sequence: 0, pace: None })
    }

    /// Subscriber `index`.
    pub(super) fn subscriber(&self, version: Version, index: usize) -> Task {
        let mut subscribes = Vec::new();
        let filters = [self.filter_of(index)];
        put_subscribe(&mut subscribes, version, 1, &filters, self.subscribe_qos);
        let inbox = Some(Box::new(Inbox::new(index, self.delivered_qos(), false)));
        Task { subscribes, subscribes_count: 1, inbox, ..Task::default() }
    }
}

/// How fast connections are opened.
pub(super) fn ramp(options: &MqttOptions) -> Ramp {
    Ramp::of(&options.transport)
}

fn check(
    options: &MqttOptions,
    (publishers, subscribers, topics): (u16, u16, u16),
) -> Result<(), PerfError> {
    let body_bytes_min = u32::try_from(BODY_BYTES_MIN).unwrap_or(u32::MAX);
    let is_multiple = subscribers.checked_rem(topics) == Some(0);
    let topic_bytes = options.topic.as_ref().map_or(1, String::len);
    let rules = [
        (options.size >= body_bytes_min, "-s: a payload has at least 16 octets"),
        (options.size <= BODY_BYTES_MAX, "-s: a payload has at most 128 MiB"),
        (publishers > 0, "-x: at least one publisher"),
        (topics > 0, "--topics: at least one topic"),
        (publishers >= topics, "--topics: more than publishers"),
        (is_multiple || options.share, "-y: not a multiple of the topics"),
        (subscribers == 0 || subscribers >= topics, "-y: fewer subscribers than topics"),
        (options.rate != Some(0), "-r: at least 1"),
        (subscribers > 0 || options.backlog == 0, "--backlog: needs subscribers"),
        ((1..=60_000).contains(&topic_bytes), "-u: 1 to 60000 octets"),
    ];
    match rules.iter().find(|(is_kept, _)| !is_kept) {
        Some((_, rule)) => Err(PerfError::Settings((*rule).to_owned())),
        None => Ok(()),
    }
}

/// Connections of MQTT.
pub(super) type Fleet = crate::client::fleet::Fleet<Connection>;

/// A fleet as the options say, on its processor.
///
/// # Errors
/// The system's; no such host.
pub(super) fn fleet(options: &MqttOptions, topology: Topology) -> Result<Fleet, PerfError> {
    let harbour = Harbour {
        manners: options.version.spoken(),
        broker: Broker::new(&options.uri, MQTT, &options.transport)?,
        silence_ns: options.drain_timeout.saturating_mul(SECOND_NS),
    };
    pin(options.pin.as_ref())?;
    let mut fleet = Fleet::new(harbour, Verifier::new(topology))?;
    fleet.is_spinning = options.spin;
    Ok(fleet)
}

/// Opens publishers, who wait for `dispatch.is_open`; tells the number of the first.
///
/// # Errors
/// That of a connection.
pub(super) fn open_publishers(fleet: &mut Fleet, plan: &Plan) -> Result<usize, ClientError> {
    let first = fleet.connections.len();
    let version = fleet.harbour.manners;
    let run = plan.topology.run;
    fleet.open_all(plan.topology.producers, plan.ramp, |index| Spec {
        task: Task { sender: Some(Box::new(plan.sender(version, index))), ..Task::default() },
        ..Spec::idle(format!("rp{run:04x}p{index}"))
    })?;
    Ok(first)
}

/// Sets the paces of publishers to begin now.
pub(super) fn begin(fleet: &mut Fleet, plan: &Plan, first: usize) {
    let now_ns = fleet.clock.now_ns();
    let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let producers = wide(plan.topology.producers);
    let connections = fleet.connections.get_mut(first..).unwrap_or_default();
    for (index, connection) in connections.iter_mut().enumerate() {
        if let (Some(sender), Some(rate)) = (&mut connection.task.sender, plan.rate) {
            sender.set_pace(Pace::new(now_ns, rate, producers, wide(index)));
        }
    }
    fleet.load.dispatch.is_open = true;
    for number in first..fleet.connections.len() {
        fleet.queue(number);
    }
}

/// Opens subscribers and publishers, has them publish and receive as planned, and closes them.
/// Other connections of the fleet stay.
///
/// # Errors
/// Whatever stood in the way before the load began; later failures are part of the outcome.
pub(super) fn run(
    fleet: &mut Fleet,
    plan: &Plan,
    options: &MqttOptions,
) -> Result<Outcome, PerfError> {
    let first = fleet.connections.len();
    reset(fleet, plan.topology);
    let version = fleet.harbour.manners;
    let run = plan.topology.run;
    fleet.open_all(plan.topology.consumers, plan.ramp, |index| Spec {
        task: plan.subscriber(version, index),
        ..Spec::idle(format!("rp{run:04x}s{index}"))
    })?;
    let publishers = open_publishers(fleet, plan)?;
    let mut director = Director::new(&plan.course(), options.broker_pid, options.quiet);
    let shared = Shared::new();
    director.begin(fleet.clock.now_ns(), &shared);
    begin(fleet, plan, publishers);
    let copies = u64::try_from(plan.topology.copies()).unwrap_or(1).max(1);
    let mut next_look_ns = 0;
    let result = fleet.drive(|fleet, now_ns| {
        if plan.backlog_max < u64::MAX {
            let arrived = fleet.load.receipts.count.checked_div(copies).unwrap_or(0);
            let on_the_way = fleet.load.dispatch.published.saturating_sub(arrived);
            fleet.load.dispatch.room = plan.backlog_max.saturating_sub(on_the_way);
        }
        if now_ns >= next_look_ns {
            tell(fleet, publishers, &shared);
            director.on_turn(now_ns, &shared);
            hear(&mut fleet.load, &shared);
            next_look_ns = now_ns.saturating_add(LOOK_NS);
        }
        let is_over = shared.is_over.load(Ordering::Relaxed);
        Ok(if is_over { Look::Done } else { Look::Again(next_look_ns) })
    });
    tell(fleet, publishers, &shared);
    let last = director.read(fleet.clock.now_ns(), &shared);
    let (published, unconfirmed) = published(fleet, publishers);
    let load = reset(fleet, plan.topology);
    let failure = result.err();
    // After a failure nobody can say good-bye.
    let failure = match failure {
        Some(failure) => {
            fleet.connections.truncate(first);
            Some(failure)
        }
        None => fleet.leave_all(first).err(),
    };
    let Load { dispatch, receipts, .. } = load;
    let Receipts { verifier, mut latency, .. } = receipts;
    let mut faults = verifier.finish(&published);
    faults.add(dispatch.faults);
    faults.unconfirmed += unconfirmed;
    let mut confirm = dispatch.latency;
    Ok(Outcome {
        published,
        start: director.start.unwrap_or(last),
        end: director.end.unwrap_or(last),
        last,
        end_to_end: latency.summary(),
        confirm: confirm.summary(),
        faults,
        failure,
    })
}

/// Messages stamped by each publisher, and those without the broker's last word.
pub(super) fn published(fleet: &Fleet, publishers: usize) -> (Vec<u64>, u64) {
    let connections = fleet.connections.get(publishers..).unwrap_or_default();
    let senders = || connections.iter().filter_map(|connection| connection.task.sender.as_ref());
    let published = senders().map(|sender| sender.published()).collect();
    (published, senders().map(|sender| sender.unsettled()).sum())
}

/// Counters for a new load; gives those of the last one. Publishers are stopped.
pub(super) fn reset(fleet: &mut Fleet, topology: Topology) -> Load {
    fleet.make_room(topology.body_bytes);
    let counts = fleet.load.counts;
    let mut dispatch = Dispatch::new();
    dispatch.is_open = false;
    let receipts = Receipts::new(Verifier::new(topology));
    std::mem::replace(&mut fleet.load, Load { dispatch, receipts, counts })
}

/// What the director sees.
fn tell(fleet: &Fleet, publishers: usize, shared: &Shared) {
    let Load { dispatch, receipts, .. } = &fleet.load;
    shared.published.store(dispatch.published, Ordering::Relaxed);
    shared.confirmed.store(dispatch.confirmed, Ordering::Relaxed);
    shared.received.store(receipts.count, Ordering::Relaxed);
    let connections = fleet.connections.get(publishers..).unwrap_or_default();
    let is_flushed = connections
        .iter()
        .filter_map(|connection| connection.task.sender.as_ref())
        .all(|sender| sender.is_done(dispatch.is_open));
    shared.is_flushed.store(is_flushed, Ordering::Relaxed);
}

/// What the director says.
fn hear(load: &mut Load, shared: &Shared) {
    let start_ns = shared.window_start_ns.load(Ordering::Relaxed);
    let end_ns = shared.window_end_ns.load(Ordering::Relaxed);
    load.dispatch.window = start_ns..end_ns;
    load.receipts.window = start_ns..end_ns;
    load.dispatch.is_open = shared.is_open.load(Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Command, Options};

    fn plan(line: &str) -> Result<Plan, PerfError> {
        let words = ["ringmqperf", "mqtt", "throughput"].into_iter().chain(line.split_whitespace());
        let command = Options::try_parse_from(words).map(|options| options.command);
        let Ok(Command::Mqtt { load, .. }) = command else { panic!("{command:?}") };
        Plan::new(&load, (1, 1, 1))
    }

    #[test]
    fn publishers_and_subscribers_go_round_the_topics() {
        let plan = plan("-x 4 -y 6 --topics 2 -u a").unwrap();
        assert_eq!((plan.topic_of(3), plan.filter_of(4)), ("a/load/1".into(), "a/load/0".into()));
        assert_eq!((plan.topology.copies(), plan.topology.queues), (3, 6));
    }

    #[test]
    fn subscribers_that_share_get_a_message_once() {
        let plan = plan("-x 2 -y 3 --topics 2 --share -u a").unwrap();
        assert_eq!(plan.filter_of(2), "$share/ringmqperf/a/load/0");
        assert_eq!((plan.topology.copies(), plan.topology.queues), (1, 2));
    }

    #[test]
    fn publishers_share_what_may_be_in_flight_unless_told_otherwise() {
        assert_eq!(plan("-x 100").unwrap().window, 10);
        assert_eq!(plan("-x 5000").unwrap().window, 1);
        assert_eq!(plan("-x 100 -c 1000").unwrap().window, 1000);
    }

    #[test]
    fn a_delivery_has_the_lower_quality_of_service() {
        let plan = plan("-q 2 --subscribe-qos 1").unwrap();
        assert_eq!((plan.qos, plan.delivered_qos()), (2, 1));
    }
}
