//! Connections and channels, seen and closed.

use serde_json::{Value, json};

use super::{Asker, until};
use crate::support::{Broker, Client, Login};

fn connected(broker: &Broker) -> Client {
    let mut client = Client::connect(broker.addr());
    client.log_in(&Login::default());
    client
}

fn encoded(name: &Value) -> String {
    name.as_str().expect("a name").replace(' ', "%20").replace('>', "%3E")
}

/// amqp.md R107, R108, S50, S67
#[test]
fn connections_and_channels_are_listed_with_what_they_hold() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    let mut client = connected(&broker);
    client.open_channel(3);
    let mut others: Vec<Client> = (0..20).map(|_| connected(&broker)).collect();
    let all = guest.get("/api/connections");
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 21);
    let port = client.stream().local_addr().unwrap().port();
    let ours = all.iter().find(|c| c["peer_port"] == port).expect("ours");
    let name = format!("127.0.0.1:{port} -> {}", broker.addr());
    let expected = json!([name, "guest", "/", "AMQP 0-9-1", "running", 1, "PLAIN"]);
    let fields = ["name", "user", "vhost", "protocol", "state", "channels", "auth_mechanism"];
    assert_eq!(json!(fields.map(|field| &ours[field])), expected);
    assert!(ours["recv_oct"].as_u64() > Some(50) && ours["send_oct"].as_u64() > Some(50));
    let path = format!("/api/connections/{}", encoded(&ours["name"]));
    assert_eq!(guest.get(&path)["name"], ours["name"]);
    let channels = guest.get(&format!("{path}/channels"));
    assert_eq!(channels[0]["name"], format!("{name} (3)"));
    assert_eq!(guest.get("/api/channels").as_array().unwrap().len(), 1);
    assert_eq!(guest.get("/api/vhosts/%2F/connections").as_array().unwrap().len(), 21);
    let page = guest.get("/api/connections?page=3&page_size=10&sort=peer_port&columns=name");
    assert_eq!((&page["item_count"], &page["total_count"]), (&json!(1), &json!(21)));
    others.clear();
    until("the others are gone", || {
        let left = guest.get("/api/connections").as_array().unwrap().len();
        (left == 1).then_some(())
    });
    let churn = guest.get("/api/overview")["churn_rates"].clone();
    assert_eq!(
        (&churn["connection_created"], &churn["connection_closed"]),
        (&json!(21), &json!(20))
    );
    assert_eq!(guest.get("/api/overview")["object_totals"]["channels"], 1);
}

/// amqp.md L72, R110
#[test]
fn a_connection_is_closed_with_the_reason_that_was_given() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    guest.make_user("watch", "monitoring");
    let mut client = connected(&broker);
    client.open_channel(1);
    let name = guest.get("/api/connections")[0]["name"].clone();
    let path = format!("/api/connections/{}", encoded(&name));
    assert_eq!(guest.by("watch:watch").delete(&path), 401, "to see is not to close");
    let closed = guest.ask_with("DELETE", &path, "", "X-Reason: time to go\r\n");
    assert_eq!(closed.status, 204);
    client.expect_close(320, "CONNECTION_FORCED - time to go");
    until("it is gone", || (guest.ask("GET", &path, "").status == 404).then_some(()));
    let mut more: Vec<Client> = (0..5).map(|_| connected(&broker)).collect();
    assert_eq!(guest.delete("/api/connections/username/guest"), 204);
    for client in &mut more {
        client.expect_close(320, "CONNECTION_FORCED");
    }
}

/// amqp.md R104
#[test]
fn the_overview_counts_messages() {
    let broker = Broker::start(2);
    let guest = Asker::guest(broker.http_addr());
    let mut client = connected(&broker);
    client.open_channel(1);
    client.declare(1, "q");
    for _ in 0..10 {
        client.publish(1, "", "q", b"x");
    }
    client.wait_ready(1, "q", 10);
    let got = client.get(1, "q", true);
    assert!(got.is_some());
    let about = guest.get("/api/overview");
    assert_eq!(about["message_stats"]["publish"], 10);
    assert_eq!(about["message_stats"]["get_no_ack"], 1);
    assert_eq!(about["queue_totals"]["messages_ready"], 9);
    assert_eq!(about["object_totals"]["queues"], 1);
    let ports: Vec<_> = about["listeners"].as_array().unwrap().iter().map(|l| &l["port"]).collect();
    assert!(ports.contains(&&json!(broker.addr().port())), "{ports:?}");
}
