//! `ringmqctl`, through the socket of the owner and by address.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{Broker, Client, Login};

fn ctl(place: &[&str], words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmqctl"))
        .args(place)
        .args(words)
        .output()
        .expect("ringmqctl runs")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// amqp.md L88, R77
#[test]
fn operators_commands_work_through_the_socket_in_the_data_directory() {
    let broker = Broker::start(2);
    let data = broker.data_directory();
    let mode = data.join("ringmqctl.sock").metadata().expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner only");
    let place = ["-D", data.to_str().unwrap()];
    let run = |words: &[&str]| text(&ctl(&place, words));
    let json_of = |words: &[&str]| -> Value {
        serde_json::from_str(&run(&[words, &["--format", "json"]].concat())).expect("JSON")
    };
    assert_eq!(run(&["add_user", "bob", "secret"]), "Adding user \"bob\" ...\n");
    run(&["set_user_tags", "bob", "monitoring", "x"]);
    run(&["change_password", "bob", "other"]);
    let users = json!([
        { "user": "bob", "tags": ["monitoring", "x"] },
        { "user": "guest", "tags": ["administrator"] },
    ]);
    assert_eq!(json_of(&["list_users"]), users);
    run(&["add_vhost", "v", "--description", "d"]);
    run(&["set_permissions", "-p", "v", "bob", ".*", "^w", ""]);
    assert_eq!(run(&["-s", "list_permissions", "-p", "v"]), "bob\t.*\t^w\t\n");
    run(&["set_vhost_limits", "-p", "v", "{\"max-connections\":3}"]);
    assert_eq!(
        json_of(&["list_vhost_limits", "-p", "v"])[0]["limits"],
        json!({ "max-connections": 3 })
    );
    run(&["clear_vhost_limits", "-p", "v"]);
    run(&["set_user_limits", "bob", "{\"max-channels\":3}"]);
    run(&["clear_user_limits", "bob", "all"]);
    run(&["set_topic_permissions", "-p", "v", "bob", "amq.topic", "a", "b"]);
    assert_eq!(run(&["-s", "list_user_topic_permissions", "bob"]), "v\tamq.topic\ta\tb\n");
    run(&["clear_permissions", "-p", "v", "bob"]);
    assert_eq!(run(&["-q", "list_vhosts"]), "name\n/\nv\n");
    assert!(run(&["status"]).contains(&format!("PID: {}", broker.pid())));
    run(&["ping"]);
    run(&["check_alarms"]);
    let file = data.join("../export.json");
    run(&["export_definitions", file.to_str().unwrap()]);
    run(&["delete_user", "bob"]);
    run(&["delete_vhost", "v"]);
    run(&["import_definitions", file.to_str().unwrap()]);
    assert_eq!(json_of(&["list_users"]), users);
    let address = format!("http://bob:other@{}", broker.http_addr());
    assert_eq!(ctl(&["-U", &address], &["ping"]).status.code(), Some(0));
    assert_eq!(ctl(&["-U", &address], &["list_users"]).status.code(), Some(77));
}

/// amqp.md L72, R77
#[test]
fn connections_are_listed_and_closed_by_command() {
    let broker = Broker::start(2);
    let data = broker.data_directory();
    let place = ["--data-dir", data.to_str().unwrap()];
    let mut clients: Vec<Client> = (0..3)
        .map(|_| {
            let mut client = Client::connect(broker.addr());
            client.log_in(&Login::default());
            client
        })
        .collect();
    let names = text(&ctl(&place, &["-s", "list_connections", "name", "state"]));
    assert_eq!(names.lines().filter(|line| line.ends_with("\trunning")).count(), 3, "{names}");
    let first = names.split('\t').next().unwrap();
    text(&ctl(&place, &["close_connection", first, "first"]));
    text(&ctl(&place, &["close_all_connections", "-p", "/", "all of you"]));
    let port: u16 = first.split([':', ' ']).nth(1).unwrap().parse().unwrap();
    for client in &mut clients {
        let is_first = client.stream().local_addr().unwrap().port() == port;
        client.expect_close(320, if is_first { "first" } else { "all of you" });
    }
}

#[test]
fn what_goes_wrong_has_an_exit_code_and_a_line() {
    let broker = Broker::start(1);
    let data = broker.data_directory();
    let place = ["-D", data.to_str().unwrap()];
    for (words, code) in [
        (&["no_such_command"][..], 64),
        (&["add_user", "x"], 64),
        (&["list_users", "--none"], 64),
        (&["set_vhost_limits", "x"], 65),
        (&["set_permissions", "guest", "(", "", ""], 65),
        (&["delete_user", "nobody"], 67),
        (&["delete_vhost", "none"], 67),
        (&["add_user", "guest", "x"], 70),
    ] {
        let output = ctl(&place, words);
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("Error: ") && said.lines().count() == 1, "{said}");
    }
    assert_eq!(ctl(&["-D", "/dev/null"], &["ping"]).status.code(), Some(69));
    assert!(text(&ctl(&[], &["--help"])).contains("set_permissions"));
}
