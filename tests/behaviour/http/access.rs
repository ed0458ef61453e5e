//! Who may see and do what.

use serde_json::json;

use super::{Asker, exchange};
use crate::support::Broker;

/// amqp.md R109
#[test]
fn a_wrong_login_is_told_nothing_but_that() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    for login in ["guest:x", "nobody:guest", "guest:", ":", "guest"] {
        let response = guest.by(login).ask("GET", "/api/overview", "");
        assert_eq!(response.status, 401, "{login}");
        assert!(response.head.contains("www-authenticate: basic realm="), "{}", response.head);
        assert_eq!(response.json()["error"], "not_authorized");
        assert_eq!(response.json()["reason"], "Login failed");
    }
    let plain = exchange(
        broker.http_addr(),
        b"GET /api/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(plain.status, 401, "what there is, is for those who log in");
    for field in
        ["Authorization: Bearer x\r\n", "Authorization: Basic %%%\r\n", "Cookie: m=guest:guest\r\n"]
    {
        let request =
            format!("GET /api/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{field}\r\n");
        assert_eq!(exchange(broker.http_addr(), request.as_bytes()).status, 401, "{field}");
    }
    assert!(!broker.log().contains("guest:x"), "no password in the log");
}

/// reliability.md row 96, amqp.md R62
#[test]
fn each_tag_sees_and_does_what_it_may_and_no_more() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    for tag in ["administrator", "monitoring", "policymaker", "management", "other"] {
        guest.make_user(tag, tag);
    }
    assert_eq!(guest.put("/api/vhosts/others", "{}"), 201);
    // What is asked, and the answers to the five.
    let table: &[(&str, &str, [u16; 5])] = &[
        ("GET", "/api/whoami", [200, 200, 200, 200, 401]),
        ("GET", "/api/overview", [200, 200, 200, 200, 401]),
        ("GET", "/api/nodes", [200, 200, 401, 401, 401]),
        ("GET", "/api/connections", [200, 200, 200, 200, 401]),
        ("GET", "/api/vhosts/others", [200, 200, 401, 401, 401]),
        ("GET", "/api/vhosts/others/connections", [200, 200, 401, 401, 401]),
        ("GET", "/api/users", [200, 401, 401, 401, 401]),
        ("GET", "/api/users/guest", [200, 401, 401, 401, 401]),
        ("GET", "/api/users/guest/permissions", [200, 401, 401, 401, 401]),
        ("GET", "/api/permissions", [200, 401, 401, 401, 401]),
        ("GET", "/api/topic-permissions", [200, 401, 401, 401, 401]),
        ("GET", "/api/definitions", [200, 401, 401, 401, 401]),
        ("GET", "/metrics", [200, 200, 401, 401, 401]),
        ("GET", "/health", [200, 200, 200, 200, 200]),
        ("GET", "/api/health/checks/alarms", [200, 200, 200, 200, 401]),
        ("GET", "/api/aliveness-test/others", [401, 401, 401, 401, 401]),
        ("DELETE", "/api/users/nobody", [404, 401, 401, 401, 401]),
        ("PUT", "/api/vhosts/others", [204, 401, 401, 401, 401]),
        ("PUT", "/api/users/x", [400, 401, 401, 401, 401]),
        ("PUT", "/api/permissions/%2F/guest", [400, 401, 401, 401, 401]),
        ("POST", "/api/definitions", [204, 401, 401, 401, 401]),
        ("POST", "/api/users/bulk-delete", [400, 401, 401, 401, 401]),
        ("DELETE", "/api/vhost-limits/others/max-queues", [204, 401, 401, 401, 401]),
        ("DELETE", "/api/connections/username/guest", [204, 401, 401, 401, 401]),
    ];
    let tags = ["administrator", "monitoring", "policymaker", "management", "other"];
    for (method, path, expected) in table {
        let got = tags.map(|tag| {
            let login = format!("{tag}:{tag}");
            guest.by(&login).ask(method, path, "").status
        });
        assert_eq!(got, *expected, "{method} {path}");
    }
    let refused = guest.by("monitoring:monitoring").ask("DELETE", "/api/users/guest", "").json();
    assert_eq!(refused, json!({ "error": "not_authorised", "reason": "Not administrator user" }));
    let seen = guest.by("management:management").get("/api/vhosts?columns=name");
    assert_eq!(seen, json!([{ "name": "/" }]));
}

#[test]
fn a_user_sees_and_clears_its_own() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    guest.make_user("own", "management");
    let own = guest.by("own:own");
    assert_eq!(own.get("/api/users/own/permissions").as_array().unwrap().len(), 1);
    assert_eq!(own.get("/api/user-limits/own"), json!([]));
    assert_eq!(own.delete("/api/connections/username/own"), 204);
    assert_eq!(own.get("/api/whoami")["tags"], json!(["management"]));
}
