//! CONNECT. May import the words of `wire`.

use super::encode::{Block, Encode, Sink};
use super::fault::Fault;
use super::header::Kind;
use super::input::Input;
use super::message_properties::WillProperties;
use super::properties::{UserProperties, put_binary, put_byte, put_four, put_text, put_two, scan};
use super::property_table::{self as table, Place};
use super::reason_code::ReasonCode;
use super::topic::check_name;
use super::{Qos, Version};

/// The bit of the level with which bridges of MQTT 3.1 and 3.1.1 mark themselves.
const BRIDGE: u8 = 0x80;

const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS: u8 = 0x18;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

/// The first packet of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// What it wants to speak.
    pub version: Version,
    /// It is a bridge to another broker.
    pub is_bridge: bool,
    /// What was remembered is to be forgotten; before MQTT 5.0 also what comes.
    pub clean_start: bool,
    /// Seconds of silence that it promises not to exceed; 0: it promises nothing.
    pub keep_alive_s: u16,
    /// Its name; may be empty.
    pub client_id: &'a str,
    /// What is published when it is lost.
    pub will: Option<Will<'a>>,
    /// Who it is.
    pub user_name: Option<&'a str>,
    /// What proves it.
    pub password: Option<&'a [u8]>,
    /// All as by default before MQTT 5.0.
    pub properties: ConnectProperties<'a>,
}

/// A message for the case that the client is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// Where it goes.
    pub topic: &'a str,
    /// The body.
    pub payload: &'a [u8],
    /// How surely.
    pub qos: Qos,
    /// It becomes the retained message of the topic.
    pub retain: bool,
    /// Empty before MQTT 5.0.
    pub properties: WillProperties<'a>,
}

/// The properties of CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// Seconds that the session lasts longer than the connection; `u32::MAX`: for ever.
    pub session_expiry_s: u32,
    /// Most messages with QoS 1 and 2 that may be unanswered towards the client; never 0.
    pub receive_max: u16,
    /// Most octets that a packet to the client may have.
    pub packet_bytes_max: Option<u32>,
    /// Highest topic alias that it takes.
    pub topic_alias_max: u16,
    /// It wants response information.
    pub request_response: bool,
    /// It wants reason strings and user properties with every packet. `None`: it says nothing, which
    /// allows them as well.
    pub request_problem: Option<bool>,
    /// How it wants to prove who it is.
    pub auth_method: Option<&'a str>,
    /// The first step of that.
    pub auth_data: Option<&'a [u8]>,
    /// Pairs.
    pub user_properties: UserProperties<'a>,
}

impl Default for ConnectProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_s: 0,
            receive_max: u16::MAX,
            packet_bytes_max: None,
            topic_alias_max: 0,
            request_response: false,
            request_problem: None,
            auth_method: None,
            auth_data: None,
            user_properties: UserProperties::NONE,
        }
    }
}

/// Why a CONNECT is refused, and how to say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectFault {
    /// Why. Only [`ReasonCode::UnsupportedProtocolVersion`] has an answer before MQTT 5.0; on all
    /// others the connection is closed without one (MQTT-3.1.4-1 of 3.1.1).
    pub fault: Fault,
    /// The version whose CONNACK the client is likely to understand. `None`: it is no MQTT.
    pub answer: Option<Version>,
}

/// Reads protocol name and level.
fn version(input: &mut Input<'_>) -> Result<(Version, bool), ConnectFault> {
    const UNSUPPORTED: Fault =
        Fault::new(ReasonCode::UnsupportedProtocolVersion, "unknown protocol name or version");
    let silent = |fault| ConnectFault { fault, answer: None };
    let name = input.binary().map_err(silent)?;
    let unsupported = |answer| ConnectFault { fault: UNSUPPORTED, answer };
    let is_old = name == Version::V3.protocol_name().as_bytes();
    if !is_old && name != Version::V5.protocol_name().as_bytes() {
        return Err(unsupported(None));
    }
    let octet = input.u8().map_err(silent)?;
    let is_bridge = octet & BRIDGE != 0;
    match (is_old, octet & !BRIDGE) {
        (true, 3) => Ok((Version::V3, is_bridge)),
        (false, 4) => Ok((Version::V4, is_bridge)),
        (false, 5) => Ok((Version::V5, is_bridge)),
        (true, _) => Err(unsupported(Some(Version::V3))),
        (false, 0..4) => Err(unsupported(Some(Version::V4))),
        (false, _) => Err(unsupported(Some(Version::V5))),
    }
}

impl<'a> Connect<'a> {
    /// From what follows the fixed header.
    ///
    /// # Errors
    /// See [`ConnectFault`].
    pub fn decode(body: &'a [u8]) -> Result<Self, ConnectFault> {
        let mut input = Input::new(body);
        let (version, is_bridge) = version(&mut input)?;
        Self::decode_rest(&mut input, version, is_bridge)
            .map_err(|fault| ConnectFault { fault, answer: Some(version) })
    }

    fn decode_rest(
        input: &mut Input<'a>,
        version: Version,
        is_bridge: bool,
    ) -> Result<Self, Fault> {
        let flags = input.u8()?;
        check_flags(flags, version)?;
        let keep_alive_s = input.u16()?;
        let properties = if version.is_v5() {
            ConnectProperties::read(input.block()?)?
        } else {
            ConnectProperties::default()
        };
        let client_id = input.text()?;
        let will = if flags & WILL != 0 { Some(Will::read(input, flags, version)?) } else { None };
        // "The Remaining Length takes precedence over the User Name flag" and over that of the
        // password: MQTT 3.1, CONNECT.
        let is_there = |flag: u8, input: &Input<'_>| {
            flags & flag != 0 && !(version == Version::V3 && input.is_empty())
        };
        let user_name = if is_there(USER_NAME, input) { Some(input.text()?) } else { None };
        let password = if is_there(PASSWORD, input) { Some(input.binary()?) } else { None };
        input.finish()?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self {
            version,
            is_bridge,
            clean_start,
            keep_alive_s,
            client_id,
            will,
            user_name,
            password,
            properties,
        })
    }

    fn flags(&self) -> u8 {
        let set = |is: bool, flag: u8| if is { flag } else { 0 };
        let will = self
            .will
            .map_or(0, |will| WILL | (will.qos.bits() << 3) | set(will.retain, WILL_RETAIN));
        set(self.user_name.is_some(), USER_NAME)
            | set(self.password.is_some(), PASSWORD)
            | set(self.clean_start, CLEAN_START)
            | will
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), Fault> {
    // In 3.1 the bit "is not used", and those of a will without a will are "disregarded".
    let ignores = version == Version::V3;
    // MQTT-3.1.2-3.
    if flags & RESERVED != 0 && !ignores {
        return Err(Fault::malformed("the reserved flag of CONNECT is set"));
    }
    // MQTT-3.1.2-11, -13, -15 (3.1.1), MQTT-3.1.2-11, -13 (5.0).
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 && !ignores {
        return Err(Fault::malformed("QoS or retain of a will that is not there"));
    }
    // MQTT-3.1.2-22 (3.1.1); in 5.0 a password may stand alone.
    if !version.is_v5() && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(Fault::malformed("a password without a user name"));
    }
    Ok(())
}

impl<'a> Will<'a> {
    fn read(input: &mut Input<'a>, flags: u8, version: Version) -> Result<Self, Fault> {
        // MQTT-3.1.2-14 (3.1.1), MQTT-3.1.2-12 (5.0).
        let qos =
            Qos::from_bits((flags & WILL_QOS) >> 3).ok_or(Fault::malformed("a will with QoS 3"))?;
        let properties = if version.is_v5() {
            WillProperties::read(input.block()?)?
        } else {
            WillProperties::default()
        };
        let topic = input.text()?;
        check_name(topic)?;
        let payload = input.binary()?;
        Ok(Self { topic, payload, qos, retain: flags & WILL_RETAIN != 0, properties })
    }
}

impl<'a> ConnectProperties<'a> {
    fn read(block: &'a [u8]) -> Result<Self, Fault> {
        let mut found = Self { user_properties: UserProperties::of(block), ..Self::default() };
        scan(block, Place::Connect, |id, value, _| match id {
            table::SESSION_EXPIRY => found.session_expiry_s = value.number(),
            table::RECEIVE_MAX => found.receive_max = value.two(),
            table::PACKET_BYTES_MAX => found.packet_bytes_max = Some(value.number()),
            table::TOPIC_ALIAS_MAX => found.topic_alias_max = value.two(),
            table::REQUEST_RESPONSE => found.request_response = value.is_set(),
            table::REQUEST_PROBLEM => found.request_problem = Some(value.is_set()),
            table::AUTH_METHOD => found.auth_method = Some(value.text()),
            table::AUTH_DATA => found.auth_data = Some(value.binary()),
            _ => {}
        })?;
        check_auth(found.auth_method, found.auth_data)?;
        Ok(found)
    }
}

/// Data belong to a method.
pub(super) fn check_auth(method: Option<&str>, data: Option<&[u8]>) -> Result<(), Fault> {
    if method.is_none() && data.is_some() {
        return Err(Fault::protocol("authentication data without a method"));
    }
    Ok(())
}

impl Block for ConnectProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        let usual = Self::default();
        let differs = |value: u16, usual: u16| Some(value).filter(|&value| value != usual);
        put_four(
            sink,
            table::SESSION_EXPIRY,
            Some(self.session_expiry_s).filter(|&seconds| seconds != 0),
        );
        put_two(sink, table::RECEIVE_MAX, differs(self.receive_max, usual.receive_max));
        put_four(sink, table::PACKET_BYTES_MAX, self.packet_bytes_max);
        put_two(sink, table::TOPIC_ALIAS_MAX, differs(self.topic_alias_max, 0));
        put_byte(sink, table::REQUEST_RESPONSE, self.request_response.then_some(1));
        put_byte(sink, table::REQUEST_PROBLEM, self.request_problem.map(u8::from));
        put_text(sink, table::AUTH_METHOD, self.auth_method);
        put_binary(sink, table::AUTH_DATA, self.auth_data);
        self.user_properties.write(sink);
    }
}

impl Encode for Connect<'_> {
    fn first_octet(&self) -> u8 {
        Kind::Connect.first_octet(0)
    }

    /// The version is its own.
    fn write<S: Sink>(&self, sink: &mut S, _version: Version) {
        let version = self.version;
        sink.text(version.protocol_name());
        sink.u8(version.level() | if self.is_bridge { BRIDGE } else { 0 });
        sink.u8(self.flags());
        sink.u16(self.keep_alive_s);
        if version.is_v5() {
            sink.block(&self.properties);
        }
        sink.text(self.client_id);
        if let Some(will) = &self.will {
            if version.is_v5() {
                sink.block(&will.properties);
            }
            sink.text(will.topic);
            sink.binary(will.payload);
        }
        if let Some(user_name) = self.user_name {
            sink.text(user_name);
        }
        if let Some(password) = self.password {
            sink.binary(password);
        }
    }
}
