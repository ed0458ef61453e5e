//! Queues of sessions are for their sessions: clients may look at them, purge them and end the session
//! by deleting its queue, and that is all (mqtt.md X-06). Who publishes by a queue's name finds none
//! there.
//!
//! May import `owner` and the queue's rules.

use crate::auth::Access;
use crate::broker::Broker;
use crate::broker::mail::CallId;
use crate::broker::queue::arguments::QUEUE_TYPE;
use crate::broker::queue::{Queue, QueueSpec};
use crate::command::{Command, Entity, Now, Refusal};
use crate::ids::{ChannelRef, QueueId, VhostId};
use crate::subscriber::GROUPS;

/// Members of groups are sessions: nothing else is bound to them, by whatever right.
pub(in crate::broker) fn check_groups(command: &Command) -> Result<(), Refusal> {
    let is_groups = match command {
        Command::BindQueue { exchange, .. } => **exchange == *GROUPS,
        Command::BindExchange { source, destination, .. } => {
            **source == *GROUPS || **destination == *GROUPS
        }
        Command::DeclareExchange { .. }
        | Command::DeleteExchange { .. }
        | Command::UnbindExchange { .. }
        | Command::DeclareQueue { .. }
        | Command::DeleteQueue { .. }
        | Command::PurgeQueue { .. }
        | Command::UnbindQueue { .. }
        | Command::Consume(_)
        | Command::Cancel { .. }
        | Command::Get { .. }
        | Command::ConsumeReplies { .. }
        | Command::OpenSession(_)
        | Command::Subscribe { .. }
        | Command::Unsubscribe { .. }
        | Command::ReadRetained { .. }
        | Command::CloseChannel
        | Command::CloseConnection => false,
    };
    if is_groups { Err(Refusal::InternalExchange(GROUPS.into())) } else { Ok(()) }
}

impl Broker {
    /// [`Self::usable`] for what only a session does with its queue.
    pub(in crate::broker) fn ordinary(
        &self,
        at: ChannelRef,
        vhost: VhostId,
        name: &str,
        access: Access,
    ) -> Result<QueueId, Refusal> {
        let id = self.usable(at, vhost, name)?;
        if self.queues.get(id).is_some_and(|entry| entry.queue.kind().of_session) {
            let (access, entity, name) = (access.name(), Entity::Queue, name.into());
            return Err(Refusal::AccessRefused { access, entity, name });
        }
        Ok(id)
    }

    /// The queue that messages reach by its name.
    pub(in crate::broker) fn addressed(&self, vhost: VhostId, name: &str) -> Option<QueueId> {
        let id = self.queue_id(vhost, name)?;
        self.queues.get(id).is_some_and(|entry| !entry.queue.kind().of_session).then_some(id)
    }

    /// A queue is deleted as a client has asked; that of a session with the session, whose connection
    /// is closed.
    pub(in crate::broker) fn delete_asked(&mut self, queue: QueueId, call: CallId, now: Now) {
        match self.queues.get(queue).and_then(|entry| entry.session) {
            Some(session) => self.dismiss(session, call, now),
            None => self.delete_queue(queue, call, None),
        }
    }

    /// Whether a client may declare a new queue so.
    pub(in crate::broker) fn check_ordinary(
        &self,
        spec: &QueueSpec<'_>,
        vhost: VhostId,
    ) -> Result<(), Refusal> {
        match Queue::rules(spec, &self.defaults_in(vhost)) {
            Ok((kind, _)) if kind.of_session => Err(Refusal::InvalidArgument {
                entity: Entity::Queue,
                name: spec.name.into(),
                argument: QUEUE_TYPE.into(),
                reason: "queues of this type come with their sessions".into(),
            }),
            // What is wrong otherwise says who makes it.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
