//! Tests of `definitions` and `start`: what a file brings, and what stops the start.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::auth::{Access, Resource, Users, authorise, enter};
use crate::config::Config;
use crate::control::start::{Begun, begin, begin_with};
use crate::control::{Basis, DefinitionsError};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// As RabbitMQ exports it, shortened. Passwords: "test12" and "guest".
const FILE: &str = r#"{
  "rabbit_version": "4.1.0", "product_name": "RabbitMQ",
  "users": [
    {"name": "shop", "password_hash": "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
     "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["monitoring"], "limits": {}},
    {"name": "guest", "password_hash": "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+",
     "tags": "administrator, management"},
    {"name": "oauth-only", "password_hash": "", "tags": []}],
  "vhosts": [{"name": "/"}, {"name": "orders", "limits": []}],
  "permissions": [
    {"user": "shop", "vhost": "orders", "configure": "", "write": "^in", "read": "^out"}],
  "topic_permissions": [],
  "queues": [{"name": "a"}, {"name": "b"}],
  "policies": [{"name": "p"}],
  "global_parameters": [{"name": "cluster_name", "value": "x"}]
}"#;

/// What the first start makes of a file.
#[derive(Debug)]
struct Directory {
    state: State,
    users: Users,
    vhosts: Vec<Box<str>>,
    not_loaded: Vec<(Box<str>, usize)>,
}

fn directory(config: &Config, begun: Begun) -> Directory {
    let (state, _) = State::default().changed(&begun.changes).unwrap();
    let users = Basis::new(config).users(&state);
    let vhosts = state.vhosts.keys().cloned().collect();
    Directory { state, users, vhosts, not_loaded: begun.not_loaded }
}

fn load(config: &Config) -> Result<Directory, DefinitionsError> {
    begin(config, None).map(|begun| directory(config, begun))
}

fn load_text(text: &str) -> Result<Directory, String> {
    let config = Config::default();
    let begun = begin_with(&config, "file".as_ref(), Some(text), None);
    begun.map(|begun| directory(&config, begun)).map_err(|e| e.to_string())
}

fn refusal(text: &str) -> String {
    load_text(text).unwrap_err()
}

#[test]
fn without_a_file_guest_administers_the_root_vhost_from_loopback() {
    let directory = load(&Config::default()).unwrap();
    let guest = directory.users.login("guest", b"guest", LOOPBACK).unwrap();
    assert!(guest.has_tag("administrator"));
    for access in [Access::Configure, Access::Write, Access::Read] {
        assert!(authorise(&guest, access, Resource::Queue { vhost: "/", name: "q" }).is_ok());
    }
    assert!(directory.users.login("guest", b"guest", ELSEWHERE).is_err());
    assert_eq!(directory.vhosts, ["/".into()]);
}

#[test]
fn the_loopback_rule_can_be_switched_off() {
    let mut config = Config::default();
    config.main.default_user_only_loopback = false;
    assert!(load(&config).unwrap().users.login("guest", b"guest", ELSEWHERE).is_ok());
}

#[test]
fn a_file_brings_users_vhosts_and_permissions() {
    let directory = load_text(FILE).unwrap();
    assert_eq!(directory.vhosts, ["/".into(), "orders".into()]);
    let shop = directory.users.login("shop", b"test12", ELSEWHERE).unwrap();
    assert!(shop.has_tag("monitoring"));
    assert!(enter(&shop, "orders").is_ok() && enter(&shop, "/").is_err());
    let exchange = Resource::Exchange { vhost: "orders", name: "inbox" };
    assert!(authorise(&shop, Access::Write, exchange).is_ok());
    assert!(authorise(&shop, Access::Read, exchange).is_err());
}

/// L60
#[test]
fn a_user_with_an_empty_hash_is_there_but_never_logs_in() {
    let directory = load_text(FILE).unwrap();
    assert_eq!(directory.users.len(), 3);
    assert!(directory.users.login("oauth-only", b"", LOOPBACK).is_err());
}

/// R98: older files have a string with commas. The rule for the default user's name stays.
#[test]
fn the_files_own_guest_keeps_its_tags_and_the_loopback_rule() {
    let directory = load_text(FILE).unwrap();
    let guest = directory.users.login("guest", b"guest", LOOPBACK).unwrap();
    assert!(guest.has_tag("administrator") && guest.has_tag("management"));
    assert!(enter(&guest, "/").is_err(), "the file gives it no permission");
    assert!(directory.users.login("guest", b"guest", ELSEWHERE).is_err());
}

#[test]
fn a_file_with_users_but_no_guest_makes_no_guest() {
    let file = r#"{"users": [{"name": "a", "password_hash": ""}]}"#;
    assert!(load_text(file).unwrap().users.login("guest", b"guest", LOOPBACK).is_err());
    let file = r#"{"vhosts": [{"name": "v"}],
                   "permissions": [{"user": "guest", "vhost": "v", "configure": "", "write": "",
                                    "read": ".*"}]}"#;
    let guest = load_text(file).unwrap().users.login("guest", b"guest", LOOPBACK).unwrap();
    assert!(enter(&guest, "v").is_ok() && enter(&guest, "/").is_ok());
}

#[test]
fn what_is_not_loaded_yet_is_reported_with_its_count() {
    let directory = load_text(FILE).unwrap();
    let expected = [("policies", 1), ("queues", 2)];
    let found: Vec<(&str, usize)> = directory.not_loaded.iter().map(|(k, n)| (&**k, *n)).collect();
    assert_eq!(found, expected);
}

#[test]
fn an_unknown_hash_algorithm_stops_the_start() {
    let file = r#"{"users": [{"name": "a", "password_hash": "AAAA",
                              "hashing_algorithm": "lavinmq_bcrypt"}]}"#;
    assert_eq!(
        refusal(file),
        "file: users[0]: user 'a': password hashes of 'lavinmq_bcrypt' are not supported; \
         set the password again as SHA-256"
    );
}

#[test]
fn each_malformed_entry_stops_the_start_and_is_named() {
    let cases = [
        ("[]", "the file is not a JSON object"),
        (r#"{"users": {}}"#, "'users' is not a list"),
        (r#"{"users": [1]}"#, "users[0] is not an object"),
        (r#"{"users": [{"password_hash": ""}]}"#, "users[0]: 'name' is missing"),
        (r#"{"users": [{"name": ""}]}"#, "users[0]: 'name' is empty"),
        (
            r#"{"users": [{"name": "a", "tags": 1}]}"#,
            "users[0]: user 'a': 'tags' is neither a list of strings nor a string",
        ),
        (r#"{"vhosts": [{"name": 1}]}"#, "vhosts[0]: 'name' is not a string"),
        (
            r#"{"permissions": [{"user": "u", "vhost": "/", "configure": "", "write": ""}]}"#,
            "permissions[0]: 'read' is missing",
        ),
        (
            r#"{"permissions": [{"user": "u", "vhost": "/", "configure": "", "write": "",
                                 "read": ""}]}"#,
            "permissions[0]: there is no user 'u'",
        ),
        (
            r#"{"permissions": [{"user": "guest", "vhost": "v", "configure": "", "write": "",
                                 "read": ""}]}"#,
            "permissions[0]: there is no vhost 'v'",
        ),
    ];
    for (file, reason) in cases {
        let refusal = refusal(file);
        assert!(refusal.ends_with(reason), "{file}: {refusal}");
    }
    assert!(refusal("{").starts_with("file: not JSON: "));
}

/// mqtt.md I-10
#[test]
fn topic_permissions_are_loaded_for_each_exchange() {
    let file = r#"{"topic_permissions": [
        {"user": "guest", "vhost": "/", "exchange": "amq.topic", "write": "^{client_id}\\.",
         "read": ".*"},
        {"user": "guest", "vhost": "/", "exchange": "other", "write": "", "read": ""}]}"#;
    let directory = load_text(file).unwrap();
    let guest = directory.users.login("guest", b"guest", LOOPBACK).unwrap();
    let rights = crate::auth::TopicRights::of(&guest, "/", "c1");
    assert!(rights.allows_publish("c1/x") && !rights.allows_publish("c2/x"));
    assert!(rights.allows_subscribe("#"));
    assert_eq!(directory.not_loaded, []);
    let key = |exchange| Resource::Key { vhost: "/", exchange, key: "a" };
    assert!(authorise(&guest, Access::Read, key("amq.topic")).is_ok());
    assert!(authorise(&guest, Access::Read, key("third")).is_ok());
    assert!(authorise(&guest, Access::Read, key("other")).is_err());
    for (entry, reason) in [
        (r#""user": "eve", "vhost": "/", "write": "", "read": """#, "there is no user 'eve'"),
        (r#""user": "guest", "vhost": "v", "write": "", "read": """#, "there is no vhost 'v'"),
        (r#""user": "guest", "vhost": "/", "write": """#, "'read' is missing"),
    ] {
        let file = format!(r#"{{"topic_permissions": [{{"exchange": "amq.topic", {entry}}}]}}"#);
        assert_eq!(refusal(&file).rsplit_once("topic_permissions[0]: ").unwrap().1, reason);
    }
}

#[test]
fn a_bad_pattern_is_named() {
    let file = r#"{"permissions": [{"user": "guest", "vhost": "/", "configure": "(", "write": "",
                                    "read": ""}]}"#;
    let reason = refusal(file);
    assert!(
        reason.starts_with("file: permissions[0]: 'configure': '(' is not a supported"),
        "{reason}"
    );
}

#[test]
fn a_missing_file_is_named_with_the_cause() {
    let mut config = Config::default();
    config.main.load_definitions = Some("no/such/file.json".into());
    let reason = load(&config).unwrap_err().to_string();
    assert!(reason.starts_with("no/such/file.json: No such file"), "{reason}");
}

#[test]
fn what_is_exported_is_imported_as_the_same() {
    let file = r#"{"users": [{"name": "a", "password_hash": "", "tags": ["x", "y"],
                              "limits": {"max-channels": 3}}],
        "vhosts": [{"name": "v", "metadata": {"description": "d", "tags": ["t"],
                    "default_queue_type": "quorum"}}, {"name": "w"}],
        "permissions": [{"user": "a", "vhost": "v", "configure": "", "write": "^a", "read": ".*"}],
        "topic_permissions": [{"user": "a", "vhost": "v", "exchange": "amq.topic", "write": "^b",
                               "read": ""}],
        "parameters": [{"vhost": "w", "component": "vhost-limits", "name": "limits",
                        "value": {"max-queues": 7, "max-connections": -1}}],
        "global_parameters": [{"name": "cluster_name", "value": {"any": [1]}}]}"#;
    let first = load_text(file).unwrap().state;
    assert_eq!(first.vhosts["w"].limits.max_queues, Some(7));
    assert_eq!(first.vhosts["w"].limits.max_connections, None);
    let again = load_text(&export(&first).to_string()).unwrap().state;
    assert_eq!(State { imported: None, ..again }, State { imported: None, ..first });
}

/// As RabbitMQ's `definitions.skip_if_unchanged`.
#[test]
fn what_was_changed_after_an_import_stays_until_the_file_is_another() {
    let config = Config::default();
    let stored = load_text(FILE).unwrap().state;
    let change = Change::PutUser { name: "shop".into(), password: None, tags: vec![] };
    let (stored, _) = stored.changed(&[change]).unwrap();
    let begin = |text: &str| begin_with(&config, "f".as_ref(), Some(text), Some(&stored)).unwrap();
    assert_eq!(begin(FILE).changes, []);
    let begun = begin(&FILE.replace("monitoring", "management"));
    let (next, _) = stored.changed(&begun.changes).unwrap();
    assert_eq!(next.users["shop"].tags, ["management".into()]);
}
