//! The arguments a queue may be declared with: one table, one reader each (L33, P75-P77).
//!
//! Unknown arguments are accepted and mean nothing, as in RabbitMQ (abuse row 39).
//! May import `dead_letter`, `dedup`, `durability` and `value`.

use std::rc::Rc;

use super::dead_letter::DeadLetterTarget;
use super::dedup::{self, DedupSettings};
use crate::durability::Durability;
use crate::value::{Table, Value};

/// Times up to here, as RabbitMQ's timers: 2^32 - 1 ms, 49 days.
const TIME_MS_MAX: u64 = u32::MAX as u64;

/// Names the type of a queue.
pub(crate) const QUEUE_TYPE: &str = "x-queue-type";

/// What a durable queue promises.
pub(crate) const DURABILITY: &str = "x-durability";

/// An argument or property that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadArgument {
    /// Which.
    pub(crate) argument: Box<str>,
    /// What is wrong with it.
    pub(crate) reason: Box<str>,
}

impl BadArgument {
    pub(crate) fn new(argument: &str, reason: impl Into<Box<str>>) -> Self {
        Self { argument: argument.into(), reason: reason.into() }
    }
}

/// What happens to a publish that does not fit (R14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Overflow {
    /// It is taken and old messages go.
    #[default]
    DropHead,
    /// It is refused.
    Refuse,
    /// It is refused and dead-lettered.
    RefuseAndDeadLetter,
}

/// Whether and how often a message may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DeliveryLimit {
    /// Not counted.
    #[default]
    Uncounted,
    /// Counted, never too often.
    Unlimited,
    /// This often; the next time it dies.
    Times(u32),
}

/// What a queue does, as its arguments say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    /// Idle time after which the queue goes, ms.
    pub(crate) expires_ms: Option<u64>,
    /// Longest stay of a message, ms.
    pub(crate) message_ttl_ms: Option<u64>,
    /// Most ready messages.
    pub(crate) length_max: Option<u64>,
    /// Most octets of ready bodies.
    pub(crate) body_bytes_max: Option<u64>,
    pub(crate) overflow: Overflow,
    pub(crate) dead_letter: Option<DeadLetterTarget>,
    pub(crate) delivery_limit: DeliveryLimit,
    /// Longest time a delivery may stay unsettled, ms.
    pub(crate) consumer_timeout_ms: Option<u64>,
    pub(crate) single_active_consumer: bool,
    pub(crate) priority_max: Option<u8>,
    pub(crate) dedup: Option<DedupSettings>,
    /// What is promised of a stored message; `None`: nothing, as the queue is not durable.
    pub(crate) durability: Option<Durability>,
}

type Read = Result<(), Box<str>>;

/// One argument: its name and how its value is read.
struct Argument {
    name: &'static str,
    read: fn(&Value, &mut Raw) -> Read,
}

/// Values that mean something only together.
#[derive(Default)]
struct Raw {
    settings: Settings,
    dead_letter_exchange: Option<Rc<str>>,
    dead_letter_key: Option<Rc<str>>,
    dedup: bool,
    dedup_header: Option<Box<str>>,
    dedup_size: Option<usize>,
    dedup_ttl_ms: Option<u64>,
}

const ARGUMENTS: &[Argument] = &[
    Argument { name: "x-expires", read: expires },
    Argument { name: "x-message-ttl", read: |v, r| set(&mut r.settings.message_ttl_ms, time(v)) },
    Argument { name: "x-max-length", read: |v, r| set(&mut r.settings.length_max, natural(v)) },
    Argument {
        name: "x-max-length-bytes",
        read: |v, r| set(&mut r.settings.body_bytes_max, natural(v)),
    },
    Argument { name: "x-overflow", read: overflow },
    Argument {
        name: "x-dead-letter-exchange",
        read: |v, r| set(&mut r.dead_letter_exchange, text(v).map(Rc::from)),
    },
    Argument {
        name: "x-dead-letter-routing-key",
        read: |v, r| set(&mut r.dead_letter_key, text(v).map(Rc::from)),
    },
    Argument {
        name: "x-dead-letter-strategy",
        read: |v, _| one_of(v, &["at-most-once", "at-least-once"]),
    },
    Argument { name: "x-delivery-limit", read: delivery_limit },
    Argument {
        name: "x-consumer-timeout",
        read: |v, r| set(&mut r.settings.consumer_timeout_ms, time(v)),
    },
    Argument {
        name: "x-single-active-consumer",
        read: |v, r| boolean(v).map(|on| r.settings.single_active_consumer = on),
    },
    Argument { name: DURABILITY, read: durability },
    Argument { name: "x-max-priority", read: priority_max },
    Argument { name: QUEUE_TYPE, read: |v, _| text(v).map(drop) },
    Argument { name: "x-message-deduplication", read: |v, r| boolean(v).map(|on| r.dedup = on) },
    Argument { name: "x-cache-size", read: dedup_size },
    Argument { name: "x-cache-ttl", read: |v, r| set(&mut r.dedup_ttl_ms, time(v)) },
    Argument {
        name: "x-deduplication-header",
        read: |v, r| set(&mut r.dedup_header, text(v).map(Box::from)),
    },
    // Accepted and without effect (R10-R13): all queues are kept the same way here.
    Argument { name: "x-queue-mode", read: |v, _| one_of(v, &["default", "lazy"]) },
    Argument { name: "x-queue-version", read: |v, _| within(v, 1, 2) },
    Argument { name: "x-max-in-memory-length", read: |v, _| natural(v).map(drop) },
    Argument { name: "x-max-in-memory-bytes", read: |v, _| natural(v).map(drop) },
    Argument { name: "x-queue-leader-locator", read: |v, _| text(v).map(drop) },
    Argument { name: "x-queue-master-locator", read: |v, _| text(v).map(drop) },
    Argument { name: "x-quorum-initial-group-size", read: |v, _| within(v, 1, u64::MAX) },
];

/// Arguments that only a log-like queue type has; with the types there are they would silently do
/// nothing, so they are refused as RabbitMQ does (P33).
const OF_OTHER_TYPES: &[&str] = &[
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
    "x-initial-cluster-size",
];

/// The names that are compared when a queue is declared again (P32).
pub(crate) fn compared() -> impl Iterator<Item = &'static str> {
    ARGUMENTS.iter().map(|a| a.name).filter(|name| *name != QUEUE_TYPE)
}

/// Reads and checks all arguments.
pub(crate) fn read(table: &Table) -> Result<Settings, BadArgument> {
    let mut raw = Raw::default();
    for Argument { name, read } in ARGUMENTS {
        if let Some(value) = table.get(name) {
            read(value, &mut raw).map_err(|reason| BadArgument::new(name, reason))?;
        }
    }
    for name in OF_OTHER_TYPES {
        if table.get(name).is_some() {
            return Err(BadArgument::new(name, "this type of queue has no such argument"));
        }
    }
    let mut settings = raw.settings;
    settings.dead_letter = match (raw.dead_letter_exchange, raw.dead_letter_key) {
        (Some(exchange), routing_key) => Some(DeadLetterTarget { exchange, routing_key }),
        (None, None) => None,
        (None, Some(_)) => {
            let reason = "needs x-dead-letter-exchange";
            return Err(BadArgument::new("x-dead-letter-routing-key", reason));
        }
    };
    settings.dedup = raw.dedup.then(|| DedupSettings {
        header: raw.dedup_header.unwrap_or_else(|| dedup::DEFAULT_HEADER.into()),
        size: raw.dedup_size.unwrap_or(dedup::DEFAULT_SIZE),
        ttl_ms: raw.dedup_ttl_ms,
    });
    Ok(settings)
}

fn set<T>(place: &mut Option<T>, value: Result<T, Box<str>>) -> Read {
    *place = Some(value?);
    Ok(())
}

fn integer(value: &Value) -> Result<i64, Box<str>> {
    // Digits in a text are refused too, so that the mistake surfaces (P76).
    value.as_integer().ok_or_else(|| format!("must be an integer, not {value:?}").into())
}

fn natural(value: &Value) -> Result<u64, Box<str>> {
    let number = integer(value)?;
    u64::try_from(number).map_err(|_| format!("must not be negative: {number}").into())
}

fn within(value: &Value, least: u64, most: u64) -> Read {
    let number = natural(value)?;
    if (least..=most).contains(&number) {
        Ok(())
    } else if number < least {
        Err(format!("must be at least {least}: {number}").into())
    } else {
        Err(format!("must be at most {most}: {number}").into())
    }
}

pub(crate) fn time(value: &Value) -> Result<u64, Box<str>> {
    within(value, 0, TIME_MS_MAX)?;
    natural(value)
}

fn text(value: &Value) -> Result<&str, Box<str>> {
    value.as_text().ok_or_else(|| format!("must be text, not {value:?}").into())
}

fn boolean(value: &Value) -> Result<bool, Box<str>> {
    value.as_bool().ok_or_else(|| format!("must be true or false, not {value:?}").into())
}

fn one_of(value: &Value, allowed: &[&str]) -> Read {
    let word = text(value)?;
    if allowed.contains(&word) {
        return Ok(());
    }
    Err(format!("must be one of {}: '{word}'", allowed.join(", ")).into())
}

fn expires(value: &Value, raw: &mut Raw) -> Read {
    // 0 would delete the queue while its declarer still reads the answer (P77).
    within(value, 1, TIME_MS_MAX)?;
    set(&mut raw.settings.expires_ms, natural(value))
}

fn overflow(value: &Value, raw: &mut Raw) -> Read {
    one_of(value, &["drop-head", "reject-publish", "reject-publish-dlx"])?;
    raw.settings.overflow = match text(value)? {
        "reject-publish" => Overflow::Refuse,
        "reject-publish-dlx" => Overflow::RefuseAndDeadLetter,
        _ => Overflow::DropHead,
    };
    Ok(())
}

fn delivery_limit(value: &Value, raw: &mut Raw) -> Read {
    let number = integer(value)?;
    raw.settings.delivery_limit = match u32::try_from(number) {
        Ok(times) => DeliveryLimit::Times(times),
        Err(_) if number == -1 => DeliveryLimit::Unlimited,
        Err(_) => return Err(format!("must be -1 or from 0 to {}: {number}", u32::MAX).into()),
    };
    Ok(())
}

fn durability(value: &Value, raw: &mut Raw) -> Read {
    let word = text(value)?;
    let refused = || format!("must be {}: '{word}'", Durability::SYNTAX);
    raw.settings.durability = Some(Durability::parse(word).ok_or_else(refused)?);
    Ok(())
}

fn priority_max(value: &Value, raw: &mut Raw) -> Read {
    within(value, 0, u64::from(u8::MAX))?;
    raw.settings.priority_max = u8::try_from(natural(value)?).ok();
    Ok(())
}

fn dedup_size(value: &Value, raw: &mut Raw) -> Read {
    within(value, 1, dedup::SIZE_MAX)?;
    raw.dedup_size = usize::try_from(natural(value)?).ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::table;
    use super::*;

    fn one(name: &str, value: Value) -> Result<Settings, BadArgument> {
        read(&table(&[(name, value)]))
    }

    #[test]
    fn any_integer_width_is_taken_and_digits_in_a_text_are_not() {
        for value in [Value::I8(9), Value::U16(9), Value::I32(9), Value::I64(9)] {
            assert_eq!(one("x-max-length", value).unwrap().length_max, Some(9));
        }
        let refused = one("x-max-length", Value::text("9")).unwrap_err();
        assert_eq!(&*refused.argument, "x-max-length");
        assert_eq!(&*refused.reason, "must be an integer, not '9'");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let bad = [
            ("x-expires", 0),
            ("x-expires", -1),
            ("x-expires", 1 << 32),
            ("x-message-ttl", -1),
            ("x-message-ttl", i64::MAX),
            ("x-max-length", -1),
            ("x-max-length-bytes", i64::MIN),
            ("x-max-priority", 256),
            ("x-max-priority", -1),
            ("x-delivery-limit", -2),
            ("x-queue-version", 3),
            ("x-cache-size", 0),
        ];
        for (name, number) in bad {
            assert!(one(name, Value::I64(number)).is_err(), "{name} {number}");
        }
        assert_eq!(one("x-message-ttl", Value::I32(0)).unwrap().message_ttl_ms, Some(0));
        assert_eq!(one("x-max-length", Value::I32(0)).unwrap().length_max, Some(0));
        assert_eq!(one("x-max-priority", Value::U8(255)).unwrap().priority_max, Some(255));
        let unlimited = one("x-delivery-limit", Value::I32(-1)).unwrap().delivery_limit;
        assert_eq!(unlimited, DeliveryLimit::Unlimited);
    }

    #[test]
    fn wrong_kinds_and_words_are_refused() {
        assert!(one("x-single-active-consumer", Value::I32(1)).is_err(), "P75");
        assert!(one("x-overflow", Value::text("drop-tail")).is_err());
        assert!(one("x-queue-mode", Value::text("eager")).is_err());
        assert!(one("x-dead-letter-exchange", Value::I32(1)).is_err());
        assert!(one("x-queue-type", Value::Bool(true)).is_err());
        assert!(one("x-max-age", Value::text("7D")).is_err());
        assert!(one("x-durability", Value::text("fsync")).is_err());
        assert!(one("x-durability", Value::Bool(true)).is_err());
    }

    #[test]
    fn a_dead_letter_key_needs_an_exchange_which_may_be_the_default_one() {
        assert!(one("x-dead-letter-routing-key", Value::text("k")).is_err());
        let settings = one("x-dead-letter-exchange", Value::text("")).unwrap();
        assert_eq!(
            settings.dead_letter.map(|d| (d.exchange.len(), d.routing_key)),
            Some((0, None))
        );
    }

    #[test]
    fn unknown_arguments_mean_nothing() {
        assert_eq!(one("x-my-own", Value::Void).unwrap(), Settings::default());
        assert_eq!(one("alternate-exchange", Value::I32(1)).unwrap(), Settings::default());
    }

    #[test]
    fn deduplication_has_lavinmqs_defaults() {
        let settings = one("x-message-deduplication", Value::Bool(true)).unwrap();
        let expected =
            DedupSettings { header: "x-deduplication-header".into(), size: 128, ttl_ms: None };
        assert_eq!(settings.dedup, Some(expected));
        assert_eq!(one("x-cache-size", Value::I32(5)).unwrap().dedup, None);
    }
}
