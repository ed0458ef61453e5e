//! Sessions against a model, and against everything going on at once.

use std::collections::BTreeMap;

use super::client::*;
use super::cluster::{Cluster, on_every_node};
use super::sessions::{HOUR, publishers};
use super::subscriber::*;
use crate::broker::deliver::SETTLED;
use crate::command::Outcome;
use crate::subscriber::*;

/// The definition, by recursion over both lists of words.
fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter.split_first(), topic.split_first()) {
        (Some((&"#", _)), _) | (None, None) => true,
        (None, Some(_)) | (Some(_), None) => false,
        (Some((word, rest)), Some((first, later))) => {
            (*word == "+" || word == first) && matches(rest, later)
        }
    }
}

/// A session of the random test.
struct Modelled {
    name: String,
    client: Option<Client>,
    filters: BTreeMap<&'static str, Assurance>,
    /// Bodies that wait while it is away.
    waiting: Vec<String>,
}

impl Modelled {
    fn level(&self, topic: &str) -> Option<Assurance> {
        let topic: Vec<&str> = topic.split('/').collect();
        let fits = |filter: &&str| matches(&filter.split('/').collect::<Vec<_>>(), &topic);
        self.filters.iter().filter(|(filter, _)| fits(filter)).map(|(_, level)| *level).max()
    }
}

const FILTERS_TRIED: [&str; 9] = ["#", "a/#", "a/+", "a/b", "+/b", "a/b/c", "+", "a", "b/#"];
const TOPICS_TRIED: [&str; 6] = ["a", "a/b", "a/b/c", "b", "b/b", "c/d"];

#[test]
fn every_session_gets_one_copy_of_what_its_filters_match_as_surely_as_they_say() {
    on_every_node(8, |c| {
        let publishers = publishers(c);
        let mut all: Vec<Modelled> = (0..4)
            .map(|n| Modelled {
                name: format!("m{n}"),
                client: Some(c.open(&session(&format!("m{n}"), HOUR)).0),
                filters: BTreeMap::new(),
                waiting: Vec::new(),
            })
            .collect();
        for turn in 0..120 {
            let one = c.rng.below(4);
            let filter = FILTERS_TRIED[c.rng.below(9)];
            match (c.rng.below(6), all[one].client) {
                (0 | 1, Some(client)) => {
                    let level = [ONCE, LEAST, EXACTLY][c.rng.below(3)];
                    let new = all[one].filters.insert(filter, level).is_none();
                    assert_eq!(c.subscribe(client, filter, level), new);
                }
                (2, Some(client)) => {
                    let existed = all[one].filters.remove(filter).is_some();
                    assert_eq!(c.unsubscribe(client, &[filter]), [existed]);
                }
                (3, Some(client)) => {
                    c.vanish(client);
                    all[one].client = None;
                }
                (_, None) => {
                    let (client, opened) = c.open(&session(&all[one].name, HOUR));
                    assert_eq!(opened.subscriptions.len(), all[one].filters.len());
                    all[one].client = Some(client);
                    let waiting = std::mem::take(&mut all[one].waiting);
                    assert_eq!(c.accept_all(client), waiting);
                }
                (_, Some(_)) => {
                    let topic = TOPICS_TRIED[c.rng.below(6)];
                    let (asks, body) = (c.rng.below(2) == 0, turn.to_string());
                    let message = if asks { kept(topic, &body) } else { fleeting(topic, &body) };
                    let publisher = publishers[c.rng.below(publishers.len())];
                    c.send(publisher, &message).unwrap();
                    c.rest();
                    check(c, &mut all, topic, &body, asks);
                }
            }
        }
    });
}

fn check(c: &mut Cluster, all: &mut [Modelled], topic: &str, body: &str, asks: bool) {
    for one in all {
        let level = one.level(topic);
        let stored = asks && level.is_some_and(|level| level != ONCE);
        match one.client {
            None => one.waiting.extend(stored.then(|| body.to_owned())),
            Some(client) => {
                let got = c.take(client);
                let expected = if level.is_some() { vec![body] } else { Vec::new() };
                assert_eq!(bodies(&got), expected, "{topic} for {:?}", one.filters);
                for delivery in got {
                    assert_eq!(delivery.id != SETTLED, stored, "{topic} for {:?}", one.filters);
                    if stored {
                        c.settle(client, &delivery, Outcome::Accept);
                    }
                }
            }
        }
    }
}

/// Publishers, takers-over and the mail between shards go on all at once: nothing that was stored is
/// lost, what comes twice says so, and each publisher's messages come in their order.
#[test]
fn stored_messages_survive_all_comings_and_goings_in_order() {
    on_every_node(10, |c| {
        let publishers = publishers(c);
        let window = |c: &mut Cluster| 1 + u32::try_from(c.rng.below(5)).unwrap();
        let mut clients = Vec::new();
        for n in 0..2 {
            let (client, _) = c.open(&OpenSession { window: 3, ..session(&format!("c{n}"), HOUR) });
            c.subscribe(client, "a/#", LEAST);
            clients.push(Some(client));
        }
        let mut got: [BTreeMap<String, u64>; 2] = Default::default();
        let mut sent = 0_u64;
        for _ in 0..300 {
            let n = c.rng.below(2);
            match (c.rng.below(8), clients[n]) {
                (0, Some(client)) => {
                    c.vanish(client);
                    clients[n] = None;
                }
                (0 | 1, _) => {
                    let open = OpenSession { window: window(c), ..session(&format!("c{n}"), HOUR) };
                    let (client, opened) = c.open(&open);
                    assert!(opened.resumed);
                    clients[n] = Some(client);
                }
                (2 | 3, Some(client)) => hear(c, client, &mut got[n]),
                _ => {
                    sent += 1;
                    let by = c.rng.below(publishers.len());
                    c.send(publishers[by], &kept("a/b", &format!("{by} {sent}"))).unwrap();
                }
            }
            for _ in 0..c.rng.below(5) {
                c.step();
            }
        }
        for (n, got) in got.iter_mut().enumerate() {
            let (client, _) = c.open(&session(&format!("c{n}"), HOUR));
            (0..4).for_each(|_| hear(c, client, got));
            let total: u64 = got.iter().filter(|(by, _)| by.starts_with('#')).map(|(_, n)| n).sum();
            assert_eq!(total, sent);
        }
    });
}

/// Takes what has come: the last number of each publisher, and under `#` how many it was.
fn hear(c: &mut Cluster, client: Client, got: &mut BTreeMap<String, u64>) {
    let all = c.take(client);
    for (delivery, body) in all.iter().zip(bodies(&all)) {
        let (by, number) = body.split_once(' ').unwrap();
        let number: u64 = number.parse().unwrap();
        let last = got.insert(by.to_owned(), number).unwrap_or(0);
        assert!(last < number, "{body} after {last}, {}", delivery.redelivered);
        *got.entry(format!("#{by}")).or_default() += 1;
        c.settle(client, delivery, Outcome::Accept);
    }
}
