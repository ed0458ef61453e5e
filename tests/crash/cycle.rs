//! A run: lives of one broker on one data directory, each ended by a crash in the middle of work,
//! and the ledger that they all go into.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::churn::Churn;
use crate::consumer::{Style, consume, drain};
use crate::disk::Disk;
use crate::ledger::{Ledger, Note};
use crate::link::Link;
use crate::lives::{Lives, Mode};
use crate::publisher;
use crate::topology::{QUEUES, counts, declare_all, missing};

/// Every so many cycles everything is drained and accounted for.
const DRAIN_EVERY: u32 = 5;

/// See the module.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) lives: Lives,
    pub(crate) ledger: Ledger,
    churn: Option<Churn>,
    /// Declared, so they must be there.
    is_declared: bool,
}

impl Run {
    /// On an empty disk.
    pub(crate) fn new(mode: Mode, disk: Disk, seed: u64) -> Self {
        Self {
            lives: Lives::new(mode, disk, seed, None, ""),
            ledger: Ledger::new(),
            churn: Some(Churn::new()),
            is_declared: false,
        }
    }

    /// Everything is as at the beginning, the ledger apart.
    pub(crate) fn reset(&mut self) {
        drop(std::fs::remove_dir_all(self.lives.disk.data()));
        self.is_declared = false;
        self.churn = None;
    }

    /// A broker on what the last one left, with one, two or three shards.
    pub(crate) fn start(&mut self) -> Broker {
        self.try_start().unwrap_or_else(|said| panic!("{said}\n{}", self.ledger.report()))
    }

    /// The same, or what it said when it did not start.
    pub(crate) fn try_start(&mut self) -> Result<Broker, String> {
        self.ledger.next_boot();
        self.lives.try_start()
    }

    /// One life: start, look whether all is there, work, crash.
    pub(crate) fn cycle(&mut self, number: u32) {
        let begin = Instant::now();
        let before = self.ledger.totals().clone();
        let mut broker = self.start();
        let started = begin.elapsed();
        self.verify(&broker);
        if self.lives.mode != Mode::Stay && self.lives.random.percent(25) {
            broker = self.start_twice(broker);
            self.verify(&broker);
        }
        let drains = number % DRAIN_EVERY == DRAIN_EVERY - 1;
        if drains {
            self.drain_all(&broker);
        }
        let ending = self.work(broker);
        let now = self.ledger.totals();
        println!(
            "cycle {number}: started in {} ms, {ending}; sent {}, confirmed {}, delivered {}, \
             again {}, duplicated {}, settled {}{}; lost {}, unexpected {}; {} ms",
            started.as_millis(),
            now.attempts - before.attempts,
            now.confirmed - before.confirmed,
            now.delivered - before.delivered,
            now.again - before.again,
            now.duplicated - before.duplicated,
            now.settled - before.settled,
            if drains { ", drained" } else { "" },
            now.lost,
            now.unexpected,
            begin.elapsed().as_millis(),
        );
    }

    /// All that was declared is there. What is not is declared again, so that the run goes on.
    pub(crate) fn verify(&mut self, broker: &Broker) {
        let mut link = Link::open(broker.addr());
        if self.is_declared {
            for name in missing(&mut link) {
                self.ledger.wrong("definitions", format!("{name} is not there after a start"));
            }
        }
        if let Err(what) = declare_all(&mut link) {
            self.ledger.wrong("definitions", format!("cannot be declared: {what}"));
        }
        self.is_declared = true;
        if let Some(churn) = &mut self.churn {
            self.ledger.take(churn.verify(&mut link));
        }
        link.close();
    }

    /// Recovering a second time without any traffic finds the same.
    fn start_twice(&mut self, broker: Broker) -> Broker {
        let mut link = Link::open(broker.addr());
        let first = counts(&mut link);
        drop(link);
        self.crash(broker, None, &[]);
        let broker = self.start();
        let mut link = Link::open(broker.addr());
        let second = counts(&mut link);
        link.close();
        for (name, (first, second)) in QUEUES.iter().zip(first.iter().zip(&second)) {
            if first != second {
                let what = format!("{name} had {first:?}, and after one more start {second:?}");
                self.ledger.wrong("second recovery", what);
            }
        }
        broker
    }

    /// Empties every queue; then nothing confirmed may be missing.
    pub(crate) fn drain_all(&mut self, broker: &Broker) {
        for queue in 0..QUEUES.len() {
            let mut link = Link::open(broker.addr());
            let notes = drain(&mut link, queue);
            self.ledger.take(notes);
            link.close();
        }
        self.ledger.evaluate();
        self.ledger.next_part();
    }

    /// Publishers, consumers and definitions, and in the middle of it the end.
    fn work(&mut self, broker: Broker) -> String {
        let mut publishers = Vec::new();
        for _ in 0..3 {
            let number = self.ledger.new_publisher();
            let plan = publisher::Plan::any(number, &mut self.lives.random);
            let (link, random) = (Link::open(broker.addr()), self.lives.random.fork());
            publishers.push((link, plan, random));
        }
        let mut consumers = Vec::new();
        for queue in 0..QUEUES.len() {
            if self.lives.random.percent(60) {
                let style = Style::any(queue, &mut self.lives.random);
                consumers.push((Link::open(broker.addr()), queue, style, self.lives.random.fork()));
            }
        }
        let churning = (Link::open(broker.addr()), self.lives.random.fork());
        let churn = self.churn.take();
        let links = publishers.iter().map(|(link, ..)| link);
        let links = links.chain(consumers.iter().map(|(link, ..)| link)).chain([&churning.0]);
        let streams: Vec<TcpStream> = links.map(Link::stream).collect();

        // All have logged in: from here on they expect the end at any time.
        let publishers: Vec<_> = publishers
            .into_iter()
            .map(|(link, plan, random)| thread::spawn(|| publisher::publish(link, plan, random)))
            .collect();
        let consumers: Vec<_> = consumers
            .into_iter()
            .map(|(link, queue, style, random)| {
                thread::spawn(move || consume(link, queue, style, random))
            })
            .collect();
        let churn = churn.map(|churn| thread::spawn(|| churn.run(churning.0, churning.1)));
        let life = Duration::from_millis(self.lives.random.between(30, 700));
        thread::sleep(life);
        let how = self.crash(broker, Some(life), &streams);

        for publisher in publishers {
            self.take(joined(publisher));
        }
        // In the order of the queues: the dead come after those who rejected them.
        for consumer in consumers {
            self.take(joined(consumer));
        }
        if let Some((churn, notes)) = churn.map(|churn| churn.join().expect("no panic")) {
            self.churn = Some(churn);
            self.take(notes);
        }
        how
    }

    /// A broker whose disk fails may refuse whatever it likes until it ends.
    fn take(&mut self, mut notes: Vec<Note>) {
        if self.lives.mode == Mode::Cut {
            notes.retain(|note| !matches!(note, Note::Wrong("refused", _)));
        }
        self.ledger.take(notes);
    }

    /// Ends a life; says how.
    fn crash(&mut self, broker: Broker, life: Option<Duration>, streams: &[TcpStream]) -> String {
        let ending = self.lives.crash(broker, streams);
        for what in ending.wrongs {
            self.ledger.wrong("ended", what);
        }
        if self.lives.mode == Mode::Stay {
            // Nothing says when the broker has taken back what they held.
            thread::sleep(Duration::from_millis(200));
        }
        let life = life.map_or_else(String::new, |life| format!(" after {life:?}"));
        format!("{}{life}", ending.text)
    }

    /// The last life: everything is drained, and after a good end nothing comes back.
    pub(crate) fn finish(&mut self) {
        let broker = self.start();
        self.verify(&broker);
        if self.lives.mode == Mode::Stay {
            return self.drain_all(&broker);
        }
        let broker = self.start_twice(broker);
        self.verify(&broker);
        self.drain_all(&broker);
        if let Err(what) = broker.terminate() {
            self.ledger.wrong("ended", what);
        }
        let broker = self.start();
        let mut link = Link::open(broker.addr());
        for (name, count) in QUEUES.iter().zip(counts(&mut link)) {
            if count != Some(0) {
                let what = format!("{name} has {count:?} after it was drained and all was stopped");
                self.ledger.wrong("settled", what);
            }
        }
        link.close();
        if let Err(what) = broker.terminate() {
            self.ledger.wrong("ended", what);
        }
    }

    /// Prints the sums; whether all was well.
    pub(crate) fn report(&self) -> bool {
        let totals = self.ledger.totals();
        let answered = self.churn.as_ref().map_or(0, |churn| churn.answered);
        println!("total: {totals}, definitions changed {answered}");
        print!("{}", self.ledger.report());
        assert!(totals.confirmed > 0, "nothing was confirmed, so nothing was tested");
        totals.lost == 0 && totals.unexpected == 0
    }
}

fn joined(thread: thread::JoinHandle<Vec<Note>>) -> Vec<Note> {
    thread.join().unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        vec![Note::Wrong("client", format!("a client panicked: {said}"))]
    })
}
