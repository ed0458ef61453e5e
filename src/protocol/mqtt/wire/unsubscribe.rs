//! UNSUBSCRIBE. May import the words of `wire`.

use super::encode::{Encode, Sink};
use super::fault::Fault;
use super::header::Kind;
use super::input::Input;
use super::properties::{Diagnostics, UserProperties};
use super::property_table::Place;
use super::{PacketId, Version};

/// A client wants messages no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Comes back in the answer.
    pub packet_id: PacketId,
    /// Pairs.
    pub user_properties: UserProperties<'a>,
    /// At least one, in order.
    pub filters: FilterTexts<'a>,
}

/// Filters as they are on the wire: texts, of which nothing is known but that they are such.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FilterTexts<'a>(&'a [u8]);

impl<'a> FilterTexts<'a> {
    /// What [`put_filter_text`] has written.
    #[must_use]
    pub const fn written(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// Each filter; what it says is for [`super::topic::check_filter`].
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let mut input = Input::new(self.0);
        std::iter::from_fn(move || if input.is_empty() { None } else { input.text().ok() })
    }
}

impl std::fmt::Debug for FilterTexts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Appends a filter, for [`FilterTexts::written`].
pub fn put_filter_text(out: &mut Vec<u8>, filter: &str) {
    out.text(filter);
}

impl<'a> Unsubscribe<'a> {
    /// From what follows the fixed header.
    ///
    /// # Errors
    /// See [`super`]; 0x82 without a filter (MQTT-3.10.3-2).
    pub fn decode(body: &'a [u8], version: Version) -> Result<Self, Fault> {
        let mut input = Input::new(body);
        let packet_id = input.request_id()?;
        let mut user_properties = UserProperties::NONE;
        if version.is_v5() {
            let block = input.block()?;
            user_properties = Diagnostics::read(block, Place::Unsubscribe)?.user_properties;
        }
        let filters = FilterTexts(input.rest());
        if input.is_empty() {
            return Err(Fault::protocol("no filter"));
        }
        while !input.is_empty() {
            input.text()?;
        }
        Ok(Self { packet_id, user_properties, filters })
    }
}

impl Encode for Unsubscribe<'_> {
    fn first_octet(&self) -> u8 {
        Kind::Unsubscribe.first_octet(Kind::Unsubscribe.flags())
    }

    fn write<S: Sink>(&self, sink: &mut S, version: Version) {
        sink.packet_id(self.packet_id);
        if version.is_v5() {
            sink.block(&Diagnostics { reason: None, user_properties: self.user_properties });
        }
        sink.octets(self.filters.0);
    }
}
