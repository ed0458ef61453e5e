//! Checks that load balancers and operators make.

use super::{Asker, exchange};
use crate::support::Broker;

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
