//! What a broker's process takes of the machine, and how its memory is filled: for the tests of
//! bounds. Reads /proc.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringmq::protocol::amqp091::wire::properties::NO_PROPERTIES;

use crate::support::client::PATIENCE;
use crate::support::{Broker, Client, Login};

/// A mebibyte.
pub(super) const MIB: u64 = 1024 * 1024;

/// Resident memory, octets.
pub(super) fn memory_bytes(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib = line.trim().strip_suffix("kB").expect("kB").trim();
    kib.parse::<u64>().expect("a number") * 1024
}

/// Open descriptors.
pub(super) fn descriptors(broker: &Broker) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", broker.pid())).expect("fd").count()
}

/// Processor time so far, in ticks of 10 ms: user and system.
pub(super) fn processor_ticks(broker: &Broker) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", broker.pid())).expect("stat");
    let (_, fields) = stat.rsplit_once(')').expect("the name in parentheses");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let tick = |index: usize| fields[index].parse::<u64>().expect("a number");
    tick(11) + tick(12)
}

/// Looks until it is so; fails after a while. For what the broker does in its own time.
pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client that has logged in and opened channel 1.
pub(super) fn client(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr);
    client.log_in(&Login::default());
    client.open_channel(1);
    client
}

/// A body that says which of its kind it is.
pub(super) fn numbered(number: u64, bytes: usize) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(bytes.max(8), 0x5a);
    body
}

/// What [`numbered`] wrote.
pub(super) fn number_of(body: &[u8]) -> u64 {
    u64::from_be_bytes(body[..8].try_into().expect("eight octets"))
}

/// Publishes so many numbered messages from 0 and waits for all confirms, a thousand under way.
pub(super) fn fill(client: &mut Client, queue: &str, count: u64, bytes: usize) {
    fill_with(client, queue, &NO_PROPERTIES, count, bytes);
}

/// The same with a property block.
pub(super) fn fill_with(client: &mut Client, queue: &str, block: &[u8], count: u64, bytes: usize) {
    const WINDOW: u64 = 1000;
    client.confirm_select(1);
    let mut first = 0;
    while first < count {
        let last = count.min(first + WINDOW);
        for number in first..last {
            client.publish_with(1, "", queue, block, &numbered(number, bytes));
        }
        client.expect_confirms(1, first + 1, last);
        first = last;
    }
}

/// Looks at a broker's memory all the time: what it has gained at most.
#[derive(Debug)]
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64)>,
    before: (u64, u64),
}

impl Watch {
    /// From what it has now.
    pub(super) fn begin(broker: &Broker) -> Self {
        let (pid, stop) = (broker.pid(), Arc::new(AtomicBool::new(false)));
        let before = memory_of(pid);
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut most = before;
            while !stopped.load(Ordering::Relaxed) {
                let now = memory_of(pid);
                most = (most.0.max(now.0), most.1.max(now.1));
                std::thread::sleep(Duration::from_millis(1));
            }
            most
        });
        Self { stop, thread, before }
    }

    /// Octets gained at most: of its own, and of files that it has mapped (which the kernel takes
    /// back when it needs them).
    pub(super) fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let most = self.thread.join().expect("a thread that ends");
        (most.0.saturating_sub(self.before.0), most.1.saturating_sub(self.before.1))
    }
}

/// Resident memory of a process, octets: its own, and of files.
fn memory_of(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    };
    (field("RssAnon:"), field("RssFile:"))
}
