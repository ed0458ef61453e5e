//! Retained messages whose publisher has lost the right to them (abuse row 69, CVE-2018-12546).

use std::sync::Arc;

use super::rig::*;
use crate::auth::password::PasswordHash;
use crate::auth::permission::{Pattern, Permission};
use crate::auth::user::User;
use crate::auth::{Acl, TopicRules, Users};
use crate::config::Config;
use crate::protocol::mqtt::wire::connect::{Connect, Will};
use crate::protocol::mqtt::wire::message_properties::WillProperties;
use crate::protocol::mqtt::wire::publish::{Promise, PublishHead};
use crate::protocol::mqtt::wire::subscribe::Options;
use crate::protocol::mqtt::wire::{Qos, Version};

/// Salt and SHA-256 of "guest".
const GUEST: &str = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";

fn user(name: &str, write: &str) -> User {
    let all = || Pattern::parse(".*").unwrap();
    let permission =
        Permission { configure: all(), write: Pattern::parse(write).unwrap(), read: all() };
    User {
        name: name.into(),
        password: Some(PasswordHash::parse(GUEST, None).unwrap()),
        tags: Vec::new(),
        permissions: vec![("/".into(), permission)],
    }
}

/// Guest reads, and writer publishes as far as `write` says.
fn users(write: &str, acl: Option<&str>) -> Users {
    let acl = acl.map(|text| Arc::new(Acl::parse(text).unwrap()));
    let rules = TopicRules { acl, ..TopicRules::default() };
    Users::new([user("guest", ".*"), user("writer", write)], None).with_topic_rules(rules, true)
}

fn retain(rig: &mut Rig, user: Option<&str>, topic: &str) {
    let password = user.map(|_| &b"guest"[..]);
    let client = rig.connect(&Connect { user_name: user, password, ..hello(Version::V5, "w") });
    let head = PublishHead { retain: true, ..head(topic, Promise::AtMostOnce) };
    rig.publish(client, head, "kept");
    assert!(rig.heard(client)[0].starts_with("CONNACK 00"));
    rig.cut(client);
}

/// What a new subscriber to everything is shown.
fn shown(rig: &mut Rig) -> Vec<String> {
    let client = rig.open(Version::V4, "reader");
    rig.subscribe_with(client, 1, &[("#", Options::default())], None);
    let mut heard = rig.heard(client);
    rig.cut(client);
    heard.remove(0);
    heard
}

fn rig(check: bool) -> Rig {
    let mut config = Config::default();
    config.mqtt.check_retain_source = check;
    config.mqtt.allow_anonymous = true;
    Rig::with(config)
}

#[test]
fn what_is_retained_is_not_shown_while_its_publisher_may_not_publish_it() {
    let mut rig = rig(true);
    rig.replace_users(users(".*", None));
    retain(&mut rig, Some("writer"), "t");
    assert_eq!(shown(&mut rig).len(), 1);
    rig.replace_users(users("^$", None));
    assert_eq!(shown(&mut rig), [""; 0], "the permission is taken back");
    rig.replace_users(users(".*", Some("topic read #\nuser writer\ntopic write other")));
    assert_eq!(shown(&mut rig), [""; 0], "the ACL file does not allow it");
    rig.replace_users(users(".*", Some("topic read #\npattern write %c\npattern write t")));
    assert_eq!(shown(&mut rig).len(), 1, "the right has come back");
    rig.replace_users(Users::new([user("guest", ".*")], None));
    assert_eq!(shown(&mut rig), [""; 0], "the user is gone");
}

#[test]
fn rights_of_clients_without_a_login_are_those_of_the_name_they_gave() {
    let mut rig = rig(true);
    let acl = "topic read #\nuser pump\ntopic write pump/1\npattern write c/%c";
    rig.replace_users(users(".*", Some(acl)));
    retain(&mut rig, Some("pump"), "pump/1");
    retain(&mut rig, None, "c/w");
    assert_eq!(shown(&mut rig).len(), 2);
    rig.replace_users(users(".*", Some("topic read #\npattern write c/%c")));
    let heard = shown(&mut rig);
    assert!(heard.len() == 1 && heard[0].contains("c/w"), "{heard:?}");
    rig.replace_users(users(".*", None).with_topic_rules(TopicRules::default(), false));
    assert_eq!(shown(&mut rig), [""; 0], "nobody is let in without a login any more");
}

#[test]
fn a_retained_will_has_its_client_as_its_publisher() {
    let mut rig = rig(true);
    rig.replace_users(users(".*", None));
    let will = Will {
        topic: "will",
        payload: b"gone",
        qos: Qos::AtMostOnce,
        retain: true,
        properties: WillProperties::default(),
    };
    let client = rig.connect(&Connect {
        will: Some(will),
        user_name: Some("writer"),
        ..hello(Version::V5, "w")
    });
    rig.cut(client);
    assert_eq!(shown(&mut rig).len(), 1);
    rig.replace_users(users("^$", None));
    assert_eq!(shown(&mut rig), [""; 0]);
}

#[test]
fn where_sources_are_not_checked_all_is_shown_that_is_retained() {
    let mut rig = rig(false);
    rig.replace_users(users(".*", None));
    retain(&mut rig, Some("writer"), "t");
    rig.replace_users(users("^$", None));
    assert_eq!(shown(&mut rig).len(), 1);
}
