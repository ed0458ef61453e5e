//! CONNACK. May import the words of `wire`.

use super::ack::code;
use super::connect::check_auth;
use super::encode::{Block, Encode, Explained, Sink};
use super::fault::Fault;
use super::header::Kind;
use super::input::Input;
use super::properties::{
    Diagnostics, UserProperties, put_binary, put_byte, put_four, put_text, put_two, scan,
};
use super::property_table::{self as table, Place};
use super::reason_code::ReasonCode;
use super::{Qos, Version};

const SESSION_PRESENT: u8 = 1;

/// The answer to CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connack<'a> {
    /// A session goes on; not said by MQTT 3.1.
    pub session_present: bool,
    /// How it ended. Before MQTT 5.0 only what has a return code can be written.
    pub code: ReasonCode,
    /// All as by default before MQTT 5.0.
    pub properties: ConnackProperties<'a>,
}

/// The properties of CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnackProperties<'a> {
    /// Seconds that the session lasts longer than the connection, if others than asked for.
    pub session_expiry_s: Option<u32>,
    /// Most messages with QoS 1 and 2 that may be unanswered towards the server; never 0.
    pub receive_max: u16,
    /// The highest QoS that it takes.
    pub qos_max: Qos,
    /// It takes retained messages.
    pub retain_available: bool,
    /// Most octets that a packet to the server may have.
    pub packet_bytes_max: Option<u32>,
    /// The name that the client is given.
    pub assigned_client_id: Option<&'a str>,
    /// Highest topic alias that it takes.
    pub topic_alias_max: u16,
    /// Reason string and user properties.
    pub diagnostics: Diagnostics<'a>,
    /// It takes filters with wildcards.
    pub wildcards_available: bool,
    /// It takes subscription identifiers.
    pub ids_available: bool,
    /// It takes shared subscriptions.
    pub shared_available: bool,
    /// Seconds, if others than asked for.
    pub server_keep_alive_s: Option<u16>,
    /// The base of response topics.
    pub response_information: Option<&'a str>,
    /// Another server.
    pub server_reference: Option<&'a str>,
    /// How the client has proven who it is.
    pub auth_method: Option<&'a str>,
    /// The last step of that.
    pub auth_data: Option<&'a [u8]>,
}

impl Default for ConnackProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_s: None,
            receive_max: u16::MAX,
            qos_max: Qos::ExactlyOnce,
            retain_available: true,
            packet_bytes_max: None,
            assigned_client_id: None,
            topic_alias_max: 0,
            diagnostics: Diagnostics::default(),
            wildcards_available: true,
            ids_available: true,
            shared_available: true,
            server_keep_alive_s: None,
            response_information: None,
            server_reference: None,
            auth_method: None,
            auth_data: None,
        }
    }
}

impl<'a> Connack<'a> {
    /// From what follows the fixed header.
    ///
    /// # Errors
    /// See [`super`]. The flag of MQTT 3.1 is not looked at.
    pub fn decode(body: &'a [u8], version: Version) -> Result<Self, Fault> {
        let mut input = Input::new(body);
        let flags = input.u8()?;
        let octet = input.u8()?;
        if flags & !SESSION_PRESENT != 0 && version != Version::V3 {
            return Err(Fault::malformed("reserved flags of CONNACK"));
        }
        let session_present = flags & SESSION_PRESENT != 0 && version != Version::V3;
        let (code, properties) = if version.is_v5() {
            let code = code(octet, Place::Connack)?;
            (code, ConnackProperties::read(input.block()?)?)
        } else {
            let code = ReasonCode::from_connack_return_code(octet)
                .ok_or(Fault::protocol("an unknown return code"))?;
            (code, ConnackProperties::default())
        };
        input.finish()?;
        Ok(Self { session_present, code, properties })
    }
}

impl<'a> ConnackProperties<'a> {
    fn read(block: &'a [u8]) -> Result<Self, Fault> {
        let mut found = Self::default();
        found.diagnostics.user_properties = UserProperties::of(block);
        scan(block, Place::Connack, |id, value, _| match id {
            table::SESSION_EXPIRY => found.session_expiry_s = Some(value.number()),
            table::RECEIVE_MAX => found.receive_max = value.two(),
            table::QOS_MAX => {
                found.qos_max = if value.is_set() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
            }
            table::RETAIN_AVAILABLE => found.retain_available = value.is_set(),
            table::PACKET_BYTES_MAX => found.packet_bytes_max = Some(value.number()),
            table::ASSIGNED_CLIENT_ID => found.assigned_client_id = Some(value.text()),
            table::TOPIC_ALIAS_MAX => found.topic_alias_max = value.two(),
            table::REASON_STRING => found.diagnostics.reason = Some(value.text()),
            table::WILDCARDS_AVAILABLE => found.wildcards_available = value.is_set(),
            table::IDS_AVAILABLE => found.ids_available = value.is_set(),
            table::SHARED_AVAILABLE => found.shared_available = value.is_set(),
            table::SERVER_KEEP_ALIVE => found.server_keep_alive_s = Some(value.two()),
            table::RESPONSE_INFORMATION => found.response_information = Some(value.text()),
            table::SERVER_REFERENCE => found.server_reference = Some(value.text()),
            table::AUTH_METHOD => found.auth_method = Some(value.text()),
            table::AUTH_DATA => found.auth_data = Some(value.binary()),
            _ => {}
        })?;
        check_auth(found.auth_method, found.auth_data)?;
        Ok(found)
    }
}

impl Block for ConnackProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        let qos_max = match self.qos_max {
            Qos::ExactlyOnce => None,
            Qos::AtMostOnce | Qos::AtLeastOnce => Some(self.qos_max.bits()),
        };
        let missing = |is_there: bool| (!is_there).then_some(0);
        // Any order is right (2.2.2.2). This is Mosquitto's: whoever compares octets finds the same.
        put_two(sink, table::TOPIC_ALIAS_MAX, Some(self.topic_alias_max).filter(|&max| max != 0));
        put_four(sink, table::SESSION_EXPIRY, self.session_expiry_s);
        put_byte(sink, table::QOS_MAX, qos_max);
        put_byte(sink, table::RETAIN_AVAILABLE, missing(self.retain_available));
        put_four(sink, table::PACKET_BYTES_MAX, self.packet_bytes_max);
        put_text(sink, table::ASSIGNED_CLIENT_ID, self.assigned_client_id);
        self.diagnostics.write(sink);
        put_byte(sink, table::WILDCARDS_AVAILABLE, missing(self.wildcards_available));
        put_byte(sink, table::IDS_AVAILABLE, missing(self.ids_available));
        put_byte(sink, table::SHARED_AVAILABLE, missing(self.shared_available));
        put_two(sink, table::SERVER_KEEP_ALIVE, self.server_keep_alive_s);
        put_text(sink, table::RESPONSE_INFORMATION, self.response_information);
        put_text(sink, table::SERVER_REFERENCE, self.server_reference);
        put_text(sink, table::AUTH_METHOD, self.auth_method);
        put_binary(sink, table::AUTH_DATA, self.auth_data);
        put_two(sink, table::RECEIVE_MAX, Some(self.receive_max).filter(|&max| max != u16::MAX));
    }
}

impl Encode for Connack<'_> {
    fn first_octet(&self) -> u8 {
        Kind::Connack.first_octet(0)
    }

    fn exists_in(&self, version: Version) -> bool {
        version.is_v5() || self.code.connack_return_code().is_some()
    }

    fn write<S: Sink>(&self, sink: &mut S, version: Version) {
        // The octet is reserved in MQTT 3.1.
        sink.u8(u8::from(self.session_present && version != Version::V3));
        if version.is_v5() {
            sink.u8(self.code.octet());
            sink.block(&self.properties);
        } else {
            // Of a code without one nothing is written: see `exists_in`.
            sink.u8(self.code.connack_return_code().unwrap_or(3));
        }
    }
}

impl<'a> Explained<'a> for Connack<'a> {
    fn diagnostics(&mut self) -> &mut Diagnostics<'a> {
        &mut self.properties.diagnostics
    }
}
