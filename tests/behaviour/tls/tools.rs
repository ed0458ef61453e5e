//! Other people's programs in front of TLS: OpenSSL, and HAProxy with the PROXY protocol. They are
//! looked for where Debian has them; where `CI=true` they have to be there.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::http::{Asker, until};
use crate::support::{Client, Login};

use super::ground::{Authority, port_of, stranger, through, through_stream};

/// Where a program is; `None`: it is not installed, and need not be.
fn installed(name: &str) -> Option<String> {
    let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
    let found =
        places.iter().map(|place| format!("{place}/{name}")).find(|p| Path::new(p).exists());
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(found.is_some() || !is_ci, "{name} is not installed");
    found
}

/// What `openssl s_client` says of a port.
fn s_client(openssl: &str, authority: &Authority, address: SocketAddr, version: &str) -> String {
    let mut child = Command::new(openssl)
        .args(["s_client", "-connect", &address.to_string(), "-servername", "localhost"])
        .args(["-verify_hostname", "localhost", version, "-CAfile"])
        .arg(authority.roots())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    // Its end is the end of what it has to say.
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("openssl ends");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// S47, L107; issue 5: `openssl s_client`
#[test]
fn openssl_agrees_with_every_port_for_tls() {
    let Some(openssl) = installed("openssl") else { return };
    let authority = Authority::new();
    let broker = authority.broker(2, "", "");
    for port in ["amqps", "mqtts", "https"] {
        let address = port_of(&broker, port);
        for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
            let said = s_client(&openssl, &authority, address, version);
            assert!(said.contains("Verify return code: 0 (ok)"), "{port} {version}: {said}");
            assert!(said.contains(name), "{port} {version}: {said}");
        }
        let said = s_client(&openssl, &authority, address, "-tls1_1");
        assert!(said.contains("Cipher is (NONE)"), "{port}: {said}");
    }
    broker.terminate();
}

/// S9, S14, S31: what a proxy says in front of TLS is whose connection it is.
#[test]
fn a_proxy_header_comes_before_tls_on_amqps() {
    let authority = Authority::new();
    let more = "[amqp]\ntcp_proxy_protocol = true\nproxy_protocol_trusted_sources = 127.0.0.1\n";
    let broker = authority.broker(2, "", more);
    let config = authority.trusted("1.3", None);
    let behind = |header: &[u8]| {
        let mut stream = stranger(port_of(&broker, "amqps"), &config, "localhost");
        // In one piece with the hello, and in two.
        let (begin, rest) = header.split_at(header.len() / 2);
        stream.sock.write_all(begin).expect("the broker reads");
        stream.sock.write_all(rest).expect("the broker reads");
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).expect("a handshake");
        }
        Client::connect(through_stream(stream))
    };
    let mut near = behind(b"PROXY TCP4 127.0.0.9 127.0.0.1 40001 5671\r\n");
    near.log_in(&Login::default());
    broker.wait_for_line(&["connection opened", "peer=127.0.0.9:40001"]);
    near.close();
    let inside = [192, 0, 2, 7, 198, 51, 100, 1, 0xC0, 0x01, 0x16, 0x27];
    let far = [b"\r\n\r\n\0\r\nQUIT\n", &[0x21, 0x11, 0, 12][..], &inside].concat();
    let mut far = behind(&far);
    far.send_raw(crate::support::handshake::PROTOCOL_HEADER);
    far.expect_start();
    let login = Login::default();
    far.send_start_ok(&login, "PLAIN", &login.plain());
    far.expect_close(403, "ACCESS_REFUSED");
    broker.wait_for_line(&["login refused", "peer=192.0.2.7:49153"]);
    broker.terminate();
}

/// Ended with the test.
struct HaProxy(Child);

impl Drop for HaProxy {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Ports that are free by now.
fn free_ports<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let held = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().expect("its number"))
}

/// The port of this side, as the broker is to know it.
fn own_port(stream: &TcpStream) -> u16 {
    stream.local_addr().expect("an address").port()
}

/// Issue 5: HAProxy in front, with both versions of the header, with TLS passed on, and its checks.
#[test]
fn haproxy_says_whose_connections_it_passes_on() {
    let Some(haproxy) = installed("haproxy") else { return };
    let authority = Authority::new();
    let more = "[mgmt]\ntcp_proxy_protocol = true\n[amqp]\ntcp_proxy_protocol = true\n\
                proxy_protocol_trusted_sources = 127.0.0.1\n";
    let broker = authority.broker(2, "", more);
    let [first, second, secured, http] = free_ports();
    let servers = [
        (first, broker.addr(), "send-proxy"),
        (second, broker.addr(), "send-proxy-v2"),
        (secured, port_of(&broker, "amqps"), "send-proxy-v2"),
        (http, broker.http_addr(), "send-proxy-v2"),
    ];
    let mut text = String::from(
        "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n",
    );
    for (number, (bind, server, how)) in servers.iter().enumerate() {
        text.push_str(&format!(
            "listen l{number}\n  bind {bind}\n  server s {server} check inter 50ms check-send-proxy {how}\n"
        ));
    }
    let file = authority.write("haproxy.cfg", &text);
    let child = Command::new(haproxy).arg("-db").arg("-f").arg(file).stdin(Stdio::null()).spawn();
    let in_front = HaProxy(child.expect("haproxy runs"));
    for (bind, _, _) in &servers {
        until("haproxy listens", || TcpStream::connect(bind).ok());
    }
    for bind in [first, second, through(secured, &authority.trusted("1.3", None))] {
        let mut client = Client::connect(bind);
        client.log_in(&Login::default());
        client.open_channel(1);
        if bind == first || bind == second {
            let peer = format!("peer=127.0.0.1:{}", own_port(&client.stream()));
            broker.wait_for_line(&["connection opened", &peer]);
        }
        client.close();
    }
    assert_eq!(Asker::guest(http).get("/api/whoami")["name"], "guest");
    // Checks that come and go leave no line.
    thread::sleep(Duration::from_millis(300));
    let log = broker.log();
    assert!(!log.contains("a PROXY header that") && !log.contains("is ignored"), "{log}");
    assert!(!log.contains("TLS handshake"), "{log}");
    drop(in_front);
    broker.terminate();
}
