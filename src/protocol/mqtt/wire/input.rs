//! Reads the values of MQTT from the front of a packet's body. May import `octets` and `fault`.

use super::PacketId;
use super::fault::Fault;
use crate::protocol::octets::Reader;

const SHORT: Fault = Fault::malformed("the packet ends within a value");

/// What is left of a body.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(Reader<'a>);

impl<'a> Input<'a> {
    /// All of `octets`.
    #[inline]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(Reader::new(octets))
    }

    /// Whether nothing is left.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.0.rest()
    }

    /// 1 octet.
    ///
    /// # Errors
    /// 0x81 when the octets end before; so for all below.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Fault> {
        self.0.u8().map_err(|_| SHORT)
    }

    /// 2 octets.
    ///
    /// # Errors
    /// 0x81.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Fault> {
        self.0.u16().map_err(|_| SHORT)
    }

    /// 4 octets.
    ///
    /// # Errors
    /// 0x81.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Fault> {
        self.0.u32().map_err(|_| SHORT)
    }

    /// So many octets.
    ///
    /// # Errors
    /// 0x81.
    #[inline]
    pub fn slice(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        self.0.slice(count).map_err(|_| SHORT)
    }

    /// Octets behind a length of 2 octets.
    ///
    /// # Errors
    /// 0x81.
    #[inline]
    pub fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.u16()?;
        self.slice(length.into())
    }

    /// Text behind a length of 2 octets. A byte order mark is text (MQTT-1.5.3-3 of 3.1.1,
    /// MQTT-1.5.4-3 of 5.0).
    ///
    /// # Errors
    /// 0x81, also when it is not UTF-8 or has U+0000 (MQTT-1.5.3-1 and -2 of 3.1.1, MQTT-1.5.4-1
    /// and -2 of 5.0).
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, Fault> {
        let octets = self.binary()?;
        let text =
            std::str::from_utf8(octets).map_err(|_| Fault::malformed("a text is not UTF-8"))?;
        // No early end: without one the compiler compares many octets at once.
        if octets.iter().fold(false, |found, &octet| found | (octet == 0)) {
            return Err(Fault::malformed("a text has the character U+0000"));
        }
        Ok(text)
    }

    /// A number of 1 to 4 octets, in the shortest form (MQTT-1.5.5-1).
    ///
    /// # Errors
    /// 0x81.
    #[inline]
    pub fn variable(&mut self) -> Result<u32, Fault> {
        let mut value = 0;
        for place in 0..4_u32 {
            let octet = self.u8()?;
            value |= u32::from(octet & 0x7F) << (7 * place);
            if octet & 0x80 == 0 {
                if octet == 0 && place > 0 {
                    return Err(Fault::malformed("a number has octets that it does not need"));
                }
                return Ok(value);
            }
        }
        Err(Fault::malformed("a number has more than four octets"))
    }

    /// A packet identifier.
    ///
    /// # Errors
    /// 0x81; 0x82 when it is 0.
    #[inline]
    pub fn packet_id(&mut self) -> Result<PacketId, Fault> {
        PacketId::new(self.u16()?).ok_or(Fault::protocol("packet identifier 0"))
    }

    /// The packet identifier of a SUBSCRIBE or UNSUBSCRIBE.
    ///
    /// # Errors
    /// 0x81, also when it is 0: the standard names no code, and Mosquitto says this one here.
    pub fn request_id(&mut self) -> Result<PacketId, Fault> {
        PacketId::new(self.u16()?).ok_or(Fault::malformed("packet identifier 0"))
    }

    /// Properties behind their length.
    ///
    /// # Errors
    /// 0x81.
    #[inline]
    pub fn block(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.variable()?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.slice(length)
    }

    /// Nothing may follow.
    ///
    /// # Errors
    /// 0x81.
    #[inline]
    pub fn finish(&self) -> Result<(), Fault> {
        if self.is_empty() {
            return Ok(());
        }
        Err(Fault::malformed("octets follow the end of the packet"))
    }
}
