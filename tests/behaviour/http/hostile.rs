//! What must not get through, or take anything away from others.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Asker, exchange};
use crate::support::Broker;

const HEAD: &str = "Host: x\r\nConnection: close\r\nAuthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n";

fn status(broker: &Broker, request: &str) -> u16 {
    exchange(broker.http_addr(), request.as_bytes()).status
}

/// reliability.md row 87
#[test]
fn a_body_that_is_too_large_is_refused_while_it_comes() {
    let broker = Broker::start(1);
    let put = format!("PUT /api/vhosts/x HTTP/1.1\r\n{HEAD}");
    assert_eq!(status(&broker, &format!("{put}Content-Length: 1000000000\r\n\r\n")), 413);
    let chunk = format!("{:x}\r\n{}\r\n", 40_000, "x".repeat(40_000));
    assert_eq!(
        status(&broker, &format!("{put}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}")),
        413
    );
    assert_eq!(status(&broker, &format!("{put}Content-Length: 2\r\n\r\n{{}}")), 201);
}

/// reliability.md row 90
#[test]
fn requests_that_could_be_read_in_two_ways_are_refused() {
    let broker = Broker::start(1);
    for request in [
        format!(
            "PUT /api/vhosts/x HTTP/1.1\r\n{HEAD}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}x"
        ),
        format!("GET /api/whoami HTTP/1.1\r\n{HEAD}Name : x\r\n\r\n"),
        format!("GET /api/whoami HTTP/1.1\r\n{HEAD} folded: x\r\n\r\n"),
        format!("GET /api/whoami HTTP/1.1\r\n{HEAD}Transfer-Encoding: x\r\n\r\n"),
        "GARBAGE\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}hello\r\n\r\n".to_owned(),
    ] {
        assert_eq!(status(&broker, &request), 400, "{request}");
    }
}

/// reliability.md rows 89, 111
#[test]
fn paths_and_heads_stay_within_their_bounds() {
    let broker = Broker::start(1);
    let get = |path: &str| status(&broker, &format!("GET {path} HTTP/1.1\r\n{HEAD}\r\n"));
    assert_eq!(get("/api/vhosts/%2F..%2F..%2Fetc%2Fpasswd"), 404);
    assert_eq!(get("/api/vhosts/%00"), 404);
    assert_eq!(get("/api/vhosts/%zz"), 400);
    assert_eq!(get("/../../etc/passwd"), 404);
    assert_eq!(get(&"/x".repeat(100)), 404);
    assert_eq!(get("/api/users?name=(a%2B)%2B%24&use_regex=true"), 200);
    assert_eq!(get("/api/users?page=1&page_size=1000000000"), 400);
    assert_eq!(get("/api/users?page=18446744073709551616"), 400);
    let long = format!("GET /api/whoami HTTP/1.1\r\n{HEAD}X: {}\r\n\r\n", "y".repeat(200_000));
    assert_eq!(status(&broker, &long), 431);
}

/// reliability.md row 91
#[test]
fn json_that_is_deep_wide_or_strange_is_refused() {
    let broker = Broker::start(1);
    let guest = Asker::guest(broker.http_addr());
    for body in
        ["[".repeat(60_000), "{\"a\":".repeat(10_000), "{\"tags\":1e999}".into(), "\u{0}".into()]
    {
        assert_eq!(guest.put("/api/users/x", &body), 400);
    }
    assert_eq!(guest.put("/api/users/x", r#"{"password":"p","password":"q","tags":""}"#), 201);
}

/// amqp.md R109
#[test]
fn what_a_resource_does_not_do_is_405_and_what_is_not_there_404() {
    let broker = Broker::start(1);
    let guest = Asker::guest(broker.http_addr());
    let refused = guest.ask("DELETE", "/api/overview", "");
    assert_eq!(refused.status, 405);
    assert!(refused.head.contains("allow: get, head"), "{}", refused.head);
    let missing = guest.ask("GET", "/api/nothing", "");
    assert_eq!((missing.status, missing.json()["error"].as_str()), (404, Some("Object Not Found")));
    let head = guest.ask("HEAD", "/api/whoami", "");
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    for field in
        ["x-frame-options: deny", "x-content-type-options: nosniff", "cache-control: no-cache"]
    {
        assert!(head.head.contains(field), "{}", head.head);
    }
    let foreign = guest.ask_with("GET", "/api/whoami", "", "Origin: http://evil.example\r\n");
    assert!(!foreign.head.contains("access-control"), "{}", foreign.head);
}

/// reliability.md row 88: who holds connections open takes nothing from others.
#[test]
fn idle_connections_do_not_keep_others_out() {
    let broker = Broker::start(1);
    let idle: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(broker.http_addr()).unwrap();
            stream.write_all(b"GET /api/who").unwrap();
            stream
        })
        .collect();
    assert_eq!(Asker::guest(broker.http_addr()).get("/api/whoami")["name"], "guest");
    drop(idle);
}

#[test]
fn one_connection_serves_many_requests() {
    let broker = Broker::start(1);
    let mut stream = TcpStream::connect(broker.http_addr()).unwrap();
    let request =
        "GET /api/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\n\r\n";
    stream.write_all(request.repeat(3).as_bytes()).unwrap();
    let mut read = String::new();
    let mut buffer = [0; 4096];
    while read.matches("HTTP/1.1 200").count() < 3 || read.matches("is_internal_user").count() < 3 {
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "{read}");
        read.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
}
