//! A visit to a virtual host: a connection of the control thread's own, without a socket, that does
//! what a client does. One per check that asks for it, on the first shard.
//!
//! May import `auth`, `command`, `control`, `ids`, `app`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ringmq_shards::ShardId;
use tokio::time::{Instant, sleep};

use super::access::Subject;
use super::app::App;
use crate::auth::permission::{Pattern, Permission};
use crate::auth::user::User;
use crate::auth::{Identity, Users};
use crate::command::{Answer, Command, Event, Publish, Published, Refusal};
use crate::control::Asked;
use crate::ids::{ChannelId, ConnectionId, PublishSeq};
use crate::message::{Body, ProtocolTag, Traits};
use crate::value::Table;

/// The queue, as RabbitMQ calls it. It stays, since the next check is not far.
const QUEUE: &str = "aliveness-test";
/// What is sent through it.
const BODY: &[u8] = b"test_message";
/// For everything (arbitrary; a check is often asked for every few seconds).
const VISIT_MAX: Duration = Duration::from_secs(10);
/// Between two looks whether something has come.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// The only channel.
const CHANNEL: ChannelId = ChannelId(1);

/// Why a visit failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The broker refuses something.
    Refused(Refusal),
    /// In a few words.
    Because(&'static str),
}

/// What is heard of what was asked for.
#[derive(Debug)]
enum Heard {
    Done,
    Got(Vec<u8>),
    Empty,
    Refused(Refusal),
    Stored(bool),
    Ended,
}

impl Heard {
    fn of_answer(answer: Answer) -> Self {
        match answer {
            Answer::Got { delivery, .. } => Self::Got(delivery.message.body().to_vec()),
            Answer::Empty => Self::Empty,
            Answer::Refused(refusal) => Self::Refused(refusal),
            Answer::Done
            | Answer::Bound { .. }
            | Answer::QueueDeclared { .. }
            | Answer::Removed { .. }
            | Answer::Consuming { .. }
            | Answer::ReplyTo { .. }
            | Answer::SessionOpened(_)
            | Answer::Subscribed(_)
            | Answer::Unsubscribed(_)
            | Answer::RetainedRead { .. } => Self::Done,
        }
    }

    fn of(event: Event) -> Option<Self> {
        match event {
            Event::Answer { answer, .. } => Some(Self::of_answer(answer)),
            Event::Stored { accepted, .. } => Some(Self::Stored(accepted)),
            Event::Returned { .. } => Some(Self::Stored(false)),
            Event::Close { .. } => Some(Self::Ended),
            Event::Delivery(_)
            | Event::ConsumerGone { .. }
            | Event::SubscriptionsGone { .. }
            | Event::PublishResumed
            | Event::Retained { .. }
            | Event::TakenOver
            | Event::LoginChecked(_)
            | Event::Alarm(_) => None,
        }
    }
}

/// Who visits: the user who asks, or whoever owns the process, who may do everything there.
fn visitor(subject: &Subject, vhost: &str) -> Option<Identity> {
    match subject {
        Subject::Nobody => None,
        Subject::User(identity) => Some(identity.clone()),
        Subject::Owner => {
            let all = || Pattern::parse(".*").ok();
            let permission = Permission { configure: all()?, write: all()?, read: all()? };
            let name: Box<str> = subject.name().into();
            let permissions = vec![(vhost.into(), permission)];
            let owner = User { name: name.clone(), password: None, tags: Vec::new(), permissions };
            let users = Users::new([owner], None);
            users.proven(&name, IpAddr::V4(Ipv4Addr::LOCALHOST)).ok()
        }
    }
}

struct Visit<'a> {
    app: &'a App,
    shard: ShardId,
    at: ConnectionId,
    until: Instant,
}

impl Visit<'_> {
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Asked<'_>) -> T + Send + 'static,
    ) -> Result<T, Failed> {
        let answer = self.app.control.ask(self.shard, question).await;
        answer.map_err(|_| Failed::Because("a shard does not answer"))
    }

    async fn execute(&self, command: Command) -> Result<Heard, Failed> {
        let at = self.at;
        let begin = move |asked: &mut Asked<'_>| {
            asked.broker.execute(at, CHANNEL, command, asked.now).map(Heard::of_answer)
        };
        match self.ask(begin).await? {
            Some(heard) => Ok(heard),
            None => self.hear().await,
        }
    }

    async fn hear(&self) -> Result<Heard, Failed> {
        let at = self.at;
        while Instant::now() < self.until {
            let look = move |asked: &mut Asked<'_>| {
                let mut events = Vec::new();
                asked.broker.take_events(at, &mut events);
                asked.broker.drained(at);
                events.into_iter().find_map(Heard::of)
            };
            if let Some(heard) = self.ask(look).await? {
                return Ok(heard);
            }
            sleep(LOOK_EVERY).await;
        }
        Err(Failed::Because("no answer came in time"))
    }

    async fn publish(&self) -> Result<Heard, Failed> {
        let at = self.at;
        let publish = move |asked: &mut Asked<'_>| {
            let publish = Publish {
                exchange: "",
                routing_key: QUEUE,
                extra_keys: &[],
                hidden_keys: &[],
                mandatory: true,
                traits: Traits {
                    protocol: ProtocolTag(u8::MAX),
                    persistent: false,
                    priority: None,
                    expiration_ms: None,
                },
                properties: &[],
                body: Body::Slice(BODY),
                seq: Some(PublishSeq(1)),
                once: None,
            };
            asked.broker.publish(at, CHANNEL, &publish, asked.now)
        };
        match self.ask(publish).await?.map_err(Failed::Refused)? {
            Published::Stored => Ok(Heard::Stored(true)),
            Published::Overflowed | Published::Unroutable => Ok(Heard::Stored(false)),
            Published::Pending => self.hear().await,
        }
    }

    async fn send_through(&self) -> Result<(), Failed> {
        let declare = Command::DeclareQueue {
            name: QUEUE.into(),
            passive: false,
            durable: false,
            exclusive: false,
            auto_delete: false,
            arguments: Table::default(),
        };
        check(self.execute(declare).await?)?;
        check(self.publish().await?)?;
        let get = Command::Get { queue: QUEUE.into(), no_settle: true };
        check(self.execute(get).await?)
    }
}

fn check(heard: Heard) -> Result<(), Failed> {
    match heard {
        Heard::Done | Heard::Stored(true) => Ok(()),
        Heard::Got(body) if body == BODY => Ok(()),
        Heard::Got(_) => Err(Failed::Because("the message is another one")),
        Heard::Empty => Err(Failed::Because("the message is not there")),
        Heard::Stored(false) => Err(Failed::Because("the message was not taken")),
        Heard::Ended => Err(Failed::Because("the connection was closed")),
        Heard::Refused(refusal) => Err(Failed::Refused(refusal)),
    }
}

/// Declares a queue in the virtual host, sends a message through it and takes it out again. To be
/// run to its end: what is left in the middle would leave the connection there.
///
/// # Errors
/// What does not work.
pub(super) async fn send_through(app: &App, subject: &Subject, vhost: &str) -> Result<(), Failed> {
    let identity = visitor(subject, vhost).ok_or(Failed::Because("nobody asks"))?;
    let shard = app.control.shards().next().ok_or(Failed::Because("there is no shard"))?;
    let place: Box<str> = vhost.into();
    let enter = move |asked: &mut Asked<'_>| {
        let at = asked.broker.attach().ok_or(None)?.connection;
        asked.broker.enter(at, &identity, &place).map(|()| at).map_err(|refusal| {
            asked.broker.detach(at, asked.now);
            Some(refusal)
        })
    };
    let entered = app.control.ask(shard, enter).await;
    let entered = entered.map_err(|_| Failed::Because("a shard does not answer"))?;
    let at = entered.map_err(|refusal| match refusal {
        Some(refusal) => Failed::Refused(refusal),
        None => Failed::Because("there is no room for a connection"),
    })?;
    let visit = Visit { app, shard, at, until: Instant::now() + VISIT_MAX };
    let sent = visit.send_through().await;
    visit.ask(move |asked| asked.broker.detach(at, asked.now)).await?;
    sent
}
