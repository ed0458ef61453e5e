//! The four set-ups under which every behaviour is tested, each with a broker that the tests of
//! this process share. A test that needs limits, restarts or counts starts a broker of its own.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::broker::{Broker, Options, Placement};
use super::client::Client;
use super::handshake::Login;

/// How many shards, and where queues live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// Everything is local.
    OneShard,
    /// Half of everything is elsewhere.
    TwoShards,
    /// More shards than the machine has cores, probably.
    FiveShards,
    /// Everything is elsewhere.
    Apart,
}

impl Setup {
    /// The options of a broker of this set-up; for tests that start their own.
    pub(crate) const fn options(self) -> Options<'static> {
        let (shards, placement) = match self {
            Self::OneShard => (1, Placement::Hash),
            Self::TwoShards => (2, Placement::Hash),
            Self::FiveShards => (5, Placement::Hash),
            Self::Apart => (2, Placement::Apart),
        };
        Options { shards, placement, ..Options::new() }
    }

    /// Another one, for a restart with other shards: all of them in turn.
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::OneShard => Self::TwoShards,
            Self::TwoShards => Self::FiveShards,
            Self::FiveShards => Self::Apart,
            Self::Apart => Self::OneShard,
        }
    }

    /// A broker of this test alone, with these further lines of configuration.
    pub(crate) fn own(self, config: &str) -> Broker {
        Broker::with(Options { config, ..self.options() })
    }

    /// The broker that the tests of this process share. It ends with the process.
    pub(crate) fn shared(self) -> &'static Broker {
        static BROKERS: [OnceLock<Broker>; 4] = [const { OnceLock::new() }; 4];
        let index = match self {
            Self::OneShard => 0,
            Self::TwoShards => 1,
            Self::FiveShards => 2,
            Self::Apart => 3,
        };
        BROKERS[index].get_or_init(|| Broker::with(self.options()))
    }
}

/// What a behaviour gets: its set-up, and names that no other test uses.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Under which it runs.
    pub(crate) setup: Setup,
}

impl Stage {
    /// The shared broker's address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.setup.shared().addr()
    }

    /// A TCP connection to the shared broker that has not said anything yet.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr())
    }

    /// A client of the shared broker that has logged in as guest.
    pub(crate) fn client(&self) -> Client {
        let mut client = self.connect();
        client.log_in(&Login::default());
        client
    }

    /// The same with channel 1 open.
    pub(crate) fn with_channel(&self) -> Client {
        let mut client = self.client();
        client.open_channel(1);
        client
    }

    /// A name that no other test uses.
    pub(crate) fn name(&self, kind: &str) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        format!("{kind}-{}-{number}", std::process::id())
    }

    /// Fails unless a new client is served: for the end of a test that did its worst.
    pub(crate) fn still_serves(&self) {
        let mut client = self.with_channel();
        let queue = self.name("alive");
        client.declare_exclusive(1, &queue);
        client.publish(1, "", &queue, b"alive");
        assert_eq!(client.get_when_there(1, &queue).body, b"alive");
        client.close();
    }
}

/// Makes tests of functions that take a `&Stage`: one for each set-up, `name::with_two_shards` and
/// so on. A function that is not named here is dead code, which the compiler tells.
macro_rules! on_every_setup {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            use $crate::support::setup::{Setup, Stage};

            #[test]
            fn with_one_shard() {
                super::$name(&Stage { setup: Setup::OneShard });
            }

            #[test]
            fn with_two_shards() {
                super::$name(&Stage { setup: Setup::TwoShards });
            }

            #[test]
            fn with_five_shards() {
                super::$name(&Stage { setup: Setup::FiveShards });
            }

            #[test]
            fn with_queues_apart() {
                super::$name(&Stage { setup: Setup::Apart });
            }
        }
    )+ };
}
