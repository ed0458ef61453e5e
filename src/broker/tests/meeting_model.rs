//! Services and subscribers at one node against a model of who gets what: bindings and filters come
//! and go, and each message that is published to either side, on any shard, comes exactly to those
//! whose key or filter matches by a matcher that was written for this test alone (mqtt.md ).

use super::client::*;
use super::cluster::{Cluster, on_every_node};
use super::sessions::publishers;
use super::subscriber::*;
use crate::command::Publish;
use crate::properties::{Crossing, Dots, TOPICS};
use crate::subscriber::Lasts;

const LEVELS: [&str; 6] = ["a", "b", "", "c.d", "a%2Eb", "\u{fc}"];
const WORDS: [&str; 6] = ["a", "b", "", "c%2Ed", "d", "$x"];
const ROUNDS: usize = 25;
const MESSAGES: usize = 8;

fn is_filter_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        ([f, filter @ ..], [t, topic @ ..]) => {
            (*f == "+" || f == t) && is_filter_match(filter, topic)
        }
        _ => false,
    }
}

fn filter_matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (filter, topic): (Vec<_>, Vec<_>) =
        (filter.split('/').collect(), topic.split('/').collect());
    is_filter_match(&filter, &topic)
}

fn is_binding_match(binding: &[&str], key: &[&str]) -> bool {
    match (binding, key) {
        ([], []) => true,
        (["#", rest @ ..], _) => {
            is_binding_match(rest, key) || (!key.is_empty() && is_binding_match(binding, &key[1..]))
        }
        ([b, binding @ ..], [k, key @ ..]) => {
            (*b == "*" || b == k) && is_binding_match(binding, key)
        }
        _ => false,
    }
}

fn binding_matches(binding: &str, key: &str) -> bool {
    let (binding, key): (Vec<_>, Vec<_>) = (binding.split('.').collect(), key.split('.').collect());
    is_binding_match(&binding, &key)
}

/// The letters of X-03, once more.
fn key_of(topic: &str, dots: Dots) -> String {
    let levels = topic.split('/');
    let words = levels.map(|level| match dots {
        Dots::Kept => level.to_owned(),
        Dots::Escaped => level.split('.').collect::<Vec<_>>().join("%2E"),
    });
    words.collect::<Vec<_>>().join(".")
}

/// And those of X-04.
fn topic_of(key: &str, dots: Dots) -> Option<String> {
    if key.is_empty() || key.contains(['+', '#']) {
        return None;
    }
    let words = key.split('.').map(|word| match dots {
        Dots::Kept => word.to_owned(),
        Dots::Escaped => word.split("%2E").collect::<Vec<_>>().join("."),
    });
    Some(words.collect::<Vec<_>>().join("/"))
}

#[derive(Debug)]
struct Side {
    /// A queue, or nothing for a session.
    queue: Option<String>,
    client: Client,
    patterns: Vec<String>,
    expected: Vec<String>,
}

struct World {
    dots: Dots,
    sides: Vec<Side>,
    count: usize,
    /// To sessions, and to queues.
    came: [usize; 2],
}

fn pick(c: &mut Cluster, all: &[&str]) -> String {
    all[c.rng.below(all.len())].to_owned()
}

fn text(c: &mut Cluster, words: &[&str], between: &str) -> String {
    let count = 1 + c.rng.below(4);
    let all: Vec<String> = (0..count).map(|_| pick(c, words)).collect();
    all.join(between)
}

impl World {
    fn new(c: &mut Cluster) -> Self {
        let dots = if c.rng.below(2) == 0 { Dots::Kept } else { Dots::Escaped };
        let crossing = Crossing { dots, ..Crossing::default() };
        c.brokers.iter_mut().for_each(|broker| broker.set_crossing(crossing));
        let mut sides = Vec::new();
        for n in 0..6 {
            let (queue_name, client) = if n % 2 == 0 {
                let (client, name) = (c.connect(n), c.queue_on(n));
                c.done(client, queue(&name, &[]));
                (Some(name), client)
            } else {
                (None, c.open(&session(&format!("s{n}"), Lasts::Connection)).0)
            };
            let (patterns, expected) = (Vec::new(), Vec::new());
            sides.push(Side { queue: queue_name, client, patterns, expected });
        }
        Self { dots, sides, count: 0, came: [0; 2] }
    }

    fn change(&mut self, c: &mut Cluster) {
        let n = c.rng.below(self.sides.len());
        let side = &mut self.sides[n];
        let goes = !side.patterns.is_empty() && c.rng.below(3) == 0;
        if goes {
            let gone = side.patterns.swap_remove(c.rng.below(side.patterns.len()));
            match &side.queue {
                Some(queue) => c.done(side.client, unbind(queue, TOPICS, &gone)),
                None => assert_eq!(c.unsubscribe(side.client, &[&gone]), [true]),
            }
            return;
        }
        let new = match &side.queue {
            Some(queue) => {
                let key = text(c, &["a", "b", "", "c%2Ed", "*", "#", "#", "d"], ".");
                c.done(side.client, bind(queue, TOPICS, &key));
                key
            }
            None => {
                let mut filter = text(c, &["a", "b", "", "c.d", "+", "+", "$x"], "/");
                if c.rng.below(2) == 0 {
                    filter.push_str("/#");
                }
                c.subscribe(side.client, &filter, LEAST);
                filter
            }
        };
        if !side.patterns.contains(&new) {
            side.patterns.push(new);
        }
    }

    fn publish(&mut self, c: &mut Cluster, from: Client) {
        self.count += 1;
        let body = self.count.to_string();
        let (key, topic, message_key, is_topic, block);
        if c.rng.below(2) == 0 {
            let mut own = text(c, &LEVELS, "/");
            if c.rng.below(8) == 0 {
                own.insert(0, '$');
            }
            own.push_str(&"x".repeat(if c.rng.below(20) == 0 { 250 } else { 0 }));
            if own.is_empty() {
                own.push('a');
            }
            let stays =
                own.starts_with('$') || key_of(&own, self.dots).len() > 255 || own.len() > 255;
            key = (!stays).then(|| key_of(&own, self.dots));
            (topic, message_key, is_topic, block) = (Some(own.clone()), own, true, String::new());
        } else {
            let mut own = text(c, &WORDS, ".");
            own.push_str(["", "", "", "+", "#", "*"][c.rng.below(6)]);
            if own.is_empty() {
                own.push('a');
            }
            block = match c.rng.below(6) {
                0 => format!("topic=a/{}", text(c, &LEVELS, "/")),
                1 => "topic=a/#".to_owned(),
                _ => String::new(),
            };
            let named = block.strip_prefix("topic=").filter(|topic| !topic.contains('#'));
            topic = named.map(str::to_owned).or_else(|| topic_of(&own, self.dots));
            (key, message_key, is_topic) = (Some(own.clone()), own, false);
        }
        for side in &mut self.sides {
            let is_for = match &side.queue {
                Some(_) => key.as_ref().is_some_and(|key| {
                    side.patterns.iter().any(|pattern| binding_matches(pattern, key))
                }),
                None => topic.as_ref().is_some_and(|topic| {
                    side.patterns.iter().any(|pattern| filter_matches(pattern, topic))
                }),
            };
            if is_for {
                side.expected.push(body.clone());
            }
        }
        let mut message = kept(&message_key, &body);
        message.properties = block.as_bytes();
        let message = if is_topic { message } else { Publish { exchange: TOPICS, ..message } };
        assert_eq!(c.fate(from, message), Fate::Stored);
    }

    fn compare(&mut self, c: &mut Cluster) {
        c.rest();
        for n in 0..self.sides.len() {
            let side = &mut self.sides[n];
            let mut got = match &side.queue {
                Some(queue) => c.drain(side.client, queue),
                None => c.accept_all(side.client),
            };
            got.sort_by_key(|body| body.parse::<usize>().unwrap());
            let expected = std::mem::take(&mut side.expected);
            self.came[usize::from(side.queue.is_some())] += expected.len();
            assert_eq!(
                got, expected,
                "of {:?} with {:?}, {:?}",
                side.queue, side.patterns, self.dots
            );
        }
    }
}

///
#[test]
fn each_message_comes_exactly_where_its_key_or_its_topic_leads() {
    on_every_node(4, |c| {
        let mut world = World::new(c);
        let publishers = publishers(c);
        for _ in 0..ROUNDS {
            for _ in 0..1 + c.rng.below(3) {
                world.change(c);
            }
            for _ in 0..MESSAGES {
                let from = publishers[c.rng.below(publishers.len())];
                world.publish(c, from);
            }
            world.compare(c);
        }
        assert!(world.came.iter().all(|count| *count > 0), "{:?}", world.came);
        for side in &world.sides {
            if side.queue.is_none() {
                c.drop_connection(side.client);
            }
        }
    });
}
