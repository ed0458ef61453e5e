//! What an operator sees: the lines of the start, the one line of a start that fails, the stop
//! with connections in every state, and what a broker that does nothing costs.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::broker::Options;
use crate::support::client::PATIENCE;
use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::methods::{consume, publish};
use crate::support::{Broker, Client, Event, Login};
use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::basic;

use super::bounds_gauge::{client, descriptors, fill, memory_bytes, processor_ticks, wait_until};

/// Starts the binary through a shell line (`$0` is the binary) and waits for its end.
fn run(line: &str) -> Output {
    let mut child = Command::new("sh")
        .args(["-c", line, env!("CARGO_BIN_EXE_ringmq")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh starts");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("our child").is_none() {
        if Instant::now() >= deadline {
            drop(child.kill());
            panic!("still running after {PATIENCE:?}: {line}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("our child")
}

/// It ends with 1 and says one line with these words.
fn refuses_to_start(line: &str, words: &[&str]) {
    let output = run(line);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line}: {said}");
    assert_eq!(said.lines().count(), 1, "{line}: {said}");
    assert!(said.starts_with("ringmq: "), "{said}");
    for word in words {
        assert!(said.contains(word), "'{word}' is missing: {said}");
    }
}

fn scratch(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

#[test]
fn a_taken_port_is_told_in_one_line() {
    let broker = Broker::start(1);
    let (port, data) = (broker.addr().port(), scratch("taken"));
    let data = data.display();
    let words = ["cannot listen for amqp", "the port is taken", &port.to_string()];
    refuses_to_start(
        &format!(
            "exec \"$0\" --amqp-port {port} --mqtt-port 0 --http-port 0 --metrics-http-port 0 --data-dir '{data}'"
        ),
        &words,
    );
    broker.terminate();
    drop(std::fs::remove_dir_all(scratch("taken")));
}

#[test]
fn a_bad_setting_is_told_in_one_line() {
    refuses_to_start("exec \"$0\" --shards many", &["shards", "many"]);
    refuses_to_start("exec \"$0\" --no-such-option", &["no-such-option"]);
    refuses_to_start("RINGMQ_AMQP_PORT=70000 exec \"$0\"", &["RINGMQ_AMQP_PORT", "70000"]);
    let file = scratch("bad.ini");
    std::fs::write(&file, "[main]\nmax_memory = plenty\n").expect("a file under target/");
    let path = file.display();
    refuses_to_start(&format!("exec \"$0\" --config '{path}'"), &["bad.ini", ":2:", "plenty"]);
    refuses_to_start("exec \"$0\" --config /nonexistent/x.ini", &["/nonexistent/x.ini"]);
    drop(std::fs::remove_file(file));
}

#[test]
fn a_data_directory_that_cannot_be_made_is_told_in_one_line() {
    refuses_to_start(
        "exec \"$0\" --amqp-port 0 --mqtt-port 0 --http-port 0 --metrics-http-port 0 --data-dir /dev/null/data",
        &["data directory /dev/null/data: cannot make it"],
    );
}

#[test]
fn too_little_locked_memory_is_told_in_one_line() {
    let data = scratch("memlock");
    refuses_to_start(
        &format!(
            "ulimit -l 16; exec \"$0\" --amqp-port 0 --mqtt-port 0 --http-port 0 --metrics-http-port 0 --data-dir '{}'",
            data.display()
        ),
        &["locked memory", "ulimit -l"],
    );
    drop(std::fs::remove_dir_all(data));
}

#[test]
fn the_start_says_shards_cores_addresses_and_limits_that_are_too_low() {
    let broker = Broker::start(5);
    let log = broker.log();
    let line = |start: &str| log.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    assert!(line("RingMQ ").is_some(), "{log}");
    assert_eq!(line("shards ").as_deref(), Some("shards 5 on cores any any any any any"));
    assert_eq!(line("listening "), Some(format!("listening amqp {}", broker.addr())));
    assert!(line("data ").is_some_and(|l| l.contains("data")), "{log}");
    assert!(line("memory for messages ").is_some(), "{log}");
    for advice in log.lines().filter(|line| line.starts_with("limit ")) {
        assert!(advice.contains("ulimit") || advice.contains("sysctl"), "{advice}");
    }
    broker.terminate();
}

#[test]
fn shards_are_pinned_to_cores_which_are_named() {
    let data = scratch("pinned");
    let line = format!(
        "\"$0\" --shards 2 --amqp-port 0 --mqtt-port 0 --http-port 0 --metrics-http-port 0 --data-dir '{}' > '{0}.log' & p=$!; \
         i=0; until grep -qs '^ready' '{0}.log' || [ $i -ge 200 ]; do sleep 0.05; i=$((i+1)); done; \
         kill $p; wait $p; r=$?; cat '{0}.log'; rm -f '{0}.log'; exit $r",
        data.display()
    );
    let output = run(&line);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let cores = said.lines().find_map(|l| l.strip_prefix("shards 2 on cores ")).expect(&said);
    assert!(cores.split(' ').all(|core| core.parse::<usize>().is_ok()), "{cores}");
    drop(std::fs::remove_dir_all(data));
}

#[test]
fn an_ipv6_address_is_listened_on() {
    let broker = Broker::with(Options { bind: "::1", ..Options::default() });
    assert!(broker.addr().is_ipv6());
    client(broker.addr()).close();
    broker.terminate();
}

/// Abuse row 4: the ten seconds count from accept.
#[test]
fn peers_that_do_not_log_in_are_seen_off_after_ten_seconds() {
    let broker = Broker::start(1);
    client(broker.addr()).close();
    let base = descriptors(&broker);
    let mut silent = Client::connect(broker.addr());
    let mut started = Client::connect(broker.addr());
    started.send_raw(PROTOCOL_HEADER);
    started.expect_start();
    for peer in [&mut silent, &mut started] {
        assert_eq!(peer.next_event(PATIENCE), Event::End);
    }
    wait_until("the descriptors are closed", || descriptors(&broker) <= base);
}

/// Goes as far as the number says and stays there.
fn stalled_client(broker: &Broker, state: usize) -> Client {
    let mut stalled = Client::connect(broker.addr());
    match state % 6 {
        0 => {}
        1 => stalled.send_raw(&PROTOCOL_HEADER[..5]),
        2 => {
            stalled.send_raw(PROTOCOL_HEADER);
            stalled.expect_start();
        }
        3 => stalled.log_in(&Login::default()),
        4 => {
            // In the middle of a content.
            stalled.log_in(&Login::default());
            stalled.open_channel(1);
            let mut content = Vec::new();
            frame::put_content(&mut content, 1, &publish("", "full"), &[0, 0], &[0; 3000], 4096);
            stalled.send_raw(&content[..2000]);
        }
        _ => {
            // Asked for more than it reads.
            stalled.log_in(&Login::default());
            stalled.open_channel(1);
            stalled.send(1, &basic::Consume { no_ack: true, ..consume("full", "") });
        }
    }
    stalled
}

/// A queue with more in it than the sockets of all its consumers hold.
fn make_full_queue(broker: &Broker, count: u64) {
    let mut filler = client(broker.addr());
    filler.declare(1, "full");
    fill(&mut filler, "full", count, 256 * 1024);
    filler.close();
}

#[test]
fn a_stop_ends_in_time_whatever_the_connections_do() {
    let broker = Broker::start(2);
    make_full_queue(&broker, 100);
    let mut clients: Vec<Client> = (0..60).map(|state| stalled_client(&broker, state)).collect();
    let began = Instant::now();
    broker.signal("TERM");
    // Nobody answers; those that are logged in are told.
    for told in clients.iter_mut().skip(3).step_by(6) {
        told.next("connection.close");
    }
    let mut broker = broker;
    assert!(broker.wait().success(), "{}", broker.log());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(clients);
}

#[test]
fn a_stopping_broker_takes_no_newcomers() {
    let mut broker = Broker::start(2);
    let addr = broker.addr();
    let mut old = client(addr);
    broker.signal("TERM");
    old.next("connection.close");
    // Whether the kernel refuses it or the broker closes it: nobody serves it.
    if let Ok(stream) = std::net::TcpStream::connect(addr) {
        drop(stream);
    }
    drop(old);
    assert!(broker.wait().success(), "{}", broker.log());
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut broker = Broker::start(2);
    let mut told = client(broker.addr());
    broker.signal("TERM");
    // It does not answer, so the broker would wait.
    told.next("connection.close");
    broker.signal("TERM");
    assert_eq!(broker.wait().code(), Some(1), "{}", broker.log());
}

#[test]
fn a_broker_with_nothing_to_do_uses_no_processor_time() {
    let broker = Broker::start(5);
    let mut idle: Vec<Client> = (0..20).map(|_| client(broker.addr())).collect();
    for (number, client) in idle.iter_mut().enumerate() {
        let queue = format!("idle-{number}");
        client.declare_exclusive(1, &queue);
        client.consume(1, &queue);
    }
    let before = processor_ticks(&broker);
    std::thread::sleep(Duration::from_secs(2));
    let ticks = processor_ticks(&broker) - before;
    assert!(ticks <= 5, "{ticks} ticks of 10 ms in 2 s");
    drop(idle);
}

/// Connections go in every state, in order and not; nothing of them stays.
#[test]
fn connections_that_are_gone_leave_nothing_behind() {
    const ROUNDS: usize = 20;
    const EACH: usize = 100;
    let broker = Broker::start(2);
    make_full_queue(&broker, 30);
    let round = || {
        let mut clients: Vec<Client> = Vec::new();
        clients.extend((0..EACH).map(|number| stalled_client(&broker, number)));
        for (number, client) in clients.into_iter().enumerate() {
            if number % 12 == 3 { client.close() } else { drop(client) }
        }
    };
    let base_descriptors = descriptors(&broker);
    round();
    wait_until("the first are gone", || descriptors(&broker) <= base_descriptors);
    let base = memory_bytes(&broker);
    for _ in 1..ROUNDS {
        round();
    }
    wait_until("all are gone", || descriptors(&broker) <= base_descriptors);
    let grown = memory_bytes(&broker).saturating_sub(base);
    println!("memory grew by {} KiB over {} connections", grown / 1024, (ROUNDS - 1) * EACH);
    assert!(grown < 16 * 1024 * 1024, "memory grew by {grown} octets");
    client(broker.addr()).close();
    broker.terminate();
}

/// S55: a connection that does nothing holds no buffers.
#[test]
fn an_idle_connection_costs_little_memory() {
    const COUNT: u64 = 2000;
    const BYTES_EACH_MAX: u64 = 16 * 1024;
    let broker = Broker::start(2);
    client(broker.addr()).close();
    let base = memory_bytes(&broker);
    let clients: Vec<Client> = (0..COUNT).map(|_| client(broker.addr())).collect();
    let each = memory_bytes(&broker).saturating_sub(base) / COUNT;
    println!("{each} octets for each of {COUNT} connections");
    assert!(each < BYTES_EACH_MAX, "{each} octets for each connection");
    drop(clients);
}

/// S40, abuse row 112: newcomers are closed, those that are there are served, nothing spins, the log
/// says it once a second and shard at most, and there is room again when others go.
#[test]
fn without_a_descriptor_newcomers_are_refused_and_nobody_else_notices() {
    let broker = Broker::start(2);
    let mut old = client(broker.addr());
    // A quarter is kept for files (abuse row 113).
    let limit = format!("--nofile={}", (descriptors(&broker) + 20) * 4 / 3);
    let pid = broker.pid().to_string();
    let set = Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("prlimit");
    assert!(set.success());
    let begun = Instant::now();
    let mut crowd: Vec<Client> = (0..60).map(|_| Client::connect(broker.addr())).collect();
    old.declare_exclusive(1, "mine");
    let before = processor_ticks(&broker);
    let refused = crowd
        .iter_mut()
        .filter_map(|peer| (peer.next_event(Duration::from_millis(50)) == Event::End).then_some(()))
        .count();
    assert!(refused > 0, "nobody was refused");
    let ticks = processor_ticks(&broker) - before;
    assert!(ticks <= 100, "{ticks} ticks of 10 ms in about 3 s");
    let log = broker.log();
    let lines = log.lines().filter(|line| line.contains("no file descriptor left")).count();
    let most = 2 * (usize::try_from(begun.elapsed().as_secs()).expect("a short time") + 1);
    assert!((1..=most).contains(&lines), "{lines} lines: {log}");
    old.publish(1, "", "mine", b"still");
    assert_eq!(old.get_when_there(1, "mine").body, b"still");
    drop(crowd);
    // The listener takes its pause first.
    wait_until("there is room again", || {
        let mut newcomer = Client::connect(broker.addr());
        newcomer.send_raw(PROTOCOL_HEADER);
        matches!(newcomer.next_event(PATIENCE), Event::Frame(_))
    });
    old.close();
    broker.terminate();
}
