//! Which properties MQTT 5.0 has, what their values are and which packets may carry them
//! (mqtt.md 2.4). May import nothing.

/// What properties and reason codes stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Place {
    /// CONNECT, its own properties.
    Connect,
    /// CONNECT, those of the will.
    Will,
    /// CONNACK.
    Connack,
    /// PUBLISH.
    Publish,
    /// PUBACK.
    Puback,
    /// PUBREC.
    Pubrec,
    /// PUBREL.
    Pubrel,
    /// PUBCOMP.
    Pubcomp,
    /// SUBSCRIBE.
    Subscribe,
    /// SUBACK.
    Suback,
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// UNSUBACK.
    Unsuback,
    /// DISCONNECT.
    Disconnect,
    /// AUTH.
    Auth,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Connect,
        Self::Will,
        Self::Connack,
        Self::Publish,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Subscribe,
        Self::Suback,
        Self::Unsubscribe,
        Self::Unsuback,
        Self::Disconnect,
        Self::Auth,
    ];

    /// One bit each, for sets of places.
    #[inline]
    pub(super) const fn bit(self) -> u16 {
        1 << (self as u8)
    }
}

/// What a value is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// 1 octet.
    Byte,
    /// 2 octets.
    Two,
    /// 4 octets.
    Four,
    /// 1 to 4 octets.
    Variable,
    /// Text behind a length of 2 octets.
    Text,
    /// Octets behind a length of 2 octets.
    Binary,
    /// Two texts.
    Pair,
}

/// What a value must be beyond its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Nothing.
    Any,
    /// 0 or 1, else 0x82.
    ZeroOrOne,
    /// Not 0, else 0x82.
    NotZero,
    /// Not 0, else 0x94 (MQTT-3.3.2-8).
    Alias,
    /// The name of a topic, else 0x82 (MQTT-3.3.2-14, MQTT-4.7.3-1).
    TopicName,
}

/// One property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// Its number: below 128, so that one octet has it.
    pub id: u8,
    /// Its name in the specification.
    pub name: &'static str,
    /// What its value is.
    pub value: Type,
    /// What its value must be.
    pub rule: Rule,
    /// The packets that may carry it, a bit each.
    places: u16,
    /// The packets that may carry it more than once.
    repeats: u16,
}

impl Definition {
    /// Whether a packet of this kind may carry it.
    #[must_use]
    #[inline]
    pub const fn may_stand_in(&self, place: Place) -> bool {
        self.places & place.bit() != 0
    }

    /// Whether a packet of this kind may carry it more than once.
    #[must_use]
    #[inline]
    pub const fn may_repeat_in(&self, place: Place) -> bool {
        self.repeats & place.bit() != 0
    }
}

const CONNECT: u16 = Place::Connect.bit();
const WILL: u16 = Place::Will.bit();
const CONNACK: u16 = Place::Connack.bit();
const PUBLISH: u16 = Place::Publish.bit();
const SUBSCRIBE: u16 = Place::Subscribe.bit();
const DISCONNECT: u16 = Place::Disconnect.bit();
const AUTH: u16 = Place::Auth.bit();
/// Packets that say how something ended.
const RESULTS: u16 = CONNACK
    | Place::Puback.bit()
    | Place::Pubrec.bit()
    | Place::Pubrel.bit()
    | Place::Pubcomp.bit()
    | Place::Suback.bit()
    | Place::Unsuback.bit()
    | DISCONNECT
    | AUTH;
const ALL: u16 = (1 << Place::ALL.len()) - 1;

macro_rules! properties {
    ($($id:literal $constant:ident $name:literal $value:ident $rule:ident $places:expr, $repeats:expr;)*) => {
        $(#[doc = $name] pub const $constant: u8 = $id;)*

        /// All properties, by number.
        pub const DEFINITIONS: &[Definition] = &[
            $(Definition {
                id: $id,
                name: $name,
                value: Type::$value,
                rule: Rule::$rule,
                places: $places,
                repeats: $repeats,
            },)*
        ];
    };
}

properties! {
    0x01 PAYLOAD_FORMAT "Payload Format Indicator" Byte ZeroOrOne PUBLISH | WILL, 0;
    0x02 MESSAGE_EXPIRY "Message Expiry Interval" Four Any PUBLISH | WILL, 0;
    0x03 CONTENT_TYPE "Content Type" Text Any PUBLISH | WILL, 0;
    0x08 RESPONSE_TOPIC "Response Topic" Text TopicName PUBLISH | WILL, 0;
    0x09 CORRELATION_DATA "Correlation Data" Binary Any PUBLISH | WILL, 0;
    0x0B SUBSCRIPTION_ID "Subscription Identifier" Variable NotZero PUBLISH | SUBSCRIBE, PUBLISH;
    0x11 SESSION_EXPIRY "Session Expiry Interval" Four Any CONNECT | CONNACK | DISCONNECT, 0;
    0x12 ASSIGNED_CLIENT_ID "Assigned Client Identifier" Text Any CONNACK, 0;
    0x13 SERVER_KEEP_ALIVE "Server Keep Alive" Two Any CONNACK, 0;
    0x15 AUTH_METHOD "Authentication Method" Text Any CONNECT | CONNACK | AUTH, 0;
    0x16 AUTH_DATA "Authentication Data" Binary Any CONNECT | CONNACK | AUTH, 0;
    0x17 REQUEST_PROBLEM "Request Problem Information" Byte ZeroOrOne CONNECT, 0;
    0x18 WILL_DELAY "Will Delay Interval" Four Any WILL, 0;
    0x19 REQUEST_RESPONSE "Request Response Information" Byte ZeroOrOne CONNECT, 0;
    0x1A RESPONSE_INFORMATION "Response Information" Text Any CONNACK, 0;
    0x1C SERVER_REFERENCE "Server Reference" Text Any CONNACK | DISCONNECT, 0;
    0x1F REASON_STRING "Reason String" Text Any RESULTS, 0;
    0x21 RECEIVE_MAX "Receive Maximum" Two NotZero CONNECT | CONNACK, 0;
    0x22 TOPIC_ALIAS_MAX "Topic Alias Maximum" Two Any CONNECT | CONNACK, 0;
    0x23 TOPIC_ALIAS "Topic Alias" Two Alias PUBLISH, 0;
    0x24 QOS_MAX "Maximum QoS" Byte ZeroOrOne CONNACK, 0;
    0x25 RETAIN_AVAILABLE "Retain Available" Byte ZeroOrOne CONNACK, 0;
    0x26 USER_PROPERTY "User Property" Pair Any ALL, ALL;
    0x27 PACKET_BYTES_MAX "Maximum Packet Size" Four NotZero CONNECT | CONNACK, 0;
    0x28 WILDCARDS_AVAILABLE "Wildcard Subscription Available" Byte ZeroOrOne CONNACK, 0;
    0x29 IDS_AVAILABLE "Subscription Identifier Available" Byte ZeroOrOne CONNACK, 0;
    0x2A SHARED_AVAILABLE "Shared Subscription Available" Byte ZeroOrOne CONNACK, 0;
}

/// One more than the highest number.
const IDS: usize = 0x2B;

/// Where in [`DEFINITIONS`] a number is, plus 1; 0 for none.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses a wrong index"
)]
const INDEX: [u8; IDS] = {
    let mut index = [0; IDS];
    let mut at = 0_u8;
    while (at as usize) < DEFINITIONS.len() {
        index[DEFINITIONS[at as usize].id as usize] = at + 1;
        at += 1;
    }
    index
};

/// What a number means; `None`: nothing.
#[must_use]
#[inline]
pub fn definition(id: u32) -> Option<&'static Definition> {
    let place = INDEX.get(usize::try_from(id).ok()?)?;
    DEFINITIONS.get(usize::from(*place).checked_sub(1)?)
}
