//! Tests of `auth::acl`: each form of a line, what is covered by what, and bad lines.

use super::*;

const SOMEBODY: Who<'_> = Who { user: Some("joe"), client: "c1", mountpoint: "" };

fn allows(file: &str, access: Access, topic: &str, who: Who<'_>) -> bool {
    let acl = Acl::parse(file).unwrap();
    let own = who.user.and_then(|user| acl.of_user(user));
    acl.allows(access, topic, own.as_deref(), who)
}

fn reads(file: &str, filter: &str) -> bool {
    allows(file, Access::Read, filter, SOMEBODY)
}

fn writes(file: &str, topic: &str) -> bool {
    allows(file, Access::Write, topic, SOMEBODY)
}

fn refusal(file: &str) -> (usize, String) {
    Acl::parse(file).unwrap_err()
}

/// mqtt.md V-224
#[test]
fn each_line_form_grants_what_it_says() {
    let file = "# comment\n\n  topic read in/+\ntopic write out/#\ntopic both\n\
                topic readwrite also both\ntopic read\t tab\n";
    assert!(reads(file, "in/1") && !writes(file, "in/1"));
    assert!(writes(file, "out") && writes(file, "out/a/b") && !reads(file, "out/a"));
    assert!(reads(file, "both") && writes(file, "both"));
    assert!(reads(file, "also both") && writes(file, "also both"));
    assert!(reads(file, "tab") && !reads(file, "other") && !reads(file, ""));
    let permission_to_configure = allows(file, Access::Configure, "both", SOMEBODY);
    assert!(!permission_to_configure, "topics are not made");
}

/// mqtt.md V-224
#[test]
fn a_users_lines_are_the_users_and_those_before_are_everybodys() {
    let file = "topic all\nuser joe\ntopic joes\nuser ann lee\ntopic anns\nuser joe\ntopic more";
    let of = |user, topic| allows(file, Access::Read, topic, Who { user, ..SOMEBODY });
    assert!(of(Some("joe"), "all") && of(Some("joe"), "joes") && of(Some("joe"), "more"));
    assert!(!of(Some("joe"), "anns") && of(Some("ann lee"), "anns"));
    assert!(of(None, "all") && !of(None, "joes") && !of(Some("eve"), "more"));
}

/// Mosquitto's meaning of the same file: more would be allowed there than its writer meant.
#[test]
fn lines_before_the_first_user_may_be_for_clients_without_a_name_alone() {
    let file = "topic all\ntopic deny all/secret\nuser joe\ntopic joes\npattern p/%c";
    let acl = Acl::parse(file).unwrap().with_nameless_first(true);
    let nameless = Who { user: None, ..SOMEBODY };
    let may = |topic, who: Who<'_>| {
        let own = who.user.and_then(|user| acl.of_user(user));
        acl.allows(Access::Read, topic, own.as_deref(), who)
    };
    assert!(may("all", nameless) && may("p/c1", nameless) && !may("joes", nameless));
    assert!(!may("all", SOMEBODY) && may("p/c1", SOMEBODY) && may("joes", SOMEBODY));
    assert!(acl.denies("all/secret", None, nameless));
    assert!(!acl.denies("all/secret", None, SOMEBODY));
}

/// mqtt.md V-224
#[test]
fn a_patterns_placeholders_stand_for_user_client_and_mountpoint() {
    let file = "user joe\npattern read u/%u/#\npattern write c/%c\npattern m/%m/x\n";
    assert!(reads(file, "u/joe/a") && reads(file, "u/joe") && !reads(file, "u/ann/a"));
    assert!(writes(file, "c/c1") && !writes(file, "c/c2") && !reads(file, "c/c1"));
    let elsewhere = Who { mountpoint: "plant", ..SOMEBODY };
    assert!(allows(file, Access::Read, "m/plant/x", elsewhere));
    assert!(reads(file, "m//x") && !allows(file, Access::Read, "m//x", elsewhere));
    assert!(!reads("topic u/%u", "u/joe") && reads("topic u/%u", "u/%u"), "only in patterns");
    assert!(!reads("pattern u/x%u", "u/xjoe"), "whole levels only");
}

/// Whoever may choose a name or a client id must not be able to choose the topics of others.
#[test]
fn a_name_that_looks_like_a_wildcard_or_like_levels_opens_nothing() {
    let file = "pattern dev/%u/data\npattern cli/%c/#\n";
    for name in ["+", "#", "+/data", "a/b", ""] {
        let who = Who { user: Some(name), client: name, mountpoint: "" };
        for filter in ["dev/+/data", "dev/#", "cli/+/x", "cli/#", "cli/+/#", "dev/a/data", "#"] {
            assert!(!allows(file, Access::Read, filter, who), "{name} {filter}");
        }
    }
    let nameless = Who { user: None, ..SOMEBODY };
    assert!(!allows(file, Access::Write, "dev//data", nameless));
}

#[test]
fn a_filter_is_allowed_when_a_rule_covers_all_of_it() {
    for (rule, covered, not_covered) in [
        ("a/b", &["a/b"][..], &["a", "a/+", "a/#", "a/b/c", "a/b/#", "+/b", "#", "/a/b"][..]),
        ("a/+", &["a/b", "a/+", "a/"], &["a", "a/#", "a/b/c", "a/+/+", "+/+", "a/+/#"]),
        ("a/#", &["a", "a/b", "a/+", "a/#", "a/b/#", "a/+/#", "a/"], &["#", "+", "+/#", "ab"]),
        ("+", &["a", "+", ""], &["a/b", "#", "+/#", "$SYS"]),
        ("+/#", &["a", "#", "+", "a/#", "+/+", "+/#", "/"], &["$SYS/a", "$SYS/#"]),
        ("+/+/#", &["a/b", "+/+", "+/b/#", "+/+/#"], &["a", "#", "+", "a/#", "+/#"]),
        ("#", &["#", "+", "a/b", "/", "+/x/#"], &["$SYS", "$SYS/#", "$x/+"]),
        ("$SYS/#", &["$SYS", "$SYS/a", "$SYS/+", "$SYS/#"], &["#", "+", "SYS/a", "$SY/#"]),
        ("+/b/+", &["a/b/c", "+/b/c", "+/b/+"], &["a/b", "a/+/c", "+/+/c", "a/b/#", "$a/b/c"]),
    ] {
        let file = format!("topic {rule}");
        for filter in covered {
            assert!(reads(&file, filter), "{rule} covers {filter}");
        }
        for filter in not_covered {
            assert!(!reads(&file, filter), "{rule} does not cover {filter}");
        }
    }
}

/// A literal that leads nowhere does not hide a wildcard beside it.
#[test]
fn every_branch_that_fits_is_looked_at() {
    let file = "topic a/b/x\ntopic a/+/y\ntopic +/b/z\n";
    assert!(reads(file, "a/b/x") && reads(file, "a/b/y") && reads(file, "a/b/z"));
    assert!(!reads(file, "a/c/x") && !reads(file, "c/b/y") && reads(file, "a/+/y"));
}

/// Containment against its definition: what is covered matches no topic that the rule does not.
#[test]
fn covered_filters_match_nothing_that_the_rule_does_not() {
    let levels = ["a", "+", "$s"];
    let mut filters: Vec<String> = vec!["#".into()];
    let mut topics: Vec<String> = Vec::new();
    let mut grown: Vec<String> = vec![String::new()];
    for depth in 0..3 {
        grown = grown
            .iter()
            .flat_map(|f| {
                let joint = if depth == 0 { "" } else { "/" };
                levels.iter().map(move |l| format!("{f}{joint}{l}"))
            })
            .collect();
        filters.extend(grown.iter().cloned());
        filters.extend(grown.iter().map(|f| format!("{f}/#")));
    }
    // Of each filter the topics that say most about it: with names that no other filter has in
    // place of its wildcards.
    for filter in &filters {
        let fixed = filter.replace('+', "z");
        topics.extend(fixed.strip_suffix("/#").map(str::to_owned));
        topics.push(fixed.replace('#', "z"));
        topics.push(fixed.replace('#', "z/z"));
    }
    topics.sort();
    topics.dedup();
    let matches = |filter: &str, topic: &str| {
        let (f, t): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
        if topic.starts_with('$') && matches!(f[0], "+" | "#") {
            return false;
        }
        let open = f.last() == Some(&"#");
        let fixed = if open { &f[..f.len() - 1] } else { &f[..] };
        (if open { t.len() >= fixed.len() } else { t.len() == fixed.len() })
            && fixed.iter().zip(&t).all(|(f, t)| *f == "+" || f == t)
    };
    for rule in &filters {
        let file = format!("topic {rule}");
        let acl = Acl::parse(&file).unwrap();
        for filter in &filters {
            let covered = acl.allows(Access::Read, filter, None, SOMEBODY);
            let escapes = topics.iter().find(|t| matches(filter, t) && !matches(rule, t));
            assert!(!covered || escapes.is_none(), "{rule} {filter} {escapes:?}");
            assert!(covered || escapes.is_some(), "{rule} {filter}");
        }
    }
}

#[test]
fn what_a_line_denies_is_denied_whatever_others_allow() {
    let file = "topic readwrite #\ntopic deny secret/#\nuser joe\ntopic secret/joe\n\
                topic deny mine/+\nuser ann\ntopic deny ann\npattern deny c/%c/x\npattern deny u/%u\n";
    let acl = Acl::parse(file).unwrap();
    let denies = |topic| acl.denies(topic, acl.of_user("joe").as_deref(), SOMEBODY);
    for denied in ["secret", "secret/joe", "secret/+", "secret/#", "mine/+", "c/c1/x", "u/joe"] {
        assert!(denies(denied), "{denied}");
    }
    for free in ["#", "+/joe", "mine", "mine/#", "mine/a/b", "ann", "c/c2/x", "c/+/x", "u/ann"] {
        assert!(!denies(free), "{free}");
    }
    let part = |filter| acl.denies_part(filter, acl.of_user("joe").as_deref(), SOMEBODY);
    for part_denied in
        ["#", "+/joe", "+/+/x", "mine/#", "mine/a", "c/+/x", "c/#", "+/joe/#", "+", "+/+/+/y"]
    {
        assert!(part(part_denied), "{part_denied}");
    }
    for free in ["mine", "mine/+/b", "ann/#", "c/c2/x", "c/+/y", "u/ann", "$SYS/#"] {
        assert!(!part(free), "{free}");
    }
    let system = Acl::parse("topic deny $SYS/#").unwrap();
    let part = |filter| system.denies_part(filter, None, SOMEBODY);
    assert!(part("$SYS/+") && !part("#") && !part("+/a"));
    let without = Acl::parse("topic readwrite #").unwrap();
    assert!(!without.denies("a", None, SOMEBODY) && !without.denies_part("#", None, SOMEBODY));
}

/// mqtt.md V-225, V-009
#[test]
fn a_line_that_is_none_is_named_with_its_number() {
    for (file, line, reason) in [
        ("topic a\nallow b", 2, "'allow' is none of topic, user and pattern"),
        ("user", 1, "'user' without a name"),
        ("\n# x\ntopic", 3, "no topic"),
        ("topic read", 1, "no topic"),
        ("pattern write ", 1, "no topic"),
        ("topic deny", 1, "no topic"),
        ("topic a/#/b", 1, "'a/#/b': # stands alone in the last level"),
        ("topic a#", 1, "'a#': # stands alone in the last level"),
        ("topic a/b+", 1, "'a/b+': + stands alone in a level"),
        ("topic a\0b", 1, "a topic has no NUL"),
    ] {
        assert_eq!(refusal(file), (line, reason.into()), "{file:?}");
    }
    let deep = "a/".repeat(LEVELS_MAX);
    assert!(refusal(&format!("topic {deep}")).1.ends_with("has more than 128 levels"));
    let long = "a".repeat(FILTER_BYTES_MAX + 1);
    assert_eq!(refusal(&format!("topic {long}")).1, "a topic has at most 65535 bytes");
}

#[test]
fn a_file_with_a_rule_for_each_of_many_devices_is_read_and_asked() {
    let file: String = (0..20_000).map(|n| format!("topic dev/{n}/#\n")).collect();
    assert!(reads(&file, "dev/19999/x/y") && !reads(&file, "dev/20000/x"));
}
