//! What a session has subscribed to, and what follows of it for a message (3.3.4-2 to 3.3.4-5,
//! 3.3.5-1; H-22, H-23). May import `subscriber`, `broker::topic_tree`.
//!
//! One copy for all filters that match: with the highest assurance of them, all their numbers, the
//! retained mark if one of them wants it, and nothing at all if none wants what the client itself
//! published.

use std::collections::BTreeMap;

use crate::broker::topic_tree::{Syntax, TopicTree};
use crate::subscriber::{Assurance, FilterName, Subscription};

/// Subscriptions up to here are compared one by one; a tree costs more (arbitrary).
const FEW_MAX: usize = 4;

/// What the group of a client's own connections begins with (V-032); shared subscriptions do not.
const OWN: char = '+';

/// The group of a client's own connections.
pub(super) fn own_group(client: &str) -> Box<str> {
    // The name of a group is one level.
    format!("{OWN}{}", client.replace('%', "%25").replace('/', "%2F")).into()
}

/// Whether it is the group of a shared subscription.
pub(super) fn is_shared(group: Option<&str>) -> bool {
    group.is_some_and(|group| !group.starts_with(OWN))
}

/// What a subscriber wants of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    assurance: Assurance,
    not_own: bool,
    as_published: bool,
    number: u32,
}

impl From<&Subscription> for Wish {
    fn from(subscription: &Subscription) -> Self {
        let Subscription { assurance, not_own, as_published, number, .. } = *subscription;
        Self { assurance, not_own, as_published, number }
    }
}

/// What all filters together want of a message that at least one of them matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// At most so surely.
    pub(super) assurance: Assurance,
    /// Not if the client published it itself.
    pub(super) not_own: bool,
    /// The retained mark as its publisher set it.
    pub(super) as_published: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Interest {
    few: Vec<Subscription>,
    many: Option<Box<Many>>,
}

#[derive(Debug)]
struct Many {
    by_name: BTreeMap<FilterName, Wish>,
    tree: TopicTree<Vec<(Option<Box<str>>, Wish)>>,
}

impl Many {
    fn insert(&mut self, subscription: &Subscription) -> Option<Wish> {
        let FilterName { group, filter } = &subscription.name;
        let wish = Wish::from(subscription);
        self.tree.update(filter, |all| match all.iter_mut().find(|(g, _)| g == group) {
            Some((_, old)) => *old = wish,
            None => all.push((group.clone(), wish)),
        });
        self.by_name.insert(subscription.name.clone(), wish)
    }

    fn remove(&mut self, name: &FilterName) -> Option<Wish> {
        let old = self.by_name.remove(name)?;
        if let Some(all) = self.tree.get_mut(&name.filter) {
            all.retain(|(group, _)| *group != name.group);
            if all.is_empty() {
                self.tree.remove(&name.filter);
            }
        }
        Some(old)
    }
}

impl Interest {
    /// How many filters.
    pub(super) fn len(&self) -> usize {
        self.many.as_ref().map_or(self.few.len(), |many| many.by_name.len())
    }

    /// Whether there is this one.
    pub(super) fn has(&self, name: &FilterName) -> bool {
        match &self.many {
            Some(many) => many.by_name.contains_key(name),
            None => self.few.iter().any(|s| s.name == *name),
        }
    }

    /// Adds one or replaces it; what it was before.
    pub(super) fn insert(&mut self, subscription: Subscription) -> Option<Subscription> {
        if let Some(many) = &mut self.many {
            let old = many.insert(&subscription)?;
            return Some(named(subscription.name, old));
        }
        if let Some(old) = self.few.iter_mut().find(|s| s.name == subscription.name) {
            return Some(std::mem::replace(old, subscription));
        }
        if self.few.is_empty() {
            // Most clients have one.
            self.few.reserve_exact(1);
        }
        self.few.push(subscription);
        if self.few.len() > FEW_MAX {
            let tree = TopicTree::new(Syntax::SLASHES);
            let mut many = Box::new(Many { by_name: BTreeMap::new(), tree });
            for subscription in std::mem::take(&mut self.few) {
                many.insert(&subscription);
            }
            self.many = Some(many);
        }
        None
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, name: &FilterName) {
        if let Some(many) = &mut self.many {
            many.remove(name);
        } else {
            self.few.retain(|s| s.name != *name);
        }
    }

    /// What is wanted of a message with this topic; `None`: no filter matches. Numbers of those
    /// that match are appended. What was chosen for a group has a copy of its own: the filters
    /// without one count here.
    #[inline]
    pub(super) fn of(&self, topic: &str, numbers: &mut Vec<u32>) -> Option<Wanted> {
        let mut sum = None;
        match &self.many {
            None => {
                let own = self.few.iter().filter(|s| !is_shared(s.name.group.as_deref()));
                for one in own.filter(|s| matches(&s.name.filter, topic)) {
                    add(&mut sum, Wish::from(one), numbers);
                }
            }
            Some(many) => many.tree.matching(topic, |all| {
                for (_, wish) in all.iter().filter(|(group, _)| !is_shared(group.as_deref())) {
                    add(&mut sum, *wish, numbers);
                }
            }),
        }
        sum
    }

    /// The same for a message that reached the client as a member of a group.
    pub(super) fn of_group(
        &self,
        (group, filter): (&str, &str),
        numbers: &mut Vec<u32>,
    ) -> Option<Wanted> {
        let wish = match &self.many {
            None => {
                let of_group = |s: &&Subscription| s.name.group.as_deref() == Some(group);
                let mut members = self.few.iter().filter(of_group);
                members.find(|s| *s.name.filter == *filter).map(Wish::from)
            }
            Some(many) => {
                let all = many.tree.get(filter)?;
                let found = all.iter().find(|(known, _)| known.as_deref() == Some(group));
                found.map(|(_, wish)| *wish)
            }
        };
        let mut sum = None;
        add(&mut sum, wish?, numbers);
        sum
    }
}

fn named(name: FilterName, wish: Wish) -> Subscription {
    let Wish { assurance, not_own, as_published, number } = wish;
    Subscription { name, assurance, not_own, as_published, number }
}

fn add(sum: &mut Option<Wanted>, wish: Wish, numbers: &mut Vec<u32>) {
    if wish.number != 0 && !numbers.contains(&wish.number) {
        numbers.push(wish.number);
    }
    *sum = Some(match *sum {
        None => Wanted {
            assurance: wish.assurance,
            not_own: wish.not_own,
            as_published: wish.as_published,
        },
        Some(before) => Wanted {
            assurance: before.assurance.max(wish.assurance),
            not_own: before.not_own && wish.not_own,
            as_published: before.as_published || wish.as_published,
        },
    });
}

/// Whether a topic matches a filter (4.7.1-1 to 4.7.3-4; in version 5 4.7.0-1 to 4.7.3-4).
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    if filter == topic {
        return true;
    }
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut words = topic.split('/');
    for step in filter.split('/') {
        match (step, words.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (step, Some(word)) if step == word => {}
            (_, _) => return false,
        }
    }
    words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(filter: &str) -> FilterName {
        FilterName { group: None, filter: filter.into() }
    }

    fn subscription(filter: &str, assurance: Assurance, number: u32) -> Subscription {
        let name = name(filter);
        Subscription { name, assurance, not_own: false, as_published: false, number }
    }

    /// MQTT-4.7.1-2, MQTT-4.7.1-3, MQTT-4.7.2-1, MQTT-4.7.3-4 (v3.1.1), MQTT-4.7.1-1, MQTT-4.7.1-2,
    /// MQTT-4.7.2-1, MQTT-4.7.3-4 (v5)
    #[test]
    fn filters_match_level_by_level() {
        for (filter, topic, is_match) in [
            ("sport/#", "sport", true),
            ("sport/#", "sport/tennis/x", true),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+", "/x", false),
            ("+/+", "/x", true),
            ("/+", "/x", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a/b", "A/b", false),
            ("a/b", "a/b/", false),
            ("a/b/c", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), is_match, "{filter} {topic}");
        }
    }

    /// MQTT-3.3.5-1 (v3.1.1), MQTT-3.3.4-2, MQTT-3.3.4-3, MQTT-3.3.4-4 (v5)
    #[test]
    fn one_copy_has_the_highest_assurance_and_all_numbers() {
        for others in [0, 20] {
            let mut interest = Interest::default();
            for n in 0..others {
                let filter = format!("other/{n}");
                interest.insert(subscription(&filter, Assurance::ExactlyOnce, 100 + n));
            }
            interest.insert(subscription("a/+", Assurance::AtMostOnce, 1));
            interest.insert(subscription("a/b", Assurance::AtLeastOnce, 2));
            interest.insert(subscription("c", Assurance::ExactlyOnce, 3));
            let mut numbers = Vec::new();
            let wanted = interest.of("a/b", &mut numbers).unwrap();
            assert_eq!(wanted.assurance, Assurance::AtLeastOnce);
            numbers.sort_unstable();
            assert_eq!(numbers, [1, 2]);
            assert_eq!(interest.of("d", &mut numbers), None);
            interest.remove(&name("a/b"));
            interest.remove(&name("a/+"));
            assert_eq!(interest.of("a/b", &mut numbers), None);
        }
    }

    /// MQTT-3.8.4-3 (v3.1.1 and v5)
    #[test]
    fn the_same_filter_replaces_and_a_group_is_a_filter_of_its_own() {
        for others in [0, 20] {
            let mut interest = Interest::default();
            for n in 0..others {
                interest.insert(subscription(&format!("other/{n}"), Assurance::ExactlyOnce, 0));
            }
            let before = interest.len();
            assert_eq!(interest.insert(subscription("a", Assurance::AtMostOnce, 1)), None);
            let old = interest.insert(subscription("a", Assurance::AtLeastOnce, 2)).unwrap();
            assert_eq!((old.assurance, old.number), (Assurance::AtMostOnce, 1));
            let mut shared = subscription("a", Assurance::ExactlyOnce, 0);
            shared.name.group = Some("g".into());
            assert!(!interest.has(&shared.name));
            assert_eq!(interest.insert(shared.clone()), None);
            assert_eq!(interest.len(), before + 2);
            let mut numbers = Vec::new();
            let of_group = interest.of_group(("g", "a"), &mut numbers).unwrap();
            assert_eq!(of_group.assurance, Assurance::ExactlyOnce);
            assert_eq!(interest.of_group(("other", "a"), &mut numbers), None);
            assert!(numbers.is_empty());
            let wanted = interest.of("a", &mut numbers).unwrap();
            assert_eq!(wanted.assurance, Assurance::AtLeastOnce);
            assert_eq!(numbers, [2]);
        }
    }
}
