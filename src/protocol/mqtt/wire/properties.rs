//! Reads and writes properties: a block is checked once, then it is a slice that is read again as
//! often as somebody asks. May import `property_table`, `input`, `encode`, `fault`.

use super::encode::{Block, Sink};
use super::fault::Fault;
use super::input::Input;
use super::property_table::{self as table, Definition, Place, Rule, Type, definition};
use super::reason_code::ReasonCode;

/// User properties of a packet: each is forwarded to every subscriber (abuse row 73; arbitrary).
const USER_PROPERTIES_MAX: usize = 128;

/// A value as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Any number.
    Number(u32),
    /// A text.
    Text(&'a str),
    /// Octets.
    Binary(&'a [u8]),
    /// Name and value.
    Pair(&'a str, &'a str),
}

/// The table says what type a value has, so none of these is asked of another type.
impl<'a> Value<'a> {
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Number(n) => n,
            Self::Text(_) | Self::Binary(_) | Self::Pair(..) => 0,
        }
    }

    pub(super) fn two(self) -> u16 {
        u16::try_from(self.number()).unwrap_or(u16::MAX)
    }

    pub(super) const fn is_set(self) -> bool {
        self.number() != 0
    }

    pub(super) const fn text(self) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Number(_) | Self::Binary(_) | Self::Pair(..) => "",
        }
    }

    pub(super) const fn binary(self) -> &'a [u8] {
        match self {
            Self::Binary(octets) => octets,
            Self::Number(_) | Self::Text(_) | Self::Pair(..) => &[],
        }
    }
}

/// One property of a block, and the octets it takes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Property<'a> {
    pub(super) definition: &'static Definition,
    pub(super) value: Value<'a>,
    pub(super) octets: &'a [u8],
}

#[inline]
fn next<'a>(input: &mut Input<'a>) -> Result<Property<'a>, Fault> {
    const UNKNOWN: Fault = Fault::malformed("an unknown property");
    let start = input.rest();
    let definition = definition(input.variable()?).ok_or(UNKNOWN)?;
    let value = match definition.value {
        Type::Byte => Value::Number(input.u8()?.into()),
        Type::Two => Value::Number(input.u16()?.into()),
        Type::Four => Value::Number(input.u32()?),
        Type::Variable => Value::Number(input.variable()?),
        Type::Text => Value::Text(input.text()?),
        Type::Binary => Value::Binary(input.binary()?),
        Type::Pair => Value::Pair(input.text()?, input.text()?),
    };
    let taken = start.len().saturating_sub(input.rest().len());
    Ok(Property { definition, value, octets: start.get(..taken).unwrap_or_default() })
}

fn check_value(property: &Property<'_>) -> Result<(), Fault> {
    let number = property.value.number();
    match property.definition.rule {
        Rule::ZeroOrOne if number > 1 => Err(Fault::protocol("a property is neither 0 nor 1")),
        Rule::NotZero if number == 0 => Err(Fault::protocol("a property is 0")),
        Rule::Alias if number == 0 => {
            Err(Fault::new(ReasonCode::TopicAliasInvalid, "topic alias 0"))
        }
        Rule::TopicName if property.value.text().contains(['+', '#']) => {
            Err(Fault::protocol("a response topic with a wildcard"))
        }
        Rule::TopicName if property.value.text().is_empty() => {
            Err(Fault::protocol("a response topic without a character"))
        }
        Rule::Any | Rule::ZeroOrOne | Rule::NotZero | Rule::Alias | Rule::TopicName => Ok(()),
    }
}

/// The standard has two words for it: malformed (2.2.2.2), a protocol error (chapters of packets).
#[cold]
const fn misplaced(place: Place) -> Fault {
    const TEXT: &str = "a property of another packet";
    match place {
        Place::Subscribe | Place::Unsubscribe => Fault::malformed(TEXT),
        Place::Connect
        | Place::Will
        | Place::Connack
        | Place::Publish
        | Place::Puback
        | Place::Pubrec
        | Place::Pubrel
        | Place::Pubcomp
        | Place::Suback
        | Place::Unsuback
        | Place::Disconnect
        | Place::Auth => Fault::protocol(TEXT),
    }
}

/// Checks a block and shows each property: its number, its value and the octets it takes.
///
/// # Errors
/// 0x81 for what is unknown or cut; 0x82 for what is there twice, of another packet (of SUBSCRIBE
/// and UNSUBSCRIBE 0x81: so does Mosquitto) or has a value that it cannot have; 0x95 for too many user properties.
#[inline]
pub(super) fn scan<'a>(
    block: &'a [u8],
    place: Place,
    mut each: impl FnMut(u8, Value<'a>, usize),
) -> Result<(), Fault> {
    let mut input = Input::new(block);
    let mut seen = 0_u64;
    let mut pairs_again = 0_usize;
    while !input.is_empty() {
        let property = next(&mut input)?;
        let definition = property.definition;
        if !definition.may_stand_in(place) {
            return Err(misplaced(place));
        }
        let bit = 1_u64 << definition.id;
        if seen & bit != 0 {
            if !definition.may_repeat_in(place) {
                return Err(Fault::protocol("a property is there twice"));
            }
            let is_pair = definition.id == table::USER_PROPERTY;
            pairs_again = pairs_again.saturating_add(usize::from(is_pair));
            if pairs_again >= USER_PROPERTIES_MAX {
                let text = "too many user properties";
                return Err(Fault::new(ReasonCode::PacketTooLarge, text));
            }
        }
        seen |= bit;
        check_value(&property)?;
        each(definition.id, property.value, property.octets.len());
    }
    Ok(())
}

/// All properties of a block that was checked, in order.
pub(super) fn iter(block: &[u8]) -> impl Iterator<Item = Property<'_>> + Clone {
    let mut input = Input::new(block);
    std::iter::from_fn(move || if input.is_empty() { None } else { next(&mut input).ok() })
}

/// Pairs of texts that mean something to applications: in order, repetitions are theirs too.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    /// A block that may have other properties between.
    block: &'a [u8],
}

impl<'a> UserProperties<'a> {
    /// None.
    pub const NONE: Self = Self { block: &[] };

    /// From a block that was checked.
    pub(super) const fn of(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// What [`put_user_property`] has written.
    #[must_use]
    pub const fn written(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        iter(self.block).filter_map(|property| match property.value {
            Value::Pair(name, value) => Some((name, value)),
            Value::Number(_) | Value::Text(_) | Value::Binary(_) => None,
        })
    }

    /// Appends them.
    #[inline]
    pub(super) fn write<S: Sink>(&self, sink: &mut S) {
        // Nearly always: an answer of 5.0 takes 10 ns without the loop and 25 ns with it.
        if !self.block.is_empty() {
            self.write_all(sink);
        }
    }

    #[inline(never)]
    fn write_all<S: Sink>(&self, sink: &mut S) {
        for (name, value) in self.iter() {
            sink.u8(table::USER_PROPERTY);
            sink.text(name);
            sink.text(value);
        }
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl std::fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Appends a user property, for [`UserProperties::written`].
pub fn put_user_property(out: &mut Vec<u8>, name: &str, value: &str) {
    out.u8(table::USER_PROPERTY);
    out.text(name);
    out.text(value);
}

/// Subscription identifiers of a PUBLISH, in order.
#[derive(Clone, Copy, Default)]
pub struct SubscriptionIds<'a> {
    block: &'a [u8],
}

impl<'a> SubscriptionIds<'a> {
    /// From a block that was checked.
    pub(super) const fn of(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        iter(self.block)
            .filter(|property| property.definition.id == table::SUBSCRIPTION_ID)
            .map(|property| property.value.number())
    }
}

impl PartialEq for SubscriptionIds<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscriptionIds<'_> {}

impl std::fmt::Debug for SubscriptionIds<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What explains a result to people: left out when the packet would be too large with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Diagnostics<'a> {
    /// A sentence.
    pub reason: Option<&'a str>,
    /// Pairs.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Diagnostics<'a> {
    /// Of a block that has nothing else.
    pub(super) fn read(block: &'a [u8], place: Place) -> Result<Self, Fault> {
        let mut found = Self { reason: None, user_properties: UserProperties::of(block) };
        scan(block, place, |id, value, _| {
            if id == table::REASON_STRING {
                found.reason = Some(value.text());
            }
        })?;
        Ok(found)
    }
}

impl Block for Diagnostics<'_> {
    #[inline]
    fn write<S: Sink>(&self, sink: &mut S) {
        put_text(sink, table::REASON_STRING, self.reason);
        self.user_properties.write(sink);
    }
}

#[inline]
pub(super) fn put_byte<S: Sink>(sink: &mut S, id: u8, value: Option<u8>) {
    if let Some(value) = value {
        sink.u8(id);
        sink.u8(value);
    }
}

#[inline]
pub(super) fn put_two<S: Sink>(sink: &mut S, id: u8, value: Option<u16>) {
    if let Some(value) = value {
        sink.u8(id);
        sink.u16(value);
    }
}

#[inline]
pub(super) fn put_four<S: Sink>(sink: &mut S, id: u8, value: Option<u32>) {
    if let Some(value) = value {
        sink.u8(id);
        sink.u32(value);
    }
}

#[inline]
pub(super) fn put_text<S: Sink>(sink: &mut S, id: u8, value: Option<&str>) {
    if let Some(value) = value {
        sink.u8(id);
        sink.text(value);
    }
}

#[inline]
pub(super) fn put_binary<S: Sink>(sink: &mut S, id: u8, value: Option<&[u8]>) {
    if let Some(value) = value {
        sink.u8(id);
        sink.binary(value);
    }
}
