//! Requests with their usual arguments, and with their answers: `client.declare(1, &name)`.
//! For other arguments: `client.send(1, &queue::Declare { durable: true, ..declare(&name) })`.

use std::time::Instant;

use ringmq::protocol::amqp091::wire::field_table::TableRef;
use ringmq::protocol::amqp091::wire::method::{
    Basic, Confirm, Exchange, Method, Queue, Tx, basic, confirm, exchange, queue,
};
use ringmq::protocol::amqp091::wire::properties::NO_PROPERTIES;
use ringmq::protocol::amqp091::wire::table_buffer::TableBuffer;
use ringmq::value::{Table, Value};

use super::client::{Client, PATIENCE};
use super::content::Content;

/// Arguments of a declaration, a binding or a consumer.
pub(crate) fn arguments(values: &[(&str, Value)]) -> TableBuffer {
    let mut table = Table::default();
    for (name, value) in values {
        table.set(name, value.clone());
    }
    TableBuffer::from_table(&table).expect("a table below every limit")
}

/// A transient queue that anybody may use.
pub(crate) const fn declare(queue: &str) -> queue::Declare<'_> {
    queue::Declare {
        ticket: 0,
        queue,
        passive: false,
        durable: false,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments: TableRef::EMPTY,
    }
}

/// A transient exchange.
pub(crate) const fn declare_exchange<'a>(
    exchange: &'a str,
    kind: &'a str,
) -> exchange::Declare<'a> {
    exchange::Declare {
        ticket: 0,
        exchange,
        kind,
        passive: false,
        durable: false,
        auto_delete: false,
        internal: false,
        no_wait: false,
        arguments: TableRef::EMPTY,
    }
}

/// A consumer that acknowledges.
pub(crate) const fn consume<'a>(queue: &'a str, consumer_tag: &'a str) -> basic::Consume<'a> {
    basic::Consume {
        ticket: 0,
        queue,
        consumer_tag,
        no_local: false,
        no_ack: false,
        exclusive: false,
        no_wait: false,
        arguments: TableRef::EMPTY,
    }
}

/// A publish that asks for nothing.
pub(crate) const fn publish<'a>(exchange: &'a str, routing_key: &'a str) -> basic::Publish<'a> {
    basic::Publish { ticket: 0, exchange, routing_key, mandatory: false, immediate: false }
}

impl Client {
    /// Declares a queue; messages and consumers that it has.
    pub(crate) fn declare_with(&mut self, channel: u16, method: &queue::Declare<'_>) -> (u32, u32) {
        self.send(channel, method);
        self.expect_declared(channel).1
    }

    /// queue.declare-ok: name, (messages, consumers).
    pub(crate) fn expect_declared(&mut self, channel: u16) -> (String, (u32, u32)) {
        self.expect(channel, "queue.declare-ok", |method| {
            if let Method::Queue(Queue::DeclareOk(ok)) = method {
                Some((ok.queue.to_owned(), (ok.message_count, ok.consumer_count)))
            } else {
                None
            }
        })
    }

    /// Declares a transient queue that anybody may use.
    pub(crate) fn declare(&mut self, channel: u16, name: &str) {
        self.declare_with(channel, &declare(name));
    }

    /// Declares a queue that goes with this connection.
    pub(crate) fn declare_exclusive(&mut self, channel: u16, name: &str) {
        self.declare_with(channel, &queue::Declare { exclusive: true, ..declare(name) });
    }

    /// Ready messages and consumers of a queue.
    pub(crate) fn counts(&mut self, channel: u16, name: &str) -> (u32, u32) {
        self.declare_with(channel, &queue::Declare { passive: true, ..declare(name) })
    }

    /// Asks until the queue has so many ready messages.
    pub(crate) fn wait_ready(&mut self, channel: u16, name: &str, count: u32) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (ready, _) = self.counts(channel, name);
            if ready == count {
                return;
            }
            assert!(Instant::now() < deadline, "{name} has {ready} messages, not {count}");
        }
    }

    /// Deletes a queue; the number of messages that went with it.
    pub(crate) fn delete(&mut self, channel: u16, queue: &str) -> u32 {
        let (if_unused, if_empty, no_wait) = (false, false, false);
        self.send(channel, &queue::Delete { ticket: 0, queue, if_unused, if_empty, no_wait });
        self.expect(channel, "queue.delete-ok", |method| {
            if let Method::Queue(Queue::DeleteOk(ok)) = method {
                Some(ok.message_count)
            } else {
                None
            }
        })
    }

    /// Purges a queue; the number of messages that went.
    pub(crate) fn purge(&mut self, channel: u16, queue: &str) -> u32 {
        self.send(channel, &queue::Purge { ticket: 0, queue, no_wait: false });
        self.expect(channel, "queue.purge-ok", |method| {
            if let Method::Queue(Queue::PurgeOk(ok)) = method {
                Some(ok.message_count)
            } else {
                None
            }
        })
    }

    /// Declares an exchange.
    pub(crate) fn declare_exchange(&mut self, channel: u16, name: &str, kind: &str) {
        self.send(channel, &declare_exchange(name, kind));
        self.expect(channel, "exchange.declare-ok", |method| {
            matches!(method, Method::Exchange(Exchange::DeclareOk)).then_some(())
        });
    }

    /// Asks for a binding of a queue; for refusals.
    pub(crate) fn send_bind(&mut self, channel: u16, queue: &str, exchange: &str, key: &str) {
        let (ticket, routing_key, no_wait, arguments) = (0, key, false, TableRef::EMPTY);
        let method = queue::Bind { ticket, queue, exchange, routing_key, no_wait, arguments };
        self.send(channel, &method);
    }

    /// Asks for a binding from one exchange to another.
    pub(crate) fn send_bind_exchange(&mut self, channel: u16, from: &str, to: &str, key: &str) {
        let (ticket, routing_key, no_wait, arguments) = (0, key, false, TableRef::EMPTY);
        let (source, destination) = (from, to);
        let method =
            exchange::Bind { ticket, destination, source, routing_key, no_wait, arguments };
        self.send(channel, &method);
    }

    /// Binds a queue.
    pub(crate) fn bind(&mut self, channel: u16, queue: &str, exchange: &str, routing_key: &str) {
        let (ticket, no_wait, arguments) = (0, false, TableRef::EMPTY);
        self.send(
            channel,
            &queue::Bind { ticket, queue, exchange, routing_key, no_wait, arguments },
        );
        self.expect(channel, "queue.bind-ok", |method| {
            matches!(method, Method::Queue(Queue::BindOk)).then_some(())
        });
    }

    /// Publishes with no properties.
    pub(crate) fn publish(&mut self, channel: u16, exchange: &str, key: &str, body: &[u8]) {
        self.publish_with(channel, exchange, key, &NO_PROPERTIES, body);
    }

    /// Publishes with a property block.
    pub(crate) fn publish_with(
        &mut self,
        channel: u16,
        exchange: &str,
        key: &str,
        properties: &[u8],
        body: &[u8],
    ) {
        self.send_content(channel, &publish(exchange, key), properties, body);
    }

    /// basic.get; unacknowledged when `no_ack` is false.
    pub(crate) fn get(&mut self, channel: u16, queue: &str, no_ack: bool) -> Option<Content> {
        self.send(channel, &basic::Get { ticket: 0, queue, no_ack });
        self.expect_get(channel)
    }

    /// basic.get with automatic acknowledgement until there is a message.
    pub(crate) fn get_when_there(&mut self, channel: u16, queue: &str) -> Content {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(content) = self.get(channel, queue, true) {
                return content;
            }
            assert!(Instant::now() < deadline, "nothing in {queue} within {PATIENCE:?}");
        }
    }

    /// basic.consume with any arguments; the tag.
    pub(crate) fn consume_with(&mut self, channel: u16, method: &basic::Consume<'_>) -> String {
        self.send(channel, method);
        self.expect(channel, "basic.consume-ok", |method| {
            if let Method::Basic(Basic::ConsumeOk(ok)) = method {
                Some(ok.consumer_tag.to_owned())
            } else {
                None
            }
        })
    }

    /// A consumer that acknowledges; its tag is made by the broker.
    pub(crate) fn consume(&mut self, channel: u16, queue: &str) -> String {
        self.consume_with(channel, &consume(queue, ""))
    }

    /// Ends a consumer; deliveries that were on their way are skipped.
    pub(crate) fn cancel(&mut self, channel: u16, consumer_tag: &str) {
        self.send(channel, &basic::Cancel { consumer_tag, no_wait: false });
        self.skip_until(channel, "basic.cancel-ok", |method| {
            matches!(method, Method::Basic(Basic::CancelOk(_))).then_some(())
        });
    }

    /// basic.qos for consumers to come.
    pub(crate) fn prefetch(&mut self, channel: u16, prefetch_count: u16) {
        self.send(channel, &basic::Qos { prefetch_size: 0, prefetch_count, global: false });
        self.expect(channel, "basic.qos-ok", |method| {
            matches!(method, Method::Basic(Basic::QosOk)).then_some(())
        });
    }

    /// basic.ack.
    pub(crate) fn ack(&mut self, channel: u16, delivery_tag: u64, multiple: bool) {
        self.send(channel, &basic::Ack { delivery_tag, multiple });
    }

    /// basic.nack of one.
    pub(crate) fn nack(&mut self, channel: u16, delivery_tag: u64, requeue: bool) {
        self.send(channel, &basic::Nack { delivery_tag, multiple: false, requeue });
    }

    /// confirm.select.
    pub(crate) fn confirm_select(&mut self, channel: u16) {
        self.send(channel, &confirm::Select { no_wait: false });
        self.expect(channel, "confirm.select-ok", |method| {
            matches!(method, Method::Confirm(Confirm::SelectOk)).then_some(())
        });
    }

    /// Waits until the publishes up to `last` are confirmed, each once, none refused.
    pub(crate) fn expect_confirms(&mut self, channel: u16, first: u64, last: u64) {
        let mut missing: std::collections::BTreeSet<u64> = (first..=last).collect();
        while !missing.is_empty() {
            let ack = self.expect(channel, "basic.ack", |method| {
                if let Method::Basic(Basic::Ack(ack)) = method { Some(ack) } else { None }
            });
            let before = missing.len();
            if ack.multiple {
                missing = missing.split_off(&(ack.delivery_tag + 1));
            } else {
                missing.remove(&ack.delivery_tag);
            }
            assert!(missing.len() < before, "{ack:?} confirms nothing new; missing: {missing:?}");
        }
    }

    /// tx.select.
    pub(crate) fn tx_select(&mut self, channel: u16) {
        self.send(channel, &Tx::Select);
        self.expect(channel, "tx.select-ok", |method| {
            matches!(method, Method::Tx(Tx::SelectOk)).then_some(())
        });
    }

    /// tx.commit.
    pub(crate) fn tx_commit(&mut self, channel: u16) {
        self.send(channel, &Tx::Commit);
        self.expect(channel, "tx.commit-ok", |method| {
            matches!(method, Method::Tx(Tx::CommitOk)).then_some(())
        });
    }

    /// tx.rollback.
    pub(crate) fn tx_rollback(&mut self, channel: u16) {
        self.send(channel, &Tx::Rollback);
        self.expect(channel, "tx.rollback-ok", |method| {
            matches!(method, Method::Tx(Tx::RollbackOk)).then_some(())
        });
    }
}
