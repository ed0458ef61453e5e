//! A broker process on a data directory that outlives it: started, killed, started again. May
//! import nothing of the crate: it is the binary that is tested.
//!
//! `RINGMQ_CRASH_BINARY=path` tests another binary than the one cargo built.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a start may take, recovery included, and an end after SIGTERM. Arbitrary.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to start one.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Where its data is.
    pub(crate) data: PathBuf,
    /// Where its log and configuration go: not on the disk that is cut.
    pub(crate) directory: PathBuf,
    /// Number of shards.
    pub(crate) shards: u64,
    /// Every queue on another shard than the connection that declares it.
    pub(crate) is_apart: bool,
    /// Further lines of section main, and further sections.
    pub(crate) settings: String,
}

/// A process that runs. It ends with the thread that started it, however that ends.
#[derive(Debug)]
pub(crate) struct Broker {
    process: Child,
    addr: SocketAddr,
    /// For MQTT, if it listens for that.
    mqtt_addr: Option<SocketAddr>,
    log: PathBuf,
    /// Octets of the log before this start.
    log_start: usize,
}

/// The binary to test.
fn binary() -> String {
    let built = env!("CARGO_BIN_EXE_ringmq").to_owned();
    std::env::var("RINGMQ_CRASH_BINARY").unwrap_or(built)
}

impl Broker {
    /// Starts one and waits until it is ready; else what it said.
    pub(crate) fn start(plan: &Plan) -> Result<Self, String> {
        let mut broker = Self::spawn(plan);
        broker.wait_until_ready()?;
        Ok(broker)
    }

    /// Starts one that is not ready yet.
    pub(crate) fn spawn(plan: &Plan) -> Self {
        let config = plan.directory.join("ringmq.ini");
        let placement = if plan.is_apart { "apart" } else { "hash" };
        let text = format!("[main]\nplacement = {placement}\n{}\n", plan.settings);
        fs::write(&config, text).expect("a configuration file");
        let log = plan.directory.join("log");
        let log_start = fs::read(&log).map_or(0, |text| text.len());
        let out = OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        // setpriv becomes the broker: the process id is that of the child. The kernel then kills
        // the broker when we are gone, so that nothing stays behind a test that was killed.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", &binary(), "--data-dir"])
            .arg(&plan.data)
            .args(["--bind", "127.0.0.1", "--amqp-port", "0", "--mqtt-port", "0", "--no-pin"])
            .args(["--http-port", "0", "--metrics-http-port", "0"])
            .args(["--shards", &plan.shards.to_string(), "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a second handle of the log"))
            .stderr(out)
            .spawn()
            .expect("setpriv of util-linux starts");
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { process, addr, mqtt_addr: None, log, log_start }
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.ended();
            let log = self.log();
            if log.lines().any(|line| line.trim() == "ready") {
                let address = log.lines().find_map(|line| line.strip_prefix("listening amqp "));
                self.addr = address
                    .and_then(|address| address.trim().parse().ok())
                    .ok_or("no line 'listening amqp <address>' before 'ready'")?;
                let address = log.lines().find_map(|line| line.strip_prefix("listening mqtt "));
                self.mqtt_addr = address.and_then(|address| address.trim().parse().ok());
                return Ok(());
            }
            if let Some(status) = ended {
                return Err(format!("ended before it was ready: {status}; it said:\n{log}"));
            }
            if Instant::now() > deadline {
                return Err(format!("not ready after {PATIENCE:?}; it said:\n{log}"));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Where it listens.
    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens for MQTT.
    pub(crate) fn mqtt_addr(&self) -> SocketAddr {
        self.mqtt_addr.expect("a line 'listening mqtt <address>' before 'ready'")
    }

    /// What it has printed since this start.
    pub(crate) fn log(&self) -> String {
        let octets = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(octets.get(self.log_start..).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("the broker is our child")
    }

    /// SIGKILL, and nothing of it is left when this returns.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }

    /// SIGTERM; it must end by itself, and well.
    pub(crate) fn terminate(mut self) -> Result<(), String> {
        let pid = self.process.id().to_string();
        drop(Command::new("kill").args(["-s", "TERM", &pid]).status());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.ended() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("after SIGTERM: {status}; {}", self.log())),
                None => thread::sleep(Duration::from_millis(2)),
            }
        }
        Err(format!("still running {PATIENCE:?} after SIGTERM; it said:\n{}", self.log()))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

/// Lines of the configuration that make files small, so that they are retired often: as small as
/// this broker takes them, of those settings that it has.
pub(crate) fn small_files(directory: &Path) -> String {
    let help = Command::new(binary()).arg("--help").output().expect("the broker has --help");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let mut lines = String::new();
    for (key, sizes) in
        [("segment_size", &["64k", "1M"][..]), ("log_file_size", &["256k", "1M", "4M", "16M"][..])]
    {
        if help.contains(&format!("main.{key} ")) {
            let taken = sizes.iter().map(|size| format!("{lines}{key} = {size}\n"));
            lines = taken.into_iter().find(|lines| starts_with(lines, directory)).unwrap_or(lines);
        }
    }
    lines
}

fn starts_with(settings: &str, directory: &Path) -> bool {
    let data = directory.join("probe");
    let plan = Plan {
        data: data.clone(),
        directory: directory.to_owned(),
        shards: 1,
        is_apart: false,
        settings: settings.to_owned(),
    };
    let is_ready = Broker::start(&plan).is_ok_and(|broker| broker.terminate().is_ok());
    drop(fs::remove_dir_all(data));
    is_ready
}
