//! Exchange, queues, bindings, consumers: what must be there before the load. Imports the codec,
//! `link`, `plan`.

use ringmq::protocol::amqp091::wire::field_table::TableRef;
use ringmq::protocol::amqp091::wire::field_value::FieldRef;
use ringmq::protocol::amqp091::wire::method::{Method, Queue, basic, confirm, exchange, queue};
use ringmq::protocol::amqp091::wire::table_buffer::TableBuffer;

use super::link::Link;
use crate::client::broker::Broker;
use crate::client::error::ClientError;
use crate::plan::Plan;

/// Declares everything, and empties queues that were there before.
///
/// # Errors
/// The broker's refusal.
pub(crate) fn declare(link: &mut Link, plan: &Plan) -> Result<(), ClientError> {
    if let Some(kind) = plan.exchange_kind {
        let declare = exchange::Declare {
            ticket: 0,
            exchange: &plan.exchange,
            kind: kind.name(),
            passive: false,
            durable: plan.is_durable,
            auto_delete: false,
            internal: false,
            no_wait: false,
            arguments: TableRef::EMPTY,
        };
        link.call(&declare, (40, 11))?;
    }
    let arguments = arguments(plan)?;
    for (index, name) in plan.queues.iter().enumerate() {
        let (durable, arguments) = (plan.is_durable, arguments.view());
        let declare = queue::Declare { passive: false, durable, arguments, ..passive(name) };
        link.call(&declare, (50, 11))?;
        link.call(&queue::Purge { ticket: 0, queue: name, no_wait: false }, (50, 31))?;
        if !plan.exchange.is_empty() {
            let bind = queue::Bind {
                ticket: 0,
                queue: name,
                exchange: &plan.exchange,
                routing_key: plan.key_of(index),
                no_wait: false,
                arguments: TableRef::EMPTY,
            };
            link.call(&bind, (50, 21))?;
        }
    }
    Ok(())
}

/// Looks for the queues without declaring them; tells how many messages wait in them.
///
/// # Errors
/// The broker's refusal: above all, there is no such queue.
pub(crate) fn find(link: &mut Link, plan: &Plan) -> Result<u64, ClientError> {
    let mut count = 0_u64;
    for name in &plan.queues {
        let payload = link.ask(&passive(name), (50, 11))?;
        let Method::Queue(Queue::DeclareOk(found)) = Method::decode(&payload)? else {
            return Err(ClientError::Unexpected("method instead of queue.declare-ok"));
        };
        count = count.saturating_add(found.message_count.into());
    }
    Ok(count)
}

/// Deletes what [`declare`] made, if nobody named it.
///
/// # Errors
/// The broker's refusal.
pub(crate) fn remove(link: &mut Link, plan: &Plan) -> Result<(), ClientError> {
    let queues = if plan.removes_queues { plan.queues.as_slice() } else { &[] };
    for name in queues {
        link.call(&delete(name), (50, 41))?;
    }
    if plan.removes_exchange {
        let delete = exchange::Delete {
            ticket: 0,
            exchange: &plan.exchange,
            if_unused: false,
            no_wait: false,
        };
        link.call(&delete, (40, 21))?;
    }
    Ok(())
}

/// Looks for a queue without declaring it.
pub(crate) const fn passive(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        ticket: 0,
        queue: name,
        passive: true,
        durable: false,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments: TableRef::EMPTY,
    }
}

/// Deletes a queue, whatever is in it.
pub(crate) const fn delete(name: &str) -> queue::Delete<'_> {
    queue::Delete { ticket: 0, queue: name, if_unused: false, if_empty: false, no_wait: false }
}

/// Arguments of the plan's queues.
///
/// # Errors
/// A type that is no field of a table.
pub(crate) fn arguments(plan: &Plan) -> Result<TableBuffer, ClientError> {
    let mut arguments = TableBuffer::new();
    if let Some(kind) = &plan.queue_type {
        arguments.set_field("x-queue-type", FieldRef::Text(kind.as_bytes()))?;
    }
    Ok(arguments)
}

/// The connection of consumer `index`, consuming.
///
/// # Errors
/// The broker's refusal.
pub(crate) fn consume(broker: &Broker, plan: &Plan, index: usize) -> Result<Link, ClientError> {
    let mut link = Link::open(broker, &format!("ringmqperf consumer {index}"))?;
    if plan.prefetch > 0 {
        let qos = basic::Qos { prefetch_size: 0, prefetch_count: plan.prefetch, global: false };
        link.call(&qos, (60, 11))?;
    }
    let consume = basic::Consume {
        ticket: 0,
        queue: plan.queue_of(index),
        consumer_tag: &format!("c{index}"),
        no_local: false,
        no_ack: plan.ack_batch.is_none(),
        exclusive: false,
        no_wait: false,
        arguments: TableRef::EMPTY,
    };
    link.call(&consume, (60, 21))?;
    Ok(link)
}

/// The connection of producer `index`, in confirm mode if the plan asks for it.
///
/// # Errors
/// The broker's refusal.
pub(crate) fn produce(broker: &Broker, plan: &Plan, index: usize) -> Result<Link, ClientError> {
    let mut link = Link::open(broker, &format!("ringmqperf producer {index}"))?;
    if plan.confirm_window.is_some() {
        link.call(&confirm::Select { no_wait: false }, (85, 11))?;
    }
    Ok(link)
}
