//! What the declaration of a setting is, and how a text becomes its value.
//!
//! May import `config::value` and the structs of `config`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::Config;
use super::value::{parse_bool, parse_bytes, parse_number};

/// The unit of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// How many.
    Count,
    /// Bytes; k, M, G, T may follow, each 1024 times the one before.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

/// When a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// At the next start.
    Restart,
    /// At once, by SIGHUP.
    Live,
}

/// Which field of [`Config`] a setting is, its type and its bounds.
#[derive(Debug, Clone, Copy)]
pub enum Field {
    /// Any text.
    Text(fn(&mut Config) -> &mut String),
    /// A path.
    Path(fn(&mut Config) -> &mut PathBuf),
    /// A path or nothing.
    PathOrNone(fn(&mut Config) -> &mut Option<PathBuf>),
    /// Addresses to listen on, at least one.
    Addresses(fn(&mut Config) -> &mut Vec<IpAddr>),
    /// true, yes, y, on, 1 or their opposites.
    Switch(fn(&mut Config) -> &mut bool),
    /// A port, or a number up to 65,535.
    U16(fn(&mut Config) -> &mut u16, Unit, u16, u16),
    /// A number within bounds.
    U32(fn(&mut Config) -> &mut u32, Unit, u32, u32),
    /// A number within bounds.
    U64(fn(&mut Config) -> &mut u64, Unit, u64, u64),
    /// A number within bounds, or nothing.
    U64OrNone(fn(&mut Config) -> &mut Option<u64>, Unit, u64, u64),
    /// Anything with its own way to be written; the text says what is allowed.
    Other(fn(&mut Config, &str) -> Result<(), String>, &'static str),
}

/// The one declaration of a setting: file, environment, help, sample file and tables come from it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The section of the file.
    pub section: &'static str,
    /// The key in the section.
    pub key: &'static str,
    /// As it would be written in the file; empty = not set.
    pub default: &'static str,
    /// Where the value goes.
    pub field: Field,
    /// When a change takes effect.
    pub change: Change,
    /// One sentence.
    pub about: &'static str,
    /// LavinMQ's variables of the same meaning; our own is stronger.
    pub other_env: &'static [&'static str],
    /// Read and checked, but nothing acts on it yet.
    pub not_yet: bool,
}

impl Setting {
    /// A setting that needs a restart.
    pub const fn new(
        section: &'static str,
        key: &'static str,
        default: &'static str,
        field: Field,
        about: &'static str,
    ) -> Self {
        let (change, other_env, not_yet) = (Change::Restart, [].as_slice(), false);
        Self { section, key, default, field, change, about, other_env, not_yet }
    }

    /// A change takes effect when the settings are read again (SIGHUP).
    pub const fn live(mut self) -> Self {
        self.change = Change::Live;
        self
    }

    /// Also read from these variables.
    pub const fn or_env(mut self, names: &'static [&'static str]) -> Self {
        self.other_env = names;
        self
    }

    /// Nothing acts on it yet: whoever sets it is told so.
    pub const fn not_yet(mut self) -> Self {
        self.not_yet = true;
        self
    }

    /// `RINGMQ_<SECTION>_<KEY>`, with `__` for a dot as in the container images of VerneMQ.
    pub fn env(&self) -> String {
        format!("RINGMQ_{}_{}", self.section, self.key.replace('.', "__")).to_uppercase()
    }

    /// `section.key`
    pub fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// Puts the value that `text` stands for where it belongs.
    ///
    /// # Errors
    /// The reason, when it is not of the type or out of bounds.
    pub fn apply(&self, config: &mut Config, text: &str) -> Result<(), String> {
        match self.field {
            Field::Text(at) => text.clone_into(at(config)),
            Field::Path(at) if !text.is_empty() => *at(config) = PathBuf::from(text),
            Field::Path(_) => return Err("a path is needed".into()),
            Field::PathOrNone(at) => {
                *at(config) = (!text.is_empty()).then(|| PathBuf::from(text));
            }
            Field::Addresses(at) => {
                *at(config) =
                    text.split(',').map(str::trim).map(parse_address).collect::<Result<_, _>>()?;
            }
            Field::Switch(at) => *at(config) = parse_bool(text)?,
            Field::U16(at, unit, min, max) => {
                *at(config) = narrow(bounded(text, unit, min.into(), max.into())?)?;
            }
            Field::U32(at, unit, min, max) => {
                *at(config) = narrow(bounded(text, unit, min.into(), max.into())?)?;
            }
            Field::U64(at, unit, min, max) => *at(config) = bounded(text, unit, min, max)?,
            Field::U64OrNone(at, unit, min, max) => {
                *at(config) = match text {
                    "" | "none" => None,
                    _ => Some(bounded(text, unit, min, max)?),
                };
            }
            Field::Other(parse, _) => parse(config, text)?,
        }
        Ok(())
    }

    /// What may be written, for people: type, unit and bounds.
    pub fn allowed(&self) -> String {
        match self.field {
            Field::Text(_) => "text".into(),
            Field::Path(_) => "path".into(),
            Field::PathOrNone(_) => "path or nothing".into(),
            Field::Addresses(_) => "IPv4 or IPv6 addresses, separated by commas".into(),
            Field::Switch(_) => "true or false".into(),
            Field::U16(_, unit, min, max) => range(unit, min.into(), max.into()),
            Field::U32(_, unit, min, max) => range(unit, min.into(), max.into()),
            Field::U64(_, unit, min, max) => range(unit, min, max),
            Field::U64OrNone(_, unit, min, max) => {
                format!("none, or {}", range(unit, min, max))
            }
            Field::Other(_, allowed) => allowed.into(),
        }
    }
}

fn narrow<T: TryFrom<u64>>(number: u64) -> Result<T, String> {
    T::try_from(number).map_err(|_| format!("{number} is too large"))
}

fn bounded(text: &str, unit: Unit, min: u64, max: u64) -> Result<u64, String> {
    let number = match unit {
        Unit::Bytes => parse_bytes(text)?,
        Unit::Count | Unit::Milliseconds | Unit::Seconds => parse_number(text)?,
    };
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(format!("'{text}' is out of bounds ({})", range(unit, min, max)))
    }
}

fn range(unit: Unit, min: u64, max: u64) -> String {
    let unit = match unit {
        Unit::Count => "",
        Unit::Bytes => " bytes",
        Unit::Milliseconds => " ms",
        Unit::Seconds => " s",
    };
    match max {
        u64::MAX => format!("{min} or more{unit}"),
        _ => format!("{min} to {max}{unit}"),
    }
}

/// An address, in brackets or not, or the one name that needs no resolver.
fn parse_address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    match bare {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => bare.parse().map_err(|_| format!("'{text}' is not an IPv4 or IPv6 address")),
    }
}
