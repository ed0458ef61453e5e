//! Reason codes of MQTT 5.0, where each may stand, and the return codes of 3.1 and 3.1.1 that say
//! the same (mqtt.md 2.3). May import `property_table` for the kinds of packets.

use super::property_table::Place;

macro_rules! reason_codes {
    ($($octet:literal $name:ident $doc:literal [$($place:ident)*],)*) => {
        /// Why something ends as it does. Codes from 0x80 on are failures.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(#[doc = $doc] $name = $octet,)*
        }

        impl ReasonCode {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// `None`: no code has this number.
            #[must_use]
            pub const fn from_octet(octet: u8) -> Option<Self> {
                match octet {
                    $($octet => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The packets that may carry it, a bit each.
            const fn places(self) -> u16 {
                match self {
                    $(Self::$name => 0 $(| Place::$place.bit())*,)*
                }
            }
        }
    };
}

reason_codes! {
    0x00 Success "Success; as an answer to SUBSCRIBE granted QoS 0; normal disconnection." [Connack Puback Pubrec Pubrel Pubcomp Suback Unsuback Auth Disconnect],
    0x01 GrantedQos1 "Granted QoS 1." [Suback],
    0x02 GrantedQos2 "Granted QoS 2." [Suback],
    0x04 DisconnectWithWill "The client goes and wants its will published." [Disconnect],
    0x10 NoMatchingSubscribers "Nobody has subscribed to the topic." [Puback Pubrec],
    0x11 NoSubscriptionExisted "There was nothing to unsubscribe from." [Unsuback],
    0x18 ContinueAuthentication "The exchange goes on." [Auth],
    0x19 ReAuthenticate "The client begins a new exchange." [Auth],
    0x80 UnspecifiedError "It does not want to say." [Connack Puback Pubrec Suback Unsuback Disconnect],
    0x81 MalformedPacket "The octets cannot be read." [Connack Disconnect],
    0x82 ProtocolError "The packet says what it must not." [Connack Disconnect],
    0x83 ImplementationSpecificError "The packet is fine, the receiver does not take it." [Connack Puback Pubrec Suback Unsuback Disconnect],
    0x84 UnsupportedProtocolVersion "The version of CONNECT is not spoken." [Connack],
    0x85 ClientIdentifierNotValid "The client identifier is not allowed." [Connack],
    0x86 BadUserNameOrPassword "Unknown user or wrong password." [Connack],
    0x87 NotAuthorized "Not allowed." [Connack Puback Pubrec Suback Unsuback Disconnect],
    0x88 ServerUnavailable "The server is not available." [Connack],
    0x89 ServerBusy "The server is busy." [Connack Disconnect],
    0x8A Banned "The client is banned." [Connack Disconnect],
    0x8B ServerShuttingDown "The server stops." [Disconnect],
    0x8C BadAuthenticationMethod "The authentication method is unknown or another than before." [Connack Disconnect],
    0x8D KeepAliveTimeout "Nothing came for one and a half times the keep alive." [Disconnect],
    0x8E SessionTakenOver "Another connection has the client identifier." [Disconnect],
    0x8F TopicFilterInvalid "The filter is no filter, or is not taken." [Suback Unsuback Disconnect],
    0x90 TopicNameInvalid "The topic name is none, or is not taken." [Connack Puback Pubrec Disconnect],
    0x91 PacketIdentifierInUse "The packet identifier is in use." [Puback Pubrec Suback Unsuback],
    0x92 PacketIdentifierNotFound "The packet identifier is unknown." [Pubrel Pubcomp],
    0x93 ReceiveMaximumExceeded "More unanswered messages than agreed." [Disconnect],
    0x94 TopicAliasInvalid "The topic alias is 0 or above the maximum." [Disconnect],
    0x95 PacketTooLarge "The packet is larger than agreed." [Connack Disconnect],
    0x96 MessageRateTooHigh "Messages come too fast." [Disconnect],
    0x97 QuotaExceeded "A limit is reached." [Connack Puback Pubrec Suback Disconnect],
    0x98 AdministrativeAction "An operator closed the connection." [Disconnect],
    0x99 PayloadFormatInvalid "The payload is not what its format indicator says." [Connack Puback Pubrec Disconnect],
    0x9A RetainNotSupported "Retained messages are not taken." [Connack Disconnect],
    0x9B QosNotSupported "The QoS is above the maximum." [Connack Disconnect],
    0x9C UseAnotherServer "For now, another server." [Connack Disconnect],
    0x9D ServerMoved "For ever, another server." [Connack Disconnect],
    0x9E SharedSubscriptionsNotSupported "Shared subscriptions are not taken." [Suback Disconnect],
    0x9F ConnectionRateExceeded "Connections come too fast." [Connack Disconnect],
    0xA0 MaximumConnectTime "The connection has lasted long enough." [Disconnect],
    0xA1 SubscriptionIdentifiersNotSupported "Subscription identifiers are not taken." [Suback Disconnect],
    0xA2 WildcardSubscriptionsNotSupported "Wildcards are not taken." [Suback Disconnect],
}

impl ReasonCode {
    /// Its number.
    #[must_use]
    #[inline]
    pub const fn octet(self) -> u8 {
        self as u8
    }

    /// It did not work.
    #[must_use]
    #[inline]
    pub const fn is_failure(self) -> bool {
        self.octet() >= 0x80
    }

    /// Whether a packet of this kind may carry it.
    #[must_use]
    #[inline]
    pub const fn may_stand_in(self, place: Place) -> bool {
        self.places() & place.bit() != 0
    }

    /// The return code of a CONNACK of MQTT 3.1 and 3.1.1. `None`: there is none that says it, and
    /// the connection is closed without a word (MQTT-3.2.2-6 of 3.1.1).
    #[must_use]
    pub const fn connack_return_code(self) -> Option<u8> {
        match self.octet() {
            0x00 => Some(0),
            0x84 => Some(1),
            0x85 => Some(2),
            0x88 | 0x89 | 0x8A | 0x97 | 0x9C | 0x9D | 0x9F => Some(3),
            0x86 => Some(4),
            0x87 | 0x8C => Some(5),
            _ => None,
        }
    }

    /// What a return code of a CONNACK of MQTT 3.1 and 3.1.1 says.
    #[must_use]
    pub const fn from_connack_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// The answer to a subscription with this QoS.
    #[must_use]
    pub const fn granted(qos: super::Qos) -> Self {
        match qos {
            super::Qos::AtMostOnce => Self::Success,
            super::Qos::AtLeastOnce => Self::GrantedQos1,
            super::Qos::ExactlyOnce => Self::GrantedQos2,
        }
    }
}
