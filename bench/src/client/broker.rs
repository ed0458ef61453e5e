//! The broker of a run: where it is, who asks, and what is between. The one place where
//! connections are made, whatever is spoken through them. Imports `uri`, `socket`, `tls`, `web`,
//! the options, rustix.

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use serde_json::{Value, json};

use super::error::ClientError;
use super::layers::Layers;
use super::socket::Socket;
use super::tls::{Handshakes, Tls, TlsClient};
use super::uri::{Scheme, Uri, Wrapping};
use super::web::Web;
use crate::error::PerfError;
use crate::options::transport::TransportOptions;

/// One per run.
#[derive(Debug, Clone)]
pub(crate) struct Broker {
    /// Where it is and who asks.
    pub(crate) uri: Uri,
    address: SocketAddr,
    /// Local addresses to connect from, in turn; none for the system's choice.
    from: Vec<IpAddr>,
    tls: Option<Arc<TlsClient>>,
    /// What a WebSocket is asked for.
    web_name: &'static str,
}

impl Broker {
    /// The broker at this address.
    ///
    /// # Errors
    /// No address, no such host; files for TLS that are not what they should be.
    pub(crate) fn new(
        text: &str,
        scheme: Scheme,
        options: &TransportOptions,
    ) -> Result<Self, PerfError> {
        let wanted = Wrapping { is_tls: options.tls, is_web: options.ws };
        let uri = Uri::parse(text, scheme, wanted)?;
        let addresses = (uri.host.as_str(), uri.port).to_socket_addrs();
        let address = addresses
            .map_err(PerfError::system("looking up the host"))?
            .next()
            .ok_or_else(|| PerfError::Settings(format!("{}: no such host", uri.host)))?;
        let tls = if uri.wrapping.is_tls {
            Some(Arc::new(TlsClient::new(&uri.host, options)?))
        } else {
            None
        };
        let from = options.from.clone();
        Ok(Self { uri, address, from, tls, web_name: scheme.web_name })
    }

    /// Connection number `turn`, which is on its way.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn dial(&self, turn: usize) -> Result<Socket, ClientError> {
        let stream = self.connect(turn).map_err(|error| ClientError::Io(error.into()))?;
        let tls = self.tls.clone().map(Tls::new).transpose()?;
        let Uri { host, port, web_path, wrapping, .. } = &self.uri;
        let web =
            wrapping.is_web.then(|| Web::new(&format!("{host}:{port}"), web_path, self.web_name));
        Ok(Socket::new(stream, Layers::new(tls, web)))
    }

    fn connect(&self, turn: usize) -> rustix::io::Result<TcpStream> {
        let family =
            if self.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        let from = turn.checked_rem(self.from.len()).and_then(|turn| self.from.get(turn));
        if let Some(from) = from {
            rustix::net::bind(&socket, &SocketAddr::new(*from, 0))?;
        }
        match rustix::net::connect(&socket, &self.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
            Err(error) => Err(error),
        }
    }

    /// Handshakes of TLS that all connections have made.
    pub(crate) fn handshakes(&self) -> Option<Handshakes> {
        self.tls.as_ref().map(|tls| tls.handshakes())
    }

    /// What is between, for the report.
    pub(crate) fn wrapping(&self) -> Value {
        let Wrapping { is_tls, is_web } = self.uri.wrapping;
        json!({ "tls": is_tls, "websocket": is_web })
    }
}
