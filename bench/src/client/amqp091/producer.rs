//! A publishing connection: stamps batches, writes them, counts confirms. Imports the codec,
//! `batch`, `confirms`, `socket`.

use ringmq::protocol::amqp091::wire::frame::{self, Frame};
use ringmq::protocol::amqp091::wire::method::{Basic, Connection, Method};
use ringmq::protocol::octets::Decoded;

use super::batch::{Batch, Template};
use super::link::Link;
use crate::client::confirms::{Confirms, WrongTag};
use crate::client::error::ClientError;
use crate::client::socket::Socket;
use crate::client::tally::Dispatch;
use crate::clock::Clock;
use crate::pace::Pace;
use crate::plan::Plan;
use crate::verify::Faults;
use crate::worker::Wake;

/// basic.ack up to its delivery tag.
const ACK_START: [u8; 11] = [frame::METHOD, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80];
/// A whole basic.ack: the start, tag, bits, end of frame.
const ACK_BYTES: usize = ACK_START.len() + 8 + 1 + 1;
/// When producers look again whether consumers have taken enough.
const BACKLOG_POLL_NS: u64 = 20_000;

/// One per publishing connection.
#[derive(Debug)]
pub(crate) struct Producer {
    /// The connection.
    pub(crate) socket: Socket,
    index: usize,
    frame_bytes_max: u32,
    batch: Batch,
    /// Octets of the batch that are to be written.
    filled: usize,
    /// Octets of the batch that are written.
    written: usize,
    published: u64,
    published_max: u64,
    confirms: Option<Confirms>,
    pace: Option<Pace>,
}

impl Producer {
    /// Takes over a connection that has been set up.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(
        link: Link,
        plan: &Plan,
        index: usize,
        start_ns: u64,
    ) -> Result<Self, ClientError> {
        let frame_bytes_max = link.frame_bytes_max();
        let template = Template {
            run: plan.topology.run,
            producer: u16::try_from(index).unwrap_or(u16::MAX),
            exchange: &plan.exchange,
            routing_key: plan.key_of(index),
            is_persistent: plan.is_persistent,
            body_bytes: plan.topology.body_bytes,
            frame_bytes_max,
        };
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let pace = plan
            .rate
            .map(|rate| Pace::new(start_ns, rate, wide(plan.topology.producers), wide(index)));
        Ok(Self {
            batch: Batch::new(&template),
            socket: link.into_socket(),
            index,
            frame_bytes_max,
            filled: 0,
            written: 0,
            published: 0,
            published_max: plan.messages_of(index),
            confirms: plan.confirm_window.map(Confirms::new),
            pace,
        })
    }

    /// Messages stamped up to now.
    pub(crate) const fn published(&self) -> u64 {
        self.published
    }

    /// Messages that the broker has not spoken of, if it was asked to.
    pub(crate) fn unconfirmed(&self) -> u64 {
        self.confirms.as_ref().map_or(0, Confirms::unsettled)
    }

    /// Whether everything stamped is written, and nothing more will be stamped.
    pub(crate) const fn is_done(&self, is_open: bool) -> bool {
        self.filled == self.written && (!is_open || self.published >= self.published_max)
    }

    /// Counts confirms, writes a batch; tells when there may be more to do.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(crate) fn turn(
        &mut self,
        clock: &Clock,
        scratch: &mut [u8],
        dispatch: &mut Dispatch,
    ) -> Result<Wake, ClientError> {
        if self.socket.is_readable {
            let input = self.socket.read(scratch, usize::MAX)?;
            let taken = self.parse(input, clock.now_ns(), dispatch)?;
            self.socket.keep(input.get(taken..).unwrap_or_default());
        }
        if self.written == self.filled
            && let Some(wake) = self.fill(clock.now_ns(), dispatch)
        {
            return Ok(if self.socket.is_readable { Wake::Now } else { wake });
        }
        if self.socket.is_writable {
            let octets = self.batch.octets().get(self.written..self.filled).unwrap_or_default();
            self.written = self.written.saturating_add(self.socket.write(octets)?);
        }
        Ok(if self.socket.is_writable || self.socket.is_readable {
            Wake::Now
        } else {
            Wake::OnEvent
        })
    }

    /// Stamps as many messages as may be sent; if there are none, tells when to try again.
    fn fill(&mut self, now_ns: u64, dispatch: &mut Dispatch) -> Option<Wake> {
        let left = self.published_max.saturating_sub(self.published);
        if !dispatch.is_open || left == 0 {
            return Some(Wake::OnEvent);
        }
        let mut count = self.batch.capacity().min(usize::try_from(left).unwrap_or(usize::MAX));
        if let Some(confirms) = &self.confirms {
            count = count.min(confirms.room());
            if count == 0 {
                return Some(Wake::OnEvent);
            }
        }
        if let Some(pace) = &self.pace {
            count = count.min(usize::try_from(pace.due(now_ns)).unwrap_or(usize::MAX));
            if count == 0 {
                return Some(Wake::At(pace.time_of(0)));
            }
        }
        count = count.min(usize::try_from(dispatch.room).unwrap_or(usize::MAX));
        if count == 0 {
            return Some(Wake::At(now_ns.saturating_add(BACKLOG_POLL_NS)));
        }
        self.stamp(count, now_ns);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        dispatch.room = dispatch.room.saturating_sub(count);
        dispatch.published = dispatch.published.saturating_add(count);
        None
    }

    fn stamp(&mut self, count: usize, now_ns: u64) {
        let wide = u64::try_from(count).unwrap_or(u64::MAX);
        match &mut self.pace {
            Some(pace) => {
                self.batch.stamp(count, self.published, |ahead| pace.time_of(ahead));
                if let Some(confirms) = &mut self.confirms {
                    (0..wide).for_each(|ahead| confirms.on_sent(pace.time_of(ahead)));
                }
                pace.take(wide);
            }
            None => {
                self.batch.stamp(count, self.published, |_| now_ns);
                if let Some(confirms) = &mut self.confirms {
                    (0..wide).for_each(|_| confirms.on_sent(now_ns));
                }
            }
        }
        self.written = 0;
        self.filled = self.batch.octets_of(count);
        self.published = self.published.saturating_add(wide);
    }

    /// Takes all that is complete; tells how many octets that were.
    fn parse(
        &mut self,
        input: &[u8],
        now_ns: u64,
        dispatch: &mut Dispatch,
    ) -> Result<usize, ClientError> {
        let mut rest = input;
        loop {
            while let Some((tag, is_multiple, behind)) = split_ack(rest) {
                self.on_confirm(tag, is_multiple, now_ns, dispatch);
                rest = behind;
            }
            let Decoded::Frame { frame, taken } = frame::decode(rest, self.frame_bytes_max)? else {
                return Ok(input.len().saturating_sub(rest.len()));
            };
            match frame {
                Frame::Method { payload, .. } => self.on_method(payload, now_ns, dispatch)?,
                Frame::Heartbeat { .. } => {}
                Frame::Header { .. } | Frame::Body { .. } => {
                    return Err(ClientError::Unexpected("content frame"));
                }
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    fn on_method(
        &mut self,
        payload: &[u8],
        now_ns: u64,
        dispatch: &mut Dispatch,
    ) -> Result<(), ClientError> {
        match Method::decode(payload)? {
            Method::Basic(Basic::Ack(ack)) => {
                self.on_confirm(ack.delivery_tag, ack.multiple, now_ns, dispatch);
                Ok(())
            }
            Method::Basic(Basic::Nack(nack)) => {
                let index = self.index;
                let settled = self
                    .confirms
                    .as_mut()
                    .and_then(|confirms| {
                        confirms.on_settled(nack.delivery_tag, nack.multiple, |_| ()).ok()
                    })
                    .unwrap_or(1);
                dispatch.faults.refused += settled;
                dispatch.faults.describe(|| format!("producer {index}: basic.nack of {settled}"));
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

    #[inline]
    fn on_confirm(&mut self, tag: u64, is_multiple: bool, now_ns: u64, dispatch: &mut Dispatch) {
        let Dispatch { latency, window, .. } = dispatch;
        let settled = match &mut self.confirms {
            Some(confirms) => confirms
                .on_settled(tag, is_multiple, |sent_ns| latency.add(window, sent_ns, now_ns)),
            None => Err(WrongTag(tag)),
        };
        match settled {
            Ok(count) => dispatch.confirmed = dispatch.confirmed.saturating_add(count),
            Err(WrongTag(tag)) => self.wrong_tag(tag, &mut dispatch.faults),
        }
    }

    #[cold]
    fn wrong_tag(&self, tag: u64, faults: &mut Faults) {
        faults.protocol += 1;
        let index = self.index;
        faults.describe(|| format!("producer {index}: confirm of {tag}, which does not wait"));
    }
}

/// The basic.ack at the front of `input`: tag, multiple, what follows.
#[inline]
fn split_ack(input: &[u8]) -> Option<(u64, bool, &[u8])> {
    let (ack, rest) = input.split_first_chunk::<ACK_BYTES>()?;
    let arguments = ack.strip_prefix(&ACK_START)?;
    let (tag, [bits, end]) = arguments.split_first_chunk::<8>()? else { return None };
    (*end == frame::END).then_some((u64::from_be_bytes(*tag), bits & 1 != 0, rest))
}

#[cfg(test)]
mod tests {
    use ringmq::protocol::amqp091::wire::method::basic;

    use super::*;

    #[test]
    fn an_ack_is_recognised_as_the_codec_writes_it() {
        let mut octets = Vec::new();
        frame::put_method(&mut octets, 1, &basic::Ack { delivery_tag: 258, multiple: true });
        assert_eq!(octets.len(), ACK_BYTES);
        octets.extend_from_slice(b"rest");
        assert_eq!(split_ack(&octets), Some((258, true, &b"rest"[..])));
        assert_eq!(split_ack(&octets[..ACK_BYTES - 1]), None);
    }

    #[test]
    fn other_methods_are_left_to_the_codec() {
        let mut octets = Vec::new();
        let nack = basic::Nack { delivery_tag: 1, multiple: false, requeue: false };
        frame::put_method(&mut octets, 1, &nack);
        assert_eq!(split_ack(&octets), None);
    }
}
