//! Where passwords are hashed: a few threads beside everything else. May import `ask`, `auth`.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::Instant;

use super::ask::Shards;
use super::state::Password;
use crate::auth::slow::{Hashing, Job, Known};
use crate::auth::{Identity, LoginReason, LoginRefused, Users};

/// Hashes at once; each takes a core and 19 MiB for some 20 ms.
const AT_ONCE: usize = 2;

/// Logins that wait. More are refused: they would have to wait for longer than clients do (at 20 ms
/// and two at once this many take 20 s).
const WAITING_MAX: usize = 2_048;

/// The way from the shards.
#[derive(Debug, Clone)]
pub(crate) struct Hasher {
    jobs: mpsc::Sender<Job>,
}

impl Hashing for Hasher {
    fn ask(&self, job: Job) -> bool {
        self.jobs.try_send(job).is_ok()
    }
}

/// The end of that way.
#[derive(Debug)]
pub(crate) struct Jobs(mpsc::Receiver<Job>);

/// Both ends, before there are shards.
pub(crate) fn hasher() -> (Hasher, Jobs) {
    let (jobs, waiting) = mpsc::channel(WAITING_MAX);
    (Hasher { jobs }, Jobs(waiting))
}

/// The threads, and what the control thread itself knows of logins.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    places: Arc<Semaphore>,
    door: Arc<Mutex<Door>>,
    since: Instant,
}

#[derive(Debug)]
struct Door {
    known: Known,
}

impl Pool {
    pub(super) fn new() -> Self {
        let door = Door { known: Known::default() };
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
            door: Arc::new(Mutex::new(door)),
            since: Instant::now(),
        }
    }

    /// Something that takes long, on one of the threads. `None`: the process ends.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let place = self.places.clone().acquire_owned().await.ok()?;
        let work = move || {
            let done = work();
            drop(place);
            done
        };
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// Checks what shards ask for, and tells them.
    pub(super) async fn serve(self, jobs: Jobs, shards: Shards) {
        let Jobs(mut jobs) = jobs;
        while let Some(job) = jobs.recv().await {
            let Ok(place) = self.places.clone().acquire_owned().await else { return };
            let shards = shards.clone();
            tokio::task::spawn_blocking(move || {
                let verdict = job.check();
                let at = job.at;
                shards.tell(at.shard, move |asked| {
                    asked.broker.login_checked(at.connection, verdict);
                });
                drop(place);
            });
        }
    }

    /// A new password's hash.
    pub(super) async fn hash(&self, password: &[u8]) -> Option<Password> {
        let password: Box<[u8]> = password.into();
        self.work(move || Password::of(&password)).await.flatten()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) async fn login(
        &self,
        users: Arc<Users>,
        (user, password): (&str, &[u8]),
        peer: IpAddr,
    ) -> Result<Identity, LoginRefused> {
        let now_ms = self.now_ms();
        {
            let door = self.door.lock().await;
            if let Some(known) = door.known.find(&users, (user, password), peer, now_ms) {
                return Ok(known);
            }
        }
        let checked = if users.is_costly() {
            let (users, user, password) = (users.clone(), Box::from(user), Box::from(password));
            let check =
                move |user: Box<str>, password: Box<[u8]>| users.login(&user, &password, peer);
            let checked = self.work(move || check(user, password)).await;
            checked.unwrap_or(Err(LoginRefused { reason: LoginReason::Busy }))
        } else {
            users.login(user, password, peer)
        };
        let mut door = self.door.lock().await;
        match &checked {
            Ok(_) if users.is_costly() => door.known.remember(&users, (user, password), now_ms),
            Ok(_) | Err(_) => {}
        }
        checked
    }
}
