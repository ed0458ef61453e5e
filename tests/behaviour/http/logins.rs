//! Logins that fail, over every protocol (reliability.md row 97), and what operators see of them.

use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Asker, Response, exchange, parse, until};
use crate::support::broker::Options;
use crate::support::client::PATIENCE;
use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::{Broker, Client, Login};

/// A broker that believes its proxy, so that a test may come from anywhere.
fn broker(main: &str) -> Broker {
    let config = format!(
        "{main}\n[mgmt]\ntcp_proxy_protocol = true\n[amqp]\n\
         proxy_protocol_trusted_sources = 127.0.0.1\n"
    );
    Broker::with(Options { shards: 1, config: &config, ..Options::new() })
}

/// What somebody at an address is answered.
fn from(broker: &Broker, ip: &str, login: &str) -> Response {
    let mut stream = TcpStream::connect(broker.http_addr()).expect("an HTTP server");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!(
        "PROXY TCP4 {ip} 127.0.0.1 40001 15672\r\nGET /api/whoami HTTP/1.1\r\nHost: x\r\n\
         Connection: close\r\nAuthorization: Basic {}\r\n\r\n",
        STANDARD.encode(login)
    );
    stream.write_all(request.as_bytes()).expect("one write");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    parse(&answer)
}

/// Abuse row 97: whoever guesses is told the same of a user that is there and of one that is not, and
/// has to wait after a few; others need not.
#[test]
fn who_guesses_from_one_address_is_told_nothing_and_then_waits() {
    let broker = broker("");
    let guest = Asker::guest(broker.http_addr());
    guest.make_user("app", "management");
    let mut answers = Vec::new();
    for login in ["app:x", "nobody:x", "app:", "nobody:app", "guest:x"] {
        let refused = from(&broker, "192.0.2.1", login);
        assert_eq!(refused.status, 401, "{login}");
        let head = refused.head.lines().filter(|line| !line.starts_with("date: "));
        answers.push((head.collect::<Vec<_>>().join("\n"), refused.text));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    // An attempt comes back every two seconds: as often as it takes to be in between.
    for login in ["app:app", "nobody:x"] {
        let waits = until("right or wrong, known or not: it waits", || {
            let is_waiting = |_| from(&broker, "192.0.2.1", "guest:x").status == 429;
            assert!((0..100).any(is_waiting), "guesses without end");
            Some(from(&broker, "192.0.2.1", login)).filter(|answer| answer.status == 429)
        });
        assert!(waits.head.contains("retry-after: "), "{}", waits.head);
    }
    assert_eq!(from(&broker, "192.0.2.2", "app:app").status, 200);
    broker.terminate();
}

/// Abuse row 97: guesses at one user from everywhere; it stays welcome where it came from before.
#[test]
fn who_guesses_at_one_user_from_many_addresses_waits_and_the_user_does_not() {
    let broker = broker("");
    Asker::guest(broker.http_addr()).make_user("app", "management");
    assert_eq!(from(&broker, "198.51.100.7", "app:app").status, 200);
    for name in ["app", "nobody"] {
        let login = format!("{name}:x");
        let mut statuses =
            (1..=250).map(|n| from(&broker, &format!("203.0.113.{n}"), &login).status);
        let waits = statuses.position(|status| status == 429);
        // More where guessing takes long: one comes back every two seconds.
        assert!(waits.is_some_and(|before| before >= 50), "{name}: {waits:?}");
    }
    assert_eq!(from(&broker, "198.51.100.7", "app:app").status, 200);
    broker.terminate();
}

fn of<'a>(rows: &'a Value, protocol: &str) -> &'a Value {
    let rows = rows.as_array().expect("a list");
    rows.iter().find(|row| row["protocol"] == protocol).unwrap_or(&Value::Null)
}

/// RabbitMQ's `/api/auth/attempts`: per protocol always, per address and user where asked for.
#[test]
fn attempts_are_counted_and_counts_may_begin_again() {
    let broker = broker("track_auth_attempt_source = true");
    let guest = Asker::guest(broker.http_addr());
    let node = guest.get("/api/overview")["node"].as_str().expect("a name").to_owned();
    let path = format!("/api/auth/attempts/{node}");
    assert_eq!(guest.delete(&path), 204);
    let mut client = Client::connect(broker.addr());
    client.log_in(&Login::default());
    client.close();
    let mut wrong = Client::connect(broker.addr());
    wrong.send_raw(PROTOCOL_HEADER);
    wrong.expect_start();
    let login = Login { password: "x", ..Login::default() };
    wrong.send_start_ok(&login, "PLAIN", &login.plain());
    wrong.expect_close(403, "ACCESS_REFUSED");
    assert_eq!(from(&broker, "192.0.2.7", "nobody:x").status, 401);

    let rows = guest.get(&path);
    let expected = json!({
        "protocol": "amqp091",
        "auth_attempts": 2,
        "auth_attempts_failed": 1,
        "auth_attempts_succeeded": 1,
    });
    assert_eq!(of(&rows, "amqp091"), &expected);
    assert_eq!(of(&rows, "http")["auth_attempts_failed"], 1);
    assert_eq!(of(&rows, "mqtt")["auth_attempts"], 0);
    let sources = guest.get(&format!("{path}/source"));
    let far = sources.as_array().expect("a list").iter();
    let far: Vec<_> = far.filter(|row| row["remote_address"] == "192.0.2.7").collect();
    assert_eq!(far.len(), 1, "{sources}");
    assert_eq!((&far[0]["username"], &far[0]["protocol"]), (&json!("nobody"), &json!("http")));
    assert_eq!(far[0]["auth_attempts_failed"], 1);

    let metrics = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    until("metrics tell of both", || {
        let text = exchange(broker.metrics_addr(), metrics).text;
        text.contains("rabbitmq_auth_attempts_failed_total 2\n").then_some(())
    });
    assert_eq!(guest.delete(&format!("{path}/source")), 204);
    assert_eq!(of(&guest.get(&path), "amqp091")["auth_attempts"], 0);
    assert_eq!(guest.ask("GET", "/api/auth/attempts/other@node", "").status, 404);
    broker.terminate();
}

/// By default nobody is told of who came from where.
#[test]
fn sources_of_attempts_are_not_kept_unless_asked_for() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    let node = guest.get("/api/overview")["node"].as_str().expect("a name").to_owned();
    assert_eq!(guest.get(&format!("/api/auth/attempts/{node}/source")), json!([]));
    let mut client = Client::connect(broker.addr());
    client.log_in(&Login::default());
    until("a login of a shard", || {
        let rows = guest.get(&format!("/api/auth/attempts/{node}"));
        (of(&rows, "amqp091")["auth_attempts_succeeded"] == 1).then_some(())
    });
    broker.terminate();
}
