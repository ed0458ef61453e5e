//! Tests of the tree: against a naive matcher, and the shapes that hurt others.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// The definition, by recursion over both word lists.
fn matches(pattern: &[&str], name: &[&str], one: &str) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((&"#", rest)), None) => matches(rest, name, one),
        (Some((&"#", rest)), Some((_, later))) => {
            matches(rest, name, one) || matches(pattern, later, one)
        }
        (Some(_), None) => false,
        (Some((word, rest)), Some((first, later))) => {
            (*word == one || word == first) && matches(rest, later, one)
        }
    }
}

fn split(text: &str, separator: char) -> Vec<&str> {
    if text.is_empty() { Vec::new() } else { text.split(separator).collect() }
}

fn tree_of(patterns: &[&str], syntax: Syntax) -> TopicTree<BTreeSet<usize>> {
    let mut tree = TopicTree::new(syntax);
    for (i, pattern) in patterns.iter().enumerate() {
        tree.update(pattern, |values: &mut BTreeSet<usize>| {
            values.insert(i);
        });
    }
    tree
}

fn found(tree: &TopicTree<BTreeSet<usize>>, name: &str) -> Vec<usize> {
    let mut found = Vec::new();
    tree.matching(name, |values| found.extend(values));
    found.sort_unstable();
    found
}

fn selected(tree: &TopicTree<BTreeSet<usize>>, filter: &str) -> Vec<usize> {
    let mut places = Vec::new();
    assert!(tree.select(filter, &mut 1_000_000, |place| places.push(place)));
    places.sort_unstable();
    // Whoever looks at one name after the other finds the same.
    let mut walked = tree.filter(filter);
    let fitting = (0..tree.places()).filter(|at| tree.at(*at).is_some());
    let fitting: Vec<u32> = fitting.filter(|at| tree.fits(*at, &mut walked)).collect();
    assert_eq!(places, fitting, "{filter:?}");
    let mut found: Vec<usize> =
        places.iter().flat_map(|at| tree.at(*at).unwrap().iter().copied()).collect();
    found.sort_unstable();
    found
}

/// Nothing but the root is in use.
fn assert_bare<V>(tree: &TopicTree<V>) {
    assert!(tree.is_empty());
    assert_eq!(tree.nodes.len() - tree.free.len(), 1);
    assert!(tree.children.is_empty());
    assert_eq!(tree.words.len(), 0);
    assert!(tree.nodes[0].is_leaf());
}

fn words(
    alphabet: &'static [&'static str],
    separator: &'static str,
) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(alphabet), 0..7).prop_map(|w| w.join(separator))
}

proptest! {
    #[test]
    fn a_name_finds_exactly_the_patterns_it_matches(
        patterns in prop::collection::btree_set(words(&["a", "b", "", "*", "#"], "."), 0..30),
        names in prop::collection::vec(words(&["a", "b", "c", ""], "."), 1..10),
    ) {
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let tree = tree_of(&patterns, Syntax::DOTS);
        for name in &names {
            let expected: Vec<usize> = (0..patterns.len())
                .filter(|&i| matches(&split(patterns[i], '.'), &split(name, '.'), "*"))
                .collect();
            prop_assert_eq!(found(&tree, name), expected, "{:?} in {:?}", name, patterns);
        }
    }

    #[test]
    fn a_filter_selects_exactly_the_names_it_matches(
        names in prop::collection::btree_set(words(&["a", "b", ""], "/"), 0..30),
        filters in prop::collection::vec(words(&["a", "b", "", "+", "#"], "/"), 1..10),
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let tree = tree_of(&names, Syntax::SLASHES);
        for filter in &filters {
            let expected: Vec<usize> = (0..names.len())
                .filter(|&i| matches(&split(filter, '/'), &split(names[i], '/'), "+"))
                .collect();
            prop_assert_eq!(selected(&tree, filter), expected, "{:?} in {:?}", filter, names);
        }
    }

    #[test]
    fn patterns_come_and_go_and_leave_nothing(
        acts in prop::collection::vec((any::<bool>(), words(&["a", "b", "*", "#"], ".")), 0..60),
        names in prop::collection::vec(words(&["a", "b"], "."), 3),
    ) {
        let mut tree = TopicTree::<u32>::new(Syntax::DOTS);
        let mut kept = BTreeSet::new();
        for (add, pattern) in &acts {
            // `#.#` is `#`.
            let mut steps = split(pattern, '.');
            steps.dedup_by(|a, b| *a == "#" && *b == "#");
            if *add {
                tree.update(pattern, |value| *value += 1);
                kept.insert(steps);
            } else {
                prop_assert_eq!(tree.remove(pattern).is_some(), kept.remove(&steps));
            }
            prop_assert_eq!(tree.len(), kept.len());
        }
        for name in &names {
            let mut count = 0;
            tree.matching(name, |_| count += 1);
            let expected = kept.iter().filter(|p| matches(p, &split(name, '.'), "*")).count();
            prop_assert_eq!(count, expected);
        }
        for steps in kept {
            prop_assert!(tree.remove(&steps.join(".")).is_some());
        }
        assert_bare(&tree);
    }
}

#[test]
fn an_empty_key_has_no_words() {
    let tree = tree_of(&["", "#", "*"], Syntax::DOTS);
    assert_eq!(found(&tree, ""), [0, 1]);
    assert_eq!(found(&tree, "."), [1]);
    assert_eq!(found(&tree, "a"), [1, 2]);
}

/// Sections 4.7.1.2 and 4.7.1.3 of the specification of filters: `#` includes the parent level,
/// an empty level is a level.
#[test]
fn filters_count_the_parent_and_empty_levels() {
    let tree = tree_of(&["sport/tennis/#", "+", "/+", "+/+", "sport/+"], Syntax::SLASHES);
    assert_eq!(found(&tree, "sport/tennis"), [0, 3, 4]);
    assert_eq!(found(&tree, "sport/tennis/p1/ranking"), [0]);
    assert_eq!(found(&tree, "/finance"), [2, 3]);
    assert_eq!(found(&tree, "sport"), [1]);
    assert_eq!(found(&tree, "sport/"), [3, 4]);
}

/// Section 4.7.2 of the same: statement 4.7.2-1.
#[test]
fn names_that_begin_with_a_dollar_are_hidden_from_leading_wildcards() {
    let tree = tree_of(&["#", "+/up", "$SYS/#", "$SYS/+"], Syntax::SLASHES);
    assert_eq!(found(&tree, "$SYS/up"), [2, 3]);
    assert_eq!(found(&tree, "SYS/up"), [0, 1]);
    let names = tree_of(&["$SYS/up", "a/up", "$SYS"], Syntax::SLASHES);
    assert_eq!(selected(&names, "#"), [1]);
    assert_eq!(selected(&names, "+/up"), [1]);
    assert_eq!(selected(&names, "$SYS/#"), [0, 2]);
}

#[test]
fn wildcards_are_whole_words() {
    let tree = tree_of(&["a*.b#", "a.b"], Syntax::DOTS);
    assert_eq!(found(&tree, "ax.bx"), Vec::<usize>::new());
    assert_eq!(found(&tree, "a*.b#"), [0]);
}

/// Abuse row 37: the walk enters each node at most once for each word.
#[test]
fn a_hostile_pattern_costs_nodes_times_words_at_most() {
    let hostile = ["#.#.#.#.#.#.*.#", &["#.*"; 60].join("."), &["#.a.*.#"; 30].join(".")];
    let tree = tree_of(&hostile, Syntax::DOTS);
    let name = vec!["a"; 255].join(".");
    for _ in 0..200 {
        assert_eq!(found(&tree, &name), [0, 1, 2]);
    }
    assert_eq!(found(&tree, "a"), [0]);
}

#[test]
fn consecutive_wildcards_for_any_number_of_words_are_one() {
    let mut tree = tree_of(&["a.#.#.b", "a.#.b"], Syntax::DOTS);
    assert_eq!(tree.len(), 1);
    assert_eq!(tree.get("a.#.#.#.b").map(BTreeSet::len), Some(2));
    assert!(tree.remove("a.#.#.b").is_some());
    assert_bare(&tree);
}

#[test]
fn a_very_deep_pattern_needs_no_stack() {
    let deep = vec!["w"; 200_000].join("/");
    let mut tree = tree_of(&[&deep], Syntax::SLASHES);
    assert_eq!(found(&tree, &deep), [0]);
    assert_eq!(selected(&tree, "#"), [0]);
    assert!(tree.remove(&deep).is_some());
    assert_bare(&tree);
}

#[test]
fn patterns_that_cannot_match_are_not_visited() {
    let mut tree = TopicTree::<u32>::new(Syntax::DOTS);
    for i in 0..100_000 {
        tree.update(&format!("tenant{i}.*.#.error"), |value| *value = i);
    }
    let mut found = Vec::new();
    tree.matching("tenant77.a.b.c.error", |value| found.push(*value));
    assert_eq!(found, [77]);
    let walk = tree.walks.get();
    let entered = tree.nodes.iter().filter(|node| node.walk.get() == walk).count();
    assert_eq!(entered, 1);
}

#[test]
fn a_search_that_may_not_go_far_enough_finds_nothing_and_says_so() {
    let names: Vec<String> = (0..100).map(|i| format!("a/{i}/b")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let tree = tree_of(&names, Syntax::SLASHES);
    for filter in ["#", "a/#", "a/+/b", "+/+/+"] {
        let (mut steps, mut count) = (100, 0);
        assert!(!tree.select(filter, &mut steps, |_| count += 1), "{filter}");
        assert_eq!((steps, count), (0, 0), "{filter}");
    }
    let (mut steps, mut count) = (100, 0);
    assert!(tree.select("a/7/#", &mut steps, |_| count += 1));
    assert_eq!((steps, count), (97, 1));
}

#[test]
fn a_name_keeps_its_place_while_others_come_and_go() {
    let mut tree = tree_of(&["a/b", "a/c", "d"], Syntax::SLASHES);
    let mut places = Vec::new();
    assert!(tree.select("a/b", &mut 10, |place| places.push(place)));
    tree.remove("a/c");
    tree.update("a/b/e", |values| _ = values.insert(9));
    assert_eq!(tree.at(places[0]), Some(&BTreeSet::from([0])));
    assert_eq!(tree.remove_at(places[0]), Some(BTreeSet::from([0])));
    assert_eq!(selected(&tree, "a/#"), [9]);
    assert!(tree.at(places[0]).is_none() && tree.remove_at(places[0]).is_none());
}

/// What a subscriber of one thing pays for all the others (abuse row 37).
#[test]
fn a_topic_that_few_of_many_filters_match_looks_at_few_nodes() {
    let mut tree = TopicTree::<u32>::new(Syntax::SLASHES);
    for n in 0..25_000 {
        for filter in [
            format!("+/device{n}/+/state"),
            format!("site{n}/#"),
            format!("site{}/+/room{n}/#", n % 100),
            format!("+/+/room{n}/#"),
        ] {
            tree.update(&filter, |value| *value += 1);
        }
    }
    assert_eq!(tree.len(), 100_000);
    for (topic, found) in [
        ("site7/device8/room107/state", 4),
        ("site200/device200/room200/state", 3),
        ("elsewhere/device24999/x/state", 1),
        ("elsewhere/nothing/nowhere", 0),
    ] {
        let before = tree.looks.get();
        let mut count = 0;
        tree.matching(topic, |_| count += 1);
        assert_eq!(count, found, "{topic}");
        let looks = tree.looks.get() - before;
        assert!(looks < 60, "{looks} nodes for {topic}");
    }
}
