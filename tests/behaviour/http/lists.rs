//! Users, virtual hosts, permissions and limits: made, listed, taken away.

use serde_json::json;

use super::Asker;
use crate::support::Broker;

/// amqp.md R109, L79
#[test]
fn users_are_made_changed_and_deleted() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    let bob = "/api/users/bob%2F1";
    let made = guest.ask("PUT", bob, r#"{"password":"a","tags":"monitoring,x"}"#);
    assert_eq!(made.status, 201);
    assert!(made.head.contains("location: bob%2f1"), "{}", made.head);
    assert_eq!(guest.get(bob)["tags"], json!(["monitoring", "x"]));
    assert_eq!(guest.by("bob/1:a").get("/api/whoami")["name"], "bob/1");
    assert_eq!(guest.put(bob, r#"{"tags":["management"]}"#), 204, "the password stays");
    assert_eq!(guest.by("bob/1:a").get("/api/whoami")["tags"], json!(["management"]));
    assert_eq!(guest.put(bob, r#"{"password":"b","tags":"management"}"#), 204);
    assert_eq!(guest.by("bob/1:a").ask("GET", "/api/whoami", "").status, 401);
    assert_eq!(guest.by("bob/1:b").ask("GET", "/api/whoami", "").status, 200);
    assert_eq!(
        guest.get("/api/users/without-permissions?columns=name"),
        json!([{ "name": "bob/1" }])
    );
    for bad in [
        "",
        "{}",
        "[]",
        "{",
        r#"{"password":"a"}"#,
        r#"{"tags":"x"}"#,
        r#"{"password":1,"tags":"x"}"#,
    ] {
        assert_eq!(guest.put("/api/users/new", bad), 400, "{bad}");
    }
    let deleted = guest.ask("POST", "/api/users/bulk-delete", r#"{"users":["bob/1","nobody"]}"#);
    assert_eq!(deleted.status, 204);
    assert_eq!(guest.ask("GET", bob, "").status, 404);
    assert_eq!(guest.delete(bob), 404);
}

/// amqp.md L78, L80, R56
#[test]
fn virtual_hosts_and_rights_are_made_listed_and_taken_away() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    guest.make_user("bob", "");
    assert_eq!(guest.put("/api/vhosts/a", r#"{"description":"d","tags":"t"}"#), 201);
    assert_eq!(guest.put("/api/vhosts/a", r#"{"description":"e"}"#), 204);
    assert_eq!(guest.get("/api/vhosts/a")["description"], "e");
    assert_eq!(
        guest.get("/api/vhosts/a/permissions")[0]["user"],
        "guest",
        "who makes it may use it"
    );
    let rights = r#"{"configure":"","write":"^w","read":".*"}"#;
    assert_eq!(guest.put("/api/permissions/a/bob", rights), 201);
    assert_eq!(guest.put("/api/permissions/a/bob", rights), 204);
    let expected =
        json!({ "user": "bob", "vhost": "a", "configure": "", "write": "^w", "read": ".*" });
    assert_eq!(guest.get("/api/permissions/a/bob"), expected);
    assert_eq!(guest.put("/api/permissions/b/bob", rights), 400);
    assert_eq!(guest.put("/api/permissions/a/bob", r#"{"configure":"("}"#), 400);
    let topics = r#"{"exchange":"amq.topic","write":"^x","read":".*"}"#;
    assert_eq!(guest.put("/api/topic-permissions/a/bob", topics), 201);
    assert_eq!(guest.get("/api/topic-permissions/a/bob")[0]["exchange"], "amq.topic");
    assert_eq!(guest.delete("/api/topic-permissions/a/bob"), 204);
    assert_eq!(guest.ask("GET", "/api/topic-permissions/a/bob", "").status, 404);
    assert_eq!(guest.delete("/api/permissions/a/bob"), 204);
    assert_eq!(guest.delete("/api/permissions/a/bob"), 404);
    assert_eq!(guest.delete("/api/vhosts/a"), 204);
    assert_eq!(guest.ask("GET", "/api/vhosts/a", "").status, 404);
}

/// amqp.md S23, R57
#[test]
fn limits_are_set_shown_and_cleared() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    assert_eq!(guest.get("/api/vhost-limits"), json!([]));
    assert_eq!(guest.put("/api/vhost-limits/%2F/max-connections", r#"{"value":7}"#), 204);
    assert_eq!(guest.put("/api/vhost-limits/%2F/max-queues", r#"{"value":9}"#), 204);
    let limits = json!([{ "vhost": "/", "value": { "max-connections": 7, "max-queues": 9 } }]);
    assert_eq!(guest.get("/api/vhost-limits/%2F"), limits);
    assert_eq!(guest.put("/api/vhost-limits/%2F/max-queues", r#"{"value":-1}"#), 204);
    assert_eq!(guest.delete("/api/vhost-limits/%2F/max-connections"), 204);
    assert_eq!(guest.get("/api/vhost-limits"), json!([]));
    assert_eq!(guest.put("/api/user-limits/guest/max-channels", r#"{"value":5}"#), 204);
    let limits = json!([{ "user": "guest", "value": { "max-channels": 5 } }]);
    assert_eq!(guest.get("/api/user-limits"), limits);
    assert_eq!(guest.delete("/api/user-limits/guest/max-channels"), 204);
    for (path, body, status) in [
        ("/api/vhost-limits/none/max-queues", r#"{"value":1}"#, 404),
        ("/api/vhost-limits/%2F/max-things", r#"{"value":1}"#, 400),
        ("/api/vhost-limits/%2F/max-queues", r#"{"value":"x"}"#, 400),
        ("/api/vhost-limits/%2F/max-queues", r#"{"value":1e99}"#, 400),
        ("/api/user-limits/nobody/max-channels", r#"{"value":1}"#, 404),
    ] {
        assert_eq!(guest.put(path, body), status, "{path} {body}");
    }
}
