//! What a change by HTTP does to those who are connected, and to those who come next.

use serde_json::json;

use ringmq::protocol::amqp091::wire::method::{channel, connection, queue};

use super::{Asker, until};
use crate::mqtt::client::Client as Device;
use crate::mqtt::octets::{Hello, V4, V5};
use crate::support::broker::{Ending, Options};
use crate::support::methods::declare;
use crate::support::{Broker, Client, Login};

fn login<'a>(user: &'a str, password: &'a str, vhost: &'a str) -> Login<'a> {
    Login { user, password, vhost, ..Login::default() }
}

fn connected(broker: &Broker, login: &Login<'_>) -> Client {
    let mut client = Client::connect(broker.addr());
    client.log_in(login);
    client.open_channel(1);
    client
}

/// Somebody who is not let in: by the login (403), or into the virtual host (530).
fn refused(broker: &Broker, login: &Login<'_>, code: u16, words: &str) {
    let mut client = Client::connect(broker.addr());
    if code == 403 {
        client.send_raw(b"AMQP\0\0\x09\x01");
        client.expect_start();
        client.send_start_ok(login, "PLAIN", &login.plain());
    } else {
        client.begin(login);
        open(&mut client, login);
    }
    client.expect_close(code, words);
}

fn open(client: &mut Client, login: &Login<'_>) {
    let (virtual_host, capabilities, insist) = (login.vhost, "", false);
    client.send(0, &connection::Open { virtual_host, capabilities, insist });
}

fn hello(version: u8, user: &str, password: &str) -> Hello {
    Hello { user: user.into(), password: password.into(), ..Hello::new(version, user) }
}

const ALL: &str = r#"{"configure":".*","write":".*","read":".*"}"#;

/// amqp.md S41, L79
#[test]
fn whose_user_is_deleted_is_sent_away_and_does_not_come_back() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    for round in 0..2 {
        guest.make_user("bob", "");
        let bob = login("bob", "bob", "/");
        let mut clients: Vec<Client> = (0..4).map(|_| connected(&broker, &bob)).collect();
        let mut device = Device::connect(broker.mqtt_addr(), &hello(V5, "bob", "bob"));
        let mut other = connected(&broker, &Login::default());
        if round == 0 {
            assert_eq!(guest.delete("/api/users/bob"), 204);
        } else {
            let deleted = guest.ask("POST", "/api/users/bulk-delete", r#"{"users":["bob"]}"#);
            assert_eq!(deleted.status, 204);
        }
        for client in &mut clients {
            client.expect_close(320, "user 'bob' is deleted");
        }
        device.expect_closed(0x98);
        refused(&broker, &bob, 403, "ACCESS_REFUSED");
        let (_, connack) = Device::try_connect(broker.mqtt_addr(), &hello(V5, "bob", "bob"));
        assert!([0x86, 0x87].contains(&connack.code), "{connack:?}");
        other.declare_exclusive(1, "mine");
        assert_eq!(guest.ask("GET", "/api/permissions/%2F/bob", "").status, 404);
    }
}

/// amqp.md L79
#[test]
fn a_new_password_counts_for_those_who_come_and_leaves_alone_who_is_there() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    guest.make_user("bob", "management");
    let mut client = connected(&broker, &login("bob", "bob", "/"));
    assert_eq!(guest.put("/api/users/bob", r#"{"password":"new","tags":"management"}"#), 204);
    client.declare_exclusive(1, "still-here");
    refused(&broker, &login("bob", "bob", "/"), 403, "ACCESS_REFUSED");
    connected(&broker, &login("bob", "new", "/")).close();
    assert_eq!(guest.by("bob:bob").ask("GET", "/api/whoami", "").status, 401);
    assert_eq!(guest.by("bob:new").ask("GET", "/api/whoami", "").status, 200);
    drop(Device::connect(broker.mqtt_addr(), &hello(V4, "bob", "new")));
    // No password at all: nobody logs in.
    assert_eq!(guest.put("/api/users/bob", r#"{"password_hash":"","tags":""}"#), 204);
    refused(&broker, &login("bob", "new", "/"), 403, "ACCESS_REFUSED");
    client.close();
}

/// amqp.md S41, L80
#[test]
fn a_permission_that_is_taken_away_ends_what_it_allowed() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    guest.make_user("bob", "");
    let bob = login("bob", "bob", "/");
    let (mut reads, mut writes) = (connected(&broker, &bob), connected(&broker, &bob));
    let mut owner = connected(&broker, &Login::default());
    owner.declare(1, "q");
    let tag = reads.consume(1, "q");
    writes.publish(1, "amq.fanout", "", b"x");
    let less = r#"{"configure":"","write":"^other","read":"^other"}"#;
    assert_eq!(guest.put("/api/permissions/%2F/bob", less), 204);
    reads.expect(1, "basic.cancel", |method| {
        use ringmq::protocol::amqp091::wire::method::{Basic, Method};
        let Method::Basic(Basic::Cancel(cancel)) = method else { return None };
        (cancel.consumer_tag == tag).then_some(())
    });
    owner.publish(1, "", "q", b"not for bob");
    owner.wait_ready(1, "q", 1);
    writes.publish(1, "amq.fanout", "", b"x");
    writes.expect_channel_close(1, 403, "write access to exchange 'amq.fanout'");
    writes.open_channel(1);
    writes.send(1, &declare("mine"));
    writes.expect_channel_close(1, 403, "configure access to queue 'mine'");
    // Without any permission nobody enters.
    assert_eq!(guest.delete("/api/permissions/%2F/bob"), 204);
    refused(&broker, &bob, 530, "access to vhost '/' refused for user 'bob'");
    assert_eq!(guest.put("/api/permissions/%2F/bob", ALL), 201);
    connected(&broker, &bob).close();
}

/// amqp.md S41, R56; mqtt.md I-10
#[test]
fn a_read_right_that_is_taken_away_ends_subscriptions() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    let mut owner = Device::connect(broker.mqtt_addr(), &Hello::new(V5, "owner"));
    for version in [V4, V5] {
        let user = format!("bob{version}");
        guest.make_user(&user, "");
        let lasting = Hello {
            user: user.as_bytes().into(),
            password: user.as_bytes().into(),
            ..Hello::lasting(version, &user)
        };
        let mut device = Device::connect(broker.mqtt_addr(), &lasting);
        let group = "$share/g/secret";
        for filter in ["open", "secret", group] {
            device.subscribe(filter, 1);
        }
        device.tell("open", "before");
        device.expect_text("before");
        let path = format!("/api/topic-permissions/%2F/{user}");
        let less = r#"{"exchange":"amq.topic","write":".*","read":"^open$"}"#;
        assert_eq!(guest.put(&path, less), 201);
        owner.tell_surely("secret", "not for bob");
        owner.tell_surely("open", "for all");
        let for_all = device.expect_text("for all");
        device.send(&[&[0x40, 2][..], &for_all.id.to_be_bytes()].concat());
        let refused = device.ask(&[("secret", 1), ("open", 1)], &[]);
        assert_eq!(refused, [if version == V5 { 0x87 } else { 0x80 }, 1]);
        // What was remembered of it while nobody was connected is gone as well.
        device.subscribe("open", 1);
        assert_eq!(guest.delete(&path), 204);
        device.subscribe("secret", 1);
        device.bid_farewell();
        device.expect_end();
        owner.tell_surely("secret", "kept for bob");
        owner.tell_surely("open", "kept for all");
        assert_eq!(guest.put(&path, less), 201);
        let (mut device, is_present) = Device::resume(broker.mqtt_addr(), &lasting);
        assert!(is_present);
        device.expect_text("kept for all");
        device.ping();
        // No right at all: it may not stay.
        assert_eq!(guest.delete(&format!("/api/permissions/%2F/{user}")), 204);
        device.expect_closed(0x98);
    }
}

/// amqp.md L78
#[test]
fn a_virtual_host_that_is_deleted_goes_with_who_is_in_it() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    let place = login("guest", "guest", "v");
    for _ in 0..2 {
        assert_eq!(guest.put("/api/vhosts/v", "{}"), 201);
        let mut clients: Vec<Client> = (0..4).map(|_| connected(&broker, &place)).collect();
        let durable = queue::Declare { durable: true, ..declare("q") };
        assert_eq!(
            clients[0].declare_with(1, &durable),
            (0, 0),
            "nothing is left of the one before"
        );
        clients[0].publish(1, "", "q", b"x");
        clients[0].wait_ready(1, "q", 1);
        let mut other = connected(&broker, &Login::default());
        assert_eq!(guest.delete("/api/vhosts/v"), 204);
        for client in &mut clients {
            client.expect_close(320, "vhost 'v' is deleted");
        }
        refused(&broker, &place, 530, "vhost v not found");
        other.close_channel(1);
    }
    assert_eq!(guest.put("/api/vhosts/p", r#"{"protected_from_deletion":true}"#), 201);
    assert_eq!(guest.delete("/api/vhosts/p"), 400);
}

/// amqp.md S22, S23, L62
#[test]
fn limits_of_a_virtual_host_are_in_force_at_once() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    assert_eq!(guest.put("/api/vhosts/v", "{}"), 201);
    let place = login("guest", "guest", "v");
    let mut first = connected(&broker, &place);
    let limit = "/api/vhost-limits/v/max-connections";
    assert_eq!(guest.put(limit, r#"{"value":1}"#), 204);
    let words = "NOT_ALLOWED - access to vhost 'v' refused for user 'guest': connection limit (1) is reached";
    refused(&broker, &place, 530, words);
    first.declare(1, "one");
    assert_eq!(guest.put("/api/vhost-limits/v/max-queues", r#"{"value":1}"#), 204);
    first.declare(1, "one");
    first.send(1, &declare("two"));
    let words = "cannot declare queue 'two': queue limit in vhost 'v' (1) is reached";
    first.expect_channel_close(1, 406, words);
    assert_eq!(guest.delete("/api/vhost-limits/v/max-queues"), 204);
    first.open_channel(1);
    first.declare(1, "two");
    assert_eq!(guest.delete(limit), 204);
    connected(&broker, &place).close();
    assert_eq!(guest.put(limit, r#"{"value":0}"#), 204);
    refused(&broker, &place, 530, "connection limit (0) is reached");
    first.close();
}

/// amqp.md R57
#[test]
fn limits_of_a_user_are_in_force_at_once() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    guest.make_user("bob", "");
    let bob = login("bob", "bob", "/");
    let mut first = connected(&broker, &bob);
    let limit = "/api/user-limits/bob/max-connections";
    assert_eq!(guest.put(limit, r#"{"value":1}"#), 204);
    let words =
        "NOT_ALLOWED - connection refused for user 'bob': user connection limit (1) is reached";
    refused(&broker, &bob, 530, words);
    let (_, connack) = Device::try_connect(broker.mqtt_addr(), &hello(V5, "bob", "bob"));
    assert_eq!(connack.code, 0x97, "{connack:?}");
    assert_eq!(guest.put("/api/user-limits/bob/max-channels", r#"{"value":2}"#), 204);
    first.open_channel(2);
    first.send(3, &channel::Open { out_of_band: "" });
    let words = "number of channels opened for user 'bob' has reached the maximum allowed user limit of (2)";
    first.expect_close(530, words);
    until("there is room again", || {
        let mut client = Client::connect(broker.addr());
        client.begin(&bob);
        open(&mut client, &bob);
        let received = client.next("connection.open-ok or connection.close");
        received.describe().contains("OpenOk").then_some(())
    });
    assert_eq!(guest.delete(limit), 204);
    let _both = (connected(&broker, &bob), connected(&broker, &bob));
}

/// amqp.md R102: what has been changed outlives the process, however that ends.
#[test]
fn everything_that_was_changed_is_there_after_a_restart() {
    let mut broker = Broker::start(2);
    let make = |guest: &Asker<'_>| {
        guest.make_user("bob", "monitoring");
        assert_eq!(guest.put("/api/vhosts/v", r#"{"description":"d","tags":"t"}"#), 201);
        assert_eq!(
            guest.put("/api/permissions/v/bob", r#"{"configure":"a","write":"b","read":"c"}"#),
            201
        );
        let topics = r#"{"exchange":"amq.topic","write":"^x","read":".*"}"#;
        assert_eq!(guest.put("/api/topic-permissions/v/bob", topics), 201);
        assert_eq!(guest.put("/api/vhost-limits/v/max-queues", r#"{"value":3}"#), 204);
        assert_eq!(guest.put("/api/user-limits/bob/max-channels", r#"{"value":4}"#), 204);
        assert_eq!(guest.put("/api/global-parameters/cluster_name", r#"{"value":"c"}"#), 201);
        guest.make_user("gone", "");
        assert_eq!(guest.delete("/api/users/gone"), 204);
        assert_eq!(guest.put("/api/vhosts/gone", "{}"), 201);
        assert_eq!(guest.delete("/api/vhosts/gone"), 204);
    };
    make(&Asker::guest(broker.http_addr()));
    let kept = Asker::guest(broker.http_addr()).get("/api/definitions");
    assert_eq!(kept["users"].as_array().map(Vec::len), Some(2));
    for (ending, shards) in [(Ending::Term, 1), (Ending::Kill, 3)] {
        broker = broker.again(ending, Options { shards, ..Options::default() });
        let guest = Asker::guest(broker.http_addr());
        let now = guest.get("/api/definitions");
        for part in [
            "users",
            "vhosts",
            "permissions",
            "topic_permissions",
            "parameters",
            "global_parameters",
        ] {
            assert_eq!(now[part], kept[part], "{ending:?}: {part}");
        }
        assert_eq!(guest.by("bob:bob").get("/api/whoami")["tags"], json!(["monitoring"]));
        connected(&broker, &login("bob", "bob", "/")).close();
        refused(&broker, &login("gone", "gone", "/"), 403, "ACCESS_REFUSED");
        refused(&broker, &login("guest", "guest", "gone"), 530, "vhost gone not found");
    }
}
