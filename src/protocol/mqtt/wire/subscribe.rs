//! SUBSCRIBE. May import the words of `wire`.

use super::encode::{Block, Encode, Sink};
use super::fault::Fault;
use super::header::Kind;
use super::input::Input;
use super::properties::{UserProperties, scan};
use super::property_table::{self as table, Place};
use super::topic::is_shared;
use super::{PacketId, Qos, Version};

/// A client wants messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Comes back in the answer.
    pub packet_id: PacketId,
    /// A number that comes with each message of these subscriptions.
    pub subscription_id: Option<u32>,
    /// Pairs.
    pub user_properties: UserProperties<'a>,
    /// At least one, in order.
    pub filters: Filters<'a>,
}

/// What a client wants of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Options {
    /// At most so surely.
    pub qos: Qos,
    /// Not what it publishes itself.
    pub no_local: bool,
    /// The retain flag as its publisher set it.
    pub retain_as_published: bool,
    /// Which retained messages it wants.
    pub retain_handling: RetainHandling,
}

/// When a subscription brings retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RetainHandling {
    /// With each SUBSCRIBE.
    #[default]
    Always,
    /// When it was not there before.
    IfNew,
    /// Never.
    Never,
}

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const RESERVED: u8 = 0xC0;

impl Options {
    fn read(octet: u8, version: Version) -> Result<Self, Fault> {
        // MQTT-3-8.3-4 (3.1.1), MQTT-3.8.3-5 (5.0). MQTT 3.1 says only that they are not used.
        let reserved = match version {
            Version::V3 => 0,
            Version::V4 => !3,
            Version::V5 => RESERVED,
        };
        if octet & reserved != 0 {
            return Err(Fault::malformed("reserved bits of subscription options"));
        }
        let qos = Qos::from_bits(octet & 3).ok_or(Fault::protocol("a subscription with QoS 3"))?;
        if !version.is_v5() {
            return Ok(Self { qos, ..Self::default() });
        }
        let retain_handling = match (octet >> 4) & 3 {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(Fault::protocol("retain handling 3")),
        };
        Ok(Self {
            qos,
            no_local: octet & NO_LOCAL != 0,
            retain_as_published: octet & RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }

    fn octet(self, version: Version) -> u8 {
        if !version.is_v5() {
            return self.qos.bits();
        }
        let set = |is: bool, flag: u8| if is { flag } else { 0 };
        let handling = match self.retain_handling {
            RetainHandling::Always => 0,
            RetainHandling::IfNew => 0x10,
            RetainHandling::Never => 0x20,
        };
        self.qos.bits()
            | set(self.no_local, NO_LOCAL)
            | set(self.retain_as_published, RETAIN_AS_PUBLISHED)
            | handling
    }
}

/// Filters as they are on the wire: texts, of which nothing is known but that they are such.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Filters<'a> {
    octets: &'a [u8],
    version: Version,
}

impl<'a> Filters<'a> {
    /// What [`put_filter`] has written for that version.
    #[must_use]
    pub const fn written(octets: &'a [u8], version: Version) -> Self {
        Self { octets, version }
    }

    /// Each filter with its options; what it says is for [`super::topic::check_filter`].
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Options)> + Clone + use<'a> {
        let mut input = Input::new(self.octets);
        let version = self.version;
        std::iter::from_fn(
            move || if input.is_empty() { None } else { next(&mut input, version).ok() },
        )
    }
}

impl std::fmt::Debug for Filters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn next<'a>(input: &mut Input<'a>, version: Version) -> Result<(&'a str, Options), Fault> {
    let filter = input.text()?;
    let options = Options::read(input.u8()?, version)?;
    // MQTT-3.8.3-4 (5.0).
    if options.no_local && is_shared(filter) {
        return Err(Fault::protocol("no local on a shared subscription"));
    }
    Ok((filter, options))
}

/// Appends a filter, for [`Filters::written`].
pub fn put_filter(out: &mut Vec<u8>, filter: &str, options: Options, version: Version) {
    out.text(filter);
    out.u8(options.octet(version));
}

impl<'a> Subscribe<'a> {
    /// From what follows the fixed header.
    ///
    /// # Errors
    /// See [`super`]; 0x82 without a filter (MQTT-3.8.3-3 of 3.1.1, MQTT-3.8.3-2 of 5.0).
    pub fn decode(body: &'a [u8], version: Version) -> Result<Self, Fault> {
        let mut input = Input::new(body);
        let packet_id = input.request_id()?;
        let (mut subscription_id, mut user_properties) = (None, UserProperties::NONE);
        if version.is_v5() {
            let block = input.block()?;
            user_properties = UserProperties::of(block);
            scan(block, Place::Subscribe, |id, value, _| {
                if id == table::SUBSCRIPTION_ID {
                    subscription_id = Some(value.number());
                }
            })?;
        }
        let filters = Filters { octets: input.rest(), version };
        if input.is_empty() {
            return Err(Fault::protocol("no filter"));
        }
        while !input.is_empty() {
            next(&mut input, version)?;
        }
        Ok(Self { packet_id, subscription_id, user_properties, filters })
    }
}

impl Block for Subscribe<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        if let Some(id) = self.subscription_id {
            sink.u8(table::SUBSCRIPTION_ID);
            sink.variable(id);
        }
        self.user_properties.write(sink);
    }
}

impl Encode for Subscribe<'_> {
    fn first_octet(&self) -> u8 {
        Kind::Subscribe.first_octet(Kind::Subscribe.flags())
    }

    fn write<S: Sink>(&self, sink: &mut S, version: Version) {
        sink.packet_id(self.packet_id);
        if version.is_v5() {
            sink.block(self);
        }
        sink.octets(self.filters.octets);
    }
}
