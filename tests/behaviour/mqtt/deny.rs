//! What an ACL file denies in so many words, whatever else it allows.

use std::path::PathBuf;

use crate::support::siege::unique;

use super::client::Client;
use super::ground::Ground;
use super::octets::{BOTH, Hello, Letter, V4, V5};

/// A file that is gone after the test.
struct File(PathBuf);

impl File {
    fn with(lines: &str) -> Self {
        let name = format!("ringmq-{}-{}", std::process::id(), unique("acl"));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, lines).expect("a file");
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// MQTT-3.9.3-2 (v3.1.1), MQTT-3.9.3-2 (v5): the refusal is 0x80, which tells nothing, in both; a
/// permission that is only missing has a code of its own in version 5.
#[test]
fn a_filter_that_is_denied_is_refused_without_a_reason_and_its_topics_are_kept_back() {
    let file = File::with(
        "topic readwrite open/#\ntopic write #\ntopic deny open/secret/#\npattern deny open/%c\n\
         topic read canary\ntopic readwrite +\n",
    );
    let ground = Ground::own(2, &format!("vmq_acl.acl_file = {}\n", file.0.display()));
    for version in BOTH {
        let missing = if version == V5 { 0x87 } else { 0x80 };
        let mut client = ground.client(version);
        let filters = [("open/secret", 1), ("open/secret/+", 0), ("other/a", 1), ("open/#", 2)];
        assert_eq!(client.ask(&filters, &[]), [0x80, 0x80, missing, 2]);
        // A message that one member may not have would be lost to the others.
        let group = [("$share/g/open/#", 1), ("$share/g/open/a", 1)];
        assert_eq!(client.ask(&group, &[]), [0x80, 1]);
        assert_eq!(client.unsubscribe(&["$share/g/open/a"]).len(), usize::from(version == V5));

        let mut publisher = ground.client(version);
        match version {
            V5 => {
                let letter = Letter { topic: "open/secret/a", qos: 1, id: 9, ..Letter::default() };
                publisher.publish(&letter);
                assert_eq!(publisher.expect_answer(0x40, 9), 0x87);
            }
            _ => publisher.tell("open/secret/a", "nobody may"),
        }
        publisher.tell("open/a", "first");
        client.expect_text("first");
        client.ping();
    }
    ground.lift();
}

/// Of a filter that is denied in part the rest arrives: live, stored and retained.
#[test]
fn a_topic_that_is_denied_is_kept_back_from_a_filter_that_matches_more() {
    let file = File::with("topic readwrite #\npattern deny open/%c\n");
    let ground = Ground::own(2, &format!("vmq_acl.acl_file = {}\n", file.0.display()));
    for version in BOTH {
        let name = unique("denied");
        let mut client = Client::connect(ground.addr, &Hello::new(version, &name));
        let mut publisher = ground.client(V4);
        let topic = format!("open/{name}");
        publisher.tell_retained(&topic, "retained");
        for qos in [0, 1] {
            client.subscribe("open/+", qos);
            publisher.tell(&topic, "live");
            publisher.tell_surely(&topic, "stored");
            publisher.tell_surely("open/end", "end");
            client.expect_text("end");
            client.ping();
            client.unsubscribe(&["open/+"]);
        }
        publisher.tell_retained(&topic, "");
    }
    ground.lift();
}
