//! A client with a session on the node under test.

use super::client::*;
use super::cluster::{Cluster, VHOST, identity};
use crate::command::{Answer, Command, Delivery, Event, Publish, Refusal};
use crate::ids::{ChannelId, ShardId};
use crate::subscriber::*;

pub(super) const ZERO: ChannelId = ChannelId(0);

pub(super) const ONCE: Assurance = Assurance::AtMostOnce;
pub(super) const LEAST: Assurance = Assurance::AtLeastOnce;
pub(super) const EXACTLY: Assurance = Assurance::ExactlyOnce;

pub(super) const NO_LIMITS: SessionLimits = SessionLimits {
    online_max: None,
    offline_max: None,
    drop_oldest: false,
    waited_is_extra: false,
};

pub(super) fn session(name: &str, lasts: Lasts) -> OpenSession {
    OpenSession {
        client: name.into(),
        queue: format!("session-{name}").into(),
        fresh: false,
        lasts,
        window: 100,
        takes_over: true,
        takeovers_max: 0,
        limits: NO_LIMITS,
    }
}

pub(super) fn filter(filter: &str) -> FilterName {
    match filter.strip_prefix("group:").and_then(|rest| rest.split_once(':')) {
        Some((group, filter)) => FilterName { group: Some(group.into()), filter: filter.into() },
        None => FilterName { group: None, filter: filter.into() },
    }
}

pub(super) fn subscription(to: &str, assurance: Assurance) -> Subscription {
    let name = filter(to);
    Subscription { name, assurance, not_own: false, as_published: false, number: 0 }
}

/// A message that asks to be kept.
pub(super) fn kept<'a>(topic: &'a str, body: &'a str) -> Publish<'a> {
    let mut message = publish(FILTERS, topic, body);
    message.traits.persistent = true;
    message
}

/// One that does not.
pub(super) fn fleeting<'a>(topic: &'a str, body: &'a str) -> Publish<'a> {
    publish(FILTERS, topic, body)
}

impl Cluster {
    pub(super) fn session_home(&self, open: &OpenSession) -> ShardId {
        self.brokers[0].session_home(VHOST, &open.queue).unwrap()
    }

    /// Connects where the session lives and opens it.
    pub(super) fn open(&mut self, open: &OpenSession) -> (Client, OpenedSession) {
        let client = self.connect_at(self.session_home(open), &identity(".*", ".*", ".*"));
        self.start(client, ZERO, Command::OpenSession(Box::new(open.clone())));
        match self.finish(client, ZERO) {
            Answer::SessionOpened(opened) => (client, *opened),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn subscribe_all(
        &mut self,
        client: Client,
        subscriptions: Vec<Subscription>,
    ) -> Vec<Result<bool, Refusal>> {
        self.start(client, ZERO, Command::Subscribe { subscriptions });
        match self.finish(client, ZERO) {
            Answer::Subscribed(new) => new,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn subscribe(&mut self, client: Client, to: &str, assurance: Assurance) -> bool {
        let all = self.subscribe_all(client, vec![subscription(to, assurance)]);
        all.into_iter().next().unwrap().unwrap()
    }

    pub(super) fn unsubscribe(&mut self, client: Client, filters: &[&str]) -> Vec<bool> {
        let filters = filters.iter().map(|name| filter(name)).collect();
        self.start(client, ZERO, Command::Unsubscribe { filters });
        match self.finish(client, ZERO) {
            Answer::Unsubscribed(existed) => existed,
            other => panic!("{other:?}"),
        }
    }

    /// The socket breaks, and the session says nothing more of what it has.
    pub(super) fn vanish(&mut self, client: Client) {
        self.seats[client.0].held.clear();
        self.drop_connection(client);
    }

    /// Whether it was told that another has its session.
    pub(super) fn was_taken_over(&mut self, client: Client) -> bool {
        self.rest();
        self.events(client).iter().any(|event| matches!(event, Event::TakenOver))
    }

    /// What came, by its body.
    pub(super) fn got(&mut self, client: Client) -> Vec<String> {
        bodies(&self.take(client))
    }

    /// What came is accepted.
    pub(super) fn accept_all(&mut self, client: Client) -> Vec<String> {
        let all: Vec<Delivery> = self.take(client);
        let stored: Vec<Delivery> =
            all.iter().filter(|d| d.id != crate::broker::deliver::SETTLED).cloned().collect();
        self.accept(client, &stored);
        bodies(&all)
    }

    /// Every session ends.
    pub(super) fn forget_sessions(&mut self) {
        let all: Vec<String> =
            self.brokers.iter().flat_map(|b| b.sessions.all()).map(|(_, name, _)| name).collect();
        for queue in all {
            let fresh = OpenSession {
                client: "".into(),
                queue: queue.into(),
                fresh: true,
                ..session("", Lasts::Connection)
            };
            let (client, opened) = self.open(&fresh);
            assert!(!opened.resumed && opened.subscriptions.is_empty());
            self.drop_connection(client);
        }
        self.rest();
    }
}
