//! Arguments of exchanges and bindings: reading them and refusing them in the broker's words.
//!
//! May import `value`.

use thiserror::Error;

use crate::value::{Table, Value};

/// Why an exchange or a binding cannot be made so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum BadArgument {
    /// The argument must be text.
    #[error("argument '{0}' must be a string")]
    NotText(&'static str),
    /// The argument must be one of some words.
    #[error("invalid value '{value}' of argument '{name}': expected one of {expected}")]
    NotOneOf {
        /// Which argument.
        name: &'static str,
        /// What it is.
        value: Box<str>,
        /// What it may be.
        expected: &'static str,
    },
    /// Two arguments that exclude each other.
    #[error("arguments '{0}' and '{1}' are mutually exclusive")]
    Exclusive(&'static str, &'static str),
    /// The argument is needed.
    #[error("argument '{0}' is missing")]
    Missing(&'static str),
    /// Names no exchange type that may stand there.
    #[error("argument '{name}' names the exchange type '{value}', which cannot be used so")]
    UnusableType {
        /// Which argument.
        name: &'static str,
        /// What it names.
        value: Box<str>,
    },
    /// The key of this binding must be a filter.
    #[error("the binding key is no filter: '{0}'")]
    NotAFilter(Box<str>),
    /// The key of this binding must be a weight.
    #[error("the binding key must be an integer greater than 0: '{0}'")]
    NotAWeight(Box<str>),
    /// The binding would take more than the exchange may have.
    #[error("the binding exceeds the {what} of this exchange, {most}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
}

/// The text under `name`, if there is anything.
pub(crate) fn text_argument<'a>(
    arguments: &'a Table,
    name: &'static str,
) -> Result<Option<&'a str>, BadArgument> {
    match arguments.get(name) {
        None => Ok(None),
        Some(value) => value.as_text().map(Some).ok_or(BadArgument::NotText(name)),
    }
}

/// What stands in a binding's key where it is a weight: an integer from 1.
pub(crate) fn weight_of(key: &str) -> Result<u64, BadArgument> {
    match key.parse::<u64>() {
        Ok(weight) if weight >= 1 => Ok(weight),
        Ok(_) | Err(_) => Err(BadArgument::NotAWeight(key.into())),
    }
}

/// A value as an error shows it.
pub(crate) fn shown(value: &Value) -> Box<str> {
    value.as_text().map_or_else(|| format!("{value:?}").into(), Into::into)
}
