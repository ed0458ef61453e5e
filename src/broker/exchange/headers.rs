//! The exchange type `headers`: the binding's arguments are looked for among the headers (L27).
//!
//! Indexed by header and value, so that a message is held against the bindings that share
//! something with it, not against all (abuse row 38). May import its siblings.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use super::arguments::{BadArgument, shown};
use super::canonical::feed_value;
use super::few::Few;
use super::place::Place;
use super::{Binding, Exchange, ExchangeType, Routed};
use crate::value::{Table, Value};

pub(super) const TYPE: ExchangeType = ExchangeType { name: "headers", aliases: &[], make };

const MATCH: &str = "x-match";

/// Headers one binding may ask for: with `any`, each is an entry of the index (abuse row 38).
const WANTED_MAX: usize = 1_024;

fn make(arguments: &Table) -> Result<Box<dyn Exchange>, BadArgument> {
    let default = Rule::of(arguments)?.unwrap_or(Rule { all: true, with_x: false });
    Ok(Box::new(HeadersExchange::new(default)))
}

/// What `x-match` says.
#[derive(Debug, Clone, Copy)]
struct Rule {
    /// All wanted headers, or any of them.
    all: bool,
    /// Whether names that begin with `x-` count, except `x-match` itself.
    with_x: bool,
}

impl Rule {
    fn of(arguments: &Table) -> Result<Option<Self>, BadArgument> {
        let Some(value) = arguments.get(MATCH) else { return Ok(None) };
        match value.as_text() {
            Some("all") => Ok(Some(Self { all: true, with_x: false })),
            Some("any") => Ok(Some(Self { all: false, with_x: false })),
            Some("all-with-x") => Ok(Some(Self { all: true, with_x: true })),
            Some("any-with-x") => Ok(Some(Self { all: false, with_x: true })),
            Some(_) | None => Err(BadArgument::NotOneOf {
                name: MATCH,
                value: shown(value),
                expected: "all, any, all-with-x, any-with-x",
            }),
        }
    }

    fn counts(self, name: &str) -> bool {
        name != MATCH && (self.with_x || !name.starts_with("x-"))
    }
}

/// A header that a binding asks for.
#[derive(Debug)]
struct Wanted {
    /// Hash of the name, to find it among the headers.
    name_hash: u64,
    /// Where the index has it.
    index_hash: u64,
    name: Box<str>,
    /// Void asks only that the header be there.
    value: Value,
}

#[derive(Debug)]
struct Matcher {
    all: bool,
    wanted: Box<[Wanted]>,
    /// With `all`: which of the wanted stands in the index for the binding.
    anchor: usize,
}

impl Matcher {
    /// What stands in the index for the binding: one of all, or each of any.
    fn indexed(&self) -> &[Wanted] {
        let one = self.wanted.get(self.anchor..=self.anchor).filter(|_| self.all);
        one.unwrap_or(&self.wanted)
    }

    fn matches(&self, headers: &Table, names: &[(u64, usize)]) -> bool {
        let has = |wanted: &Wanted| wanted.is_in(headers, names);
        if self.all { self.wanted.iter().all(has) } else { self.wanted.iter().any(has) }
    }
}

impl Wanted {
    fn is_in(&self, headers: &Table, names: &[(u64, usize)]) -> bool {
        let at = names.binary_search_by_key(&self.name_hash, |(hash, _)| *hash);
        let found = at.ok().and_then(|at| names.get(at)).and_then(|(_, i)| headers.0.get(*i));
        found.is_some_and(|(name, value)| {
            *name == self.name && (self.value == Value::Void || self.value.same_as(value))
        })
    }
}

#[derive(Debug)]
struct HeadersExchange {
    /// What a binding without `x-match` means.
    default: Rule,
    /// By place.
    matchers: Vec<Option<Matcher>>,
    /// Bindings that want all of nothing.
    unconditional: Few<Place>,
    /// By hash of name and value, or of the name alone where the value does not matter.
    index: HashMap<u64, Few<Place>, ahash::RandomState>,
    /// Keys the hashes, so that nobody can choose headers that collide.
    keys: ahash::RandomState,
    /// Hash of each header's name and its place among the headers, ascending; kept for its memory.
    names: RefCell<Vec<(u64, usize)>>,
}

impl HeadersExchange {
    fn new(default: Rule) -> Self {
        Self {
            default,
            matchers: Vec::new(),
            unconditional: Few::default(),
            index: HashMap::default(),
            keys: ahash::RandomState::new(),
            names: RefCell::default(),
        }
    }

    fn hash(&self, name: &str, value: Option<&Value>) -> u64 {
        let mut hasher = self.keys.build_hasher();
        hasher.write(name.as_bytes());
        if let Some(value) = value {
            hasher.write_usize(name.len());
            feed_value(value, &mut |piece| hasher.write(piece));
        }
        hasher.finish()
    }

    fn matcher_of(&self, arguments: &Table) -> Matcher {
        // A binding from elsewhere is not validated again: what cannot be read means the default.
        let rule = Rule::of(arguments).ok().flatten().unwrap_or(self.default);
        let names = arguments.0.iter().map(|(name, _)| name).filter(|name| rule.counts(name));
        let mut names: Vec<&str> = names.map(|name| &**name).collect();
        names.sort_unstable();
        names.dedup();
        let wanted = names.into_iter().map(|name| {
            let value = arguments.get(name).cloned().unwrap_or(Value::Void);
            let asked = Some(&value).filter(|value| **value != Value::Void);
            let index_hash = self.hash(name, asked);
            Wanted { name_hash: self.hash(name, None), index_hash, name: name.into(), value }
        });
        let wanted: Box<[Wanted]> = wanted.collect();
        // The rarest so far: what many bindings share would lead every message to all of them.
        let rare = |w: &Wanted| self.index.get(&w.index_hash).map_or(0, |p| p.as_slice().len());
        let anchor =
            wanted.iter().enumerate().min_by_key(|(_, w)| (rare(w), w.value == Value::Void));
        let anchor = anchor.map_or(0, |(i, _)| i);
        Matcher { all: rule.all, wanted, anchor }
    }

    /// Of a header that repeats, the last one counts.
    fn note_names(&self, headers: &Table, names: &mut Vec<(u64, usize)>) {
        names.clear();
        names.extend(headers.0.iter().enumerate().map(|(i, (name, _))| (self.hash(name, None), i)));
        names.sort_unstable_by(|a, b| (a.0, b.1).cmp(&(b.0, a.1)));
        names.dedup_by_key(|(hash, _)| *hash);
    }
}

impl Exchange for HeadersExchange {
    fn validate_binding(&self, _key: &str, arguments: &Table) -> Result<(), BadArgument> {
        Rule::of(arguments)?;
        if arguments.0.len() > WANTED_MAX {
            return Err(BadArgument::TooMuch { what: "arguments per binding", most: WANTED_MAX });
        }
        Ok(())
    }

    fn insert(&mut self, binding: &Binding<'_>) {
        let matcher = self.matcher_of(binding.arguments);
        if matcher.all && matcher.wanted.is_empty() {
            self.unconditional.push(binding.place);
        }
        for wanted in matcher.indexed() {
            self.index.entry(wanted.index_hash).or_default().push(binding.place);
        }
        if self.matchers.len() <= binding.place.index() {
            self.matchers.resize_with(binding.place.index() + 1, || None);
        }
        if let Some(slot) = self.matchers.get_mut(binding.place.index()) {
            *slot = Some(matcher);
        }
    }

    fn remove(&mut self, binding: &Binding<'_>) {
        let slot = self.matchers.get_mut(binding.place.index());
        let Some(matcher) = slot.and_then(Option::take) else { return };
        self.unconditional.remove(binding.place);
        for wanted in matcher.indexed() {
            if let Some(places) = self.index.get_mut(&wanted.index_hash) {
                places.remove(binding.place);
                if places.is_empty() {
                    self.index.remove(&wanted.index_hash);
                }
            }
        }
    }

    fn route(&self, message: &Routed<'_>, places: &mut Vec<Place>) {
        places.extend_from_slice(self.unconditional.as_slice());
        if self.index.is_empty() {
            return;
        }
        let headers = message.headers.headers();
        let mut names = self.names.take();
        self.note_names(headers, &mut names);
        let already = places.len();
        for (name_hash, i) in &names {
            let Some((name, value)) = headers.0.get(*i) else { continue };
            for hash in [*name_hash, self.hash(name, Some(value))] {
                let bucket = self.index.get(&hash).map_or(&[][..], Few::as_slice);
                places.extend(bucket.iter().filter(|place| {
                    let matcher = self.matchers.get(place.index()).and_then(Option::as_ref);
                    matcher.is_some_and(|matcher| matcher.matches(headers, &names))
                }));
            }
        }
        self.names.replace(names);
        // A binding to any of several headers was met once for each of them.
        if let Some(met) = places.get_mut(already..).filter(|met| met.len() > 1) {
            met.sort_unstable();
            // Those before are not among those met.
            places.dedup();
        }
    }

    fn depends_on_key_only(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
