//! Whether a queue that is declared again is the one that is there (P32, P33).
//!
//! May import `arguments`, `value` and the queue's own facts.

use super::arguments::{self, QUEUE_TYPE};
use super::{Queue, QueueDefaults, QueueSpec, classic};
use crate::value::{Table, Value};

/// The first property that differs, with both values as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Which property.
    pub(crate) argument: Box<str>,
    /// As asked for: `'true'`, `none`, `the value '10' of type 'long'`.
    pub(crate) received: Box<str>,
    /// As it is.
    pub(crate) current: Box<str>,
}

/// Flags first, then the arguments that mean something here; all others may differ.
pub(super) fn compare(
    queue: &Queue,
    spec: &QueueSpec<'_>,
    defaults: &QueueDefaults,
) -> Result<(), Difference> {
    // An exclusive queue goes with its connection; whether it is durable makes no difference (P34).
    if queue.exclusive().is_none() {
        flag("durable", spec.durable, queue.is_durable())?;
    }
    flag("exclusive", spec.exclusive.is_some(), queue.exclusive().is_some())?;
    flag("auto_delete", spec.auto_delete, queue.is_auto_delete())?;
    kind(spec.arguments, queue, defaults)?;
    for name in arguments::compared() {
        let (received, current) = (spec.arguments.get(name), queue.arguments().get(name));
        let same = match (received, current) {
            (Some(a), Some(b)) => a.same_as(b),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            return Err(difference(name, argument_text(received), argument_text(current)));
        }
    }
    Ok(())
}

fn flag(name: &str, received: bool, current: bool) -> Result<(), Difference> {
    if received == current {
        return Ok(());
    }
    Err(difference(name, format!("'{received}'"), format!("'{current}'")))
}

/// No type means the default type, and also the classic one, which had no name once.
fn kind(received: &Table, queue: &Queue, defaults: &QueueDefaults) -> Result<(), Difference> {
    let current = queue.kind().name;
    let asked = received.get(QUEUE_TYPE);
    let same = match asked.and_then(Value::as_text) {
        Some(name) => name == current,
        None => current == &*defaults.queue_type || current == classic::TYPE.name,
    };
    if same {
        return Ok(());
    }
    let current = Value::text(current);
    Err(difference(QUEUE_TYPE, argument_text(asked), argument_text(Some(&current))))
}

fn difference(argument: &str, received: String, current: String) -> Difference {
    Difference { argument: argument.into(), received: received.into(), current: current.into() }
}

/// RabbitMQ's wording, which operators search for.
fn argument_text(value: Option<&Value>) -> String {
    let Some(value) = value else { return "none".to_owned() };
    let shown = match value {
        Value::Text(octets) | Value::Bytes(octets) => String::from_utf8_lossy(octets).into_owned(),
        Value::Timestamp(seconds) => seconds.to_string(),
        Value::Void
        | Value::Bool(_)
        | Value::I8(_)
        | Value::U8(_)
        | Value::I16(_)
        | Value::U16(_)
        | Value::I32(_)
        | Value::U32(_)
        | Value::I64(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::Decimal(..)
        | Value::Array(_)
        | Value::Table(_) => format!("{value:?}"),
    };
    format!("the value '{shown}' of type '{}'", type_name(value))
}

/// The names RabbitMQ gives to the kinds of values.
const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Void => "void",
        Value::Bool(_) => "bool",
        Value::I8(_) => "byte",
        Value::U8(_) => "unsignedbyte",
        Value::I16(_) => "short",
        Value::U16(_) => "unsignedshort",
        Value::I32(_) => "signedint",
        Value::U32(_) => "unsignedint",
        Value::I64(_) => "long",
        Value::F32(_) => "float",
        Value::F64(_) => "double",
        Value::Decimal(..) => "decimal",
        Value::Text(_) => "longstr",
        Value::Bytes(_) => "binary",
        Value::Timestamp(_) => "timestamp",
        Value::Array(_) => "array",
        Value::Table(_) => "table",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{connection, now, spec, table};
    use super::*;

    fn queue(arguments: &Table) -> Queue {
        Queue::declare(&spec(arguments), &QueueDefaults::default(), now(0)).unwrap()
    }

    fn against(queue: &Queue, spec: &QueueSpec<'_>) -> Result<(), Difference> {
        queue.same_as(spec, &QueueDefaults::default())
    }

    #[test]
    fn a_missing_argument_is_named_with_both_values() {
        let queue = queue(&table(&[("x-message-ttl", Value::I64(10))]));
        let found = against(&queue, &spec(&Table::default())).unwrap_err();
        assert_eq!(&*found.argument, "x-message-ttl");
        assert_eq!(&*found.received, "none");
        assert_eq!(&*found.current, "the value '10' of type 'long'");
    }

    #[test]
    fn integers_of_any_width_are_the_same_and_other_kinds_are_not() {
        let queue = queue(&table(&[("x-max-length", Value::I64(10))]));
        assert_eq!(against(&queue, &spec(&table(&[("x-max-length", Value::I32(10))]))), Ok(()));
        let text = table(&[("x-max-length", Value::text("10"))]);
        let found = against(&queue, &spec(&text)).unwrap_err();
        assert_eq!(&*found.received, "the value '10' of type 'longstr'");
    }

    #[test]
    fn flags_are_compared_before_arguments() {
        let none = Table::default();
        let queue = queue(&none);
        let other = table(&[("x-max-length", Value::I32(1))]);
        let found = against(&queue, &QueueSpec { durable: false, ..spec(&other) }).unwrap_err();
        assert_eq!(
            (&*found.argument, &*found.received, &*found.current),
            ("durable", "'false'", "'true'")
        );
        let exclusive = QueueSpec { exclusive: Some(connection(1)), ..spec(&none) };
        assert_eq!(&*against(&queue, &exclusive).unwrap_err().argument, "exclusive");
        let found = against(&queue, &QueueSpec { auto_delete: true, ..spec(&none) }).unwrap_err();
        assert_eq!(&*found.argument, "auto_delete");
    }

    #[test]
    fn durable_does_not_matter_for_an_exclusive_queue() {
        let none = Table::default();
        let exclusive = QueueSpec { exclusive: Some(connection(1)), ..spec(&none) };
        let queue = Queue::declare(&exclusive, &QueueDefaults::default(), now(0)).unwrap();
        assert_eq!(against(&queue, &QueueSpec { durable: false, ..exclusive }), Ok(()));
    }

    #[test]
    fn the_classic_type_and_no_type_are_the_same() {
        let none = Table::default();
        let classic = table(&[(QUEUE_TYPE, Value::text("classic"))]);
        let quorum = table(&[(QUEUE_TYPE, Value::text("quorum"))]);
        assert_eq!(against(&queue(&none), &spec(&classic)), Ok(()));
        assert_eq!(against(&queue(&classic), &spec(&none)), Ok(()));
        let found = against(&queue(&quorum), &spec(&none)).unwrap_err();
        assert_eq!(&*found.current, "the value 'quorum' of type 'longstr'");
        assert_eq!(&*found.received, "none");
        let defaults = QueueDefaults { queue_type: "quorum".into(), ..QueueDefaults::default() };
        assert_eq!(queue(&quorum).same_as(&spec(&none), &defaults), Ok(()));
    }

    #[test]
    fn arguments_without_a_meaning_may_differ() {
        let queue = queue(&table(&[("x-mine", Value::I32(1))]));
        assert_eq!(against(&queue, &spec(&Table::default())), Ok(()));
    }
}
