//! Questions of the control thread to shards, and their answers.
//!
//! A question is a function that runs on the shard in one piece between two turns, so it has to be
//! short: whatever walks over many connections or queues asks page by page. It sees the shard's
//! broker and its hub, and gives back a value that owns what it carries. Its answer leaves the shard
//! behind all that the question made the shard say to other shards. May import `auth`,
//! `broker`, `hub`, `ids` and `ringmq_shards`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringmq_shards::Remote;
use tokio::sync::oneshot;

use crate::auth::Users;
use crate::broker::{Broker, Outside};
use crate::command::Now;
use crate::hub::{Crossing, Hub};
use crate::ids::ShardId;

/// A shard that takes longer is stuck or has stopped (arbitrary; a turn takes less than 10 ms).
const ANSWER_MS_MAX: u64 = 10_000;

/// What a question can look at.
pub(crate) struct Asked<'a> {
    /// The broker of the shard. It is borrowed from the hub, which cannot be asked for it.
    pub(crate) broker: &'a mut Broker,
    /// The shard itself.
    pub(crate) hub: &'a Hub,
    /// The time of this turn.
    pub(crate) now: Now,
}

impl Asked<'_> {
    /// There is a new snapshot of users.
    pub(super) fn renew_users(&mut self, users: &Arc<Users>) {
        self.broker.renew_users(users, self.now);
        self.hub.logins.borrow_mut().users = users.clone();
    }
}

/// The answer, and what has to come to its end before it is sent.
type Put = (Answer, Option<Outside>);

type Function = dyn FnOnce(&mut Asked<'_>) -> Put + Send;

/// What is to run on a shard.
pub(crate) struct Question(Box<Function>);

impl Question {
    /// Runs it.
    pub(crate) fn put(self, asked: &mut Asked<'_>) -> Put {
        (self.0)(asked)
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question")
    }
}

/// An answer that waits for the end of the turn.
pub(crate) struct Answer(Box<dyn FnOnce()>);

impl Answer {
    /// Tells the control thread.
    pub(crate) fn send(self) {
        (self.0)();
    }
}

/// A shard has not answered: the node stops, or it is in trouble that its log tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shard does not answer")]
pub struct NoAnswer;

/// The lanes to the shards. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Shards {
    remote: Remote<Crossing>,
}

impl Shards {
    pub(super) const fn new(remote: Remote<Crossing>) -> Self {
        Self { remote }
    }

    /// All of them.
    pub(super) fn ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.remote.shards()).filter_map(ShardId::from_index)
    }

    fn send<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&mut Asked<'_>) -> (T, Option<Outside>) + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        let put = move |asked: &mut Asked<'_>| {
            let (answer, after) = question(asked);
            // Whoever asked may have given up.
            (Answer(Box::new(move || drop(sender.send(answer)))), after)
        };
        self.remote.send(shard, Crossing::Question(Question(Box::new(put))));
        receiver
    }

    /// Tells one shard something; nobody waits for it.
    pub(super) fn tell(&self, shard: ShardId, told: impl FnOnce(&mut Asked<'_>) + Send + 'static) {
        if shard.index() < self.remote.shards() {
            drop(self.send(shard, |asked| (told(asked), None)));
        }
    }

    /// Asks one shard. `None`: there is no such shard, or it does not answer.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&mut Asked<'_>) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        if shard.index() >= self.remote.shards() {
            return Err(NoAnswer);
        }
        wait(self.send(shard, |asked| (question(asked), None))).await
    }

    /// The same where the answer waits for something that takes more than a turn.
    pub(super) async fn ask_for_end<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&mut Asked<'_>) -> (T, Option<Outside>) + Send + 'static,
    ) -> Result<T, NoAnswer> {
        wait(self.send(shard, question)).await
    }

    /// Asks all shards at once; the answers are in their order.
    pub(super) async fn ask_all<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Asked<'_>) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, NoAnswer> {
        let send = |shard| {
            let question = question.clone();
            self.send(shard, |asked| (question(asked), None))
        };
        let waiting: Vec<_> = self.ids().map(send).collect();
        let mut answers = Vec::with_capacity(waiting.len());
        for receiver in waiting {
            answers.push(wait(receiver).await?);
        }
        Ok(answers)
    }
}

async fn wait<T>(receiver: oneshot::Receiver<T>) -> Result<T, NoAnswer> {
    let answered = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), receiver).await;
    answered.map_err(|_| NoAnswer)?.map_err(|_| NoAnswer)
}
