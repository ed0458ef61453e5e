//! The part of a connection that receives: verifies and answers. Imports `packet`, `tally`.

use super::packet::{Answer, Delivery, put_answer};
use crate::client::tally::Receipts;

/// Words of a set of packet identifiers.
const WORDS: usize = 1024;

/// One per receiving connection.
#[derive(Debug)]
pub(crate) struct Inbox {
    consumer: usize,
    /// Quality of service of every message: that of publishers and subscription.
    qos: u8,
    /// Whether messages are retained ones: they say so only to a new subscription
    /// ([MQTT-3.3.1-8] and -9 of 3.1.1).
    is_retained: bool,
    /// QoS 2: what is received and not released.
    held: Vec<u64>,
    /// Messages received.
    pub(crate) count: u64,
}

impl Inbox {
    /// For subscriber `consumer`.
    pub(crate) const fn new(consumer: usize, qos: u8, is_retained: bool) -> Self {
        Self { consumer, qos, is_retained, held: Vec::new(), count: 0 }
    }

    /// Verifies a message and writes the answer to it.
    #[inline]
    pub(crate) fn on_message(
        &mut self,
        delivery: &Delivery<'_>,
        now_ns: u64,
        receipts: &mut Receipts,
        out: &mut Vec<u8>,
    ) {
        self.count = self.count.saturating_add(1);
        if delivery.qos != self.qos || delivery.is_retained != self.is_retained || delivery.is_again
        {
            self.wrong(delivery, receipts);
        }
        let sent_ns = receipts.verifier.on_body(self.consumer, delivery.body);
        receipts.add(sent_ns, now_ns);
        match delivery.qos {
            0 => {}
            1 => put_answer(out, Answer::Puback, delivery.packet_id),
            _ => {
                if !self.hold(delivery.packet_id) {
                    self.wrong(delivery, receipts);
                }
                put_answer(out, Answer::Pubrec, delivery.packet_id);
            }
        }
    }

    /// The broker releases a message of QoS 2.
    #[inline]
    pub(crate) fn on_release(
        &mut self,
        packet_id: u16,
        receipts: &mut Receipts,
        out: &mut Vec<u8>,
    ) {
        let (word, bit) = place(packet_id);
        match self.held.get_mut(word) {
            Some(word) if *word & bit != 0 => *word &= !bit,
            Some(_) | None => {
                let consumer = self.consumer;
                let faults = &mut receipts.verifier.faults;
                faults.protocol += 1;
                faults.describe(|| {
                    format!("subscriber {consumer}: PUBREL of {packet_id}, which is not held")
                });
            }
        }
        put_answer(out, Answer::Pubcomp, packet_id);
    }

    /// Tells whether the identifier was free.
    fn hold(&mut self, packet_id: u16) -> bool {
        if self.held.is_empty() {
            self.held.resize(WORDS, 0);
        }
        let (word, bit) = place(packet_id);
        let Some(word) = self.held.get_mut(word) else { return false };
        let is_free = *word & bit == 0;
        *word |= bit;
        is_free
    }

    #[cold]
    fn wrong(&self, delivery: &Delivery<'_>, receipts: &mut Receipts) {
        let Delivery { qos, is_retained, is_again, packet_id, .. } = *delivery;
        let faults = &mut receipts.verifier.faults;
        faults.protocol += 1;
        faults.describe(|| {
            format!(
                "subscriber {}: message {packet_id} with QoS {qos} (expected: {}), RETAIN \
                 {is_retained} (expected: {}), DUP {is_again}, or not yet released",
                self.consumer, self.qos, self.is_retained
            )
        });
    }
}

fn place(packet_id: u16) -> (usize, u64) {
    (usize::from(packet_id / 64), 1 << (packet_id % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Topology, Verifier};

    const DELIVERY: Delivery<'static> = Delivery {
        topic: b"t",
        qos: 2,
        is_retained: false,
        is_again: false,
        packet_id: 64,
        body: b"",
    };

    fn receipts() -> Receipts {
        Receipts::new(Verifier::new(Topology {
            run: 0,
            body_bytes: 16,
            producers: 1,
            consumers: 1,
            queues: 1,
            topics: 1,
            is_ordered: true,
        }))
    }

    #[test]
    fn a_message_of_qos_2_is_held_until_it_is_released() {
        let (mut inbox, mut receipts, mut out) = (Inbox::new(0, 2, false), receipts(), Vec::new());
        inbox.on_message(&DELIVERY, 1, &mut receipts, &mut out);
        inbox.on_release(64, &mut receipts, &mut out);
        inbox.on_message(&DELIVERY, 1, &mut receipts, &mut out);
        assert_eq!(receipts.verifier.faults.protocol, 0);
        assert_eq!(out, b"\x50\x02\0\x40\x70\x02\0\x40\x50\x02\0\x40");
        inbox.on_message(&DELIVERY, 1, &mut receipts, &mut out);
        inbox.on_release(65, &mut receipts, &mut out);
        assert_eq!(receipts.verifier.faults.protocol, 2);
    }

    #[test]
    fn a_message_with_wrong_flags_is_a_fault() {
        let (mut inbox, mut receipts, mut out) = (Inbox::new(0, 1, true), receipts(), Vec::new());
        for (qos, is_retained, is_again) in [(1, true, false), (0, true, false), (1, false, false)]
        {
            let delivery = Delivery { qos, is_retained, is_again, ..DELIVERY };
            inbox.on_message(&delivery, 1, &mut receipts, &mut out);
        }
        assert_eq!(receipts.verifier.faults.protocol, 2);
        assert_eq!(inbox.count, 3);
    }
}
