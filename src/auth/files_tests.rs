//! Tests of `auth::files`: what is read, when again, and what a broken file leaves.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::auth::TopicRights;
use crate::config::{Config, Mqtt};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// "secret", by mosquitto_passwd 2.0.
const JOE: &str = "$6$fjg1uNsCppUILwaG$/CDwOWA9FgsNNt9xN4xTaswzJ8waOJ2NGwlu2yizITK94oeG5nt2tAHBwW9IpCoDReAtj7b46niGlhI9J3pZkw==";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringmq-files-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        // As editors and deployments do it: another inode, so that no clock decides the test.
        let (path, new) = (self.0.join(name), self.0.join(format!("{name}.new")));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn settings(passwords: &Path, acl: &Path) -> Mqtt {
    Mqtt {
        password_file: Some(passwords.into()),
        password_reload_interval_s: 1,
        acl_file: Some(acl.into()),
        acl_reload_interval_s: 2,
        ..Config::default().mqtt
    }
}

fn joe(users: &Users) -> bool {
    users.login("joe", b"secret", LOCAL).is_ok()
}

fn joe_may(users: &Users, topic: &str) -> bool {
    let joe = users.login("joe", b"secret", LOCAL).unwrap();
    TopicRights::of(&joe, "/", "c").allows_publish(topic)
}

/// mqtt.md V-220, V-223
#[test]
fn both_files_are_read_again_when_they_have_changed() {
    let folder = Folder::new("again");
    let line = format!("joe:{JOE}\n");
    let (passwords, acl) = (folder.write("p", &line), folder.write("a", "topic a\n"));
    let mut files = Files::load(&settings(&passwords, &acl), Users::default()).unwrap();
    assert!(joe_may(&files.users(), "a"));
    let first = files.users().revision();
    for _ in 0..4 {
        let look = files.second_passed();
        assert!(look.users.is_none() && look.notes.is_empty() && look.errors.is_empty());
    }
    folder.write("p", &format!("{line}ann:{JOE}\n"));
    let users = files.second_passed().users.unwrap();
    assert!(users.login("ann", b"secret", LOCAL).is_ok() && joe_may(&users, "a"));
    folder.write("a", "topic b\n");
    let users = files.second_passed().users.unwrap();
    assert!(!joe_may(&users, "a") && joe_may(&users, "b"));
    folder.write("p", "");
    let look = files.second_passed();
    assert_eq!(look.notes, [format!("{}: 0 users", passwords.display())]);
    assert!(!joe(&look.users.unwrap()));
    assert!(files.users().revision() > first);
}

#[test]
fn a_broken_file_is_reported_once_and_leaves_what_is_in_force() {
    let folder = Folder::new("broken");
    let (passwords, acl) = (folder.write("p", &format!("joe:{JOE}")), folder.write("a", "topic a"));
    let mut files = Files::load(&settings(&passwords, &acl), Users::default()).unwrap();
    folder.write("p", "joe:plain");
    folder.write("a", "topic a\ntopic b#");
    let (first, second) = (files.second_passed(), files.second_passed());
    let errors: Vec<String> =
        first.errors.iter().chain(&second.errors).map(ToString::to_string).collect();
    let expected = [
        format!(
            "{}:1: the password is not hashed as $6$ or $7$ (mosquitto_passwd -U does it) or SCRAM-SHA-256$",
            passwords.display()
        ),
        format!("{}:2: 'b#': # stands alone in the last level", acl.display()),
    ];
    assert_eq!(errors, expected);
    assert!(first.users.is_none() && second.users.is_none() && joe_may(&files.users(), "a"));
    std::fs::remove_file(&passwords).unwrap();
    let error = files.second_passed().errors.pop().unwrap().to_string();
    assert!(error.contains("No such file"), "{error}");
    assert!(files.second_passed().errors.is_empty() && joe(&files.users()));
    folder.write("p", &format!("joe:{JOE}"));
    assert!(files.second_passed().users.is_some());
}

#[test]
fn a_file_that_is_named_must_be_there_and_right_at_the_start() {
    let folder = Folder::new("start");
    let (good, bad) = (folder.write("good", ""), folder.write("bad", "x"));
    let missing = folder.0.join("missing");
    for (passwords, acl) in [(&missing, &good), (&good, &missing), (&bad, &good), (&good, &bad)] {
        assert!(Files::load(&settings(passwords, acl), Users::default()).is_err());
    }
    assert!(Files::load(&settings(&good, &good), Users::default()).is_ok());
    let never =
        Mqtt { password_reload_interval_s: 0, acl_reload_interval_s: 0, ..settings(&good, &good) };
    let mut files = Files::load(&never, Users::default()).unwrap();
    folder.write("good", "x");
    assert!(files.second_passed().errors.is_empty());
    let mut without = Files::load(&Config::default().mqtt, Users::default()).unwrap();
    assert!(without.second_passed().errors.is_empty());
}

#[test]
fn an_empty_acl_file_denies_everything() {
    let folder = Folder::new("empty");
    let (passwords, acl) = (folder.write("p", &format!("joe:{JOE}")), folder.write("a", "# none"));
    let files = Files::load(&settings(&passwords, &acl), Users::default()).unwrap();
    assert!(!joe_may(&files.users(), "a"));
}
