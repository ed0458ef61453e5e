//! Tests of `auth::topic`: permissions, topic permissions and ACL together.

use std::net::{IpAddr, Ipv4Addr};

use super::super::password::PasswordHash;
use super::super::permission::Permission;
use super::super::user::{User, Users};
use super::super::{Denied, Resource, authorise, enter};
use super::*;
use crate::subscriber::FILTERS;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const GUEST: &str = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";
const FILE: &str = "$6$fjg1uNsCppUILwaG$/CDwOWA9FgsNNt9xN4xTaswzJ8waOJ2NGwlu2yizITK94oeG5nt2tAHBwW9IpCoDReAtj7b46niGlhI9J3pZkw==";

fn users(write: &str, read: &str) -> Users {
    let permission = Permission {
        configure: Pattern::Nothing,
        write: Pattern::parse(write).unwrap(),
        read: Pattern::parse(read).unwrap(),
    };
    let password = Some(PasswordHash::parse(GUEST, None).unwrap());
    let permissions = vec![("/".into(), permission)];
    Users::new([User { name: "u.1".into(), password, tags: vec![], permissions }], None)
}

fn rules(acl: Option<&str>) -> TopicRules {
    TopicRules { acl: acl.map(|acl| Arc::new(Acl::parse(acl).unwrap())), ..TopicRules::default() }
}

fn login(users: &Users) -> Identity {
    users.login("u.1", b"guest", LOCAL).unwrap()
}

fn rights(users: &Users) -> TopicRights {
    TopicRights::of(&login(users), "/", "c.1")
}

fn with_topics(write: &str, read: &str) -> Users {
    let mut users = users(".*", ".*");
    let permission = TopicPermission::parse("u.1", ("/", TOPICS), write, read).unwrap();
    assert!(users.permit_topics("u.1", permission));
    users
}

/// mqtt.md I-10
#[test]
fn publishing_needs_the_write_and_subscribing_the_read_permission_on_amq_topic() {
    for (write, read) in [("^amq\\.topic$", ""), ("", "^amq\\.topic$"), (".*", ".*"), ("x", "x")] {
        let rights = rights(&users(write, read));
        assert_eq!(rights.allows_publish("a/b"), !["", "x"].contains(&write), "{write}");
        assert_eq!(rights.allows_subscribe("a/#"), !["", "x"].contains(&read), "{read}");
    }
    let identity = login(&users(".*", ".*"));
    let elsewhere = TopicRights::of(&identity, "other", "c");
    assert!(!elsewhere.allows_publish("a") && !elsewhere.allows_subscribe("a"));
}

#[test]
fn without_permission_checks_the_vhost_must_still_be_open_to_the_user() {
    let unchecked = TopicRules { check_permissions: false, ..TopicRules::default() };
    let identity = login(&users("", "").with_topic_rules(unchecked, false));
    let rights = TopicRights::of(&identity, "/", "c");
    assert!(rights.allows_publish("a") && rights.allows_subscribe("#"));
    assert!(!TopicRights::of(&identity, "other", "c").allows_publish("a"));
}

/// mqtt.md I-10, X-13
#[test]
fn topic_permissions_are_matched_with_the_routing_key() {
    let rights = rights(&with_topics("^sensor\\.[0-9]+\\.out$", "^cmd\\.\\*$"));
    assert!(rights.allows_publish("sensor/17/out") && !rights.allows_publish("sensor/x/out"));
    assert!(rights.allows_subscribe("cmd/+") && !rights.allows_subscribe("cmd/#"));
    assert!(!rights.allows_subscribe("sensor/17/out"));
    // The last answer is kept for its own topic only.
    for _ in 0..2 {
        assert!(rights.allows_publish("sensor/1/out"));
        assert!(!rights.allows_publish("sensor/1/in") && !rights.allows_publish(""));
    }
}

/// mqtt.md X-03
#[test]
fn a_dot_within_a_level_is_kept_apart_when_it_is_escaped() {
    let escaped = TopicRules { translation: TopicTranslation::Escaped, ..TopicRules::default() };
    let users = with_topics("^a\\.b$", "^a\\.b$");
    assert!(rights(&users).allows_publish("a.b") && rights(&users).allows_publish("a/b"));
    let users = users.with_topic_rules(escaped, false);
    assert!(!rights(&users).allows_publish("a.b") && rights(&users).allows_publish("a/b"));
}

/// mqtt.md I-10
#[test]
fn variables_stand_for_user_vhost_and_client_as_they_are_written() {
    let mut users = users(".*", ".*");
    let permission =
        TopicPermission::parse("u.1", ("/", TOPICS), "^{vhost}$", "^{client_id}\\.").unwrap();
    assert!(users.permit_topics("u.1", permission));
    let rights = rights(&users);
    assert!(rights.allows_subscribe("c.1/x") && !rights.allows_subscribe("cx1/x"));
    let users = with_topics("^{username}\\.{client_id}$", "");
    let of = |client: &str| TopicRights::of(&login(&users), "/", client);
    assert!(of("c").allows_publish("u.1/c") && !of("c").allows_publish("ux1/c"));
    for client in [".*", "(", "c|.*", "\\w+"] {
        assert!(!of(client).allows_publish("u.1/other"), "{client} is no expression");
    }
    assert!(of(".*").allows_publish("u.1/.*"));
}

#[test]
fn topic_permissions_hold_in_their_own_vhost_and_the_later_ones_count() {
    let mut users = with_topics("^a$", "");
    let parse = |vhost: &str, write: &str| {
        TopicPermission::parse("u.1", (vhost, TOPICS), write, "").unwrap()
    };
    assert!(users.permit_topics("u.1", parse("other", "^b$")));
    assert!(rights(&users).allows_publish("a") && !rights(&users).allows_publish("b"));
    assert!(users.permit_topics("u.1", parse("/", "^c$")));
    assert!(rights(&users).allows_publish("c") && !rights(&users).allows_publish("a"));
    assert!(!users.permit_topics("nobody", parse("/", "")));
    let wrong = TopicPermission::parse("u", ("/", TOPICS), ".*", "({client_id}").unwrap_err();
    assert!(wrong.starts_with("'read': "), "{wrong}");
}

#[test]
fn permission_topic_permission_and_acl_must_all_allow() {
    let acl = "user u.1\ntopic a/#\npattern write own/%c\n";
    let users = with_topics("^(a|own)\\.", "^a").with_topic_rules(rules(Some(acl)), false);
    let rights = rights(&users);
    assert!(rights.allows_publish("a/b") && rights.allows_publish("own/c.1"));
    assert!(!rights.allows_publish("own/c.2") && !rights.allows_publish("a"));
    assert!(rights.allows_subscribe("a/+") && !rights.allows_subscribe("#"));
    let denied = self::users("", "").with_topic_rules(rules(Some(acl)), false);
    assert!(!self::rights(&denied).allows_publish("a/b"));
}

/// The users of a password file have topics and nothing else.
#[test]
fn a_user_of_the_password_file_has_the_topics_of_every_vhost() {
    let file: std::collections::BTreeMap<_, _> =
        [("joe".into(), PasswordHash::parse_crypt(FILE).unwrap())].into();
    let (users, hidden) = users("", "").with_password_file(&file);
    assert!(hidden.is_empty());
    let joe = users.login("joe", b"secret", LOCAL).unwrap();
    assert!(enter(&joe, "/").is_ok() && enter(&joe, "plant").is_ok());
    let rights = TopicRights::of(&joe, "plant", "c");
    assert!(rights.allows_publish("a") && rights.allows_subscribe("#"));
    for resource in [
        Resource::Queue { vhost: "/", name: "q" },
        Resource::Exchange { vhost: "/", name: "amq.topic" },
        Resource::Exchange { vhost: "/", name: FILTERS },
    ] {
        for access in [Access::Configure, Access::Write, Access::Read] {
            assert!(authorise(&joe, access, resource).is_err());
        }
    }
    let acl = users.with_acl(Arc::new(Acl::parse("pattern %m/%u/#").unwrap()));
    let joe = acl.renew(&joe).unwrap();
    let rights = TopicRights::of(&joe, "plant", "c");
    assert!(rights.allows_publish("plant/joe/x") && !rights.allows_publish("other/joe/x"));
    assert!(TopicRights::of(&joe, "/", "c").allows_publish("/joe/x"), "no mountpoint is empty");
}

/// mqtt.md V-020
#[test]
fn a_client_without_a_name_is_let_in_only_when_it_is_said_so() {
    assert!(users("", "").nameless().is_none());
    let acl = "topic public/#\nuser anonymous\ntopic private\npattern %u\n";
    let users = users("", "").with_topic_rules(rules(Some(acl)), true);
    let nobody = users.nameless().unwrap();
    assert_eq!(nobody.name(), "anonymous");
    let rights = TopicRights::of(&nobody, "/", "c");
    assert!(rights.allows_publish("public/a") && !rights.allows_publish("private"));
    assert!(!rights.allows_subscribe("anonymous"), "the name that is shown is no login name");
    assert!(users.login("anonymous", b"x", LOCAL).is_err());
    assert!(users.renew(&nobody).is_some() && self::users("", "").renew(&nobody).is_none());
}

/// mqtt.md V-020, V-224: nobody has proved anything, so the name is worth what the ACL file gives it.
#[test]
fn the_acl_file_knows_a_client_without_a_login_by_the_name_that_it_gives() {
    let acl = "user dev\ntopic dev/x\nuser u.1\ntopic mine\npattern %u/own\n";
    let users = users("", "").with_topic_rules(rules(Some(acl)), true);
    let dev = users.nameless_as("dev").unwrap();
    assert_eq!((dev.name(), dev.login_name()), ("anonymous", None));
    let rights = TopicRights::of(&dev, "/", "c");
    assert!(rights.allows_publish("dev/x") && rights.allows_subscribe("dev/own"));
    assert!(!rights.allows_publish("mine") && !rights.allows_publish("anonymous/own"));
    let renewed = TopicRights::of(&users.renew(&dev).unwrap(), "/", "c");
    assert!(renewed.allows_publish("dev/x"));
    // The name of a user has to be earned.
    let liar = TopicRights::of(&users.nameless_as("u.1").unwrap(), "/", "c");
    assert!(!liar.allows_publish("mine") && !liar.allows_publish("u.1/own"));
}

#[test]
fn what_is_not_allowed_may_be_kept_back_message_by_message() {
    let acl = "topic read a/#\ntopic write b\ntopic deny a/secret\n";
    let rules = |acl_drops| TopicRules { acl_drops, ..rules(Some(acl)) };
    let refusing = rights(&users(".*", ".*").with_topic_rules(rules(false), false));
    assert!(!refusing.allows_subscribe("#") && refusing.refuses("a/secret"));
    let dropping = rights(&users(".*", ".*").with_topic_rules(rules(true), false));
    for filter in ["#", "b", "a/secret"] {
        assert!(dropping.allows_subscribe(filter) && !dropping.refuses(filter), "{filter}");
        assert!(!dropping.allows_member(filter), "{filter}");
    }
    for (topic, is_kept_back) in [("a/b", false), ("a/secret", true), ("b", true), ("c", true)] {
        assert_eq!(dropping.keeps_back(topic), is_kept_back, "{topic}");
    }
    assert!(dropping.allows_publish("b") && !dropping.allows_publish("a/b"));
    assert!(dropping.allows_member("a/b"));
}

#[test]
fn the_one_decision_answers_for_topics_and_for_the_exchange_of_filters() {
    let identity = login(&users("^amq\\.topic$", ""));
    let topic = Resource::Topic { vhost: "/", name: "a/b", client: "c" };
    assert!(authorise(&identity, Access::Write, topic).is_ok());
    assert!(authorise(&identity, Access::Configure, topic).is_err());
    let denied: Denied = authorise(&identity, Access::Read, topic).unwrap_err();
    let text = "read access to topic 'a/b' in vhost '/' refused for user 'u.1'";
    assert_eq!(denied.to_string(), text);
    let filters = Resource::Exchange { vhost: "/", name: FILTERS };
    assert!(authorise(&identity, Access::Write, filters).is_ok());
    assert!(authorise(&identity, Access::Read, filters).is_err());
}

/// mqtt.md X-13; the rest as RabbitMQ has it.
#[test]
fn keys_at_exchanges_of_topics_have_rights_of_their_own() {
    let mut users = users(".*", ".*");
    let permission = |exchange: &str, write: &str, read: &str| {
        TopicPermission::parse("u.1", ("/", exchange), write, read).unwrap()
    };
    assert!(users.permit_topics("u.1", permission(TOPICS, "^out\\.{username}", "^in\\.")));
    assert!(users.permit_topics("u.1", permission("mine", "{client_id}", "")));
    let may = |users: &Users, access, exchange, key| {
        authorise(&login(users), access, Resource::Key { vhost: "/", exchange, key }).is_ok()
    };
    for (exchange, key, write, read) in [
        (TOPICS, "out.u.1", true, false),
        (TOPICS, "in.#", false, true),
        (FILTERS, "out/u.1", true, false),
        (FILTERS, "in/a", false, true),
        ("mine", "x", false, false),
        ("other", "x", true, true),
    ] {
        assert_eq!(may(&users, Access::Write, exchange, key), write, "{exchange} {key}");
        assert_eq!(may(&users, Access::Read, exchange, key), read, "{exchange} {key}");
    }
    let denied = Resource::Key { vhost: "/", exchange: TOPICS, key: "secret" };
    assert_eq!(
        authorise(&login(&users), Access::Write, denied).unwrap_err().to_string(),
        "write access to topic 'secret' in exchange 'amq.topic' in vhost '/' refused for user 'u.1'"
    );
    let users =
        self::users(".*", ".*").with_topic_rules(rules(Some("topic a/+\ntopic b/#")), false);
    for (exchange, key, write, read) in [
        (TOPICS, "a.b", true, true),
        (TOPICS, "a.*", false, true),
        (TOPICS, "a.#", false, false),
        (TOPICS, "b.#.c", false, true),
        (TOPICS, "#.b", false, false),
        (FILTERS, "a/+", false, true),
        ("other", "#", true, true),
    ] {
        assert_eq!(may(&users, Access::Read, exchange, key), read, "{exchange} {key}");
        if !key.contains(['*', '#', '+']) || exchange == "other" {
            assert_eq!(may(&users, Access::Write, exchange, key), write, "{exchange} {key}");
        }
    }
}
