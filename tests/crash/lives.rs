//! The lives of one broker on one data directory: how each begins and how it ends. Knows no
//! protocol.

use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use crate::broker::{Broker, Plan, small_files};
use crate::disk::Disk;
use crate::random::Random;

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// SIGKILL; what the system has in its cache stays.
    Kill,
    /// The power of the disk is cut.
    Cut,
    /// SIGKILL, and all data is removed: proves that the ledger finds losses.
    Forget,
    /// The broker lives on, only all connections end: proves that the ledger blames nobody for
    /// what is in order.
    Stay,
}

/// An end.
#[derive(Debug)]
pub(crate) struct Ending {
    /// For people.
    pub(crate) text: String,
    /// It was asked to stop.
    pub(crate) is_planned: bool,
    /// What must not be.
    pub(crate) wrongs: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lives {
    pub(crate) mode: Mode,
    pub(crate) disk: Disk,
    pub(crate) random: Random,
    /// Lines of the configuration.
    settings: String,
    /// Always so many; else any number from 1 to 3.
    shards: Option<u64>,
    /// Of the last start.
    pub(crate) last_shards: u64,
    /// Lives on from one cycle to the next; see [`Mode::Stay`].
    staying: Option<Broker>,
}

impl Lives {
    /// On an empty disk, with these lines of configuration after those for small files.
    pub(crate) fn new(mode: Mode, disk: Disk, seed: u64, shards: Option<u64>, more: &str) -> Self {
        let settings = small_files(disk.directory()) + more;
        println!("seed {seed}, {mode:?}, settings: {}", settings.replace('\n', " "));
        let (random, staying) = (Random::new(seed), None);
        Self { mode, disk, random, settings, shards, last_shards: 0, staying }
    }

    /// A broker on what the last one left, or what it said when it did not start.
    pub(crate) fn try_start(&mut self) -> Result<Broker, String> {
        if let Some(broker) = self.staying.take() {
            return Ok(broker);
        }
        if self.random.percent(15) {
            self.crash_in_recovery();
        }
        let plan = self.plan();
        self.last_shards = plan.shards;
        Broker::start(&plan).map_err(|said| format!("{plan:?}: {said}"))
    }

    fn plan(&mut self) -> Plan {
        let any = self.random.between(1, 3);
        Plan {
            data: self.disk.data(),
            directory: self.disk.directory().to_owned(),
            shards: self.shards.unwrap_or(any),
            is_apart: self.random.percent(30),
            settings: self.settings.clone(),
        }
    }

    /// A life that ends before it is ready, or soon after.
    fn crash_in_recovery(&mut self) {
        let broker = Broker::spawn(&self.plan());
        thread::sleep(Duration::from_millis(self.random.below(40)));
        if self.mode == Mode::Cut {
            self.disk.cut().expect("the power can be cut");
        }
        broker.kill();
        self.disk.restore().expect("the power comes back");
    }

    /// Ends a life in this run's way, sometimes in good order.
    pub(crate) fn crash(&mut self, mut broker: Broker, streams: &[TcpStream]) -> Ending {
        let mut wrongs = Vec::new();
        if let Some(status) = broker.ended() {
            wrongs.push(format!("by itself: {status}; it said: {}", broker.log()));
        }
        if matches!(self.mode, Mode::Kill | Mode::Cut) && self.random.percent(10) {
            wrongs.extend(broker.terminate().err());
            return Ending { text: "terminated".into(), is_planned: true, wrongs };
        }
        match self.mode {
            Mode::Kill => broker.kill(),
            Mode::Cut => {
                self.disk.cut().expect("the power can be cut");
                // Time to confirm what can never reach the disk, for a broker that would.
                thread::sleep(Duration::from_millis(self.random.below(20)));
                broker.kill();
                self.disk.restore().expect("the power comes back");
            }
            Mode::Forget => {
                broker.kill();
                drop(std::fs::remove_dir_all(self.disk.data()));
            }
            Mode::Stay => {
                for stream in streams {
                    // It may have ended already.
                    drop(stream.shutdown(Shutdown::Both));
                }
                self.staying = Some(broker);
            }
        }
        Ending { text: format!("{:?}", self.mode), is_planned: false, wrongs }
    }
}
