//! Definitions files go out and come in.

use serde_json::{Value, json};

use super::Asker;
use crate::support::Broker;

/// amqp.md R97 to R102, L87
#[test]
fn what_is_exported_is_taken_by_another_broker_whole_or_not_at_all() {
    let (broker, other) = (Broker::start(2), Broker::start(1));
    let guest = Asker::guest(broker.http_addr());
    guest.make_user("bob", "monitoring");
    assert_eq!(guest.put("/api/vhosts/a", "{}"), 201);
    assert_eq!(guest.put("/api/vhost-limits/a/max-queues", r#"{"value":3}"#), 204);
    assert_eq!(guest.put("/api/global-parameters/cluster_name", r#"{"value":"c1"}"#), 201);
    let file = guest.ask("GET", "/api/definitions?download=x.json", "");
    assert!(file.head.contains("content-disposition: attachment; filename=x.json"));
    assert_eq!(file.json()["rabbitmq_version"], "4.1.0");

    let there = Asker::guest(other.http_addr());
    let mut wrong = file.json();
    wrong["permissions"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "user": "nobody", "vhost": "a", "configure": "", "write": "", "read": "" }));
    let refused = there.ask("POST", "/api/definitions", &wrong.to_string());
    assert_eq!(refused.status, 400);
    let reason = refused.json();
    assert!(reason["reason"].as_str().unwrap().contains("permissions["), "{reason}");
    assert_eq!(there.ask("GET", "/api/users/bob", "").status, 404, "nothing of it is taken");

    assert_eq!(there.ask("POST", "/api/definitions", &file.text).status, 204);
    assert_eq!(there.by("bob:bob").get("/api/whoami")["tags"], json!(["monitoring"]));
    let parts =
        |file: Value| ["users", "vhosts", "permissions", "parameters"].map(|p| file[p].clone());
    assert_eq!(parts(there.get("/api/definitions")), parts(file.json()));
    assert_eq!(there.get("/api/cluster-name"), json!({ "name": "c1" }));
}

/// amqp.md R101: a file of one virtual host names none, and is about the one that it is given to.
#[test]
fn a_virtual_host_has_definitions_of_its_own() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    for vhost in ["a", "b"] {
        assert_eq!(guest.put(&format!("/api/vhosts/{vhost}"), "{}"), 201);
    }
    assert_eq!(guest.put("/api/vhost-limits/a/max-queues", r#"{"value":3}"#), 204);
    assert_eq!(guest.put("/api/vhost-limits/%2F/max-queues", r#"{"value":5}"#), 204);
    let file = guest.get("/api/definitions/a");
    let limits =
        json!([{ "component": "vhost-limits", "name": "limits", "value": { "max-queues": 3 } }]);
    assert_eq!((&file["parameters"], &file["original_vhost_name"]), (&limits, &json!("a")));
    assert_eq!(file.get("users"), None);
    assert_eq!(guest.ask("POST", "/api/definitions/b", &file.to_string()).status, 204);
    let expected = json!([{ "vhost": "b", "value": { "max-queues": 3 } }]);
    assert_eq!(guest.get("/api/vhost-limits/b"), expected);
    // Whatever else it names is not its business.
    let sly = json!({
        "users": [{ "name": "sly", "password_hash": "", "tags": "administrator" }],
        "parameters": [{ "component": "vhost-limits", "vhost": "a", "name": "limits", "value": { "max-queues": 9 } }],
    });
    assert_eq!(guest.ask("POST", "/api/definitions/b", &sly.to_string()).status, 204);
    assert_eq!(guest.ask("GET", "/api/users/sly", "").status, 404);
    assert_eq!(guest.get("/api/vhost-limits/a")[0]["value"]["max-queues"], 3);
    assert_eq!(guest.get("/api/vhost-limits/b")[0]["value"]["max-queues"], 9);
    assert_eq!(guest.ask("GET", "/api/definitions/none", "").status, 404);
    assert_eq!(guest.ask("POST", "/api/definitions/none", "{}").status, 404);
    assert_eq!(guest.ask("POST", "/api/definitions/a", r#"{"parameters":{}}"#).status, 400);
}

/// reliability.md row 100
#[test]
fn a_huge_or_strange_file_is_refused_and_nothing_of_it_taken() {
    let broker = Broker::start(1);
    let guest = Asker::guest(broker.http_addr());
    let before = guest.get("/api/definitions");
    let mut vhosts: Vec<Value> = (0..100_001).map(|n| json!({ "name": format!("v{n}") })).collect();
    let post = |file: &Value| guest.ask("POST", "/api/definitions", &file.to_string());
    let refused = post(&json!({ "vhosts": vhosts }));
    assert_eq!(refused.status, 400);
    assert!(refused.text.contains("100001 entries are more than 100000"), "{}", refused.text);
    assert_eq!(guest.ask("POST", "/api/definitions", &" ".repeat(21 * 1024 * 1024)).status, 413);
    let user = |more: Value| {
        let mut user = json!({ "name": "new", "password_hash": "", "tags": [] });
        user.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "vhosts": [{ "name": "v" }], "users": [user] })
    };
    for (wrong, words) in [
        (json!({ "hashing_algorithm": "md4", "password_hash": "AAAA" }), "users[0]"),
        (json!({ "password_hash": 7 }), "users[0]"),
        (json!({ "name": null }), "users[0]"),
        (json!({ "name": "" }), "users[0]"),
        (json!({ "tags": 7 }), "users[0]"),
    ] {
        let refused = post(&user(wrong));
        assert_eq!(refused.status, 400);
        assert!(refused.text.contains(words), "{}", refused.text);
    }
    for wrong in
        [json!({ "users": {} }), json!({ "users": [7] }), json!([]), json!({ "users": [[]] })]
    {
        assert_eq!(post(&wrong).status, 400, "{wrong}");
    }
    let parts = |file: &Value| ["users", "vhosts"].map(|part| file[part].clone());
    assert_eq!(parts(&guest.get("/api/definitions")), parts(&before));
    // What may be missing may be null.
    assert_eq!(
        post(&user(json!({ "password_hash": null, "tags": null, "limits": null }))).status,
        204
    );
    vhosts.truncate(2_000);
    assert_eq!(post(&json!({ "vhosts": vhosts })).status, 204);
    assert_eq!(guest.get("/api/vhosts?page=1&page_size=1")["total_count"], 2_002);
}
