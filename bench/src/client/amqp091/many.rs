//! Many queues over one connection that blocks: methods go out in groups, then their answers are
//! awaited. Imports the codec, `link`, `setup`, `confirms`.

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::{Basic, Method, Queue, basic, confirm, queue};
use ringmq::protocol::amqp091::wire::properties::Properties;

use super::CHANNEL;
use super::link::Link;
use super::setup;
use crate::client::broker::Broker;
use crate::client::confirms::Confirms;
use crate::client::error::ClientError;
use crate::plan::Plan;

/// A connection in confirm mode.
#[derive(Debug)]
pub(crate) struct Many {
    link: Link,
    confirms: Confirms,
    /// Methods without an answer, at most; so few octets that both sides can write them before
    /// they read.
    group: usize,
}

/// What became of messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The broker has taken them.
    pub(crate) confirmed: u64,
    /// The broker has not.
    pub(crate) refused: u64,
}

impl Many {
    /// Connects; `group` is the number of methods that may be without an answer.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub(crate) fn open(broker: &Broker, group: u32) -> Result<Self, ClientError> {
        let mut link = Link::open(broker, "ringmqperf queues")?;
        link.call(&confirm::Select { no_wait: false }, (85, 11))?;
        let confirms = Confirms::new(group);
        Ok(Self { link, confirms, group: usize::try_from(group).unwrap_or(1).max(1) })
    }

    /// Declares queues of the plan's kind.
    ///
    /// # Errors
    /// The broker's refusal.
    pub(crate) fn declare(&mut self, names: &[String], plan: &Plan) -> Result<(), ClientError> {
        let arguments = setup::arguments(plan)?;
        let put = |out: &mut Vec<u8>, name: &str| {
            let (durable, arguments) = (plan.is_durable, arguments.view());
            let passive = setup::passive(name);
            let declare = queue::Declare { passive: false, durable, arguments, ..passive };
            frame::put_method(out, CHANNEL, &declare);
        };
        self.each(names, put, (50, 11), |_| ())
    }

    /// Removes the messages of queues.
    ///
    /// # Errors
    /// The broker's refusal.
    pub(crate) fn purge(&mut self, names: &[String]) -> Result<(), ClientError> {
        let put = |out: &mut Vec<u8>, name: &str| {
            let purge = queue::Purge { ticket: 0, queue: name, no_wait: false };
            frame::put_method(out, CHANNEL, &purge);
        };
        self.each(names, put, (50, 31), |_| ())
    }

    /// How many messages wait in each queue.
    ///
    /// # Errors
    /// The broker's refusal: above all, there is no such queue.
    pub(crate) fn count(&mut self, names: &[String]) -> Result<Vec<u32>, ClientError> {
        let put = |out: &mut Vec<u8>, name: &str| {
            frame::put_method(out, CHANNEL, &setup::passive(name));
        };
        let mut counts = Vec::with_capacity(names.len());
        self.each(names, put, (50, 11), |answer| {
            if let Method::Queue(Queue::DeclareOk(found)) = answer {
                counts.push(found.message_count);
            }
        })?;
        Ok(counts)
    }

    /// Deletes queues, whatever is in them.
    ///
    /// # Errors
    /// The broker's refusal.
    pub(crate) fn delete(&mut self, names: &[String]) -> Result<(), ClientError> {
        let put = |out: &mut Vec<u8>, name: &str| {
            frame::put_method(out, CHANNEL, &setup::delete(name));
        };
        self.each(names, put, (50, 41), |_| ())
    }

    /// Publishes one message to each queue and awaits the broker's word on it.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(crate) fn publish(
        &mut self,
        names: &[String],
        plan: &Plan,
    ) -> Result<Settled, ClientError> {
        let body = vec![0; plan.topology.body_bytes];
        let delivery_mode = plan.is_persistent.then_some(2);
        let properties = Properties { delivery_mode, ..Properties::default() }.to_block();
        let frame_bytes_max = self.link.frame_bytes_max();
        let mut settled = Settled::default();
        for group in names.chunks(self.group) {
            let mut out = Vec::new();
            for routing_key in group {
                let publish = basic::Publish {
                    ticket: 0,
                    exchange: "",
                    routing_key,
                    mandatory: false,
                    immediate: false,
                };
                frame::put_content(
                    &mut out,
                    CHANNEL,
                    &publish,
                    &properties,
                    &body,
                    frame_bytes_max,
                );
                // Any time will do: nobody asks how long a confirm took.
                self.confirms.on_sent(1);
            }
            self.link.write(&out)?;
            while self.confirms.unsettled() > 0 {
                self.await_word(&mut settled)?;
            }
        }
        Ok(settled)
    }

    /// Takes the broker's next word on messages.
    fn await_word(&mut self, settled: &mut Settled) -> Result<(), ClientError> {
        let payload = self.link.receive_method()?;
        let method = Method::decode(&payload)?;
        let (tag, is_multiple, is_confirmed) = match method {
            Method::Basic(Basic::Ack(ack)) => (ack.delivery_tag, ack.multiple, true),
            Method::Basic(Basic::Nack(nack)) => (nack.delivery_tag, nack.multiple, false),
            Method::Connection(_)
            | Method::Channel(_)
            | Method::Access(_)
            | Method::Exchange(_)
            | Method::Queue(_)
            | Method::Basic(_)
            | Method::Confirm(_)
            | Method::Tx(_) => return Err(ClientError::of(&method)),
        };
        let count = self.confirms.on_settled(tag, is_multiple, |_| ());
        let count = count.map_err(|_| ClientError::Unexpected("confirm of what does not wait"))?;
        let counter = if is_confirmed { &mut settled.confirmed } else { &mut settled.refused };
        *counter = counter.saturating_add(count);
        Ok(())
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// Whatever stands in the way.
    pub(crate) fn close(self) -> Result<(), ClientError> {
        self.link.close()
    }

    /// A method for each name, and its answer with these ids.
    fn each(
        &mut self,
        names: &[String],
        put: impl Fn(&mut Vec<u8>, &str),
        answer: (u16, u16),
        mut on_answer: impl FnMut(&Method<'_>),
    ) -> Result<(), ClientError> {
        for group in names.chunks(self.group) {
            let mut out = Vec::new();
            group.iter().for_each(|name| put(&mut out, name));
            self.link.write(&out)?;
            for _ in group {
                let payload = self.link.receive(answer)?;
                on_answer(&Method::decode(&payload)?);
            }
        }
        Ok(())
    }
}
