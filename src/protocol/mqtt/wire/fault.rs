//! Why octets are refused. May import `reason_code`.

use std::fmt;

use super::reason_code::ReasonCode;

/// What is wrong with a packet. The connection ends with it: an MQTT 5.0 peer hears the code, to
/// the others the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What the peer hears.
    pub code: ReasonCode,
    /// What the log and, as a reason string, the peer may read.
    pub text: &'static str,
}

impl Fault {
    /// With any code.
    #[must_use]
    pub const fn new(code: ReasonCode, text: &'static str) -> Self {
        Self { code, text }
    }

    /// The octets cannot be read (0x81).
    #[must_use]
    pub const fn malformed(text: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, text)
    }

    /// They can be read, and say what they must not (0x82).
    #[must_use]
    pub const fn protocol(text: &'static str) -> Self {
        Self::new(ReasonCode::ProtocolError, text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.text, self.code.octet())
    }
}

impl std::error::Error for Fault {}
