//! A consuming connection: reads, has every delivery verified, acknowledges. Imports the codec,
//! `shape`, `socket`, `verify`.

use ringmq::protocol::amqp091::wire::frame::{self, Frame};
use ringmq::protocol::amqp091::wire::method::{Basic, Connection, Method, basic};
use ringmq::protocol::amqp091::wire::properties::ContentHeader;
use ringmq::protocol::octets::Decoded;

use super::CHANNEL;
use super::link::Link;
use super::shape::Shape;
use crate::client::error::ClientError;
use crate::client::socket::Socket;
use crate::client::tally::Receipts;
use crate::clock::Clock;
use crate::pace::Pace;
use crate::payload::{Head, LONG_HEAD_BYTES};
use crate::plan::Plan;
use crate::verify::Verifier;
use crate::worker::Wake;

/// Octets read per delivery that is due, as long as no delivery has come in one frame.
const READ_BYTES_UNSHAPED: usize = 1024;

/// Where in a delivery the input stands.
#[derive(Debug)]
enum Assembly {
    /// Between deliveries.
    Idle,
    /// basic.deliver has come.
    AwaitingHeader,
    /// The header has come, and a part of the body.
    AwaitingBody(Body),
}

#[derive(Debug)]
struct Body {
    bytes_total: u64,
    bytes_taken: usize,
    /// The start of the body, until the head is read.
    start: [u8; LONG_HEAD_BYTES],
    /// The head, once it is read; `None` also if it was wrong.
    head: Option<Head>,
    is_corrupt: bool,
}

/// One per consuming connection.
#[derive(Debug)]
pub(crate) struct Consumer {
    /// The connection.
    pub(crate) socket: Socket,
    index: usize,
    frame_bytes_max: u32,
    shape: Option<Shape>,
    assembly: Assembly,
    pace: Option<Pace>,
    ack_batch: Option<u64>,
    /// Tag of the last delivery that is complete.
    tag: u64,
    /// Tag up to which deliveries are acknowledged.
    tag_acked: u64,
    /// Acknowledgements to be written.
    out: Vec<u8>,
}

impl Consumer {
    /// Takes over a connection that consumes.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(
        link: Link,
        plan: &Plan,
        index: usize,
        start_ns: u64,
    ) -> Result<Self, ClientError> {
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let pace = plan
            .consume_rate
            .map(|rate| Pace::new(start_ns, rate, wide(plan.topology.consumers), wide(index)));
        let frame_bytes_max = link.frame_bytes_max();
        Ok(Self {
            frame_bytes_max,
            socket: link.into_socket(),
            index,
            shape: None,
            assembly: Assembly::Idle,
            pace,
            ack_batch: plan.ack_batch.map(u64::from),
            tag: 0,
            tag_acked: 0,
            out: Vec::new(),
        })
    }

    /// Reads once, acknowledges; tells when there may be more to do.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(crate) fn turn(
        &mut self,
        clock: &Clock,
        scratch: &mut [u8],
        receipts: &mut Receipts,
    ) -> Result<Wake, ClientError> {
        let mut read_bytes_max = scratch.len();
        if let Some(pace) = &self.pace
            && self.socket.is_readable
        {
            let due = pace.due(clock.now_ns());
            if due == 0 {
                let wake = Wake::At(pace.time_of(0));
                self.write()?;
                return Ok(wake);
            }
            read_bytes_max = self.bytes_of(due).min(read_bytes_max);
        }
        if self.socket.is_readable {
            let input = self.socket.read(scratch, read_bytes_max)?;
            let count_before = receipts.count;
            let taken = self.parse(input, clock.now_ns(), receipts)?;
            self.socket.keep(input.get(taken..).unwrap_or_default());
            if let Some(pace) = &mut self.pace {
                pace.take(receipts.count.saturating_sub(count_before));
            }
            if let Some(ack_batch) = self.ack_batch
                && self.tag.saturating_sub(self.tag_acked) >= ack_batch
            {
                // As many as are complete: a batch is what a client would do, but one
                // acknowledgement for two batches read at once would measure less work.
                self.acknowledge_batches(ack_batch);
            }
        }
        self.write()?;
        Ok(if self.socket.is_readable { Wake::Now } else { Wake::OnEvent })
    }

    /// Octets of so many deliveries; a guess until there is one to measure.
    fn bytes_of(&self, count: u64) -> usize {
        let message_bytes = self.shape.as_ref().map_or(READ_BYTES_UNSHAPED, Shape::message_bytes);
        message_bytes.saturating_mul(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Acknowledges what is left, at the end of a run.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(crate) fn acknowledge_rest(&mut self) -> Result<(), ClientError> {
        if self.ack_batch.is_some() && self.tag > self.tag_acked {
            put_ack(&mut self.out, self.tag);
            self.tag_acked = self.tag;
        }
        self.write()
    }

    /// Whether acknowledgements wait to be written.
    pub(crate) const fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    fn acknowledge_batches(&mut self, ack_batch: u64) {
        while self.tag.saturating_sub(self.tag_acked) >= ack_batch {
            self.tag_acked = self.tag_acked.saturating_add(ack_batch);
            put_ack(&mut self.out, self.tag_acked);
        }
    }

    fn write(&mut self) -> Result<(), ClientError> {
        if !self.out.is_empty() && self.socket.is_writable {
            let count = self.socket.write(&self.out)?;
            self.out.drain(..count);
        }
        Ok(())
    }

    /// Takes all that is complete; tells how many octets that were.
    fn parse(
        &mut self,
        input: &[u8],
        now_ns: u64,
        receipts: &mut Receipts,
    ) -> Result<usize, ClientError> {
        let mut rest = input;
        loop {
            if let (Assembly::Idle, Some(shape)) = (&self.assembly, &self.shape) {
                while let Some(shaped) = shape.split(rest) {
                    self.tag = next_tag(self.tag, shaped.tag, receipts);
                    let sent_ns = receipts.verifier.on_body(self.index, shaped.body);
                    receipts.add(sent_ns, now_ns);
                    rest = shaped.rest;
                }
            }
            let Decoded::Frame { frame, taken } = frame::decode(rest, self.frame_bytes_max)? else {
                return Ok(input.len().saturating_sub(rest.len()));
            };
            if let Frame::Method { .. } = frame
                && let Some(shape) = Shape::learn(rest, self.frame_bytes_max)
            {
                self.shape = Some(shape);
            }
            self.on_frame(&frame, now_ns, receipts)?;
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn on_frame(
        &mut self,
        frame: &Frame<'_>,
        now_ns: u64,
        receipts: &mut Receipts,
    ) -> Result<(), ClientError> {
        match (*frame, &mut self.assembly) {
            (Frame::Heartbeat { .. }, _) => Ok(()),
            (Frame::Method { payload, .. }, Assembly::Idle) => self.on_method(payload, receipts),
            (Frame::Header { payload, .. }, Assembly::AwaitingHeader) => {
                let body = Body::new(ContentHeader::decode(payload)?.body_bytes);
                self.on_body(body, &[], now_ns, receipts);
                Ok(())
            }
            (Frame::Body { payload, .. }, assembly @ Assembly::AwaitingBody(_)) => {
                let Assembly::AwaitingBody(body) = std::mem::replace(assembly, Assembly::Idle)
                else {
                    return Ok(());
                };
                self.on_body(body, payload, now_ns, receipts);
                Ok(())
            }
            (Frame::Method { .. }, _) => Err(ClientError::Unexpected("method within a delivery")),
            (Frame::Header { .. } | Frame::Body { .. }, _) => {
                Err(ClientError::Unexpected("content frame"))
            }
        }
    }

    fn on_method(&mut self, payload: &[u8], receipts: &mut Receipts) -> Result<(), ClientError> {
        match Method::decode(payload)? {
            Method::Basic(Basic::Deliver(deliver)) => {
                self.tag = next_tag(self.tag, deliver.delivery_tag, receipts);
                self.assembly = Assembly::AwaitingHeader;
                Ok(())
            }
            Method::Connection(Connection::Blocked(_) | Connection::Unblocked) => Ok(()),
            other @ (Method::Connection(_)
            | Method::Channel(_)
            | Method::Access(_)
            | Method::Exchange(_)
            | Method::Queue(_)
            | Method::Basic(_)
            | Method::Confirm(_)
            | Method::Tx(_)) => Err(ClientError::of(&other)),
        }
    }

    /// Takes a piece of a body, and counts the delivery when it was the last.
    fn on_body(&mut self, mut body: Body, piece: &[u8], now_ns: u64, receipts: &mut Receipts) {
        body.on_piece(self.index, piece, &mut receipts.verifier);
        if u64::try_from(body.bytes_taken).is_ok_and(|taken| taken < body.bytes_total) {
            self.assembly = Assembly::AwaitingBody(body);
            return;
        }
        self.assembly = Assembly::Idle;
        let sent_ns = body.finish(self.index, &mut receipts.verifier);
        receipts.add(sent_ns, now_ns);
    }
}

impl Body {
    const fn new(bytes_total: u64) -> Self {
        let start = [0; LONG_HEAD_BYTES];
        Self { bytes_total, bytes_taken: 0, start, head: None, is_corrupt: false }
    }

    fn on_piece(&mut self, consumer: usize, piece: &[u8], verifier: &mut Verifier) {
        let head_bytes = verifier.head_bytes();
        let mut rest = piece;
        if self.bytes_taken < head_bytes {
            let Some(room) = self.start.get_mut(self.bytes_taken..head_bytes) else { return };
            let (front, behind) = rest.split_at(rest.len().min(room.len()));
            room.iter_mut().zip(front).for_each(|(octet, new)| *octet = *new);
            self.bytes_taken = self.bytes_taken.saturating_add(front.len());
            rest = behind;
            if self.bytes_taken == head_bytes {
                let start = self.start.get(..head_bytes).unwrap_or_default();
                self.head = verifier.on_head(consumer, start);
                // Counted by `on_head`: one fault per body.
                self.is_corrupt = self.head.is_none();
            }
        }
        if let Some(head) = self.head
            && !self.is_corrupt
            && !verifier.is_piece(head, self.bytes_taken.saturating_sub(head_bytes), rest)
        {
            self.is_corrupt = true;
            verifier.corrupt(consumer, "wrong length or octets");
        }
        self.bytes_taken = self.bytes_taken.saturating_add(rest.len());
    }

    fn finish(&self, consumer: usize, verifier: &mut Verifier) -> Option<u64> {
        if self.is_corrupt {
            return None;
        }
        let is_right_length =
            self.bytes_taken == verifier.body_bytes() && usize::try_from(self.bytes_total).is_ok();
        let Some(head) = self.head.filter(|_| is_right_length) else {
            verifier.corrupt(consumer, "wrong length");
            return None;
        };
        verifier.on_message(consumer, head)
    }
}

/// Delivery tags count from 1 on a channel; skipping or repeating one is a fault.
#[inline]
fn next_tag(last: u64, tag: u64, receipts: &mut Receipts) -> u64 {
    if tag != last.saturating_add(1) {
        wrong_tag(last, tag, receipts);
    }
    tag
}

#[cold]
fn wrong_tag(last: u64, tag: u64, receipts: &mut Receipts) {
    let faults = &mut receipts.verifier.faults;
    faults.protocol += 1;
    faults.describe(|| format!("delivery tag {tag} follows {last}"));
}

fn put_ack(out: &mut Vec<u8>, delivery_tag: u64) {
    frame::put_method(out, CHANNEL, &basic::Ack { delivery_tag, multiple: true });
}
