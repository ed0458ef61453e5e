//! Checks that load balancers and operators make.

use super::{Asker, exchange};
use serde_json::json;

use crate::support::Broker;
use crate::support::setup::Setup;

/// amqp.md R72, L70
#[test]
fn checks_say_ok_or_why_not() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    let plain = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(broker.http_addr(), plain).json()["status"], "ok");
    for check in [
        "alarms",
        "local-alarms",
        "virtual-hosts",
        "is-in-service",
        "ready-to-serve-clients",
        "node-is-quorum-critical",
        "below-node-connection-limit",
        "certificate-expiration/1/months",
        "protocol-listener/amqp091",
        "protocol-listener/amqp,http",
    ] {
        assert_eq!(guest.get(&format!("/api/health/checks/{check}"))["status"], "ok", "{check}");
    }
    let port = broker.addr().port();
    assert_eq!(guest.get(&format!("/api/health/checks/port-listener/{port}"))["port"], port);
    assert_eq!(guest.get("/api/aliveness-test/%2F")["status"], "ok");
    for check in ["port-listener/1", "protocol-listener/stomp"] {
        let failed = guest.ask("GET", &format!("/api/health/checks/{check}"), "");
        assert_eq!((failed.status, &failed.json()["status"]), (503, &"failed".into()), "{check}");
        assert_eq!(failed.json()["reason"], "No active listener");
    }
    for check in
        ["port-listener/x", "certificate-expiration/x/days", "certificate-expiration/1/hours"]
    {
        assert_eq!(
            guest.ask("GET", &format!("/api/health/checks/{check}"), "").status,
            400,
            "{check}"
        );
    }
    assert_eq!(guest.ask("GET", "/api/aliveness-test/none", "").status, 401);
}

/// amqp.md R72, L70: as with RabbitMQ, a message goes through a queue of the virtual host.
#[test]
fn the_aliveness_test_sends_a_message_as_the_user_who_asks() {
    for setup in [Setup::OneShard, Setup::Apart, Setup::FiveShards] {
        let broker = setup.own("");
        let guest = Asker::guest(broker.http_addr());
        let test = "/api/aliveness-test/%2F";
        for _ in 0..3 {
            assert_eq!(guest.get(test), json!({ "status": "ok" }));
        }
        let about = guest.get("/api/overview");
        assert_eq!(about["message_stats"]["publish"], 3);
        assert_eq!(about["message_stats"]["get_no_ack"], 3);
        assert_eq!(about["object_totals"]["queues"], 1);
        assert_eq!(about["object_totals"]["connections"], 0, "nothing of it stays but the queue");
        assert_eq!(guest.get("/api/connections"), json!([]));
        guest.make_user("weak", "management");
        let weak = guest.by("weak:weak");
        assert_eq!(weak.get(test), json!({ "status": "ok" }));
        let less = r#"{"configure":"","write":".*","read":".*"}"#;
        assert_eq!(guest.put("/api/permissions/%2F/weak", less), 204);
        assert_eq!(weak.ask("GET", test, "").status, 401);
        assert_eq!(guest.put("/api/vhost-limits/%2F/max-connections", r#"{"value":0}"#), 204);
        let failed = guest.ask("GET", test, "");
        assert_eq!((failed.status, &failed.json()["status"]), (503, &"failed".into()));
        assert!(failed.text.contains("connection limit (0) is reached"), "{}", failed.text);
    }
}
