//! The one task that changes the state: one request after the other, stored, told to the shards,
//! answered. May import this folder and `auth`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::ask::Shards;
use super::change::{Change, Changed, Refused};
use super::journal::Journal;
use super::people::Basis;
use super::state::State;
use super::{LookNow, NoAnswer, Setup};
use crate::auth::{Files, Look, Users};

/// What [`Files::second_passed`] is called after.
const SECOND: Duration = Duration::from_secs(1);

/// What somebody wants to be changed.
#[derive(Debug)]
pub(super) struct Request {
    /// All or none.
    pub(super) changes: Vec<Change>,
    /// Where the answer goes.
    pub(super) answer: oneshot::Sender<Result<Vec<Changed>, (usize, Refused)>>,
}

/// What the task owns.
#[derive(Debug)]
pub(super) struct Registrar {
    basis: Basis,
    files: Files,
    /// Somebody wants the files to be looked at.
    look_now: LookNow,
    /// `None`: the pool has it.
    journal: Option<Journal>,
    shards: Shards,
    state: watch::Sender<Arc<State>>,
    users: watch::Sender<Arc<Users>>,
}

impl Registrar {
    pub(super) fn new(
        setup: Setup,
        shards: Shards,
        (state, users): (watch::Sender<Arc<State>>, watch::Sender<Arc<Users>>),
    ) -> Self {
        let Setup { basis, files, look_now, journal, state: _ } = setup;
        let journal = Some(journal);
        Self { basis, files, look_now, journal, shards, state, users }
    }

    /// Works as long as the process: the files are looked at whether anybody asks for changes or not.
    pub(super) async fn keep(mut self, mut inbox: mpsc::Receiver<Request>) {
        if let Err(error) = self.begin().await {
            tracing::error!(%error, "limits of users and vhosts are not in force");
        }
        let mut seconds = tokio::time::interval(SECOND);
        let mut has_handles = true;
        loop {
            tokio::select! {
                request = inbox.recv(), if has_handles => {
                    let Some(Request { changes, answer }) = request else {
                        has_handles = false;
                        continue;
                    };
                    let done = self.change(&changes).await;
                    // Whoever asked may have gone; what is changed stays changed.
                    let _ = answer.send(done);
                }
                _ = seconds.tick() => {
                    let look = self.files.second_passed();
                    self.take_in(look).await;
                }
                () = self.look_now.asked() => {
                    let look = self.files.look_now();
                    self.take_in(look).await;
                }
            }
        }
    }

    async fn change(&mut self, changes: &[Change]) -> Result<Vec<Changed>, (usize, Refused)> {
        let before = self.state.borrow().clone();
        let (next, done) = before.changed(changes)?;
        let next = Arc::new(next);
        self.store(changes, before, next.clone()).await.map_err(|refused| (0, refused))?;
        self.state.send_replace(next.clone());
        self.tell(changes, &next).await.map_err(|error| {
            tracing::error!(%error, "a change is stored and not known everywhere");
            (0, Refused::Unavailable(error.to_string().into()))
        })?;
        Ok(done)
    }

    /// Tells the shards: what comes before who may use it, what goes after nobody may.
    async fn tell(&mut self, changes: &[Change], next: &State) -> Result<(), NoAnswer> {
        for change in changes {
            if let Change::PutVhost { name, default_queue_type, .. } = change {
                self.shards.make_vhost(name).await?;
                self.shards.set_queue_type(name, default_queue_type).await?;
            }
        }
        self.shards.limit(changes, next).await?;
        if changes.iter().any(concerns_users) {
            let users = self.files.with_directory(self.basis.users(next));
            self.tell_users(users).await?;
        }
        self.finish_deletions().await
    }

    /// Virtual hosts that are being deleted go with all that is in them. What a crash interrupts goes
    /// on at the next start.
    async fn finish_deletions(&mut self) -> Result<(), NoAnswer> {
        let state = self.state.borrow().clone();
        let leaving = state.vhosts.iter().filter(|(_, vhost)| vhost.is_leaving);
        for (name, _) in leaving {
            self.shards.delete_vhost(name).await?;
            let forget = [Change::ForgetVhost { name: name.clone() }];
            let before = self.state.borrow().clone();
            let Ok((next, _)) = before.changed(&forget) else { continue };
            let next = Arc::new(next);
            // If that is not stored the next start finds nothing to delete, and tries again.
            if self.store(&forget, before, next.clone()).await.is_ok() {
                self.state.send_replace(next);
            }
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), NoAnswer> {
        let state = self.state.borrow().clone();
        self.shards.limit_all(&state).await?;
        self.finish_deletions().await
    }

    async fn store(
        &mut self,
        changes: &[Change],
        before: Arc<State>,
        next: Arc<State>,
    ) -> Result<(), Refused> {
        let lost = || Refused::Unavailable("what is changed cannot be stored".into());
        let mut journal = self.journal.take().ok_or_else(lost)?;
        let changes = changes.to_vec();
        let store = move || {
            let stored = journal.append(&changes, &before, &next);
            (journal, stored)
        };
        let (journal, stored) = tokio::task::spawn_blocking(store).await.map_err(|_| lost())?;
        self.journal = Some(journal);
        stored.map_err(|error| {
            tracing::error!(%error, "a change of users or vhosts cannot be stored");
            Refused::Unavailable(format!("it cannot be stored: {error}").into())
        })
    }

    async fn tell_users(&self, users: Arc<Users>) -> Result<(), NoAnswer> {
        self.users.send_replace(users.clone());
        let told = self.shards.ask_all(move |asked| asked.renew_users(&users)).await;
        told.map(|_| ())
    }

    async fn take_in(&mut self, look: Look) {
        let Look { users, notes, errors } = look;
        for note in &notes {
            tracing::info!("{note}");
        }
        for error in &errors {
            tracing::error!("{error}; what was read before stays in force");
        }
        if let Some(users) = users
            && let Err(error) = self.tell_users(users).await
        {
            tracing::error!(%error, "users and rules are not known everywhere");
        }
    }
}

/// Whether the snapshot of users is another one afterwards.
const fn concerns_users(change: &Change) -> bool {
    match change {
        Change::PutUser { .. }
        | Change::DeleteUser { .. }
        | Change::SetUserLimits { .. }
        | Change::DeleteVhost { .. }
        | Change::PutPermission { .. }
        | Change::DeletePermission { .. }
        | Change::PutTopicPermission { .. }
        | Change::DeleteTopicPermission { .. } => true,
        Change::PutVhost { .. }
        | Change::ForgetVhost { .. }
        | Change::SetVhostLimits { .. }
        | Change::PutGlobalParameter { .. }
        | Change::DeleteGlobalParameter { .. }
        | Change::Imported { .. } => false,
    }
}
