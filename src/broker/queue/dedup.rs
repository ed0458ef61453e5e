//! Recognises messages that were seen before by a value their sender chose (L32).
//!
//! Used by queues and by exchanges. Bounded: the oldest value makes room for a new one.
//! May import `value`.

use std::collections::{HashMap, VecDeque};

use crate::value::Value;

/// The header that carries the value unless the declaration names another.
pub(crate) const DEFAULT_HEADER: &str = "x-deduplication-header";
/// A header with which a message chooses how long it is remembered, milliseconds.
pub(crate) const TTL_HEADER: &str = "x-cache-ttl";
/// Values remembered unless the declaration says otherwise (L32).
pub(crate) const DEFAULT_SIZE: usize = 128;
/// The most a declaration may ask for; arbitrary, about 100 MiB of short values.
pub(crate) const SIZE_MAX: u64 = 1 << 20;

/// How a cache is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DedupSettings {
    /// The header that carries the value.
    pub(crate) header: Box<str>,
    /// Most values remembered.
    pub(crate) size: usize,
    /// How long a value is remembered, milliseconds; `None`: until others take its place.
    pub(crate) ttl_ms: Option<u64>,
}

/// A value that was asked about and is not remembered yet.
#[derive(Debug)]
pub(crate) struct Unseen {
    key: Box<[u8]>,
    forget_at_ms: Option<u64>,
}

/// The answer of [`Dedup::look`].
#[derive(Debug)]
pub(crate) enum Seen {
    /// It was there before.
    Repeated,
    /// It is new: [`Dedup::remember`] it once the message is taken.
    New(Unseen),
    /// The message carries no value: it is never a repetition.
    Unmarked,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Dedup {
    settings: DedupSettings,
    /// Value to the time when it is forgotten (monotonic ms).
    known: HashMap<Box<[u8]>, Option<u64>, ahash::RandomState>,
    /// Oldest first. Exactly the keys of `known`.
    order: VecDeque<Box<[u8]>>,
}

impl Dedup {
    pub(crate) fn new(settings: DedupSettings) -> Self {
        Self { settings, known: HashMap::default(), order: VecDeque::new() }
    }

    /// Whether the message with these headers was seen before.
    pub(crate) fn look(&self, header: impl Fn(&str) -> Option<Value>, now_ms: u64) -> Seen {
        let Some(key) = header(&self.settings.header).as_ref().and_then(key_of) else {
            return Seen::Unmarked;
        };
        match self.known.get(&key) {
            Some(None) => return Seen::Repeated,
            Some(Some(forget_at_ms)) if *forget_at_ms > now_ms => return Seen::Repeated,
            Some(Some(_)) | None => {}
        }
        let own_ttl = header(TTL_HEADER).and_then(|v| u64::try_from(v.as_integer()?).ok());
        let ttl_ms = own_ttl.or(self.settings.ttl_ms);
        Seen::New(Unseen { key, forget_at_ms: ttl_ms.map(|ttl| now_ms.saturating_add(ttl)) })
    }

    /// From now on the value counts as seen.
    pub(crate) fn remember(&mut self, unseen: Unseen) {
        if self.known.insert(unseen.key.clone(), unseen.forget_at_ms).is_some() {
            // It was there but forgotten: it keeps its place in the order.
            return;
        }
        self.order.push_back(unseen.key);
        while self.order.len() > self.settings.size {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

/// A value as octets; text `1` and number 1 differ, numbers of any width do not.
fn key_of(value: &Value) -> Option<Box<[u8]>> {
    let tagged = |tag: u8, octets: &[u8]| {
        let mut key = Vec::with_capacity(octets.len() + 1);
        key.push(tag);
        key.extend_from_slice(octets);
        Some(key.into_boxed_slice())
    };
    if let Some(number) = value.as_integer() {
        return tagged(b'i', &number.to_be_bytes());
    }
    if let Value::Text(octets) | Value::Bytes(octets) = value {
        return tagged(b't', octets);
    }
    if *value == Value::Void {
        return None;
    }
    // Rare kinds (times, lists, decimals): their readable form is exact enough to compare.
    tagged(b'o', format!("{value:?}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(size: usize, ttl_ms: Option<u64>) -> Dedup {
        Dedup::new(DedupSettings { header: DEFAULT_HEADER.into(), size, ttl_ms })
    }

    /// Looks and, if new, remembers; tells whether it was a repetition.
    fn repeated(dedup: &mut Dedup, value: &Value, now_ms: u64) -> bool {
        let header = |name: &str| (name == DEFAULT_HEADER).then(|| value.clone());
        match dedup.look(header, now_ms) {
            Seen::Repeated => true,
            Seen::New(unseen) => {
                dedup.remember(unseen);
                false
            }
            Seen::Unmarked => panic!("it is marked"),
        }
    }

    #[test]
    fn a_value_is_a_repetition_until_its_time_is_over() {
        let mut dedup = cache(10, Some(100));
        assert!(!repeated(&mut dedup, &Value::text("a"), 0));
        assert!(repeated(&mut dedup, &Value::text("a"), 99));
        assert!(!repeated(&mut dedup, &Value::text("a"), 100));
        assert!(repeated(&mut dedup, &Value::text("a"), 199));
    }

    #[test]
    fn numbers_of_any_width_are_the_same_and_text_is_not() {
        let mut dedup = cache(10, None);
        assert!(!repeated(&mut dedup, &Value::I32(1), 0));
        assert!(repeated(&mut dedup, &Value::I64(1), 0));
        assert!(!repeated(&mut dedup, &Value::text("1"), 0));
    }

    #[test]
    fn the_oldest_value_makes_room() {
        let mut dedup = cache(2, None);
        for value in ["a", "b", "c"] {
            assert!(!repeated(&mut dedup, &Value::text(value), 0));
        }
        assert!(repeated(&mut dedup, &Value::text("c"), 0));
        assert!(!repeated(&mut dedup, &Value::text("a"), 0));
        assert_eq!(dedup.known.len(), 2);
    }

    #[test]
    fn a_message_without_a_value_is_never_a_repetition() {
        let dedup = cache(2, None);
        assert!(matches!(dedup.look(|_| None, 0), Seen::Unmarked));
        assert!(matches!(dedup.look(|_| Some(Value::Void), 0), Seen::Unmarked));
    }

    #[test]
    fn a_message_may_choose_how_long_it_is_remembered() {
        let mut dedup = cache(2, Some(1_000));
        let header = |name: &str| match name {
            DEFAULT_HEADER => Some(Value::text("a")),
            TTL_HEADER => Some(Value::I32(5)),
            _ => None,
        };
        let Seen::New(unseen) = dedup.look(header, 0) else { panic!("new") };
        dedup.remember(unseen);
        assert!(!repeated(&mut dedup, &Value::text("a"), 5));
    }
}
