//! HTTP/1.1 over TCP and a unix socket, on the control thread: accepting, limits, time-outs, who it
//! is, which resource answers. A request for a WebSocket goes on to a shard.
//!
//! Limits (abuse rows 87 to 90): octets of a head and of a body, time for both, connections in all
//! and from one address. hyper refuses what a request must not look like.
//! May import hyper, http-body-util, tokio, `hub` (to pass connections on), the files of this folder.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request as HttpRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::access::{Credentials, Right, Subject};
use super::app::App;
use super::head::{FIELDS_MAX, First, HEAD_BYTES_MAX, first};
use super::io::Begun;
use super::reply::{HttpResponse, Problem, Reply};
use super::request::{Query, Request, segments};
use super::routes::{Action, Answer, find};

/// For the head of a request, from the moment when the one before was answered.
const HEAD_S_MAX: u64 = 10;
/// For its body.
const BODY_S_MAX: u64 = 30;
/// For the answer to go out, by whoever reads it slowly, and for the connection to be of use at all.
const CONNECTION_S_MAX: u64 = 3600;
/// Connections.
const CONNECTIONS_MAX: usize = 1_000;
/// Connections from one address.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;
/// Pause after the machine ran out of something.
const PAUSE_MS: u64 = 100;
/// Octets of output that wait for a slow reader before more is made.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Takes a connection that asks for a WebSocket, with what was read of it.
pub(crate) type PassOn = Rc<dyn Fn(std::net::TcpStream, Vec<u8>)>;

/// Who comes in through a door.
#[derive(Clone)]
pub(crate) enum Entrance {
    /// Users, who log in. WebSockets are passed on.
    Users(PassOn),
    /// Whoever reads metrics, without a login.
    Metrics,
    /// The owner of the process: the socket file is nobody else's.
    Owner,
}

impl std::fmt::Debug for Entrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Users(_) => "Users",
            Self::Metrics => "Metrics",
            Self::Owner => "Owner",
        })
    }
}

/// A socket that listens, made before anything runs.
#[derive(Debug)]
pub(crate) enum Door {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// Serves until the process ends. Must run within a `LocalSet`.
pub(crate) async fn serve(app: Rc<App>, doors: Vec<(Door, Entrance)>) {
    let guests = Rc::new(RefCell::new(Guests::default()));
    for (door, entrance) in doors {
        let house = House { app: app.clone(), entrance, guests: guests.clone() };
        let opened = match door {
            Door::Tcp(listener) => TcpListener::from_std(listener).map(|listener| {
                spawn_local(house.accept_tcp(listener));
            }),
            Door::Unix(listener) => UnixListener::from_std(listener).map(|listener| {
                spawn_local(house.accept_unix(listener));
            }),
        };
        if let Err(error) = opened {
            tracing::error!(%error, "cannot listen for HTTP");
        }
    }
    app.keep_rates().await;
}

/// Connections that are open, by address.
#[derive(Debug, Default)]
struct Guests {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One of them. Leaves by itself.
struct Guest {
    guests: Rc<RefCell<Guests>>,
    address: IpAddr,
}

impl Guest {
    /// `None`: there are too many, or it has a descriptor that is kept for files. Who comes from this
    /// machine counts only among all: behind a proxy that is everybody.
    fn enter(guests: &Rc<RefCell<Guests>>, stream: &impl AsRawFd, address: IpAddr) -> Option<Self> {
        if !ringmq_shards::is_for_newcomers(stream) {
            return None;
        }
        let mut known = guests.borrow_mut();
        let here = known.by_address.get(&address).copied().unwrap_or(0);
        let is_full = !address.is_loopback() && here >= CONNECTIONS_PER_ADDRESS_MAX;
        if is_full || known.all >= CONNECTIONS_MAX {
            return None;
        }
        known.all += 1;
        known.by_address.insert(address, here + 1);
        drop(known);
        Some(Self { guests: guests.clone(), address })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut known = self.guests.borrow_mut();
        known.all = known.all.saturating_sub(1);
        if let Some(here) = known.by_address.get_mut(&self.address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                known.by_address.remove(&self.address);
            }
        }
    }
}

/// What every connection of a door needs.
#[derive(Clone)]
struct House {
    app: Rc<App>,
    entrance: Entrance,
    guests: Rc<RefCell<Guests>>,
}

impl House {
    async fn accept_tcp(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let peer = peer.ip().to_canonical();
                    if let Some(guest) = Guest::enter(&self.guests, &stream, peer) {
                        spawn_local(self.clone().welcome(stream, guest));
                    }
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    async fn accept_unix(self, listener: UnixListener) {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(guest) = Guest::enter(&self.guests, &stream, peer) {
                        spawn_local(self.clone().converse(stream, Vec::new(), guest));
                    }
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    /// Reads the head of the first request, to know whether a WebSocket is asked for.
    async fn welcome(self, mut stream: TcpStream, guest: Guest) {
        let Entrance::Users(pass_on) = &self.entrance else {
            return self.converse(stream, Vec::new(), guest).await;
        };
        let mut begun = Vec::new();
        let read = timeout(Duration::from_secs(HEAD_S_MAX), read_head(&mut stream, &mut begun));
        match read.await {
            // Nothing came, or half a request: what a probe does.
            Err(_) | Ok(Err(_)) | Ok(Ok(First::NeedMore)) => {}
            Ok(Ok(First::WebSocket)) => match stream.into_std() {
                Ok(stream) => pass_on(stream, begun),
                Err(error) => tracing::warn!(%error, "a WebSocket is not passed on"),
            },
            Ok(Ok(First::Http)) => self.converse(stream, begun, guest).await,
        }
    }

    async fn converse<S>(self, stream: S, begun: Vec<u8>, guest: Guest)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let peer = guest.address;
        let service = service_fn(|request| {
            let (app, entrance) = (self.app.clone(), self.entrance.clone());
            async move { Ok::<_, Infallible>(respond(app, entrance, peer, request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(HEAD_S_MAX))
            .max_buf_size(HEAD_BYTES_MAX.max(OUTPUT_BYTES_MAX))
            .max_headers(FIELDS_MAX)
            .half_close(false);
        let connection = http.serve_connection(TokioIo::new(Begun::new(stream, begun)), service);
        if let Ok(Err(error)) = timeout(Duration::from_secs(CONNECTION_S_MAX), connection).await {
            tracing::debug!(%peer, %error, "HTTP connection ends");
        }
    }
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "an HTTP connection is not accepted");
    sleep(Duration::from_millis(PAUSE_MS)).await;
}

async fn read_head(stream: &mut TcpStream, begun: &mut Vec<u8>) -> io::Result<First> {
    let mut buffer = [0; 2048];
    loop {
        let count = stream.read(&mut buffer).await?;
        begun.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let what = first(begun);
        if what != First::NeedMore || count == 0 {
            return Ok(what);
        }
    }
}

/// One request.
async fn respond(
    app: Rc<App>,
    entrance: Entrance,
    peer: IpAddr,
    request: HttpRequest<Incoming>,
) -> HttpResponse {
    let is_head = request.method() == Method::HEAD;
    let mut response: HttpResponse = match answer(app, &entrance, peer, request).await {
        Ok(reply) => reply.into(),
        Err(problem) => {
            if let Problem::Broken(why) = &problem {
                tracing::error!(why, "an HTTP request could not be answered");
            }
            problem.into()
        }
    };
    if is_head {
        *response.body_mut() = http_body_util::Full::default();
    }
    response
}

async fn answer(
    app: Rc<App>,
    entrance: &Entrance,
    peer: IpAddr,
    request: HttpRequest<Incoming>,
) -> Answer {
    let (head, body) = request.into_parts();
    let route = find(&segments(head.uri.path())?);
    let path = route.as_ref().map_or("", |(route, _)| route.path);
    if matches!(entrance, Entrance::Metrics) && !path.starts_with("/metrics") {
        return Err(Problem::Missing);
    }
    let subject = match entrance {
        Entrance::Owner | Entrance::Metrics => Subject::Owner,
        // What asks for no login is known before one is looked at.
        Entrance::Users(_)
            if is_open(route.as_ref().map(|(route, _)| route.action(&head.method))) =>
        {
            Subject::Nobody
        }
        Entrance::Users(_) => {
            let field = head.headers.get(AUTHORIZATION).and_then(|field| field.to_str().ok());
            Subject::User(app.login(&Credentials::read(field, peer)?).await?)
        }
    };
    let (route, names) = route.ok_or(Problem::Missing)?;
    let Some(action) = route.action(&head.method) else {
        if head.method == Method::OPTIONS {
            return Ok(Reply::NoContent);
        }
        return Err(Problem::Method(route.methods()));
    };
    subject.require(action.right)?;
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    let body = read_body(body, action).await?;
    let request = Request { subject, names, query, fields: head.headers, body };
    (action.run)(app, request).await
}

fn is_open(action: Option<Option<&Action>>) -> bool {
    action.flatten().is_some_and(|action| action.right == Right::Nobody)
}

async fn read_body(body: Incoming, action: &Action) -> Result<Bytes, Problem> {
    // What says that it is too large is not waited for.
    if body.size_hint().lower() > action.body_bytes_max as u64 {
        return Err(Problem::TooLarge);
    }
    let whole = Limited::new(body, action.body_bytes_max).collect();
    match timeout(Duration::from_secs(BODY_S_MAX), whole).await {
        Err(_) => Err(Problem::Slow),
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::TooLarge),
        Ok(Err(_)) => Err(Problem::bad("the body is not complete")),
    }
}
