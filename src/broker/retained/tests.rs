//! One part by itself, over a store that has to read first.

use super::page::{Page, Paged};
use super::part::{Hold, Loaded, Part, Put, Totals};
use super::replayed;
use crate::broker::queue::slow_store::{Disk, SlowStore};
use crate::broker::queue::store::{Safe, Store};
use crate::command::Now;
use crate::message::{Body, Message, ProtocolTag, Traits};

const NOW: Now = Now { mono_ms: 5_000, wall_ms: 1_000_000 };

const NO_LIMIT: Totals = Totals { count: 0, bytes: 0, count_max: u64::MAX, bytes_max: u64::MAX };

fn message(topic: &str, body: &str, expiration_ms: Option<u64>) -> Message {
    let traits =
        Traits { protocol: ProtocolTag(0), persistent: true, priority: None, expiration_ms };
    let body = Body::Slice(body.as_bytes());
    Message::new("x".into(), topic, traits, b"p", body, NOW.mono_ms).unwrap()
}

/// A part with its store.
struct Bench {
    part: Part,
    store: SlowStore,
    disk: Disk,
    totals: Totals,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        let (store, disk) = SlowStore::new(2);
        Self { part: Part::new(Vec::new()), store, disk, totals: NO_LIMIT, now: NOW }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Part, &mut Hold<'_>) -> T) -> T {
        let Self { part, store, totals, now, .. } = self;
        act(part, &mut Hold { store, totals, now: *now })
    }

    fn put(&mut self, message: Message) -> Put {
        self.with(|part, hold| part.put(message, hold))
    }

    /// One page: how it ended, and its topics.
    fn page(&mut self, filter: &str, from: u64, bytes_max: u32) -> (Paged, Vec<String>) {
        self.with(|part, hold| {
            let mut page = Page::new(filter, bytes_max);
            let paged = part.page(&mut page, from, hold);
            let topics = page.messages.iter().map(|m| m.routing_key().to_owned()).collect();
            (paged, topics)
        })
    }

    /// All pages, reading what has to be read.
    fn read(&mut self, filter: &str, bytes_max: u32) -> (Vec<String>, usize) {
        let (mut all, mut from, mut waited) = (Vec::new(), 0, 0);
        for _ in 0..100_000 {
            let (paged, topics) = self.page(filter, from, bytes_max);
            all.extend(topics);
            match paged {
                Paged::End => return (all, waited),
                Paged::Full(next) => from = next,
                Paged::Later(again) => {
                    from = again;
                    waited += 1;
                    while !self.disk.load() {}
                }
            }
        }
        panic!("pages never end");
    }

    /// The process ends; another one begins with what the store has.
    fn restart(&mut self) {
        let tail = self.store.tail();
        self.part = Part::new(vec![(crate::broker::queue::store::Position::new(0), tail)]);
        self.totals = NO_LIMIT;
        for _ in 0..100_000 {
            match self.with(|part, hold| part.load(7, hold)) {
                Loaded::All => return,
                Loaded::More => {}
                Loaded::Later => while !self.disk.load() {},
            }
        }
        panic!("it is never loaded");
    }
}

#[test]
fn a_page_waits_for_its_first_message_only_and_has_the_next_ones_read_with_it() {
    let mut bench = Bench::new();
    for n in 0..100 {
        bench.put(message(&format!("t/{n}"), "b", None));
    }
    let (mut topics, waited) = bench.read("t/+", 1_000_000);
    assert_eq!(topics.len(), 100);
    topics.sort_unstable();
    topics.dedup();
    assert_eq!(topics.len(), 100);
    assert!((1..20).contains(&waited), "{waited}");
    assert_eq!(bench.read("t/+", 0).0.len(), 100, "pages of one message each");
}

#[test]
fn a_filter_that_matches_many_is_read_from_where_the_page_before_ended() {
    let mut bench = Bench::new();
    for n in 0..6_000 {
        bench.put(message(&format!("t/{}/{n}", n % 2), "b", None));
    }
    while bench.read("#", 500).1 > 0 {}
    let (paged, topics) = bench.page("t/1/#", 0, 500);
    assert!(matches!(paged, Paged::Full(_)) && topics.len() <= 6, "{paged:?} {topics:?}");
    let (mut all, waited) = bench.read("t/1/#", 500);
    all.sort_unstable();
    all.dedup();
    assert_eq!((all.len(), waited), (3_000, 0));
    assert!(all.iter().all(|topic| topic.starts_with("t/1/")));
}

#[test]
fn what_is_counted_is_what_is_there() {
    let mut bench = Bench::new();
    bench.totals.count_max = 2;
    bench.totals.bytes_max = 20;
    assert_eq!(bench.put(message("a", "1234", None)), Put::Done(Safe::Now));
    assert_eq!((bench.totals.count, bench.totals.bytes), (1, 6));
    assert_eq!(bench.put(message("a", "12", None)), Put::Done(Safe::Now));
    assert_eq!((bench.totals.count, bench.totals.bytes), (1, 4));
    assert_eq!(bench.put(message("b", "12", None)), Put::Done(Safe::Now));
    assert_eq!(bench.put(message("c", "12", None)), Put::Full(Safe::Now));
    assert_eq!(bench.put(message("a", "0123456789abcdef", None)), Put::Full(Safe::Now));
    assert_eq!((bench.totals.count, bench.totals.bytes), (1, 4));
    assert_eq!(bench.read("#", 100).0, ["b"], "what it would have replaced is not the latest");
    bench.put(message("b", "", None));
    assert_eq!((bench.totals.count, bench.totals.bytes), (0, 0));
    assert_eq!(bench.store.memory_bytes(), 0);
}

#[test]
fn what_a_start_finds_is_the_latest_of_each_topic() {
    let mut bench = Bench::new();
    for n in 0..60 {
        // As a crash may leave it: the store has all of them.
        let body = if n % 7 == 0 { "" } else { "b" };
        bench.store.append(message(&format!("t/{}", n % 20), body, Some(n)), 1);
    }
    bench.now.mono_ms += 45;
    bench.restart();
    // Of 40 to 59 those with a body and time left.
    let mut expected: Vec<_> =
        (46..60).filter(|n| n % 7 != 0).map(|n| format!("t/{}", n % 20)).collect();
    let mut found = bench.read("#", 100).0;
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(bench.totals.count, expected.len() as u64);
    bench.now.mono_ms += 100;
    bench.with(|part, hold| part.sweep(1_000, hold));
    assert_eq!((bench.totals.count, bench.store.memory_bytes()), (0, 0));
}

#[test]
fn a_message_that_is_shown_again_has_what_is_left_of_its_time() {
    let late = Now { mono_ms: NOW.mono_ms + 300, ..NOW };
    let copy = replayed(&message("t", "b", Some(1_000)), "other".into(), late).unwrap();
    assert_eq!((copy.exchange(), copy.routing_key(), copy.body()), ("other", "t", &b"b"[..]));
    assert_eq!((copy.traits().expiration_ms, copy.received_ms()), (Some(700), late.mono_ms));
    let copy = replayed(&message("t", "b", None), "other".into(), late).unwrap();
    assert_eq!(copy.traits().expiration_ms, None);
}
