//! One run of somebody's tests as a process: its environment, its time limit, its output.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Broker;

/// What to run.
#[derive(Debug)]
pub(crate) struct Suite {
    name: &'static str,
    program: OsString,
    args: Vec<&'static str>,
    directory: Option<PathBuf>,
    papers: Option<PathBuf>,
    variables: Vec<(&'static str, PathBuf)>,
    limit: Duration,
}

impl Suite {
    /// A program by its path or name.
    pub(crate) fn new(name: &'static str, program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        let limit = Duration::from_secs(60);
        let (args, variables) = (Vec::new(), Vec::new());
        Self { name, program, args, directory: None, papers: None, variables, limit }
    }

    /// Its arguments.
    pub(crate) fn args<const N: usize>(mut self, args: [&'static str; N]) -> Self {
        self.args.extend(args);
        self
    }

    /// Where it runs.
    pub(crate) fn directory(mut self, directory: PathBuf) -> Self {
        self.directory = Some(directory);
        self
    }

    /// Certificates for it, and where the broker shows its own.
    pub(crate) fn papers(mut self, directory: PathBuf) -> Self {
        self.papers = Some(directory);
        self
    }

    /// A file that it is to find in its environment.
    pub(crate) fn file(mut self, name: &'static str, path: PathBuf) -> Self {
        self.variables.push((name, path));
        self
    }

    /// How many seconds it may take: several times what it takes on two busy cores.
    pub(crate) fn limit_s(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Runs it; anything but success fails with all it printed and what the broker said.
    pub(crate) fn run(self, broker: &Broker) {
        let log = log_path(self.name);
        let output = File::create(&log).expect("a file under target/");
        let addr = broker.addr();
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env("AMQP_URL", format!("amqp://guest:guest@{addr}/%2f"))
            .env("AMQP_HOST", addr.ip().to_string())
            .env("AMQP_PORT", addr.port().to_string())
            .env("MQTT_HOST", broker.mqtt_addr().ip().to_string())
            .env("MQTT_PORT", broker.mqtt_addr().port().to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(self.variables)
            .stdin(Stdio::null())
            .stderr(output.try_clone().expect("a second handle"))
            .stdout(output)
            // A group of its own, so that its workers end with it.
            .process_group(0);
        if let Some(at) = broker.http() {
            command.env("HTTP_HOST", at.ip().to_string()).env("HTTP_PORT", at.port().to_string());
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if let Some(papers) = &self.papers {
            command
                .env("TLS_PAPERS", papers)
                .env("AMQPS_PORT", port_of(broker, "amqps"))
                .env("MQTTS_PORT", port_of(broker, "mqtts"));
        }
        let started = Instant::now();
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let ended = wait(child, self.limit);
        let text = fs::read_to_string(&log).unwrap_or_default();
        drop(fs::remove_file(&log));
        let result =
            ended.map_or_else(|| format!("cut off after {:?}", self.limit), |s| s.to_string());
        let success = ended.is_some_and(|status| status.success());
        assert!(success, "{}: {result}\n{text}\n--- the broker said:\n{}", self.name, broker.log());
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        println!("{}: {:.1} s: {last}", self.name, started.elapsed().as_secs_f32());
    }
}

/// The port of this start line.
fn port_of(broker: &Broker, protocol: &str) -> String {
    let (log, words) = (broker.log(), format!("listening {protocol} "));
    let line = log.lines().find_map(|line| line.strip_prefix(&words)).expect("a line of its own");
    line.rsplit(':').next().unwrap_or_default().trim().to_owned()
}

/// A fresh file under target/ for the output.
fn log_path(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name: String = name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let file = format!("suite-{name}-{}-{number}.log", std::process::id());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(file)
}

/// The status, or `None` when the time was over and the whole group has been killed.
fn wait(mut child: Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our child") {
            break Some(status);
        }
        if Instant::now() >= deadline {
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    // Also after success: a worker that outlives its suite would be left behind.
    let group = format!("-{}", child.id());
    let killed = Command::new("kill").args(["-s", "KILL", "--", &group]).output();
    drop((killed, child.wait()));
    status
}
