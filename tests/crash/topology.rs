//! The queues and exchanges that every run has, and which queues a message goes to by which route.

use ringmq::protocol::amqp091::wire::method::{Exchange, Method, Queue, exchange, queue};
use ringmq::value::Value;

use crate::link::{Answer, Link, declared};
use crate::support::methods::{arguments, declare, declare_exchange};

/// A queue, as an index into [`QUEUES`].
pub(crate) type QueueIndex = usize;

/// Names of the queues, all durable.
pub(crate) const QUEUES: [&str; 10] = [
    "direct-0", "direct-1", "direct-2", "fan-0", "fan-1", "topic-0", "topic-1", "priority",
    "rejected", "dead",
];
/// Has priorities.
const PRIORITY: QueueIndex = 7;
/// Its messages die when they are rejected.
pub(crate) const REJECTED: QueueIndex = 8;
/// Where they are found then.
pub(crate) const DEAD: QueueIndex = 9;

/// How to publish, and where that leads.
#[derive(Debug)]
pub(crate) struct Route {
    /// Exchange.
    pub(crate) exchange: &'static str,
    /// Routing key.
    pub(crate) key: &'static str,
    /// The queues.
    pub(crate) queues: &'static [QueueIndex],
}

/// All of them.
pub(crate) const ROUTES: [Route; 9] = [
    Route { exchange: "", key: "direct-0", queues: &[0] },
    Route { exchange: "", key: "direct-1", queues: &[1] },
    Route { exchange: "", key: "direct-2", queues: &[2] },
    Route { exchange: "crash.fan", key: "", queues: &[3, 4] },
    Route { exchange: "crash.topic", key: "a.x", queues: &[5] },
    Route { exchange: "crash.topic", key: "c.b", queues: &[6] },
    Route { exchange: "crash.topic", key: "a.b", queues: &[5, 6] },
    Route { exchange: "", key: "priority", queues: &[PRIORITY] },
    Route { exchange: "", key: "rejected", queues: &[REJECTED] },
];

const EXCHANGES: [(&str, &str); 3] =
    [("crash.fan", "fanout"), ("crash.topic", "topic"), ("crash.dead", "direct")];

const BINDINGS: [(QueueIndex, &str, &str); 5] = [
    (3, "crash.fan", ""),
    (4, "crash.fan", ""),
    (5, "crash.topic", "a.#"),
    (6, "crash.topic", "*.b"),
    (DEAD, "crash.dead", "rejected"),
];

/// Declares what is not there.
pub(crate) fn declare_all(link: &mut Link) -> Result<(), String> {
    for (name, kind) in EXCHANGES {
        let method = exchange::Declare { durable: true, ..declare_exchange(name, kind) };
        done(&link.ask(&method, exchange_declared), name)?;
    }
    for (index, name) in QUEUES.into_iter().enumerate() {
        let table = match index {
            PRIORITY => arguments(&[("x-max-priority", Value::I32(5))]),
            REJECTED => arguments(&[("x-dead-letter-exchange", Value::text("crash.dead"))]),
            _ => arguments(&[]),
        };
        let method = queue::Declare { durable: true, arguments: table.view(), ..declare(name) };
        done(&link.ask(&method, declared), name)?;
    }
    for (index, exchange, routing_key) in BINDINGS {
        let queue = QUEUES[index];
        done(&bind(link, queue, exchange, routing_key), queue)?;
    }
    Ok(())
}

/// What should be there and is not.
pub(crate) fn missing(link: &mut Link) -> Vec<String> {
    let mut missing = Vec::new();
    for (name, kind) in EXCHANGES {
        let method =
            exchange::Declare { passive: true, durable: true, ..declare_exchange(name, kind) };
        if link.ask(&method, exchange_declared) != Answer::Done(()) {
            missing.push(format!("exchange {name}"));
        }
    }
    for name in QUEUES {
        if !matches!(link.ready(name), Answer::Done(_)) {
            missing.push(format!("queue {name}"));
        }
    }
    missing
}

/// Ready messages of every queue; `None` for a queue that is not there.
pub(crate) fn counts(link: &mut Link) -> Vec<Option<u32>> {
    let count = |name| match link.ready(name) {
        Answer::Done(count) => Some(count),
        Answer::Refused(_) | Answer::Unknown => None,
    };
    QUEUES.into_iter().map(count).collect()
}

/// Binds a queue.
pub(crate) fn bind(link: &mut Link, queue: &str, exchange: &str, routing_key: &str) -> Answer<()> {
    let table = arguments(&[]);
    let (ticket, no_wait, arguments) = (0, false, table.view());
    let method = queue::Bind { ticket, queue, exchange, routing_key, no_wait, arguments };
    link.ask(&method, |method| matches!(method, Method::Queue(Queue::BindOk)).then_some(()))
}

/// exchange.declare-ok.
pub(crate) fn exchange_declared(method: Method<'_>) -> Option<()> {
    matches!(method, Method::Exchange(Exchange::DeclareOk)).then_some(())
}

fn done<T: std::fmt::Debug>(answer: &Answer<T>, name: &str) -> Result<(), String> {
    match answer {
        Answer::Done(_) => Ok(()),
        Answer::Refused(_) | Answer::Unknown => Err(format!("{name}: {answer:?}")),
    }
}
