//! A run with MQTT: clients whose sessions outlive every life of the broker, and the ledger that
//! all they see goes into.

mod ledger;
mod link;
mod publisher;
mod subscriber;
mod topology;

use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringmq::protocol::mqtt::wire::Version;

use crate::broker::Broker;
use crate::disk::Disk;
use crate::lives::{Lives, Mode};
use ledger::{Ledger, Note};
use link::Link;
use publisher::Publisher;
use subscriber::Subscriber;
use topology::{PUBLISHERS, SUBSCRIBERS};

/// Every so many cycles everything is drained and accounted for.
const DRAIN_EVERY: u32 = 5;
/// So that nothing is dropped because a session is full.
const SETTINGS: &str = "[mqtt]\nmax_online_messages = -1\nmax_offline_messages = -1\n";

/// See the module.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) lives: Lives,
    ledger: Ledger,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    has_sessions: bool,
    marks: u32,
}

impl Run {
    /// On an empty disk. `None`: one to three shards, others in each life.
    pub(crate) fn new(mode: Mode, disk: Disk, seed: u64, shards: Option<u64>) -> Self {
        Self {
            lives: Lives::new(mode, disk, seed, shards, SETTINGS),
            ledger: Ledger::new(),
            publishers: (0..PUBLISHERS.len()).map(Publisher::new).collect(),
            subscribers: (0..SUBSCRIBERS.len()).map(Subscriber::new).collect(),
            has_sessions: false,
            marks: 0,
        }
    }

    fn start(&mut self) -> Broker {
        let started = self.lives.try_start();
        self.ledger.next_life(self.lives.mode != Mode::Stay);
        started.unwrap_or_else(|said| panic!("{said}\n{}", self.ledger.report()))
    }

    /// One life: start, look whether all is there, work, crash.
    pub(crate) fn cycle(&mut self, number: u32) {
        let begin = Instant::now();
        let before = self.ledger.totals().clone();
        let broker = self.start();
        let (started, shards) = (begin.elapsed(), self.lives.last_shards);
        self.verify(&broker);
        let drains = number % DRAIN_EVERY == DRAIN_EVERY - 1;
        if drains {
            self.drain(&broker);
        }
        let ending = self.work(broker);
        let now = self.ledger.totals();
        println!(
            "cycle {number}: {shards} shards, started in {} ms, {ending}; sent {}, repeated {}, \
             confirmed {}, arrived {}, again {}, suppressed {}{}; lost {}, \
             unexpected {}; {} ms",
            started.as_millis(),
            now.sent - before.sent,
            now.repeated - before.repeated,
            now.confirmed - before.confirmed,
            now.arrived - before.arrived,
            now.again - before.again,
            now.suppressed - before.suppressed,
            if drains { ", drained" } else { "" },
            now.lost,
            now.unexpected,
            begin.elapsed().as_millis(),
        );
    }

    /// The last messages of all topics are there; in the first life the sessions are made.
    fn verify(&mut self, broker: &Broker) {
        let addr = broker.mqtt_addr();
        let version = *self.lives.random.pick(&[Version::V3, Version::V4, Version::V5]);
        let notes = subscriber::kept(addr, version, &self.ledger.must_be_kept());
        self.ledger.take(notes);
        if !self.has_sessions {
            for subscriber in &mut self.subscribers {
                subscriber.subscribe(addr);
                self.ledger.take(subscriber.notes());
            }
            self.has_sessions = true;
        }
    }

    /// Publishers finish what is open, subscribers take all there is.
    fn drain(&mut self, broker: &Broker) {
        let addr = broker.mqtt_addr();
        let (publishing, _) = self.publish(addr, true);
        self.join_publishers(publishing, false);
        let mark = self.marks;
        self.marks += 1;
        self.ledger.take(publisher::mark(addr, mark));
        let (subscribing, _) = self.receive(addr, Some(mark));
        self.join_subscribers(subscribing, false);
        self.ledger.evaluate();
    }

    /// Publishers and subscribers, and in the middle of it the end.
    fn work(&mut self, broker: Broker) -> String {
        let addr = broker.mqtt_addr();
        let (publishing, mut streams) = self.publish(addr, false);
        let (subscribing, more) = self.receive(addr, None);
        streams.extend(more);
        let life = Duration::from_millis(self.lives.random.between(30, 700));
        thread::sleep(life);
        let ending = self.lives.crash(broker, &streams);
        for what in ending.wrongs {
            self.ledger.wrong("ended", what);
        }
        self.join_publishers(publishing, ending.is_planned);
        self.join_subscribers(subscribing, ending.is_planned);
        format!("{} after {life:?}", ending.text)
    }

    fn publish(
        &mut self,
        addr: SocketAddr,
        leaves: bool,
    ) -> (Vec<JoinHandle<Publisher>>, Vec<TcpStream>) {
        let (mut threads, mut streams) = (Vec::new(), Vec::new());
        for (publisher, version) in self.publishers.drain(..).zip(PUBLISHERS) {
            let random = &mut self.lives.random;
            let any = publisher::Plan::any(random);
            let plan = if leaves { publisher::Plan::finish() } else { any };
            let link = Link::connect(addr, version).expect("a broker that listens");
            streams.push(link.stream());
            let random = random.fork();
            threads.push(thread::spawn(move || publisher.run(link, &plan, random)));
        }
        (threads, streams)
    }

    fn receive(
        &mut self,
        addr: SocketAddr,
        until: Option<u32>,
    ) -> (Vec<JoinHandle<Subscriber>>, Vec<TcpStream>) {
        let (mut threads, mut streams) = (Vec::new(), Vec::new());
        for (subscriber, member) in self.subscribers.drain(..).zip(&SUBSCRIBERS) {
            let random = &mut self.lives.random;
            let receive_max = u16::try_from(random.between(10, 100)).expect("a small number");
            let held_percent = if until.is_some() { 0 } else { random.below(3) };
            let plan = subscriber::Plan { held_percent, receive_max, until };
            let link = Link::connect(addr, member.version).expect("a broker that listens");
            streams.push(link.stream());
            let random = random.fork();
            threads.push(thread::spawn(move || subscriber.run(link, plan, random)));
        }
        (threads, streams)
    }

    /// A broker whose disk fails may refuse whatever it likes until it ends, and one that stops says
    /// so.
    fn take(&mut self, mut notes: Vec<Note>, is_planned: bool) {
        if is_planned || self.lives.mode == Mode::Cut {
            notes.retain(|note| !matches!(note, Note::Wrong("refused", _)));
        }
        self.ledger.take(notes);
    }

    fn join_publishers(&mut self, threads: Vec<JoinHandle<Publisher>>, is_planned: bool) {
        for thread in threads {
            let mut publisher = thread.join().expect("a publisher that does not panic");
            self.take(publisher.notes(is_planned), is_planned);
            self.publishers.push(publisher);
        }
    }

    fn join_subscribers(&mut self, threads: Vec<JoinHandle<Subscriber>>, is_planned: bool) {
        for thread in threads {
            let mut subscriber = thread.join().expect("a subscriber that does not panic");
            self.take(subscriber.notes(), is_planned);
            self.subscribers.push(subscriber);
        }
    }

    /// The last life: everything is drained, and after a good end nothing comes again.
    pub(crate) fn finish(&mut self) {
        let broker = self.start();
        self.verify(&broker);
        self.drain(&broker);
        let before = self.ledger.totals().again;
        self.drain(&broker);
        let again = self.ledger.totals().again - before;
        if again > 0 {
            self.ledger.wrong("settled", format!("{again} came again after all was settled"));
        }
        if let Err(what) = broker.terminate() {
            self.ledger.wrong("ended", what);
        }
    }

    /// Prints the sums; whether all was well.
    pub(crate) fn report(&self) -> bool {
        let totals = self.ledger.totals();
        println!("total: {totals}");
        print!("{}", self.ledger.report());
        assert!(totals.confirmed > 0, "nothing was acknowledged, so nothing was tested");
        totals.lost == 0 && totals.unexpected == 0
    }

    /// See [`Ledger::report`].
    pub(crate) fn violations(&self) -> String {
        self.ledger.report()
    }
}
