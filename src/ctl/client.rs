//! One request at a time over a socket, HTTP/1.1. May import `failure`, `options`.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::failure::Failure;
use crate::options::Place;

/// How long an answer may take to begin, and to go on.
const PATIENCE: Duration = Duration::from_secs(70);
/// Octets of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `Null` where there was nothing.
    pub(crate) body: Value,
}

/// A broker that can be asked.
#[derive(Debug)]
pub(crate) struct Client {
    place: Place,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Client {
    pub(crate) const fn new(place: Place) -> Self {
        Self { place }
    }

    /// Asks, and makes failures of refusals.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        fields: &[(&str, &str)],
    ) -> Result<Value, Failure> {
        let answer = self.exchange(method, path, body, fields)?;
        let reason = || {
            let told = answer.body.get("reason").and_then(Value::as_str);
            told.unwrap_or("the broker gives no reason").to_owned()
        };
        match answer.status {
            200..300 => Ok(answer.body),
            400 | 422 => Err(Failure::Data(reason())),
            401 | 403 => Err(Failure::NotAllowed(reason())),
            404 => Err(Failure::Missing("there is no such thing".into())),
            503 => Err(Failure::Unavailable(reason())),
            status => Err(Failure::Other(format!("{status}: {}", reason()))),
        }
    }

    /// Asks for something.
    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask("GET", path, None, &[])
    }

    /// Puts something.
    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<(), Failure> {
        self.ask("PUT", path, Some(body), &[]).map(drop)
    }

    /// Takes something away.
    pub(crate) fn delete(&self, path: &str) -> Result<(), Failure> {
        self.ask("DELETE", path, None, &[]).map(drop)
    }

    /// Asks whatever the answer is.
    pub(crate) fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        fields: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let lost = |error: std::io::Error| Failure::Unavailable(format!("the broker: {error}"));
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: ringmq\r\nConnection: close\r\n");
        if let Place::Address { user, password, .. } = &self.place {
            let login = STANDARD.encode(format!("{user}:{password}"));
            let _ = write!(head, "Authorization: Basic {login}\r\n");
        }
        for (name, value) in fields {
            // What is no text of a field would break the request.
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let body = body.map(ToString::to_string).unwrap_or_default();
        let _ = write!(
            head,
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = self.connect()?;
        stream.write_all(head.as_bytes()).map_err(lost)?;
        stream.write_all(body.as_bytes()).map_err(lost)?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(lost)?;
        parse(&answer).ok_or_else(|| Failure::Unavailable("this is no HTTP server".into()))
    }

    fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        match &self.place {
            Place::Address { host, port, .. } => {
                let stream = TcpStream::connect((host.as_str(), *port));
                let stream = stream.map_err(|error| {
                    Failure::Unavailable(format!("cannot connect to {host}:{port}: {error}"))
                })?;
                // A kernel without it waits for ever, as it does without us.
                let _ = stream.set_read_timeout(Some(PATIENCE));
                Ok(Box::new(stream))
            }
            Place::Sockets(paths) => {
                let mut why = String::new();
                for path in paths {
                    match UnixStream::connect(path) {
                        Ok(stream) => {
                            let _ = stream.set_read_timeout(Some(PATIENCE));
                            return Ok(Box::new(stream));
                        }
                        Err(error) => {
                            let _ = write!(why, "; {}: {error}", path.display());
                        }
                    }
                }
                Err(Failure::Unavailable(format!(
                    "no broker is reached{why} (--control-unix-path, --data-dir or --uri say where \
                     it is)"
                )))
            }
        }
    }
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|octets| octets == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let rest = answer.get(end + 4..)?;
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { unchunked(rest)? } else { rest.to_vec() };
    // A text is an answer as well: it stays one.
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    let body = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&body).unwrap_or_else(|_| text()),
    };
    Some(Answer { status, body })
}

/// Other brokers send lists in pieces.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = rest.windows(2).position(|octets| octets == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..line)?).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        let begin = line.checked_add(2)?;
        whole.extend_from_slice(rest.get(begin..begin.checked_add(size)?)?);
        rest = rest.get(begin.checked_add(size)?.checked_add(2)?..)?;
    }
}

/// A name as a part of a path.
pub(crate) fn part(name: &str) -> String {
    let mut part = String::new();
    for octet in name.bytes() {
        if octet.is_ascii_alphanumeric() || b"-_.~".contains(&octet) {
            part.push(char::from(octet));
        } else {
            let _ = write!(part, "%{octet:02X}");
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_in_pieces() {
        let whole = parse(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n[1]").unwrap();
        assert_eq!((whole.status, whole.body), (200, serde_json::json!([1])));
        let pieces = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n3;x\r\n,2]\r\n0\r\n\r\n";
        assert_eq!(parse(pieces).unwrap().body, serde_json::json!([1, 2]));
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().body, Value::Null);
        for bad in [&b""[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"] {
            assert!(parse(bad).is_none());
        }
        assert!(unchunked(b"ffffffffffffffff\r\n").is_none());
        assert_eq!(part("a b/\u{e4}"), "a%20b%2F%C3%A4");
    }
}
