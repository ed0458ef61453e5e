//! Why a connection to a broker is of no use any more. Imports the errors of the codec and of rustls.

use std::io;

use ringmq::protocol::amqp091::wire::frame::FrameError;
use ringmq::protocol::amqp091::wire::method::{Method, MethodError};
use ringmq::protocol::mqtt::wire::fault::Fault;
use ringmq::protocol::octets::WireError;

/// Why a connection is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The address is wrong.
    #[error("{0}")]
    Uri(String),
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The broker closed the connection without a word.
    #[error("connection closed by the broker")]
    Ended,
    /// The broker closed the connection or the channel and said why.
    #[error("closed by the broker: {code} {text}")]
    Closed {
        /// Reply code.
        code: u16,
        /// Reply text.
        text: String,
    },
    /// The broker sent what is no frame.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The broker sent what is no method.
    #[error("{0}")]
    Method(#[from] MethodError),
    /// The broker sent wrong octets elsewhere.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The broker refuses and gives a code of MQTT.
    #[error("the broker refuses {what}: code {code:#04x}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// Return code or reason code.
        code: u8,
    },
    /// The broker sent what is no packet of MQTT.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// Nothing has moved for too long.
    #[error("no progress while {0}")]
    Silence(&'static str),
    /// The broker sent something that has no place here.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
}

impl ClientError {
    /// What a method means that was not expected.
    #[cold]
    pub(crate) fn of(method: &Method<'_>) -> Self {
        use ringmq::protocol::amqp091::wire::method::{Channel, Connection};
        match *method {
            Method::Connection(Connection::Close(close)) => {
                Self::Closed { code: close.reply_code, text: close.reply_text.to_owned() }
            }
            Method::Channel(Channel::Close(close)) => {
                Self::Closed { code: close.reply_code, text: close.reply_text.to_owned() }
            }
            Method::Connection(_)
            | Method::Channel(_)
            | Method::Access(_)
            | Method::Exchange(_)
            | Method::Queue(_)
            | Method::Basic(_)
            | Method::Confirm(_)
            | Method::Tx(_) => Self::Unexpected(method.name()),
        }
    }
}
