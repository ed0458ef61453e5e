//! ringmqperf against Mosquitto, if it is installed (apt-get install mosquitto): a broker that
//! others have written, so that the fake one cannot share a mistake with the client. Imports std,
//! rcgen.
#![cfg(test)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Where Debian has it.
const BINARY: &str = "/usr/sbin/mosquitto";

struct Mosquitto {
    child: Child,
    directory: PathBuf,
    /// Port of MQTT, and of TLS. Its WebSockets are left out: minutes for some thousand messages.
    ports: [u16; 2],
}

/// Who vouches for both sides, and what each side shows, as files in `directory`.
fn write_certificates(directory: &Path) {
    let write = |name: &str, text: String| fs::write(directory.join(name), text).unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name.push(DnType::CommonName, "root");
    let root_key = KeyPair::generate().unwrap();
    write("ca.pem", root.self_signed(&root_key).unwrap().pem());
    let issuer = Issuer::new(root, root_key);
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        write(&format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

impl Mosquitto {
    fn is_installed() -> bool {
        Path::new(BINARY).exists()
    }

    fn start(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("perf-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        // Somebody else may take the port in between; then Mosquitto says so and the test fails.
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = free.map(|listener| listener.local_addr().unwrap().port());
        write_certificates(&directory);
        let place = directory.display();
        let secured = format!(
            "cafile {place}/ca.pem\ncertfile {place}/server.pem\nkeyfile {place}/server.key\n\
             require_certificate true\n"
        );
        let [plain, tls] = ports;
        let settings = format!(
            "allow_anonymous true\npersistence false\n\
             max_queued_messages 0\nlog_dest stderr\nlog_type notice\nlog_type information\n\
             log_type error\nconnection_messages false\n\
             listener {plain} 127.0.0.1\nlistener {tls} 127.0.0.1\n{secured}"
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
        Self { child, directory, ports }
    }

    #[track_caller]
    fn assert_passes(&self, line: &str) {
        self.assert_passes_at(&format!("mqtt://127.0.0.1:{}", self.ports[0]), line);
    }

    fn run(&self, uri: &str, line: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmqperf"));
        command.args(["mqtt", "--quiet", "--uri", uri]);
        command.arg("--broker-pid").arg(self.child.id().to_string());
        let output = command.args(line.split_whitespace()).output().unwrap();
        let [text, error] = [output.stdout, output.stderr].map(|t| String::from_utf8(t).unwrap());
        (output.status.code(), text, error)
    }

    #[track_caller]
    fn assert_passes_at(&self, uri: &str, line: &str) {
        let (code, text, error) = self.run(uri, line);
        assert_eq!(code, Some(0), "{uri} {line}: {text} {error}");
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
        "connections --count 100 --keep-alive 1 -z 1 --rounds 2",
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

#[test]
fn mosquitto_passes_through_tls() {
    if !Mosquitto::is_installed() {
        return;
    }
    let mosquitto = Mosquitto::start("wrapped");
    let [_, tls] = mosquitto.ports;
    let place = mosquitto.directory.display();
    let shown =
        format!("--ca {place}/ca.pem --cert {place}/client.pem --cert-key {place}/client.key");
    for (uri, with) in [
        (format!("mqtts://localhost:{tls}"), format!("{shown} --tls-version 1.2")),
        (format!("mqtt://localhost:{tls}"), format!("{shown} --tls --tls-version 1.3")),
    ] {
        // Small ones, large ones, and connections that come and go.
        for line in
            ["throughput -C 500 -q 1 -V 5", "throughput -C 5 -q 2 -s 100000 -V 5", "churn -C 20"]
        {
            mosquitto.assert_passes_at(&uri, &format!("{line} {with}"));
        }
    }
    let resumed = format!("churn -C 100 --only-connect --connecting 5 --resume {shown}");
    let (_, text, _) = mosquitto.run(&format!("mqtts://localhost:{tls}"), &resumed);
    assert!(text.contains("handshakes of TLS: 5 full, 95 resumed"), "{text}");
}

#[test]
fn a_broker_that_nobody_vouches_for_is_refused() {
    if !Mosquitto::is_installed() {
        return;
    }
    let mosquitto = Mosquitto::start("refused");
    let uri = format!("mqtts://localhost:{}", mosquitto.ports[1]);
    let place = mosquitto.directory.display();
    let (cert, key) = (format!("{place}/client.pem"), format!("{place}/client.key"));
    let shown = format!("churn -C 1 --cert {cert} --cert-key {key}");
    let (code, _, error) = mosquitto.run(&uri, &shown);
    assert!(code == Some(2) && error.contains("--ca says who"), "{error}");
    let (code, text, error) = mosquitto.run(&uri, &format!("{shown} --ca {cert}"));
    assert!(code == Some(1) && text.contains("invalid peer certificate"), "{text} {error}");
    let (code, _, error) = mosquitto.run(&uri, "churn -C 1 --ca /nothing");
    assert!(code == Some(2) && error.contains("/nothing: "), "{error}");
    mosquitto.assert_passes_at(&uri, &format!("{shown} --insecure"));
}
