//! The exchange type `x-filter`: the key of a message is a topic, words between slashes; the binding
//! key is a filter, `+` for one word and `#` at the end for any number. Topics that begin with `$`
//! are found only by filters that spell their first word.
//!
//! May import its siblings and `broker::topic_tree`.

use super::arguments::BadArgument;
use super::few::Few;
use super::place::Place;
use super::{Binding, Exchange, ExchangeType, Routed};
use crate::broker::topic_tree::{Syntax, TopicTree};
use crate::value::Table;

pub(super) const TYPE: ExchangeType = ExchangeType {
    name: "x-filter",
    aliases: &[],
    make: |_| Ok(Box::new(Filters { filters: TopicTree::new(Syntax::SLASHES) })),
};

#[derive(Debug)]
struct Filters {
    filters: TopicTree<Few<Place>>,
}

/// Wildcards stand for whole words, and for any number only at the end.
pub(super) fn is_filter(key: &str) -> bool {
    let mut ended = false;
    key.split('/').all(|word| {
        let after_all = std::mem::replace(&mut ended, word == "#");
        !after_all && (word.len() == 1 || !word.contains(['+', '#']))
    })
}

impl Exchange for Filters {
    fn validate_binding(&self, key: &str, _arguments: &Table) -> Result<(), BadArgument> {
        if is_filter(key) { Ok(()) } else { Err(BadArgument::NotAFilter(key.into())) }
    }

    fn insert(&mut self, binding: &Binding<'_>) {
        self.filters.update(binding.key, |places| {
            places.push(binding.place);
        });
    }

    fn remove(&mut self, binding: &Binding<'_>) {
        if let Some(places) = self.filters.get_mut(binding.key) {
            places.remove(binding.place);
            if places.is_empty() {
                self.filters.remove(binding.key);
            }
        }
    }

    fn route(&self, message: &Routed<'_>, places: &mut Vec<Place>) {
        self.filters.matching(message.key, |found| places.extend_from_slice(found.as_slice()));
    }

    fn depends_on_key_only(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{add, route};
    use super::*;

    #[test]
    fn wildcards_stand_alone_and_any_number_of_words_at_the_end() {
        for filter in ["#", "+", "a/+/b", "/", "a//b/#", "+/+", "$SYS/#", "a/b", "/+"] {
            assert!(is_filter(filter), "{filter}");
        }
        for other in ["#/a", "a#", "a/b+", "a/#/b", "##", "++", "a/+b/c", "#/#"] {
            assert!(!is_filter(other), "{other}");
        }
    }

    #[test]
    fn a_topic_is_found_by_its_words_and_by_their_wildcards() {
        let mut filters = Filters { filters: TopicTree::new(Syntax::SLASHES) };
        let all = ["a/b", "a/+", "a/#", "#", "+/+", "a", "/b", "+/b/#"];
        for (place, filter) in (0..).zip(all) {
            add(&mut filters, place, filter, "");
        }
        assert_eq!(route(&filters, "a/b"), [0, 1, 2, 3, 4, 7]);
        assert_eq!(route(&filters, "a"), [2, 3, 5]);
        assert_eq!(route(&filters, "/b"), [3, 4, 6, 7]);
        assert!(route(&filters, "$a/b").is_empty());
    }
}
