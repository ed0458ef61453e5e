//! Many messages ready to be written at once, of which only packet identifiers, numbers in topics
//! and the heads of bodies change. Imports `packet`, `topic`, `payload`.

use super::Version;
use super::packet::{self, Publish};
use super::topic::{self, NUMBER_BYTES};
use crate::payload::{BODY_BYTES_MIN, Pattern, Stamp, head_bytes};

/// What is the same in all messages of a publisher.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Template<'a> {
    /// What is spoken.
    pub(crate) version: Version,
    /// Token of the run.
    pub(crate) run: u16,
    /// Number of the publisher.
    pub(crate) producer: u16,
    /// Topic; with `stride`, a number stands below it.
    pub(crate) topic: &'a str,
    /// How far apart the numbers in the topics of consecutive messages are, the first being that
    /// of the publisher; `None` for one topic.
    pub(crate) stride: Option<u64>,
    /// Quality of service.
    pub(crate) qos: u8,
    /// To be retained.
    pub(crate) is_retained: bool,
    /// Octets of a body; 0 removes a retained message.
    pub(crate) body_bytes: usize,
    /// Octets written at once, if a message is not larger.
    pub(crate) batch_bytes: usize,
    /// Messages written at once.
    pub(crate) batch_messages: usize,
}

/// The packets of as many messages as are written at once.
#[derive(Debug)]
pub(crate) struct Batch {
    octets: Vec<u8>,
    /// Octets of a message.
    message_bytes: usize,
    /// Where in a message the number in its topic begins.
    number_at: Option<usize>,
    /// Where in a message its packet identifier begins.
    packet_id_at: Option<usize>,
    /// Where in a message its body begins.
    body_at: usize,
    /// Octets of the body that change; 0 for no body.
    head_bytes: usize,
    run: u16,
    producer: u16,
    stride: u64,
}

/// What distinguishes messages: of the n-th of a batch, counted from 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks<T> {
    /// Sequence number of the first message.
    pub(crate) sequence: u64,
    /// Packet identifier of the first message, from 0 to 65534.
    pub(crate) packet_number: u16,
    /// When it is meant to be sent.
    pub(crate) time_ns: T,
}

impl Batch {
    /// Messages of this kind, not yet stamped.
    pub(crate) fn new(template: &Template<'_>) -> Self {
        let Template { version, qos, is_retained, body_bytes, .. } = *template;
        let topic = match template.stride {
            Some(_) => topic::numbered(template.topic, 0),
            None => template.topic.to_owned(),
        };
        let pattern = Pattern::new(body_bytes);
        let head_bytes = if body_bytes == 0 { 0 } else { head_bytes(body_bytes) };
        let mut body = vec![0; body_bytes];
        let mut octets = Vec::new();
        let mut message_bytes = 0;
        let mut count = 1;
        let mut slot = 0;
        while slot < count {
            let shift = usize::try_from(shift_of(slot, head_bytes)).unwrap_or(0);
            if let Some(rest) = body.get_mut(head_bytes..)
                && let Some(part) = pattern.part(shift, 0, rest.len())
            {
                rest.copy_from_slice(part);
            }
            let publish =
                Publish { version, topic: &topic, qos, is_retained, packet_id: 1, body: &body };
            packet::put_publish(&mut octets, &publish);
            if slot == 0 {
                // Never nothing: options allow no message that is too large.
                message_bytes = octets.len().max(1);
                count = template.batch_bytes.checked_div(message_bytes).unwrap_or(0);
                count = count.min(template.batch_messages).max(1);
                octets.reserve_exact(message_bytes.saturating_mul(count.saturating_sub(1)));
            }
            slot += 1;
        }
        let body_at = message_bytes.saturating_sub(body_bytes);
        let properties_bytes = usize::from(version == Version::V5);
        let packet_id_bytes = if qos > 0 { 2 } else { 0 };
        let topic_end = body_at.saturating_sub(properties_bytes).saturating_sub(packet_id_bytes);
        Self {
            octets,
            message_bytes,
            number_at: template.stride.map(|_| topic_end.saturating_sub(NUMBER_BYTES)),
            packet_id_at: (qos > 0).then_some(topic_end),
            body_at,
            head_bytes,
            run: template.run,
            producer: template.producer,
            stride: template.stride.unwrap_or(0),
        }
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

    /// Stamps the first `count` messages.
    #[inline]
    pub(crate) fn stamp(&mut self, count: usize, marks: Marks<impl Fn(u64) -> u64>) {
        let Marks { sequence, packet_number, time_ns } = marks;
        let mut packet_number = packet_number;
        let messages = self.octets.chunks_exact_mut(self.message_bytes).take(count);
        for ((slot, index), message) in (0..).zip(0..).zip(messages) {
            let sequence = sequence.saturating_add(index);
            if let Some(at) = self.number_at
                && let Some(octets) = message.get_mut(at..)
                && let Some(octets) = octets.first_chunk_mut()
            {
                let first = u64::from(self.producer);
                *octets = topic::levels(sequence.saturating_mul(self.stride).saturating_add(first));
            }
            if let Some(at) = self.packet_id_at
                && let Some(octets) = message.get_mut(at..)
                && let Some(octets) = octets.first_chunk_mut()
            {
                packet_number = packet_number.saturating_add(1);
                *octets = packet_number.to_be_bytes();
                if packet_number == u16::MAX {
                    packet_number = 0;
                }
            }
            let stamp = Stamp {
                run: self.run,
                producer: self.producer,
                sequence,
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
    if head_bytes <= BODY_BYTES_MIN { 0 } else { Pattern::shift_of(slot) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::mqtt::packet::Packet;
    use crate::verify::{Topology, Verifier};

    const TEMPLATE: Template<'static> = Template {
        version: Version::V5,
        run: 3,
        producer: 0,
        topic: "t",
        stride: None,
        qos: 1,
        is_retained: false,
        body_bytes: 16,
        batch_bytes: 128 * 1024,
        batch_messages: usize::MAX,
    };

    #[test]
    fn stamped_messages_pass_the_verifier() {
        for (version, qos, body_bytes) in [
            (Version::V4, 0, 16),
            (Version::V4, 1, 20),
            (Version::V5, 0, 31),
            (Version::V5, 2, 32),
            (Version::V5, 1, 100),
            (Version::V4, 1, 300_000),
        ] {
            let stride = (qos == 1).then_some(5);
            let template = Template { version, qos, body_bytes, stride, ..TEMPLATE };
            let mut verifier = Verifier::new(Topology {
                run: 3,
                body_bytes,
                producers: 1,
                consumers: 1,
                queues: 1,
                topics: 1,
                is_ordered: true,
            });
            let mut batch = Batch::new(&template);
            let count = batch.capacity();
            let marks = Marks { sequence: 0, packet_number: 65_534, time_ns: |index| index + 9 };
            batch.stamp(count, marks);
            let mut rest = &batch.octets()[..batch.octets_of(count)];
            let mut seen = 0;
            while let Some((packet, behind)) = packet::split(rest, version).unwrap() {
                let Packet::Publish(delivery) = packet else { panic!("{packet:?}") };
                let packet_id = [65_535, 1, 2].get(seen).copied();
                if qos > 0 && packet_id.is_some() {
                    assert_eq!(Some(delivery.packet_id), packet_id);
                }
                let number = u64::try_from(seen).unwrap() * 5;
                let topic = stride.map_or_else(|| "t".to_owned(), |_| topic::numbered("t", number));
                assert_eq!(delivery.topic, topic.as_bytes());
                let time_ns = verifier.on_body(0, delivery.body);
                assert_eq!(time_ns, Some(u64::try_from(seen).unwrap() + 9));
                (seen, rest) = (seen + 1, behind);
            }
            assert_eq!((seen, rest.len()), (count, 0));
            assert_eq!(verifier.finish(&[u64::try_from(count).unwrap()]).total(), 0);
        }
    }

    #[test]
    fn a_batch_without_bodies_is_possible() {
        let mut batch = Batch::new(&Template { body_bytes: 0, is_retained: true, ..TEMPLATE });
        batch.stamp(2, Marks { sequence: 0, packet_number: 0, time_ns: |_| 1 });
        assert_eq!(&batch.octets()[..8], b"\x33\x06\0\x01t\0\x01\0");
    }

    #[test]
    fn a_batch_has_a_bounded_size() {
        assert!(Batch::new(&TEMPLATE).octets().len() <= TEMPLATE.batch_bytes);
        let large = Template { body_bytes: 1_000_000, ..TEMPLATE };
        assert_eq!(Batch::new(&large).capacity(), 1);
        let few = Template { batch_messages: 7, ..TEMPLATE };
        assert_eq!(Batch::new(&few).capacity(), 7);
    }
}
