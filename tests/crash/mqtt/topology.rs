//! The clients that every run has, what they publish to, and what they have subscribed to. May
//! import the words of the codec.

use ringmq::protocol::mqtt::wire::{Qos, Version};

use Qos::{AtLeastOnce as ONCE, ExactlyOnce as TWICE};
use Version::{V4, V5};

/// A client that publishes, as an index into [`PUBLISHERS`].
pub(crate) type PublisherIndex = usize;
/// A client that has subscribed, as an index into [`SUBSCRIBERS`].
pub(crate) type SubscriberIndex = usize;

/// What the publishers speak; publisher `n` has client id `pub-n`.
pub(crate) const PUBLISHERS: [Version; 4] = [V4, V5, V5, V4];

/// The numbers of wills follow those of publishers, and then comes the one of marks.
pub(crate) const MARKS: PublisherIndex = 2 * PUBLISHERS.len();

/// The last words of publishers' topics: anything goes to these.
const PLAIN: [&str; 3] = ["a", "b", "c"];
/// And these keep the last message, with a QoS of their own each: a message that is repeated after
/// a later one of another QoS would rightly replace it.
const KEPT: [(&str, Qos); 2] = [("a", ONCE), ("b", TWICE)];

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// Each message replaces the last one that is kept.
    pub(crate) is_kept: bool,
    /// `None`: any.
    pub(crate) qos: Option<Qos>,
}

impl Topic {
    /// The topics of a publisher.
    pub(crate) fn of_publisher(publisher: PublisherIndex) -> Vec<Self> {
        let plain = PLAIN.map(|word| (format!("crash/{publisher}/{word}"), false, None));
        let kept = KEPT.map(|(word, qos)| (format!("kept/{publisher}/{word}"), true, Some(qos)));
        plain
            .into_iter()
            .chain(kept)
            .map(|(name, is_kept, qos)| Self { name, is_kept, qos })
            .collect()
    }
}

/// The topic of a publisher's will.
pub(crate) fn will_topic(publisher: PublisherIndex) -> String {
    format!("will/{publisher}")
}

/// A client that has subscribed.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) client_id: &'static str,
    pub(crate) version: Version,
    pub(crate) filters: &'static [(&'static str, Qos)],
}

/// Every filter `#` of a topic that marks go to; see [`MARKS`].
pub(crate) const MARK_FILTER: &str = "end/#";
/// What marks are published to.
pub(crate) const MARK_TOPIC: &str = "end/of/life";

/// All of them.
pub(crate) const SUBSCRIBERS: [Member; 7] = [
    Member { client_id: "all", version: V4, filters: &[("crash/#", ONCE), (MARK_FILTER, ONCE)] },
    Member {
        client_id: "plus",
        version: V4,
        filters: &[("crash/+/a", TWICE), ("kept/#", TWICE), (MARK_FILTER, ONCE)],
    },
    Member {
        client_id: "overlapping",
        version: V5,
        filters: &[
            ("crash/#", TWICE),
            ("crash/+/b", ONCE),
            ("crash/1/#", TWICE),
            (MARK_FILTER, TWICE),
        ],
    },
    Member {
        client_id: "some",
        version: V5,
        filters: &[
            ("crash/1/#", ONCE),
            ("crash/2/b", TWICE),
            ("will/+", ONCE),
            (MARK_FILTER, ONCE),
        ],
    },
    Member {
        client_id: "many",
        version: V4,
        filters: &[
            ("crash/0/a", TWICE),
            ("crash/0/b", TWICE),
            ("crash/1/+", TWICE),
            ("crash/2/c", ONCE),
            ("kept/0/a", ONCE),
            ("will/#", TWICE),
            (MARK_FILTER, TWICE),
        ],
    },
    Member { client_id: "group-0", version: V5, filters: &[(GROUP, TWICE), (MARK_FILTER, ONCE)] },
    Member { client_id: "group-1", version: V4, filters: &[(GROUP, TWICE), (MARK_FILTER, ONCE)] },
];

/// What those who share messages have subscribed to.
const GROUP: &str = "$share/crash/crash/#";
/// The first of them.
const GROUP_FIRST: SubscriberIndex = 5;

/// Who gets a message that comes to this subscriber: it, or its group, which its first member stands
/// for.
pub(crate) fn place(subscriber: SubscriberIndex, topic: &str) -> SubscriberIndex {
    if is_shared(subscriber, topic) { GROUP_FIRST } else { subscriber }
}

/// Whether a message that comes to this subscriber is one that its group shares.
pub(crate) fn is_shared(subscriber: SubscriberIndex, topic: &str) -> bool {
    subscriber >= GROUP_FIRST && topic.starts_with("crash/")
}

/// How surely a message comes to a subscriber, if at all: as it was published, and no more than the
/// highest of the filters that match wants.
pub(crate) fn granted(subscriber: SubscriberIndex, topic: &str, published: Qos) -> Option<Qos> {
    let filters = SUBSCRIBERS[subscriber].filters.iter();
    let wanted = filters.filter(|(filter, _)| is_match(filter, topic)).map(|(_, qos)| *qos).max();
    wanted.map(|wanted| wanted.min(published))
}

fn is_match(filter: &str, topic: &str) -> bool {
    let mut words = topic.split('/');
    let filter = filter.strip_prefix("$share/crash/").unwrap_or(filter);
    for wanted in filter.split('/') {
        match (wanted, words.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(word)) if wanted == word => {}
            (_, Some(_) | None) => return false,
        }
    }
    words.next().is_none()
}

#[test]
fn the_highest_filter_that_matches_decides() {
    assert_eq!(granted(0, "crash/3/c", TWICE), Some(ONCE));
    assert_eq!(granted(0, "kept/3/a", TWICE), None);
    assert_eq!(granted(2, "crash/2/b", TWICE), Some(TWICE));
    assert_eq!(granted(2, "crash/2/b", ONCE), Some(ONCE));
    assert_eq!(granted(4, "crash/0/a/b", ONCE), None);
    assert_eq!(granted(6, "crash/0/a", TWICE), Some(TWICE));
    assert_eq!((place(6, "crash/0/a"), place(6, MARK_TOPIC), place(4, "crash/0/a")), (5, 6, 4));
    assert_eq!(granted(4, "crash/0", ONCE), None);
    for subscriber in 0..SUBSCRIBERS.len() {
        assert!(granted(subscriber, MARK_TOPIC, ONCE).is_some());
    }
}
