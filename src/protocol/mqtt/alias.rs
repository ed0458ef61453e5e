//! Topic aliases of a connection, both ways (3.3.2-7 to 3.3.2-12; H-24). May import `wire`.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Octets of topics that a client may have us remember (arbitrary: 16 topics of the largest size).
const INBOUND_BYTES_MAX: usize = 1024 * 1024;

/// Topics longer than this get no alias of ours (arbitrary).
const OUTBOUND_TOPIC_BYTES_MAX: usize = 1024;

/// What the client's aliases stand for.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    topics: BTreeMap<u16, Rc<str>>,
    bytes: usize,
}

impl Inbound {
    /// The topic of an alias.
    pub(super) fn get(&self, alias: u16) -> Option<Rc<str>> {
        self.topics.get(&alias).cloned()
    }

    /// The alias stands for this topic from now on; `false`: there are too many octets of them.
    pub(super) fn set(&mut self, alias: u16, topic: &str) -> bool {
        if self.topics.get(&alias).is_some_and(|old| **old == *topic) {
            return true;
        }
        let old = self.topics.insert(alias, topic.into());
        let before = self.bytes.saturating_sub(old.map_or(0, |old| old.len()));
        self.bytes = before.saturating_add(topic.len());
        self.bytes <= INBOUND_BYTES_MAX
    }
}

/// What is said of a topic on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// By name alone.
    Name,
    /// By name, and it has this alias from now on.
    Both(u16),
    /// By its alias alone.
    Alias(u16),
}

/// Aliases that we have given. The topics that come first get them.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// 0: none are given.
    max: u16,
    aliases: HashMap<Box<str>, u16, ahash::RandomState>,
}

impl Outbound {
    /// At most so many.
    pub(super) fn new(max: u16) -> Self {
        Self { max, aliases: HashMap::default() }
    }

    /// How to say it. Nothing is remembered yet: the packet may turn out to be too large (H-24).
    pub(super) fn say(&self, topic: &str) -> Said {
        if let Some(alias) = self.aliases.get(topic) {
            return Said::Alias(*alias);
        }
        let next = u16::try_from(self.aliases.len()).unwrap_or(u16::MAX).saturating_add(1);
        // An alias costs three octets with each use.
        let is_worth = topic.len() > 3 && topic.len() <= OUTBOUND_TOPIC_BYTES_MAX;
        if is_worth && next <= self.max { Said::Both(next) } else { Said::Name }
    }

    /// It was said.
    pub(super) fn said(&mut self, topic: &str, said: Said) {
        if let Said::Both(alias) = said {
            self.aliases.insert(topic.into(), alias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MQTT-3.3.2-12 (v5)
    #[test]
    fn an_alias_may_stand_for_another_topic_later() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.get(1), None);
        assert!(inbound.set(1, "a"));
        assert!(inbound.set(65_535, "b"));
        assert!(inbound.set(1, "c"));
        assert_eq!(inbound.get(1).as_deref(), Some("c"));
        assert_eq!(inbound.get(65_535).as_deref(), Some("b"));
    }

    #[test]
    fn the_octets_of_remembered_topics_are_bounded() {
        let mut inbound = Inbound::default();
        let topic = "x".repeat(65_535);
        let kept = (1..100).take_while(|alias| inbound.set(*alias, &topic)).count();
        assert_eq!(kept, INBOUND_BYTES_MAX / 65_535);
    }

    /// MQTT-3.1.2-26, MQTT-3.1.2-27, MQTT-3.3.2-11 (v5)
    #[test]
    fn we_give_no_more_aliases_than_the_client_allows() {
        let mut outbound = Outbound::new(1);
        assert_eq!(outbound.say("topic"), Said::Both(1));
        assert_eq!(outbound.say("topic"), Said::Both(1), "nothing was sent");
        outbound.said("topic", Said::Both(1));
        assert_eq!(outbound.say("topic"), Said::Alias(1));
        assert_eq!(outbound.say("other"), Said::Name);
        assert_eq!(Outbound::new(0).say("topic"), Said::Name);
    }
}
