//! ringmqperf against Mosquitto, if it is installed (apt-get install mosquitto): a broker that
//! others have written, so that the fake one cannot share a mistake with the client. Imports std.
#![cfg(test)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where Debian has it.
const BINARY: &str = "/usr/sbin/mosquitto";

struct Mosquitto {
    child: Child,
    directory: PathBuf,
    uri: String,
}

impl Mosquitto {
    fn is_installed() -> bool {
        Path::new(BINARY).exists()
    }

    fn start(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("perf-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        // Somebody else may take the port in between; then Mosquitto says so and the test fails.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
             max_queued_messages 0\nlog_dest stderr\nlog_type notice\nlog_type information\n\
             log_type error\nconnection_messages false\n"
        );
        let file = directory.join("mosquitto.conf");
        fs::write(&file, settings).unwrap();
        let mut command = Command::new(BINARY);
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut is_running = lines.by_ref().map_while(Result::ok);
        assert!(is_running.any(|line| line.ends_with(" running")), "Mosquitto does not start");
        // Whoever reads no more may not make the broker wait.
        std::thread::Builder::new().spawn(move || lines.count()).unwrap();
        Self { child, directory, uri: format!("mqtt://127.0.0.1:{port}") }
    }

    #[track_caller]
    fn assert_passes(&self, line: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmqperf"));
        command.args(["mqtt", "--quiet", "--uri", &self.uri]);
        command.arg("--broker-pid").arg(self.child.id().to_string());
        let output = command.args(line.split_whitespace()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {text} {error}");
        assert!(text.contains("verified") && text.contains("broker cpu seconds"), "{line}: {text}");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn mosquitto_passes_in_every_version_and_quality_of_service() {
    if !Mosquitto::is_installed() {
        return;
    }
    let mosquitto = Mosquitto::start("versions");
    // It takes 20 messages at a time, and says so in MQTT 5 only.
    for (version, window) in [(3, 20), (4, 20), (5, 1000)] {
        for qos in 0..=2 {
            let line = format!("throughput -C 2000 -V {version} -q {qos} -s 40 -c {window}");
            mosquitto.assert_passes(&line);
        }
    }
    mosquitto.assert_passes("throughput -C 1000 -q 1 -V 5 -x 4 -y 8 --topics 4");
    mosquitto.assert_passes("throughput -C 1000 -q 1 -V 5 -x 2 -y 3 --share");
    mosquitto.assert_passes("throughput -C 20 -q 1 -s 500000 -c 5");
}

#[test]
fn mosquitto_passes_every_scenario() {
    if !Mosquitto::is_installed() {
        return;
    }
    let mosquitto = Mosquitto::start("scenarios");
    for line in [
        "latency -r 200 -z 1 --warm-up 0 -q 1",
        "fanout -C 20 -y 50",
        "fanin -C 1000 -x 50 -q 1",
        "connections --count 100 --keep-alive 1 -z 1",
        "subscriptions --others 0,500 -C 500 -V 5",
        "retained --count 500 -y 2 -c 20",
        "retained --count 500 -q 2 -V 5",
        "sessions -C 500 -y 10 -c 20",
        "sessions -C 500 -y 10 -q 2 -V 5",
        "churn -C 200 -q 2 -V 5",
        "churn -C 200 --only-connect",
    ] {
        mosquitto.assert_passes(line);
    }
}
