//! One end of a connection. May import nothing but `std`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// Where a peer is, or where it connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An address of the network.
    Ip(SocketAddr),
    /// A socket in the file system, by its path: both ends of such a connection are called so.
    Unix(Rc<str>),
}

impl Endpoint {
    /// What rules about addresses look at. Who comes through the file system is on this machine.
    pub fn ip(&self) -> IpAddr {
        match self {
            Self::Ip(address) => address.ip(),
            Self::Unix(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    /// The port; 0 where there are none.
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Unix(_) => 0,
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_in_the_file_system_is_local_and_named_by_its_path() {
        let unix = Endpoint::Unix("/run/ringmq.sock".into());
        assert!(unix.ip().is_loopback());
        assert_eq!(unix.port(), 0);
        assert_eq!(unix.to_string(), "unix:/run/ringmq.sock");
        let ip = Endpoint::from(SocketAddr::from(([192, 0, 2, 1], 5)));
        assert_eq!((ip.port(), ip.to_string()), (5, "192.0.2.1:5".to_owned()));
    }
}
