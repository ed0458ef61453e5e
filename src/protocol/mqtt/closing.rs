//! How connections end: on the client's wish, for an error, because another connection has the
//! session (3.14, 4.8, 4.13; H-11 to H-14, H-35). May import the files of this folder, `broker`.

use crate::command::Command;
use crate::protocol::Context;
use crate::subscriber::Lasts;

use super::connect::lasts_of;
use super::link::tell;
use super::session::{Mqtt, Phase, SESSION};
use super::wire::Version;
use super::wire::connack::{Connack, ConnackProperties};
use super::wire::disconnect::Disconnect;
use super::wire::encode::put_explained;
use super::wire::fault::Fault;
use super::wire::reason_code::ReasonCode;

impl Mqtt {
    /// Ends the connection for an error. Its will is published: only a farewell of the client takes
    /// it back.
    pub(super) fn fail(&mut self, fault: Fault, cx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        let is_no_topic = fault.code == ReasonCode::TopicNameInvalid;
        let fault = if is_no_topic && self.link.limits.malformed_closes {
            // To others a packet with such a topic is none (3.3.2-2).
            Fault::malformed(fault.text)
        } else {
            fault
        };
        let (code, reason) = (fault.code.octet(), fault.text);
        tell!(info, self.link, code, reason, "connection closed by the broker");
        if self.is_open() {
            self.put_disconnect(fault.code, fault.text, cx);
            self.leave(cx);
        }
        self.phase = Phase::Closed;
    }

    /// The session has no client from now on: what comes for it waits for the next one, although
    /// the socket may be there for a while.
    fn leave(&self, cx: &mut Context<'_>) {
        // Nobody waits for the answer.
        let _ = cx.broker.execute(self.link.id(), SESSION, Command::CloseConnection, cx.now);
    }

    /// Says why (3.14.0-1: only after CONNACK). Before version 5 there is no way to say it.
    fn put_disconnect(&self, code: ReasonCode, text: &str, cx: &mut Context<'_>) {
        if self.link.version == Version::V5 {
            let packet = Disconnect::new(code, Some(text).filter(|_| self.link.wants_reasons));
            let max = self.link.packet_bytes_max;
            // A client that takes not even this is closed without a word.
            let _ = put_explained(cx.out.buffer(), &packet, self.link.version, max);
        }
    }

    /// Refuses a CONNECT. Before version 5 some reasons cannot be said (3.2.2-6).
    pub(super) fn refuse(&mut self, code: ReasonCode, cx: &mut Context<'_>) {
        self.refuse_because(code, None, cx);
    }

    /// The same with words for the log. The client gets none: whether it wants them is in the very
    /// packet that cannot be read.
    pub(super) fn refuse_because(
        &mut self,
        code: ReasonCode,
        reason: Option<&str>,
        cx: &mut Context<'_>,
    ) {
        tell!(info, self.link, code = code.octet(), reason, "CONNECT refused");
        self.put_refusal(code, cx);
    }

    /// The same where the log has its line already.
    pub(super) fn put_refusal(&mut self, code: ReasonCode, cx: &mut Context<'_>) {
        let properties = ConnackProperties::default();
        let packet = Connack { session_present: false, code, properties };
        let (version, max) = (self.link.version, self.link.packet_bytes_max);
        let _ = put_explained(cx.out.buffer(), &packet, version, max);
        self.phase = Phase::Closed;
    }

    /// DISCONNECT from the client (3.14.4-3; H-14).
    pub(super) fn on_disconnect(
        &mut self,
        disconnect: &Disconnect<'_>,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let connection = self.link.id();
        if let Some(expiry_s) = disconnect.session_expiry_s {
            if self.link.expiry_s == 0 && expiry_s != 0 {
                let text = "a session expiry interval where CONNECT had none";
                return Err(Fault::protocol(text));
            }
            let capped = expiry_s.min(self.link.limits.session_expiry_s_max);
            let lasts: Lasts = lasts_of(capped);
            cx.broker.set_lasts(connection, lasts, cx.now);
        }
        if disconnect.code == ReasonCode::Success {
            cx.broker.set_will(connection, None, cx.now);
        }
        let code = disconnect.code.octet();
        tell!(info, self.link, code, "connection closed by the client");
        self.leave(cx);
        self.phase = Phase::Closed;
        Ok(())
    }

    /// Another connection has the session (3.1.4-2; in version 5 3.1.4-3).
    pub(super) fn on_taken_over(&mut self, cx: &mut Context<'_>) {
        // The broker has taken back a will that waited for the client to come back, and keeps the
        // others for when this connection is gone (H-12).
        if self.is_open() && self.link.limits.suppress_will_on_takeover {
            cx.broker.set_will(self.link.id(), None, cx.now);
        }
        let text = "another connection has the client identifier";
        self.fail(Fault::new(ReasonCode::SessionTakenOver, text), cx);
    }
}
