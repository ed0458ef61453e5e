//! How the client settles deliveries: PUBACK, PUBREC, PUBCOMP (4.3.2-1, 4.3.3-1; in version 5
//! 4.3.2-1 to 4.3.3-7, 4.4.0-2). May import the files of this folder, `broker`.

use crate::command::Published;
use crate::ids::PublishSeq;
use crate::protocol::Context;

use super::outgoing::{Stage, packet_id};
use super::session::{Mqtt, RECEIVED};
use super::wire::PacketId;
use super::wire::ack::AckKind;
use super::wire::fault::Fault;
use super::wire::reason_code::ReasonCode;

const OTHER_QOS: Fault = Fault::protocol("an answer that belongs to another QoS");

impl Mqtt {
    /// PUBACK. Whatever its code, it is settled (4.4.0-2, 4.8.2-6).
    pub(super) fn on_puback(
        &mut self,
        packet_id: PacketId,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        // One that is unknown was settled before, perhaps on another connection.
        let Some(out) = self.outgoing.get_mut(packet_id.get()) else { return Ok(()) };
        if out.stage != Stage::AtLeastOnce {
            return Err(OTHER_QOS);
        }
        self.done(packet_id, cx);
        Ok(())
    }

    /// PUBREC: the client has it. When the broker remembers that for sure, PUBREL follows.
    pub(super) fn on_pubrec(
        &mut self,
        packet_id: PacketId,
        code: ReasonCode,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let Some(out) = self.outgoing.get_mut(packet_id.get()) else {
            if code.is_failure() {
                // The exchange is over for the client: nothing is to be released (4.3.3-4 of 5.0).
                return Ok(());
            }
            let code = if self.link.version.is_v5() {
                ReasonCode::PacketIdentifierNotFound
            } else {
                ReasonCode::Success
            };
            self.link.put_ack(AckKind::Pubrel, packet_id.get(), code, cx);
            return Ok(());
        };
        match out.stage {
            Stage::AtLeastOnce => return Err(OTHER_QOS),
            Stage::ExactlyOnce if code.is_failure() => self.done(packet_id, cx),
            Stage::ExactlyOnce => {
                out.stage = Stage::Receiving;
                out.message = None;
                let (position, which) = (out.position, (out.queue, out.id));
                let seq = Some(PublishSeq(position));
                let connection = self.link.id();
                match cx.broker.settle_received(connection, RECEIVED, which, seq, cx.now) {
                    Published::Pending => {}
                    Published::Stored | Published::Unroutable | Published::Overflowed => {
                        self.release(position, cx);
                    }
                }
            }
            Stage::Released => {
                self.link.put_ack(AckKind::Pubrel, packet_id.get(), ReasonCode::Success, cx);
            }
            Stage::Receiving | Stage::Done => {}
        }
        Ok(())
    }

    /// The broker remembers that the client has it.
    pub(super) fn release(&mut self, position: u64, cx: &mut Context<'_>) {
        let Some(out) = self.outgoing.at_mut(position) else { return };
        if out.stage != Stage::Receiving {
            return;
        }
        out.stage = Stage::Released;
        out.sent_ms = cx.now.mono_ms;
        self.link.put_ack(AckKind::Pubrel, packet_id(position), ReasonCode::Success, cx);
    }

    /// PUBCOMP.
    pub(super) fn on_pubcomp(
        &mut self,
        packet_id: PacketId,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let Some(out) = self.outgoing.get_mut(packet_id.get()) else { return Ok(()) };
        match out.stage {
            Stage::AtLeastOnce => Err(OTHER_QOS),
            // It never had PUBREL: nothing that it may say.
            Stage::ExactlyOnce | Stage::Receiving => Err(Fault::protocol("PUBCOMP before PUBREL")),
            Stage::Released => {
                self.done(packet_id, cx);
                Ok(())
            }
            Stage::Done => Ok(()),
        }
    }

    fn done(&mut self, packet_id: PacketId, cx: &mut Context<'_>) {
        if let Some(out) = self.outgoing.get_mut(packet_id.get()) {
            let (queue, id) = (out.queue, out.id);
            self.outgoing.remove(packet_id.get());
            self.accept(queue, id, cx);
            self.counts().accepted += 1;
            self.send_held(cx);
        }
    }
}
