//! A broker that is attacked while somebody else works with it: the answer that an attacker gets
//! is half of each row of the abuse table, that others do not suffer is the other half.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::broker::{Broker, Options};
use super::client::Client;
use super::handshake::Login;
use super::setup::Setup;

/// Memory that a broker may gain by an attack that should gain nothing, MiB: read buffers of all
/// connections, and what the allocator keeps. Arbitrary.
pub(crate) const NOTHING_MIB: u64 = 48;

/// Hash of the password "guest", for users of a definitions file.
pub(crate) const GUEST_HASH: &str = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";

#[derive(Debug)]
enum Ground {
    Own(Box<Broker>),
    Shared(&'static Broker),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Siege {
    ground: Ground,
    /// Works before, during and after.
    canary: Client,
    queue: String,
    /// Resident memory before the attack, KiB.
    before_kib: u64,
}

impl Siege {
    /// For attacks that leave nothing behind: on a broker that other such attacks share.
    pub(crate) fn shared(setup: Setup) -> Self {
        static BROKERS: [OnceLock<Broker>; 4] = [const { OnceLock::new() }; 4];
        let index = match setup {
            Setup::OneShard => 0,
            Setup::TwoShards => 1,
            Setup::FiveShards => 2,
            Setup::Apart => 3,
        };
        let broker = BROKERS[index].get_or_init(|| Broker::with(setup.options()));
        Self::around(Ground::Shared(broker))
    }

    /// On a broker of this attack alone.
    pub(crate) fn own(options: Options<'_>) -> Self {
        Self::around(Ground::Own(Box::new(Broker::with(options))))
    }

    fn around(ground: Ground) -> Self {
        let addr = match &ground {
            Ground::Own(broker) => broker.addr(),
            Ground::Shared(broker) => broker.addr(),
        };
        let mut canary = Client::connect(loopback(addr));
        // That it is held back for a moment, as every publisher is, does not interest it.
        canary.log_in(&Login { capabilities: &["publisher_confirms"], ..Login::default() });
        canary.open_channel(1);
        let queue = unique("canary");
        canary.declare_exclusive(1, &queue);
        let mut siege = Self { ground, canary, queue, before_kib: 0 };
        siege.canary_sings();
        siege.before_kib = siege.resident_kib();
        siege
    }

    /// The broker.
    pub(crate) fn broker(&self) -> &Broker {
        match &self.ground {
            Ground::Own(broker) => broker,
            Ground::Shared(broker) => broker,
        }
    }

    /// Where it is reached from this machine.
    pub(crate) fn addr(&self) -> SocketAddr {
        loopback(self.broker().addr())
    }

    /// A TCP connection that has not said anything.
    pub(crate) fn stranger(&self) -> Client {
        Client::connect(self.addr())
    }

    /// A client that has logged in and has channel 1 open.
    pub(crate) fn attacker(&self) -> Client {
        self.attacker_as(&Login::default())
    }

    /// The same with another login.
    pub(crate) fn attacker_as(&self, login: &Login<'_>) -> Client {
        let mut client = self.stranger();
        client.log_in(login);
        client.open_channel(1);
        client
    }

    /// Fails unless the other client's message goes round, within patience.
    pub(crate) fn canary_sings(&mut self) {
        let (canary, queue) = (&mut self.canary, &self.queue);
        canary.publish(1, "", queue, b"tweet");
        assert_eq!(canary.get_when_there(1, queue).body, b"tweet");
    }

    /// The same, so often; the longest time it took.
    pub(crate) fn canary_sings_often(&mut self, times: usize) -> Duration {
        let song = |siege: &mut Self| {
            let start = Instant::now();
            siege.canary_sings();
            start.elapsed()
        };
        (0..times).map(|_| song(self)).max().unwrap_or_default()
    }

    /// Resident memory of its own, KiB; 0 for a broker that ran before. Without the files that it
    /// has mapped, as segments are: the kernel takes those pages back when it needs them.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.broker().pid()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
    }

    /// Memory gained since the beginning, MiB.
    pub(crate) fn gained_mib(&self) -> u64 {
        self.resident_kib().saturating_sub(self.before_kib) / 1024
    }

    /// Fails if the broker has gained more memory than this.
    pub(crate) fn must_have_gained_below(&self, mib: u64) {
        let gained = self.gained_mib();
        assert!(
            gained < mib,
            "the attack gained {gained} MiB of the broker's memory, not below {mib}"
        );
    }

    /// The attack is over: the other client is served, a new one is, and the broker has gained at
    /// most this much memory.
    pub(crate) fn lift(mut self, gained_mib_max: u64) {
        self.canary_sings();
        let mut late = self.attacker();
        let queue = unique("late");
        late.declare_exclusive(1, &queue);
        late.publish(1, "", &queue, b"late");
        assert_eq!(late.get_when_there(1, &queue).body, b"late");
        late.close();
        self.must_have_gained_below(gained_mib_max);
        self.canary.close();
    }
}

/// A name that no other test uses.
pub(crate) fn unique(kind: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{kind}-siege-{}-{number}", std::process::id())
}

/// Where a broker that listens on all addresses is reached as well.
fn loopback(addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], addr.port())) } else { addr }
}

/// An address of this very machine that is not a loopback address, if it has one.
pub(crate) fn own_address() -> Option<std::net::IpAddr> {
    // Local addresses stand in this table as hosts; a socket proves that one is really ours.
    let table = fs::read_to_string("/proc/net/fib_trie").ok()?;
    let mut last = None;
    let mut found = Vec::new();
    for line in table.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse::<std::net::IpAddr>().ok();
        } else if line.contains("/32 host LOCAL") {
            found.extend(last);
        }
    }
    let is_ours = |ip: &std::net::IpAddr| !ip.is_loopback() && UdpSocket::bind((*ip, 0)).is_ok();
    found.into_iter().find(is_ours)
}

/// A definitions file under target/: users (all with the password "guest") with their patterns
/// for configure, write and read in vhost "/"; guest is among them with all rights.
pub(crate) fn definitions(users: &[(&str, [&str; 3])]) -> PathBuf {
    let all = [("guest", [".*", ".*", ".*"])];
    let users: Vec<_> = all.iter().chain(users).collect();
    let people: Vec<_> = users
        .iter()
        .map(|(name, _)| {
            format!(r#"{{"name": "{name}", "password_hash": "{GUEST_HASH}", "tags": ""}}"#)
        })
        .collect();
    let rights: Vec<_> = users
        .iter()
        .map(|(name, [configure, write, read])| {
            format!(
                r#"{{"user": "{name}", "vhost": "/", "configure": "{configure}",
                    "write": "{write}", "read": "{read}"}}"#
            )
        })
        .collect();
    let text = format!(
        r#"{{"users": [{}], "vhosts": [{{"name": "/"}}], "permissions": [{}]}}"#,
        people.join(","),
        rights.join(",")
    );
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique("definitions"));
    fs::write(&path, text).expect("a file under target/");
    path
}
