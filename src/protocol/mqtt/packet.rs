//! Which file deals with which packet of an open session. May import the files of this folder.

use crate::protocol::Context;

use super::session::{Flow, Mqtt};
use super::wire::ack::{Ack, AckKind};
use super::wire::auth::Auth;
use super::wire::disconnect::Disconnect;
use super::wire::fault::Fault;
use super::wire::header::{Kind, Raw};
use super::wire::input::Input;
use super::wire::packet::PINGRESP;
use super::wire::publish::Publish;
use super::wire::subscribe::Subscribe;
use super::wire::unsubscribe::Unsubscribe;
use super::wire::{Sender, Version};

impl Mqtt {
    #[inline]
    pub(super) fn on_open_packet(
        &mut self,
        raw: &Raw<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        let version = self.link.version;
        raw.header.check(version, Sender::Client)?;
        let body = raw.body;
        match raw.header.kind {
            Kind::Publish => {
                if self.holds_publish(cx) {
                    return Ok(Flow::Hold);
                }
                let publish = Publish::decode(raw.header.flags, body, version, Sender::Client)?;
                self.on_publish(&publish, cx)
            }
            Kind::Puback => {
                let ack = Ack::decode(AckKind::Puback, body, version)?;
                if !self.answers_queued(&ack, cx)? {
                    self.on_puback(ack.packet_id, cx)?;
                }
                Ok(Flow::Go)
            }
            Kind::Pubrec => {
                let ack = Ack::decode(AckKind::Pubrec, body, version)?;
                if !self.answers_queued(&ack, cx)? {
                    self.on_pubrec(ack.packet_id, ack.code, cx)?;
                }
                Ok(Flow::Go)
            }
            Kind::Pubrel => {
                self.on_pubrel(Ack::decode(AckKind::Pubrel, body, version)?.packet_id, cx);
                Ok(Flow::Go)
            }
            Kind::Pubcomp => {
                let ack = Ack::decode(AckKind::Pubcomp, body, version)?;
                if !self.answers_queued(&ack, cx)? {
                    self.on_pubcomp(ack.packet_id, cx)?;
                }
                Ok(Flow::Go)
            }
            Kind::Subscribe => self.on_subscribe(&Subscribe::decode(body, version)?, cx),
            Kind::Unsubscribe => self.on_unsubscribe(&Unsubscribe::decode(body, version)?, cx),
            Kind::Pingreq => {
                Input::new(body).finish()?;
                cx.out.put(&PINGRESP);
                Ok(Flow::Go)
            }
            Kind::Disconnect => {
                let disconnect = Disconnect::decode(body, version, Sender::Client)?;
                self.on_disconnect(&disconnect, cx)?;
                Ok(Flow::Go)
            }
            // 3.1.0-2, abuse row 58.
            Kind::Connect => Err(Fault::protocol("a second CONNECT")),
            Kind::Auth if version == Version::V5 => {
                self.on_auth(&Auth::decode(body, Sender::Client)?, cx)?;
                Ok(Flow::Go)
            }
            Kind::Auth | Kind::Connack | Kind::Suback | Kind::Unsuback | Kind::Pingresp => {
                Err(Fault::protocol("a packet that a client may not send"))
            }
        }
    }
}
