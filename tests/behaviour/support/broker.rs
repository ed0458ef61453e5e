//! A broker process: started on a free port with a data directory of its own, ended whatever
//! happens. May import nothing of the crate: it is the binary that is tested.
//!
//! The binary runs under a small shell that ends it as soon as this process lets go of a pipe, so
//! that a test that is killed, or a broker that many tests share, leaves nothing behind.
//! `RINGMQ_TEST_ADDRESS=host:port` tests a broker that runs already (RabbitMQ, for comparison); its
//! address for MQTT is `RINGMQ_TEST_MQTT_ADDRESS`, that for HTTP `RINGMQ_TEST_HTTP_ADDRESS`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a broker may take to say that it is ready, and to end after SIGTERM. Arbitrary, far
/// above what either takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// `keeper directory command...`: runs the command, prints its pid, and ends as it ends. When the
/// pipe on its standard input closes it kills the command and removes the directory.
const KEEPER: &str = r#"directory=$1; shift
exec 3<&0
"$@" 2>&1 3<&- </dev/null &
broker=$!
echo "pid $broker"
(read -r _ <&3; : >"$directory/left"; kill -KILL "$broker") >/dev/null 2>&1 &
watch=$!
exec 3<&-
{ wait "$broker"; status=$?; kill "$watch"; } 2>/dev/null
[ ! -e "$directory/left" ] || rm -rf "$directory"
exit "$status""#;

/// `mounter directory command...`, its own name being a size: a file system in memory, seen by the
/// command alone, which takes over this process.
const MOUNTER: &str = r#"mount -t tmpfs -o "size=$0,mode=0700" ringmq "$1" && shift && exec "$@""#;

/// Where queues live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// By the hash of their names, as in production.
    Hash,
    /// On another shard than the connection that declares them.
    Apart,
}

/// How to start a broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options<'a> {
    /// Number of shards.
    pub(crate) shards: u16,
    /// Where queues live.
    pub(crate) placement: Placement,
    /// Where it listens.
    pub(crate) bind: &'a str,
    /// Further lines of the configuration file, sections included.
    pub(crate) config: &'a str,
    /// A disk of its own for the data, of this size, in memory; it is gone when the broker is.
    /// Needs the right to mount.
    pub(crate) disk: Option<&'a str>,
}

impl Options<'_> {
    /// Two shards and no configuration.
    pub(crate) const fn new() -> Self {
        Self { shards: 2, placement: Placement::Hash, bind: "127.0.0.1", config: "", disk: None }
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// How a broker ends that is to be started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// SIGTERM: in order.
    Term,
    /// SIGKILL, at once.
    Kill,
}

impl Ending {
    /// All.
    pub(crate) const ALL: [Self; 2] = [Self::Term, Self::Kill];
}

/// What a broker has left: the folder of its data, configuration and log.
#[derive(Debug)]
pub(crate) struct Remains {
    directory: PathBuf,
}

impl Remains {
    /// The data directory.
    pub(crate) fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// A broker on that.
    pub(crate) fn start(mut self, options: Options<'_>) -> Broker {
        Broker::start_in(std::mem::take(&mut self.directory), options)
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        if !self.directory.as_os_str().is_empty() {
            drop(fs::remove_dir_all(&self.directory));
        }
    }
}

/// A broker that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    addr: SocketAddr,
    /// Where it listens for MQTT, unless the configuration turns that off.
    mqtt_addr: Option<SocketAddr>,
    /// Where it listens for HTTP, and where it tells metrics without a login.
    http_addr: Option<SocketAddr>,
    metrics_addr: Option<SocketAddr>,
    /// `None` for a broker that ran before.
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    keeper: Child,
    pid: u32,
    directory: PathBuf,
}

impl Broker {
    /// A broker with so many shards and no configuration.
    pub(crate) fn start(shards: u16) -> Self {
        Self::with(Options { shards, ..Options::default() })
    }

    /// A broker with these options, ready to serve.
    pub(crate) fn with(options: Options<'_>) -> Self {
        if let Ok(address) = std::env::var("RINGMQ_TEST_ADDRESS") {
            let addr = address.parse().expect("RINGMQ_TEST_ADDRESS is host:port");
            let mqtt = std::env::var("RINGMQ_TEST_MQTT_ADDRESS").ok();
            let mqtt_addr = mqtt.map(|mqtt| mqtt.parse().expect("it is host:port"));
            let http = std::env::var("RINGMQ_TEST_HTTP_ADDRESS").ok();
            let http_addr = http.map(|http| http.parse().expect("it is host:port"));
            return Self { addr, mqtt_addr, http_addr, metrics_addr: None, process: None };
        }
        Self::start_in(new_directory(), options)
    }

    fn start_in(directory: PathBuf, options: Options<'_>) -> Self {
        let (config, data) = (directory.join("ringmq.ini"), directory.join("data"));
        fs::write(&config, config_text(options)).expect("a configuration file");
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(&directory);
        if let Some(size) = options.disk {
            fs::create_dir_all(&data).expect("a directory to mount on");
            command.args(["unshare", "--mount", "sh", "-c", MOUNTER, size]).arg(&data);
        }
        command
            .args([env!("CARGO_BIN_EXE_ringmq"), "--data-dir"])
            .arg(&data)
            .args(["--bind", options.bind, "--amqp-port", "0", "--mqtt-port", "0", "--no-pin"])
            .args(["--http-port", "0", "--metrics-http-port", "0"])
            .args(["--shards", &options.shards.to_string()])
            .arg("--config")
            .arg(&config);
        Self::run(command, directory)
    }

    /// Starts the command and reads what it prints until it is ready.
    fn run(mut command: Command, directory: PathBuf) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().expect("sh starts");
        let lines = read_lines(&mut keeper, &directory.join("log"));
        let deadline = Instant::now() + PATIENCE;
        let (mut pid, mut addr, mut mqtt_addr, mut is_ready) = (None, None, None, false);
        let (mut http_addr, mut metrics_addr) = (None, None);
        // The shell may come to its line after the broker has come to all of its own.
        while !(is_ready && pid.is_some()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = lines.recv_timeout(left) else {
                let log = log_of(&directory);
                drop(keeper.stdin.take());
                panic!("the broker is not ready after {PATIENCE:?}, or ended; it said:\n{log}");
            };
            if let Some(number) = line.strip_prefix("pid ") {
                pid = number.parse().ok();
            } else if let Some(address) = line.strip_prefix("listening amqp ") {
                addr = addr.or_else(|| address.trim().parse().ok());
            } else if let Some(address) = line.strip_prefix("listening mqtt ") {
                mqtt_addr = mqtt_addr.or_else(|| address.trim().parse().ok());
            } else if let Some(address) = line.strip_prefix("listening http ") {
                http_addr = address.trim().parse().ok();
            } else if let Some(address) = line.strip_prefix("listening http/prometheus ") {
                metrics_addr = address.trim().parse().ok();
            } else {
                is_ready |= line.trim() == "ready";
            }
        }
        let addr = addr.expect("a line 'listening amqp <address>' before 'ready'");
        let pid = pid.expect("the shell's first line");
        let process = Some(Process { keeper, pid, directory });
        Self { addr, mqtt_addr, http_addr, metrics_addr, process }
    }

    /// Where it listens for AMQP.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens for MQTT.
    pub(crate) fn mqtt_addr(&self) -> SocketAddr {
        self.mqtt_addr.expect("a line 'listening mqtt <address>' before 'ready'")
    }

    /// Where it listens for HTTP, if that is known.
    pub(crate) fn http(&self) -> Option<SocketAddr> {
        self.http_addr
    }

    /// Where it listens for HTTP.
    pub(crate) fn http_addr(&self) -> SocketAddr {
        self.http().expect("a line 'listening http <address>' before 'ready'")
    }

    /// Where it tells metrics without a login.
    pub(crate) fn metrics_addr(&self) -> SocketAddr {
        self.metrics_addr.expect("a line 'listening http/prometheus <address>' before 'ready'")
    }

    /// Process id, for /proc; 0 for a broker that ran before.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, |process| process.pid)
    }

    /// All it has printed so far.
    pub(crate) fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, |process| log_of(&process.directory))
    }

    /// Waits until it has printed a line with all of these words, and returns that.
    pub(crate) fn wait_for_line(&self, words: &[&str]) -> String {
        self.wait_for_lines(words, 1).swap_remove(0)
    }

    /// Waits until it has printed so many lines with all of these words.
    pub(crate) fn wait_for_lines(&self, words: &[&str], count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let found = log.lines().filter(|line| words.iter().all(|word| line.contains(word)));
            let found: Vec<_> = found.map(str::to_owned).collect();
            if found.len() >= count {
                return found;
            }
            assert!(Instant::now() < deadline, "no {count} lines with {words:?} in:\n{log}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its data directory.
    pub(crate) fn data_directory(&self) -> PathBuf {
        self.process.as_ref().map_or_else(PathBuf::new, |process| process.directory.join("data"))
    }

    /// Sends a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(status.success(), "no process {pid} to send {name} to");
    }

    /// Sends SIGTERM and waits for the end; the broker must exit with 0.
    pub(crate) fn terminate(mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "after SIGTERM: {status}; it said:\n{}", self.log());
    }

    /// Ends it and leaves its data.
    pub(crate) fn end(mut self, ending: Ending) -> Remains {
        match ending {
            Ending::Term => {
                self.signal("TERM");
                let status = self.wait();
                assert!(status.success(), "after SIGTERM: {status}; it said:\n{}", self.log());
            }
            Ending::Kill => {
                self.signal("KILL");
                assert!(!self.wait().success(), "SIGKILL is no orderly end");
            }
        }
        let process = self.process.take().expect("a broker of our own");
        Remains { directory: process.directory }
    }

    /// Ends it and starts another on its data.
    pub(crate) fn again(self, ending: Ending, options: Options<'_>) -> Self {
        self.end(ending).start(options)
    }

    /// Its data directory, also where only it sees that: see [`Options::disk`].
    pub(crate) fn disk(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        let data = fs::canonicalize(self.data_directory()).expect("a data directory");
        root.join(data.strip_prefix("/").expect("a whole path"))
    }

    /// Waits for the end, at most as long as an end may take.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let process = self.process.as_mut().expect("a broker of our own");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = process.keeper.try_wait().expect("the keeper is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else { return };
        let log = log_of(&process.directory);
        drop(process.keeper.stdin.take());
        let ended = process.keeper.wait();
        if thread::panicking() {
            eprintln!("{log}\n(log of pid {}, {ended:?})", process.pid);
        }
        // What stays behind after a failure here is under target/ and small.
        drop(fs::remove_dir_all(&process.directory));
    }
}

/// A fresh directory under target/.
fn new_directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("broker-{}-{number}", std::process::id());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&directory).expect("a directory under target/");
    directory
}

/// The configuration: placement first, since `config` may begin with a section of its own.
fn config_text(options: Options<'_>) -> String {
    let placement = match options.placement {
        Placement::Hash => "hash",
        Placement::Apart => "apart",
    };
    format!("[main]\nplacement = {placement}\n{}\n", options.config)
}

/// Copies what the process prints to a file, and line by line to the receiver while it listens.
fn read_lines(keeper: &mut Child, log: &Path) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let output = BufReader::new(keeper.stdout.take().expect("a pipe"));
    let mut file = fs::File::create(log).expect("a log under target/");
    thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            // The directory may be gone already, and so may the receiver: neither matters.
            drop(writeln!(file, "{line}"));
            drop(sender.send(line));
        }
    });
    receiver
}

/// The last part of the log in a directory.
fn log_of(directory: &Path) -> String {
    const LINES_MAX: usize = 200;
    let text = fs::read_to_string(directory.join("log")).unwrap_or_default();
    let skipped = text.lines().count().saturating_sub(LINES_MAX);
    text.lines().skip(skipped).collect::<Vec<_>>().join("\n")
}
