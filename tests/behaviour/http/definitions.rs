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
