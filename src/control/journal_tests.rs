//! Tests of `journal`: what a start finds after each change, behind every cut and every wrong bit.

use proptest::prelude::*;

use super::*;
use crate::control::state::{Password, PermissionEntry, UserLimits, VhostLimits};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringmq-ctl-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join("control").join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn user(name: &str) -> Change {
    let hash = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
    let password = Some(Password::parse(hash, None).unwrap());
    Change::PutUser { name: name.into(), password, tags: vec!["management".into()] }
}

fn vhost(name: &str) -> Change {
    Change::PutVhost {
        name: name.into(),
        description: "what it is for".into(),
        tags: vec!["a".into()],
        default_queue_type: "quorum".into(),
        is_protected: false,
    }
}

fn permission(user: &str, vhost: &str) -> Change {
    let permission = PermissionEntry::parse("", "^a", ".*").unwrap();
    Change::PutPermission { user: user.into(), vhost: vhost.into(), permission }
}

/// One of each kind, none of which fails.
fn history() -> Vec<Vec<Change>> {
    let limits = VhostLimits { max_connections: Some(1), max_queues: None };
    let of_user = UserLimits { max_connections: None, max_channels: Some(7) };
    let topics = crate::control::state::TopicPermissionEntry::parse("u", ("v", "e"), "^b", "");
    vec![
        vec![vhost("v"), user("u"), permission("u", "v")],
        vec![Change::SetVhostLimits { name: "v".into(), limits }],
        vec![Change::SetUserLimits { name: "u".into(), limits: of_user }],
        vec![Change::PutTopicPermission {
            user: "u".into(),
            vhost: "v".into(),
            exchange: "e".into(),
            permission: topics.unwrap(),
        }],
        vec![Change::PutGlobalParameter {
            name: "cluster_name".into(),
            value: serde_json::json!({ "a": [1, "b"] }).into(),
        }],
        vec![vhost("w"), user("t"), permission("t", "w"), permission("u", "w")],
        vec![Change::Imported { checksum: "abc".into() }],
        vec![Change::DeleteTopicPermission { user: "u".into(), vhost: "v".into(), exchange: None }],
        vec![Change::DeletePermission { user: "u".into(), vhost: "w".into() }],
        vec![Change::DeleteUser { name: "t".into() }],
        vec![Change::DeleteVhost { name: "w".into() }],
        vec![Change::DeleteGlobalParameter { name: "cluster_name".into() }],
        vec![Change::ForgetVhost { name: "w".into() }],
    ]
}

/// Begins with nothing and makes the changes; the states after each.
fn written(folder: &Folder, history: &[Vec<Change>]) -> Vec<State> {
    let mut opened = Journal::open(&folder.0).unwrap();
    let mut states = vec![State::default()];
    opened.journal.begin(&states[0]).unwrap();
    for changes in history {
        let before = states.last().unwrap();
        let (next, _) = before.changed(changes).unwrap();
        opened.journal.append(changes, before, &next).unwrap();
        states.push(next);
    }
    states
}

fn found(folder: &Folder) -> Opened {
    Journal::open(&folder.0).unwrap()
}

#[test]
fn a_new_directory_has_no_state() {
    let folder = Folder::new("new");
    let opened = found(&folder);
    assert!(opened.state.is_none() && opened.findings.is_empty());
}

#[test]
fn every_change_is_there_after_a_start_and_after_the_next() {
    let folder = Folder::new("every");
    let history = history();
    for length in 0..=history.len() {
        let _ = std::fs::remove_dir_all(folder.file(""));
        let states = written(&folder, &history[..length]);
        for _ in 0..3 {
            let mut opened = found(&folder);
            assert_eq!(opened.state.as_ref(), states.last(), "after {length}");
            assert_eq!(opened.findings, Vec::<String>::new());
            let state = opened.state.unwrap();
            opened.journal.begin(&state).unwrap();
        }
    }
}

#[test]
fn a_journal_that_is_cut_anywhere_gives_the_state_before_the_cut() {
    let folder = Folder::new("cut");
    let states = written(&folder, &history());
    let journal = std::fs::read(folder.file("journal.1")).unwrap();
    let mut last = 0;
    for cut in 0..=journal.len() {
        std::fs::write(folder.file("journal.1"), &journal[..cut]).unwrap();
        let opened = found(&folder);
        let state = opened.state.unwrap();
        let at = states[last..].iter().position(|known| *known == state);
        last += at.unwrap_or_else(|| panic!("cut at {cut}: a state that never was, or an older"));
    }
    assert_eq!(last, states.len() - 1);
}

#[test]
fn a_damaged_record_costs_itself_and_is_told_and_kept() {
    let folder = Folder::new("bits");
    let users: Vec<Vec<Change>> = ["a", "b", "c"].iter().map(|name| vec![user(name)]).collect();
    let states = written(&folder, &users);
    let journal = std::fs::read(folder.file("journal.1")).unwrap();
    // Each octet, and in the end each place in an octet.
    for bit in (0..journal.len() * 8).step_by(7) {
        let mut damaged = journal.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(folder.file("journal.1"), &damaged).unwrap();
        let opened = found(&folder);
        let state = opened.state.unwrap();
        let missing: Vec<_> =
            states[3].users.keys().filter(|name| !state.users.contains_key(*name)).collect();
        assert!(missing.len() <= 1, "bit {bit}: {missing:?}");
        assert_eq!(opened.findings.len(), 1, "bit {bit}: {:?}", opened.findings);
        let kept = folder.0.join("quarantine/control.journal.1");
        assert_eq!(std::fs::read(kept).unwrap(), damaged);
    }
}

#[test]
fn a_damaged_snapshot_is_made_up_for_by_the_one_before_and_both_journals() {
    let folder = Folder::new("snapshot");
    let history = history();
    let (first, second) = history.split_at(5);
    let states = written(&folder, first);
    let mut opened = found(&folder);
    let mut state = opened.state.unwrap();
    opened.journal.begin(&state).unwrap();
    for changes in second {
        let (next, _) = state.changed(changes).unwrap();
        opened.journal.append(changes, &state, &next).unwrap();
        state = next;
    }
    assert_ne!(states.last(), Some(&state));
    let snapshot = std::fs::read(folder.file("snapshot.2")).unwrap();
    for at in 0..snapshot.len() {
        let mut damaged = snapshot.clone();
        damaged[at] ^= 0x41;
        std::fs::write(folder.file("snapshot.2"), &damaged).unwrap();
        assert_eq!(found(&folder).state.as_ref(), Some(&state), "octet {at}");
        std::fs::write(folder.file("snapshot.2"), &snapshot[..at]).unwrap();
        assert_eq!(found(&folder).state.as_ref(), Some(&state), "cut at {at}");
    }
}

#[test]
fn files_that_are_damaged_all_over_do_not_stop_the_start() {
    let folder = Folder::new("all");
    let _ = written(&folder, &history());
    for name in ["snapshot.1", "journal.1"] {
        std::fs::write(folder.file(name), b"not what it was").unwrap();
    }
    let mut opened = found(&folder);
    assert_eq!(opened.findings.len(), 2);
    assert_eq!(opened.state, None, "as at the first start");
    opened.journal.begin(&State::default()).unwrap();
    assert!(found(&folder).findings.is_empty());
}

#[test]
fn a_journal_that_grows_is_begun_anew_and_old_files_go() {
    let folder = Folder::new("grows");
    let mut opened = found(&folder);
    let mut state = State::default();
    opened.journal.begin(&state).unwrap();
    let text = "x".repeat(100_000);
    for n in 0..40 {
        let value = serde_json::json!([n, text]);
        let change = [Change::PutGlobalParameter { name: "p".into(), value: value.into() }];
        let (next, _) = state.changed(&change).unwrap();
        opened.journal.append(&change, &state, &next).unwrap();
        state = next;
        assert_eq!(found(&folder).state.as_ref(), Some(&state));
    }
    assert!(opened.journal.generation > 2);
    assert!(std::fs::read_dir(folder.file("")).unwrap().count() <= 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever octets of the two files are wrong: the node starts, and with a state that changes can
    /// be made to.
    #[test]
    fn any_damage_leaves_a_state_that_can_be_changed(
        wrong in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let folder = Folder::new("any");
        let _ = written(&folder, &history());
        for (of_snapshot, at, octet) in wrong {
            let path = folder.file(if of_snapshot { "snapshot.1" } else { "journal.1" });
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = octet;
            std::fs::write(&path, &bytes).unwrap();
        }
        let mut opened = found(&folder);
        let state = opened.state.unwrap_or_default();
        opened.journal.begin(&state).unwrap();
        let change = [user("late")];
        let (next, _) = state.changed(&change).unwrap();
        opened.journal.append(&change, &state, &next).unwrap();
        prop_assert_eq!(found(&folder).state, Some(next));
    }
}
