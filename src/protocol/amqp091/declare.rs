//! exchange.* and queue.*: methods to commands (P21 to P39, P60).
//! May import the files of this folder, `command`.

use std::borrow::Cow;

use crate::command::Command;
use crate::protocol::Context;

use super::REPLY_QUEUE;
use super::channel::{Channel, Flow, Then, unexpected};
use super::link::Link;
use super::reply_code::{Fault, ReplyCode};
use super::retained::Showing;
use super::wire::method::{Exchange, Method, Queue, exchange, queue};

/// A name as the broker keeps it: line ends are left out (P41).
fn name(text: &str) -> Box<str> {
    if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], "").into() } else { text.into() }
}

/// The answer a client waits for, if it does (P60).
fn then(no_wait: bool, reply: Method<'static>) -> Then {
    if no_wait { Then::Nothing } else { Then::Reply(reply) }
}

impl Channel {
    pub(super) fn on_exchange(
        &mut self,
        exchange: &Exchange<'_>,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        let (command, then) = match exchange {
            Exchange::Declare(declare) => (
                declare_exchange(declare),
                then(declare.no_wait, Method::Exchange(Exchange::DeclareOk)),
            ),
            Exchange::Delete(delete) => (
                Command::DeleteExchange {
                    name: name(delete.exchange),
                    if_unused: delete.if_unused,
                },
                then(delete.no_wait, Method::Exchange(Exchange::DeleteOk)),
            ),
            Exchange::Bind(bind) => (
                Command::BindExchange {
                    source: name(bind.source),
                    destination: name(bind.destination),
                    key: bind.routing_key.into(),
                    arguments: bind.arguments.to_value(),
                },
                then(bind.no_wait, Method::Exchange(Exchange::BindOk)),
            ),
            Exchange::Unbind(unbind) => (
                Command::UnbindExchange {
                    source: name(unbind.source),
                    destination: name(unbind.destination),
                    key: unbind.routing_key.into(),
                    arguments: unbind.arguments.to_value(),
                },
                then(unbind.no_wait, Method::Exchange(Exchange::UnbindOk)),
            ),
            Exchange::DeclareOk | Exchange::DeleteOk | Exchange::BindOk | Exchange::UnbindOk => {
                return Err(unexpected());
            }
        };
        self.execute(command, then, link, cx)
    }

    pub(super) fn on_queue(
        &mut self,
        queue: &Queue<'_>,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        match queue {
            Queue::Declare(declare) => self.declare_queue(declare, link, cx),
            Queue::Bind(bind) => self.bind_queue(bind, link, cx),
            Queue::Unbind(unbind) => {
                let command = Command::UnbindQueue {
                    queue: self.queue_name(unbind.queue)?,
                    exchange: name(unbind.exchange),
                    key: self.binding_key(unbind.queue, unbind.routing_key),
                    arguments: unbind.arguments.to_value(),
                };
                let reply = Method::Queue(Queue::UnbindOk);
                self.execute(command, Then::Reply(reply), link, cx)
            }
            Queue::Purge(purge) => {
                let command = Command::PurgeQueue { name: self.queue_name(purge.queue)? };
                self.execute(command, Then::Purged { is_silent: purge.no_wait }, link, cx)
            }
            Queue::Delete(delete) => self.delete_queue(delete, link, cx),
            Queue::DeclareOk(_)
            | Queue::BindOk
            | Queue::PurgeOk(_)
            | Queue::DeleteOk(_)
            | Queue::UnbindOk => Err(unexpected()),
        }
    }

    fn declare_queue(
        &mut self,
        declare: &queue::Declare<'_>,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        if declare.queue == REPLY_QUEUE {
            // It is always there, and nobody's (P39).
            let (message_count, consumer_count) = (0, 1);
            if !declare.no_wait {
                let queue = REPLY_QUEUE;
                self.reply(&queue::DeclareOk { queue, message_count, consumer_count }, cx);
            }
            self.last_queue = REPLY_QUEUE.into();
            return Ok(Flow::Go);
        }
        let name = match (declare.queue, declare.passive) {
            ("", true) => self.queue_name("")?,
            (given, _) => name(given),
        };
        let command = Command::DeclareQueue {
            name,
            passive: declare.passive,
            durable: declare.durable,
            exclusive: declare.exclusive,
            auto_delete: declare.auto_delete,
            arguments: declare.arguments.to_value(),
        };
        self.execute(command, Then::QueueDeclared { is_silent: declare.no_wait }, link, cx)
    }

    fn bind_queue(
        &mut self,
        bind: &queue::Bind<'_>,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        let (queue, exchange) = (self.queue_name(bind.queue)?, name(bind.exchange));
        let key = self.binding_key(bind.queue, bind.routing_key);
        let arguments = bind.arguments.to_value();
        let showing = Showing::of(&queue, (&exchange, &key), &arguments, !bind.no_wait);
        let command = Command::BindQueue { queue, exchange, key, arguments };
        let then = Then::Bound { showing, is_silent: bind.no_wait };
        self.execute(command, then, link, cx)
    }

    fn delete_queue(
        &mut self,
        delete: &queue::Delete<'_>,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        if delete.queue == REPLY_QUEUE {
            if !delete.no_wait {
                self.reply(&queue::DeleteOk { message_count: 0 }, cx);
            }
            return Ok(Flow::Go);
        }
        let command = Command::DeleteQueue {
            name: self.queue_name(delete.queue)?,
            if_unused: delete.if_unused,
            if_empty: delete.if_empty,
        };
        self.execute(command, Then::Deleted { is_silent: delete.no_wait }, link, cx)
    }

    /// The queue a method means: an empty name is the one declared last on this channel (P31).
    pub(super) fn queue_name(&self, given: &str) -> Result<Box<str>, Fault> {
        if !given.is_empty() {
            return Ok(name(given));
        }
        if self.last_queue.is_empty() {
            return Err(Fault::new(ReplyCode::NotFound, "no previously declared queue"));
        }
        Ok(self.last_queue.clone())
    }

    /// Without queue and key, the key is the queue's name (P31).
    fn binding_key(&self, queue: &str, key: &str) -> Box<str> {
        let key: Cow<'_, str> = match (queue, key) {
            ("", "") => Cow::Borrowed(&*self.last_queue),
            (_, key) => Cow::Borrowed(key),
        };
        key.into()
    }
}

fn declare_exchange(declare: &exchange::Declare<'_>) -> Command {
    Command::DeclareExchange {
        name: name(declare.exchange),
        kind: declare.kind.into(),
        passive: declare.passive,
        durable: declare.durable,
        auto_delete: declare.auto_delete,
        internal: declare.internal,
        arguments: declare.arguments.to_value(),
    }
}
