//! The exchange type `topic`: the binding key is a pattern of words between dots, `*` for one
//! word and `#` for any number (L26).
//!
//! May import its siblings and `broker::topic_tree`.

use super::few::Few;
use super::place::Place;
use super::{Binding, Exchange, ExchangeType, Routed};
use crate::broker::topic_tree::{Syntax, TopicTree};

pub(super) const TYPE: ExchangeType = ExchangeType {
    name: "topic",
    aliases: &[],
    make: |_| Ok(Box::new(Topic { patterns: TopicTree::new(Syntax::DOTS) })),
};

#[derive(Debug)]
struct Topic {
    patterns: TopicTree<Few<Place>>,
}

impl Exchange for Topic {
    fn insert(&mut self, binding: &Binding<'_>) {
        self.patterns.update(binding.key, |places| {
            places.push(binding.place);
        });
    }

    fn remove(&mut self, binding: &Binding<'_>) {
        if let Some(places) = self.patterns.get_mut(binding.key) {
            places.remove(binding.place);
            if places.is_empty() {
                self.patterns.remove(binding.key);
            }
        }
    }

    fn route(&self, message: &Routed<'_>, places: &mut Vec<Place>) {
        self.patterns.matching(message.key, |found| places.extend_from_slice(found.as_slice()));
    }

    fn depends_on_key_only(&self) -> bool {
        true
    }
}
