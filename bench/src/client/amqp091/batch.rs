//! Many messages ready to be written at once: frames written by the codec when the run starts,
//! of which only the heads of the bodies change. Imports the codec, `payload`.

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::basic;
use ringmq::protocol::amqp091::wire::properties::Properties;

use super::CHANNEL;
use crate::payload::{BODY_BYTES_MIN, Pattern, Stamp, head_bytes};

/// Octets written at once, if a message is not larger: more does not make the kernel faster, and
/// this much stays in the second-level cache.
const BATCH_BYTES: usize = 128 * 1024;

/// What is the same in all messages of a producer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Template<'a> {
    /// Token of the run.
    pub(crate) run: u16,
    /// Number of the producer.
    pub(crate) producer: u16,
    /// Name of the exchange.
    pub(crate) exchange: &'a str,
    /// Routing key.
    pub(crate) routing_key: &'a str,
    /// Whether messages are persistent.
    pub(crate) is_persistent: bool,
    /// Octets of a body.
    pub(crate) body_bytes: usize,
    /// Octets of the largest frame.
    pub(crate) frame_bytes_max: u32,
}

/// The frames of as many messages as are written at once.
#[derive(Debug)]
pub(crate) struct Batch {
    octets: Vec<u8>,
    /// Octets of a message with all its frames.
    message_bytes: usize,
    /// Where in a message its body begins.
    body_at: usize,
    /// Octets of the body that change.
    head_bytes: usize,
    run: u16,
    producer: u16,
}

impl Batch {
    /// Messages of this kind, not yet stamped.
    pub(crate) fn new(template: &Template<'_>) -> Self {
        let pattern = Pattern::new(template.body_bytes);
        let head_bytes = head_bytes(template.body_bytes);
        let mut octets = Vec::new();
        put_message(&mut octets, template, &vec![0; template.body_bytes]);
        let message_bytes = octets.len();
        let body_at = message_bytes.saturating_sub(body_and_overhead(template));
        let count = BATCH_BYTES.checked_div(message_bytes).unwrap_or(0).max(1);
        let mut body = vec![0; template.body_bytes];
        octets.clear();
        octets.reserve_exact(message_bytes.saturating_mul(count));
        for slot in 0..count {
            let shift = usize::try_from(shift_of(slot, head_bytes)).unwrap_or(0);
            if let Some(rest) = body.get_mut(head_bytes..)
                && let Some(part) = pattern.part(shift, 0, rest.len())
            {
                rest.copy_from_slice(part);
            }
            put_message(&mut octets, template, &body);
        }
        let Template { run, producer, .. } = *template;
        Self { octets, message_bytes, body_at, head_bytes, run, producer }
    }

    /// How many messages fit.
    pub(crate) fn capacity(&self) -> usize {
        self.octets.len().checked_div(self.message_bytes).unwrap_or(0)
    }

    /// Octets of `count` messages.
    pub(crate) const fn octets_of(&self, count: usize) -> usize {
        self.message_bytes.saturating_mul(count)
    }

    /// The octets of the batch.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Stamps the first `count` messages with numbers from `sequence` on; `time_ns` tells when
    /// the n-th of them is meant to be sent.
    #[inline]
    pub(crate) fn stamp(&mut self, count: usize, sequence: u64, time_ns: impl Fn(u64) -> u64) {
        let (run, producer) = (self.run, self.producer);
        let messages = self.octets.chunks_exact_mut(self.message_bytes).take(count);
        for ((slot, index), message) in (0..).zip(0..).zip(messages) {
            let stamp = Stamp {
                run,
                producer,
                sequence: sequence.saturating_add(index),
                time_ns: time_ns(index),
                shift: shift_of(slot, self.head_bytes),
            };
            let Some(body) = message.get_mut(self.body_at..) else { return };
            if self.head_bytes == BODY_BYTES_MIN {
                if let Some(head) = body.first_chunk_mut() {
                    *head = stamp.to_short_octets();
                }
            } else if let Some(head) = body.first_chunk_mut() {
                *head = stamp.to_octets();
            }
        }
    }
}

/// Short heads have no room for a shift.
fn shift_of(slot: usize, head_bytes: usize) -> u32 {
    if head_bytes == BODY_BYTES_MIN { 0 } else { Pattern::shift_of(slot) }
}

fn put_message(out: &mut Vec<u8>, template: &Template<'_>, body: &[u8]) {
    let publish = basic::Publish {
        ticket: 0,
        exchange: template.exchange,
        routing_key: template.routing_key,
        mandatory: false,
        immediate: false,
    };
    let delivery_mode = template.is_persistent.then_some(2);
    let properties = Properties { delivery_mode, ..Properties::default() }.to_block();
    frame::put_content(out, CHANNEL, &publish, &properties, body, template.frame_bytes_max);
}

/// Octets from the first of the body to the end of the message: later body frames have their
/// heads in between, and every frame its end.
fn body_and_overhead(template: &Template<'_>) -> usize {
    let mut frames = Vec::new();
    let body = vec![0; template.body_bytes];
    frame::put_body_frames(&mut frames, CHANNEL, &body, template.frame_bytes_max);
    // Of the first frame's 8 octets of overhead only the last comes after the body's start.
    frames.len().saturating_sub(frame::OVERHEAD_BYTES.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use ringmq::protocol::amqp091::wire::frame::Frame;
    use ringmq::protocol::amqp091::wire::method::{Basic, Method};
    use ringmq::protocol::octets::Decoded;

    use super::*;
    use crate::verify::{Topology, Verifier};

    const TEMPLATE: Template<'static> = Template {
        run: 3,
        producer: 0,
        exchange: "",
        routing_key: "queue",
        is_persistent: true,
        body_bytes: 16,
        frame_bytes_max: 4096,
    };

    /// The bodies of `count` messages, after the codec has read every frame.
    fn bodies(batch: &Batch, count: usize) -> Vec<Vec<u8>> {
        let mut input = &batch.octets()[..batch.octets_of(count)];
        let mut bodies: Vec<Vec<u8>> = Vec::new();
        while let Decoded::Frame { frame, taken } = frame::decode(input, 4096).unwrap() {
            match frame {
                Frame::Method { payload, .. } => {
                    let method = Method::decode(payload).unwrap();
                    assert!(matches!(method, Method::Basic(Basic::Publish(_))));
                    bodies.push(Vec::new());
                }
                Frame::Body { payload, .. } => {
                    bodies.last_mut().unwrap().extend_from_slice(payload);
                }
                Frame::Header { .. } | Frame::Heartbeat { .. } => {}
            }
            input = &input[taken..];
        }
        assert!(input.is_empty());
        bodies
    }

    #[test]
    fn stamped_messages_pass_the_verifier() {
        for body_bytes in [16, 20, 31, 32, 100, 4088, 4089, 10_000, 300_000] {
            let template = Template { body_bytes, ..TEMPLATE };
            let (run, queues) = (template.run, 1);
            let (producers, consumers, topics) = (1, 1, 1);
            let mut verifier = Verifier::new(Topology {
                run,
                body_bytes,
                producers,
                consumers,
                queues,
                topics,
                is_ordered: true,
            });
            let mut batch = Batch::new(&template);
            let count = batch.capacity();
            let mut times = Vec::new();
            for sequence in [0, count] {
                batch.stamp(count, u64::try_from(sequence).unwrap(), |index| 1000 + index);
                for body in bodies(&batch, count) {
                    times.extend(verifier.on_body(0, &body));
                }
            }
            let published = u64::try_from(2 * count).unwrap();
            assert_eq!(verifier.finish(&[published]).total(), 0, "{body_bytes} octets");
            assert_eq!(times.len(), 2 * count);
            assert_eq!(times[count - 1], 1000 + u64::try_from(count).unwrap() - 1);
        }
    }

    #[test]
    fn only_the_messages_asked_for_are_stamped() {
        let mut batch = Batch::new(&TEMPLATE);
        batch.stamp(2, 7, |_| 1);
        let bodies = bodies(&batch, 3);
        assert_ne!(bodies[1], vec![0; 16]);
        assert_eq!(bodies[2], vec![0; 16]);
    }

    #[test]
    fn a_batch_has_a_bounded_size() {
        assert!(Batch::new(&TEMPLATE).octets().len() <= BATCH_BYTES);
        let large = Template { body_bytes: 1_000_000, ..TEMPLATE };
        assert_eq!(Batch::new(&large).capacity(), 1);
    }
}
