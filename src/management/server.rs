//! HTTP/1.1 over TCP and a unix socket, on the control thread: accepting, limits, time-outs, who it
//! is, which resource answers. A request for a WebSocket goes on to a shard.
//!
//! Limits (abuse rows 87 to 90): octets of a head and of a body, time for both, connections in all
//! and from one address. hyper refuses what a request must not look like.
//! May import hyper, http-body-util, tokio, `hub` (to pass connections on), the files of this folder.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request as HttpRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use ringmq_shards::Buffers;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::access::{Credentials, Right, Subject};
use super::app::App;
use super::guests::{Guest, Guests};
use super::head::{FIELDS_MAX, First, HEAD_BYTES_MAX, first};
use super::introduction::{self, Unwelcome};
use super::io::Begun;
use super::reply::{HttpResponse, Problem, Reply};
use super::request::{Query, Request, segments};
use super::routes::{Action, Answer, find};
use super::sealed::{NoTls, Sealed};
use crate::arrival_rate::{ArrivalRate, Rates};
use crate::auth::certificate::CertificateName;
use crate::transport::proxy_protocol::Header;
use crate::transport::{Introduced, SecuredParts};

/// For the head of a request, from the moment when the one before was answered.
const HEAD_S_MAX: u64 = 10;
/// For its body.
const BODY_S_MAX: u64 = 30;
/// For the answer to go out, by whoever reads it slowly, and for the connection to be of use at all.
const CONNECTION_S_MAX: u64 = 3600;
/// Pause after the machine ran out of something.
const PAUSE_MS: u64 = 100;
/// Octets of output that wait for a slow reader before more is made.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Octets of a read: each connection that is being read has two such blocks with TLS.
const READ_BYTES: usize = 16 * 1024;

/// Takes a connection that asks for a WebSocket.
pub(crate) type PassOn = Rc<dyn Fn(Passed)>;

/// A connection that asks for a WebSocket, with what was read of it.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) stream: std::net::TcpStream,
    /// Outside of TLS.
    pub(crate) begun: Vec<u8>,
    /// What a proxy has said.
    pub(crate) introduced: Option<Box<Introduced>>,
    /// Its TLS, if it has any.
    pub(crate) secured: Option<Box<SecuredParts>>,
}

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

/// A socket, and what is behind it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) door: Door,
    pub(crate) entrance: Entrance,
    /// HTTP is inside of TLS.
    pub(crate) is_secured: bool,
    /// What a proxy says is read.
    pub(crate) reads_proxy_header: bool,
}

/// Serves until the process ends. Must run within a `LocalSet`.
pub(crate) async fn serve(app: Rc<App>, places: Vec<Place>) {
    let guests = Rc::new(RefCell::new(Guests::default()));
    let buffers = Buffers::new();
    buffers.set_read_block(READ_BYTES);
    for Place { door, entrance, is_secured, reads_proxy_header } in places {
        let main = &app.about.config.main;
        let (in_all, per_address) =
            (main.connection_rate_max, main.connection_rate_per_address_max);
        let rate = Rc::new(RefCell::new(ArrivalRate::new(Rates { in_all, per_address })));
        let (app, guests, buffers) = (app.clone(), guests.clone(), buffers.clone());
        let house = House { app, entrance, guests, buffers, rate, is_secured, reads_proxy_header };
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

/// What every connection of a door needs.
#[derive(Clone)]
struct House {
    app: Rc<App>,
    entrance: Entrance,
    guests: Rc<RefCell<Guests>>,
    buffers: Buffers,
    /// Of handshakes: they are what costs.
    rate: Rc<RefCell<ArrivalRate>>,
    is_secured: bool,
    reads_proxy_header: bool,
}

/// A connection that can go on to a shard.
trait Passable: AsyncRead + AsyncWrite + Unpin + 'static {
    async fn pass(self, begun: Vec<u8>, login_from: CertificateName) -> io::Result<Passed>;
}

impl Passable for TcpStream {
    async fn pass(self, begun: Vec<u8>, _: CertificateName) -> io::Result<Passed> {
        Ok(Passed { stream: self.into_std()?, begun, introduced: None, secured: None })
    }
}

impl Passable for Sealed {
    async fn pass(self, mut begun: Vec<u8>, login_from: CertificateName) -> io::Result<Passed> {
        let (stream, opened, tls) = self.into_parts().await?;
        begun.extend_from_slice(&opened);
        let (parts, _) = SecuredParts::begun(tls, login_from);
        let secured = Some(Box::new(parts));
        Ok(Passed { stream: stream.into_std()?, begun, introduced: None, secured })
    }
}

impl House {
    async fn accept_tcp(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let peer = peer.ip().to_canonical();
                    let is_proxy = self.reads_proxy_header && self.trusts(peer);
                    let guest = Guest::enter(&self.guests, peer, is_proxy);
                    if let Some(guest) = guest.filter(|_| is_proxy || !self.is_too_many(peer)) {
                        spawn_local(self.clone().welcome(stream, guest, is_proxy));
                        self.pause().await;
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
                    if let Some(guest) = Guest::enter(&self.guests, peer, false) {
                        spawn_local(self.clone().welcome_unix(stream, guest));
                    }
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    /// Whether what a proxy there says of its clients counts (S12, S13).
    fn trusts(&self, proxy: IpAddr) -> bool {
        let trusted = &self.app.about.config.amqp.proxy_protocol_trusted_sources;
        trusted.is_empty() || trusted.contains(proxy)
    }

    /// Whether an address asks for too many handshakes (abuse row 105).
    fn is_too_many(&self, peer: IpAddr) -> bool {
        let now_ms = self.app.uptime_ms();
        let is = self.is_secured && self.rate.borrow_mut().is_too_many(peer, now_ms);
        if is {
            tracing::debug!(%peer, "too many from one address in a second");
        }
        is
    }

    /// Those behind wait where there are too many handshakes in all.
    async fn pause(&self) {
        let now_ms = self.app.uptime_ms();
        let wait_ms = self.is_secured.then(|| self.rate.borrow_mut().pause_ms(now_ms)).flatten();
        if let Some(wait_ms) = wait_ms {
            sleep(Duration::from_millis(wait_ms)).await;
        }
    }

    /// Reads what a proxy may say first. `None`: the connection does not go on.
    async fn introduce(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        (guest, is_proxy): (Guest, bool),
        end: Instant,
    ) -> Option<(Guest, Vec<u8>, Option<Header>)> {
        let mut begun = Vec::new();
        if !self.reads_proxy_header {
            return Some((guest, begun, None));
        }
        let peer = guest.address();
        let header = match introduction::header(stream, &mut begun, end).await {
            Ok(header) => header,
            Err(Unwelcome::Gone) => return None,
            Err(Unwelcome::Slow) => {
                tracing::info!(%peer, "a PROXY header that is not ended in time");
                return None;
            }
            Err(Unwelcome::Wrong(why)) => {
                tracing::info!(%peer, %why, "a PROXY header that cannot be read");
                return None;
            }
        };
        if header.is_some() && !is_proxy {
            tracing::warn!(
                %peer,
                "a PROXY header is ignored: its sender is not in proxy_protocol_trusted_sources"
            );
        }
        let header = header.filter(|_| is_proxy);
        let source = header.as_ref().and_then(|said| said.source);
        let source = source.map_or(peer, |source| source.ip().to_canonical());
        if is_proxy && self.is_too_many(source) {
            return None;
        }
        Some((guest.come_from(source)?, begun, header))
    }

    async fn welcome(self, mut stream: TcpStream, guest: Guest, is_proxy: bool) {
        let end = Instant::now() + Duration::from_secs(HEAD_S_MAX);
        let introduced = self.introduce(&mut stream, (guest, is_proxy), end).await;
        let Some((guest, begun, header)) = introduced else { return };
        if !self.is_secured {
            return self.first_request(stream, begun, (guest, header), end).await;
        }
        let peer = guest.address();
        let server = self.app.about.certificates.borrow().http.clone();
        let Some(server) = server else { return };
        let mut sealed = Sealed::new(&server, &self.buffers, stream, &begun);
        match timeout_at(end, sealed.shake_hands()).await {
            Ok(Ok(())) => self.first_request(sealed, Vec::new(), (guest, header), end).await,
            Ok(Err(NoTls::Gone)) => {}
            Ok(Err(NoTls::Failed { why, looks_like })) => {
                self.app.logins.borrow_mut().handshakes_failed += 1;
                if let Some(looks_like) = looks_like {
                    tracing::info!(%peer, listener = "https", looks_like, "not TLS on a port for TLS");
                }
                tracing::info!(%peer, why = &*why, "TLS handshake failed");
                let _ = timeout_at(end, sealed.shutdown()).await;
            }
            Err(_) => {
                self.app.logins.borrow_mut().handshakes_failed += 1;
                tracing::info!(%peer, "TLS handshake took too long");
            }
        }
    }

    async fn welcome_unix(self, mut stream: UnixStream, guest: Guest) {
        let end = Instant::now() + Duration::from_secs(HEAD_S_MAX);
        // Who may open that is trusted with what it says (S29).
        let introduced = self.introduce(&mut stream, (guest, true), end).await;
        if let Some((guest, begun, _)) = introduced {
            self.converse(stream, begun, guest).await;
        }
    }

    /// Reads the head of the first request, to know whether a WebSocket is asked for.
    async fn first_request<S: Passable>(
        self,
        mut stream: S,
        mut begun: Vec<u8>,
        (guest, header): (Guest, Option<Header>),
        end: Instant,
    ) {
        let Entrance::Users(pass_on) = &self.entrance else {
            return self.converse(stream, begun, guest).await;
        };
        match timeout_at(end, read_head(&mut stream, &mut begun)).await {
            // Nothing came, or half a request: what a probe does.
            Err(_) | Ok(Err(_)) | Ok(Ok(First::NeedMore)) => {}
            Ok(Ok(First::WebSocket)) => {
                let config = &self.app.about.config;
                let login_from = config.mgmt.tls.as_ref().map(|tls| tls.login_from);
                match stream.pass(begun, login_from.unwrap_or_default()).await {
                    Ok(passed) => {
                        let trusted = &config.amqp.proxy_protocol_trusted_sources;
                        let is_vouched_for = !trusted.is_empty();
                        let said = |said: Header| {
                            let Header { source, common_name } = said;
                            Box::new(Introduced { source, common_name, is_vouched_for })
                        };
                        pass_on(Passed { introduced: header.map(said), ..passed });
                    }
                    Err(error) => tracing::warn!(%error, "a WebSocket is not passed on"),
                }
            }
            Ok(Ok(First::Http)) => self.converse(stream, begun, guest).await,
        }
    }

    async fn converse<S>(self, stream: S, begun: Vec<u8>, guest: Guest)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let peer = guest.address();
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

async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    begun: &mut Vec<u8>,
) -> io::Result<First> {
    let mut buffer = [0; 2048];
    loop {
        let what = first(begun);
        if what != First::NeedMore {
            return Ok(what);
        }
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(what);
        }
        begun.extend_from_slice(buffer.get(..count).unwrap_or_default());
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
