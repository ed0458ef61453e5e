//! How a connection begins (AMQP 0-9-1 2.2.4), whole or step by step.

use ringmq::protocol::amqp091::wire::field_table::TableRef;
use ringmq::protocol::amqp091::wire::method::{Connection, Method, connection};
use ringmq::protocol::amqp091::wire::table_buffer::TableBuffer;
use ringmq::value::{Table, Value};

use super::client::Client;

/// The protocol header of 0-9-1.
pub(crate) const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\x00\x00\x09\x01";

/// Who logs in, where, and what it proposes.
#[derive(Debug, Clone)]
pub(crate) struct Login<'a> {
    /// User name.
    pub(crate) user: &'a str,
    /// Password.
    pub(crate) password: &'a str,
    /// Virtual host.
    pub(crate) vhost: &'a str,
    /// What the client calls itself; empty for nothing.
    pub(crate) name: &'a str,
    /// What the client says it can.
    pub(crate) capabilities: &'a [&'a str],
    /// Octets; `None` for what the broker proposes.
    pub(crate) frame_max: Option<u32>,
    /// `None` for what the broker proposes.
    pub(crate) channel_max: Option<u16>,
    /// Seconds; 0 for none.
    pub(crate) heartbeat: u16,
}

impl Default for Login<'_> {
    fn default() -> Self {
        Self {
            user: "guest",
            password: "guest",
            vhost: "/",
            name: "",
            capabilities: &[
                "publisher_confirms",
                "basic.nack",
                "consumer_cancel_notify",
                "connection.blocked",
                "authentication_failure_close",
                "exchange_exchange_bindings",
            ],
            frame_max: None,
            channel_max: None,
            heartbeat: 0,
        }
    }
}

impl Login<'_> {
    /// The response of SASL PLAIN (RFC 4616).
    pub(crate) fn plain(&self) -> Vec<u8> {
        format!("\0{}\0{}", self.user, self.password).into_bytes()
    }

    fn client_properties(&self) -> TableBuffer {
        let mut capabilities = Table::default();
        for name in self.capabilities {
            capabilities.set(name, Value::Bool(true));
        }
        let mut properties = Table::default();
        properties.set("product", Value::text("behaviour tests"));
        properties.set("capabilities", Value::Table(capabilities));
        if !self.name.is_empty() {
            properties.set("connection_name", Value::text(self.name));
        }
        TableBuffer::from_table(&properties).expect("a table below every limit")
    }
}

impl Client {
    /// Goes the whole way to connection.open-ok.
    pub(crate) fn log_in(&mut self, login: &Login<'_>) {
        self.begin(login);
        self.send(
            0,
            &connection::Open { virtual_host: login.vhost, capabilities: "", insist: false },
        );
        self.expect(0, "connection.open-ok", |method| {
            matches!(method, Method::Connection(Connection::OpenOk(_))).then_some(())
        });
    }

    /// Everything before connection.open.
    pub(crate) fn begin(&mut self, login: &Login<'_>) {
        self.send_raw(PROTOCOL_HEADER);
        self.expect_start();
        self.send_start_ok(login, "PLAIN", &login.plain());
        let tune = self.expect_tune();
        let frame_max = login.frame_max.unwrap_or(tune.frame_max);
        let channel_max = login.channel_max.unwrap_or(tune.channel_max);
        self.send(0, &connection::TuneOk { channel_max, frame_max, heartbeat: login.heartbeat });
        self.frame_max = frame_max;
    }

    /// connection.start; the mechanisms it offers.
    pub(crate) fn expect_start(&mut self) -> String {
        self.expect(0, "connection.start", |method| match method {
            Method::Connection(Connection::Start(start)) => {
                Some(String::from_utf8_lossy(start.mechanisms).into_owned())
            }
            _ => None,
        })
    }

    /// connection.start-ok with any mechanism and response.
    pub(crate) fn send_start_ok(&mut self, login: &Login<'_>, mechanism: &str, response: &[u8]) {
        let properties = login.client_properties();
        let client_properties: TableRef<'_> = properties.view();
        self.send(
            0,
            &connection::StartOk { client_properties, mechanism, response, locale: "en_US" },
        );
    }

    /// connection.tune.
    pub(crate) fn expect_tune(&mut self) -> connection::Tune {
        self.expect(0, "connection.tune", |method| match method {
            Method::Connection(Connection::Tune(tune)) => Some(tune),
            _ => None,
        })
    }

    /// Says goodbye, waits for the answer and leaves.
    pub(crate) fn close(mut self) {
        self.send(
            0,
            &connection::Close { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 },
        );
        self.skip_until(0, "connection.close-ok", |method| {
            matches!(method, Method::Connection(Connection::CloseOk)).then_some(())
        });
    }
}
