//! The control thread: who may do what, which virtual hosts there are and how much of everything, all
//! of it to be changed while the node runs.
//!
//! One ordinary thread with a tokio runtime of its own beside the shards; tokio is used nowhere else.
//! It owns the [`State`], stores each change before it answers (`journal`), and tells the shards, which
//! have all applied the change when the answer comes.
//!
//! # How to use it
//!
//! [`Control`] is the handle: cheap to clone, `Send`, for tasks of that thread.
//!
//! - `control.state()` is the state of this moment, as a value; nothing is asked of anybody.
//! - `control.change(vec![Change::PutUser { .. }])` makes all of these changes or none, and says what
//!   became of each ([`Changed`]); [`Refused`] says why not. `Definitions::read(&json)` gives changes
//!   too, and `definitions::export(&state)` the file. JSON of single entries is in [`entry`].
//! - `control.login(name, password, peer)` is basic authentication; `control.hash(password)` makes
//!   what [`Change::PutUser`] wants. Both work on the pool, not on the thread.
//! - `control.ask(shard, |asked| ...)` and `control.ask_all(|asked| ...)` run a function on shards and
//!   bring back its value: `asked.broker`, `asked.hub`, `asked.now`. See `ask` for how long it may
//!   take.
//!
//! A server on this thread is one more future: `control::run` is given it by `node`.
//!
//! May import `auth`, `broker`, `config`, `hub`, `ids`, `limits`, `ringmq_shards`; `ask` alone knows
//! the hub.

mod ask;
pub mod change;
pub mod definitions;
pub mod entry;
mod journal;
mod people;
mod pool;
mod read;
mod record;
mod registrar;
mod shards;
mod start;
pub mod state;
mod words;

use std::net::IpAddr;
use std::sync::Arc;

use ringmq_shards::Remote;
use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use self::ask::NoAnswer;
pub(crate) use self::ask::{Answer, Asked, Question};
pub use self::change::{Change, Changed, Refused};
pub(crate) use self::journal::{Journal, Opened};
pub use self::people::Basis;
pub(crate) use self::pool::{Hasher, Jobs, hasher};
pub(crate) use self::read::{Trouble, TroubleKind, left_behind};
pub use self::start::{Begun, DefinitionsError, begin};
pub use self::state::{Password, State};

use self::ask::Shards;
use self::pool::Pool;
use self::registrar::{Registrar, Request};
use crate::auth::{Files, Identity, LoginRefused, Users};
use crate::hub::Crossing;
use crate::ids::ShardId;

/// Changes that wait for the one that is being made; further ones wait in their tasks.
const REQUESTS_MAX: usize = 64;

/// The handle of everything here.
#[derive(Debug, Clone)]
pub struct Control {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<Arc<State>>,
    users: watch::Receiver<Arc<Users>>,
    shards: Shards,
    pool: Pool,
}

impl Control {
    /// Everything at this moment.
    pub fn state(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    /// The users as the shards have them, those of a password file included.
    pub fn users(&self) -> Arc<Users> {
        self.users.borrow().clone()
    }

    /// Makes all of these changes, or none. When the answer comes they are stored, and every shard
    /// has applied them.
    ///
    /// # Errors
    /// The place of the change that cannot be made, and why.
    pub async fn change(&self, changes: Vec<Change>) -> Result<Vec<Changed>, (usize, Refused)> {
        let (answer, answered) = oneshot::channel();
        let stopped = || (0, Refused::Unavailable("the node stops".into()));
        self.requests.send(Request { changes, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// The same with one change.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub async fn change_one(&self, change: Change) -> Result<Changed, Refused> {
        let done = self.change(vec![change]).await.map_err(|(_, refused)| refused)?;
        Ok(done.first().copied().unwrap_or(Changed::Nothing))
    }

    /// Checks a name and a password, as the protocols do.
    ///
    /// # Errors
    /// The reason, for the log.
    pub async fn login(
        &self,
        name: &str,
        password: &[u8],
        peer: IpAddr,
    ) -> Result<Identity, LoginRefused> {
        self.pool.login(self.users(), (name, password), peer).await
    }

    /// What is kept of a new password, for [`Change::PutUser`].
    ///
    /// # Errors
    /// There are no random numbers, or the node stops.
    pub async fn hash(&self, password: &[u8]) -> Result<Password, Refused> {
        let none = || Refused::Unavailable("the password cannot be hashed".into());
        self.pool.hash(password).await.ok_or_else(none)
    }

    /// All shards.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        self.shards.ids()
    }

    /// Asks one shard.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&mut Asked<'_>) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        self.shards.ask(shard, question).await
    }

    /// Asks all shards; their answers in their order.
    ///
    /// # Errors
    /// One of them does not answer.
    pub(crate) async fn ask_all<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Asked<'_>) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, NoAnswer> {
        self.shards.ask_all(question).await
    }
}

/// What the thread starts with.
#[derive(Debug)]
pub(crate) struct Setup {
    /// What is stored.
    pub(crate) state: State,
    /// Where changes are stored.
    pub(crate) journal: Journal,
    /// What snapshots of users have beside the users.
    pub(crate) basis: Basis,
    /// Password and ACL files, with the users of the state.
    pub(crate) files: Files,
    /// Says that they are to be looked at now.
    pub(crate) look_now: LookNow,
}

/// Has password and ACL files looked at before their time. For the thread of signals.
#[derive(Debug, Clone, Default)]
pub(crate) struct LookNow(Arc<Notify>);

impl LookNow {
    pub(crate) fn ask(&self) {
        self.0.notify_one();
    }

    async fn asked(&self) {
        self.0.notified().await;
    }
}

/// Starts the thread, and on it what `main` makes of the handle. It ends with the process.
///
/// # Errors
/// The operating system has no thread for it.
pub(crate) fn run<F: Future<Output = ()>>(
    setup: Setup,
    remote: Remote<Crossing>,
    jobs: Jobs,
    main: impl FnOnce(Control) -> F + Send + 'static,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
    let (state_sender, state) = watch::channel(Arc::new(setup.state.clone()));
    let (users_sender, users) = watch::channel(setup.files.users());
    let shards = Shards::new(remote);
    let registrar = Registrar::new(setup, shards.clone(), (state_sender, users_sender));
    let hashed_for = shards.clone();
    let thread = std::thread::Builder::new().name("ringmq-control".into());
    let serve = move || {
        runtime.block_on(async move {
            let pool = Pool::new();
            let control = Control { requests, state, users, shards, pool: pool.clone() };
            tokio::spawn(pool.serve(jobs, hashed_for));
            let keep = tokio::spawn(registrar.keep(inbox));
            // The registrar ends with the last handle: also where nothing is served it has work.
            let kept = control.clone();
            main(control).await;
            let _ = keep.await;
            drop(kept);
        });
    };
    thread.spawn(serve).map(drop)
}
