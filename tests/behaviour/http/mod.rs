//! The HTTP API, asked octet by octet: who may what, what is shown, what is refused, and the commands
//! of `ringmqctl`.

mod access;
mod connections;
mod ctl;
mod definitions;
mod effects;
mod health;
mod hostile;
mod lists;
mod metrics;
mod rates;
mod states;
mod web;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::client::PATIENCE;

/// What came back.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) text: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

/// Sends octets and reads until the server closes.
pub(crate) fn exchange(address: SocketAddr, octets: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).expect("an HTTP server");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // A server that has seen enough may have closed already.
    drop(stream.write_all(octets));
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert!(!answer.is_empty(), "no answer: {error}");
    }
    parse(&answer)
}

pub(crate) fn parse(answer: &[u8]) -> Response {
    let answer = String::from_utf8(answer.to_vec()).expect("text");
    let (head, text) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    Response { status, head: head.to_lowercase(), text: text.to_owned() }
}

/// Somebody who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) login: &'a str,
}

impl<'a> Asker<'a> {
    pub(crate) fn guest(address: SocketAddr) -> Asker<'static> {
        Asker { address, login: "guest:guest" }
    }

    pub(crate) fn by(self, login: &'a str) -> Self {
        Self { login, ..self }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Response {
        self.ask_with(method, path, body, "")
    }

    /// `fields`: further lines of the head, each with its end.
    pub(crate) fn ask_with(&self, method: &str, path: &str, body: &str, fields: &str) -> Response {
        let login = STANDARD.encode(self.login);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {login}\
             \r\n{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        exchange(self.address, request.as_bytes())
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let response = self.ask("GET", path, "");
        assert_eq!(response.status, 200, "{path}: {}", response.text);
        response.json()
    }

    pub(crate) fn put(&self, path: &str, body: &str) -> u16 {
        self.ask("PUT", path, body).status
    }

    pub(crate) fn delete(&self, path: &str) -> u16 {
        self.ask("DELETE", path, "").status
    }

    /// A user with a password that is the name, and with everything in `/` if the tags say so.
    pub(crate) fn make_user(&self, name: &str, tags: &str) {
        let body = format!("{{\"password\":\"{name}\",\"tags\":\"{tags}\"}}");
        assert_eq!(self.put(&format!("/api/users/{name}"), &body), 201);
        let all = r#"{"configure":".*","write":".*","read":".*"}"#;
        assert_eq!(self.put(&format!("/api/permissions/%2F/{name}"), all), 201);
    }
}

/// Asks again until it is so: what happens on a shard is seen a moment later.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what}: not within 10 s");
}
