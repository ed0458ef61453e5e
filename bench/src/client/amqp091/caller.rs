//! A connection of a fleet that does nothing but be there: logs in, sends heartbeats and watches
//! for the broker's, closes when told. Imports the codec, `link`, `member`.

use ringmq::protocol::amqp091::wire::frame::{self, Frame};
use ringmq::protocol::amqp091::wire::method::{Connection, Method, connection};
use ringmq::protocol::amqp091::wire::protocol_header::PROTOCOL_HEADER;
use ringmq::protocol::octets::Decoded;

use super::link::{FRAME_BYTES_MAX, client_properties};
use crate::client::broker::Broker;
use crate::client::error::ClientError;
use crate::client::member::{Context, Counts, Member, Seat, Wake};
use crate::client::socket::Socket;
use crate::clock::SECOND_NS;

/// How a connection is to be opened.
#[derive(Debug)]
pub(crate) struct Spec {
    /// What the broker shows.
    pub(crate) name: String,
    /// Seconds within which each side must say something; 0 for never.
    pub(crate) heartbeat_s: u16,
    /// Close as soon as it is open.
    pub(crate) leaves_at_once: bool,
}

/// ```text
/// Starting -> Tuning -> Opening -> Open -> Leaving -> Closed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// connection.start is awaited.
    Starting,
    /// connection.tune is awaited.
    Tuning,
    /// connection.open-ok is awaited.
    Opening,
    /// Nothing but heartbeats.
    Open,
    /// connection.close-ok is awaited.
    Leaving,
    /// All is said.
    Closed,
}

/// What is said while logging in.
#[derive(Debug)]
struct Login {
    name: String,
    response: String,
    virtual_host: String,
}

/// One per connection; small, since there may be thousands.
#[derive(Debug)]
pub(crate) struct Caller {
    seat: Seat,
    stage: Stage,
    /// Until it is open.
    login: Option<Box<Login>>,
    heartbeat_s: u16,
    leaves_at_once: bool,
    /// Octets to be written.
    out: Vec<u8>,
    next_beat_ns: u64,
    heard_ns: u64,
}

impl Member for Caller {
    type Spec = Spec;
    type Manners = ();

    fn begin(socket: Socket, spec: Spec, (): (), broker: &Broker) -> Self {
        let uri = &broker.uri;
        let login = Login {
            name: spec.name,
            response: format!("\0{}\0{}", uri.user, uri.password),
            virtual_host: uri.virtual_host.clone(),
        };
        Self {
            seat: Seat::new(socket),
            stage: Stage::Starting,
            login: Some(Box::new(login)),
            heartbeat_s: spec.heartbeat_s,
            leaves_at_once: spec.leaves_at_once,
            out: PROTOCOL_HEADER.to_vec(),
            next_beat_ns: u64::MAX,
            heard_ns: 0,
        }
    }

    fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    fn turn(&mut self, context: &mut Context<'_>) -> Result<Wake, ClientError> {
        if self.stage == Stage::Closed {
            return Ok(Wake::OnEvent);
        }
        let now_ns = context.clock.now_ns();
        if self.seat.socket.is_readable {
            let input = self.seat.socket.read(context.scratch, usize::MAX)?;
            let mut rest = input;
            if !rest.is_empty() {
                self.heard_ns = now_ns;
            }
            while let Decoded::Frame { frame, taken } = frame::decode(rest, FRAME_BYTES_MAX)? {
                let mut hands = Hands {
                    stage: &mut self.stage,
                    login: &mut self.login,
                    heartbeat_s: self.heartbeat_s,
                    out: &mut self.out,
                };
                hands.on_frame(&frame, &mut context.load.counts)?;
                rest = rest.get(taken..).unwrap_or_default();
            }
            self.seat.socket.keep(rest);
        }
        if self.stage == Stage::Closed {
            return Ok(Wake::OnEvent);
        }
        if self.stage == Stage::Open && self.leaves_at_once {
            self.leave();
        }
        self.beat(now_ns)?;
        if self.seat.socket.is_writable && !self.out.is_empty() {
            let count = self.seat.socket.write(&self.out)?;
            self.out.drain(..count);
            if self.out.is_empty() {
                // Of thousands of idle connections none keeps a buffer.
                self.out = Vec::new();
            }
        }
        Ok(if self.seat.socket.is_readable {
            Wake::Now
        } else if self.next_beat_ns < u64::MAX {
            Wake::At(self.next_beat_ns)
        } else {
            Wake::OnEvent
        })
    }

    fn leave(&mut self) {
        if matches!(self.stage, Stage::Leaving | Stage::Closed) {
            return;
        }
        let (class_id, method_id) = (0, 0);
        let close = connection::Close { reply_code: 200, reply_text: "done", class_id, method_id };
        frame::put_method(&mut self.out, 0, &close);
        self.stage = Stage::Leaving;
    }

    fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    fn give_up(&mut self) {
        self.stage = Stage::Closed;
    }
}

impl Caller {
    /// Sends a heartbeat each half of the time agreed on, and misses the broker's after twice of
    /// it (AMQP 0-9-1 4.2.7).
    fn beat(&mut self, now_ns: u64) -> Result<(), ClientError> {
        if self.heartbeat_s == 0 || self.stage != Stage::Open {
            return Ok(());
        }
        let whole_ns = u64::from(self.heartbeat_s).saturating_mul(SECOND_NS);
        if self.next_beat_ns == u64::MAX {
            self.next_beat_ns = now_ns.saturating_add(whole_ns / 2);
        } else if now_ns >= self.next_beat_ns {
            if now_ns.saturating_sub(self.heard_ns) > whole_ns.saturating_mul(2) {
                return Err(ClientError::Silence("waiting for a heartbeat"));
            }
            self.out.extend_from_slice(&frame::HEARTBEAT_FRAME);
            self.next_beat_ns = now_ns.saturating_add(whole_ns / 2);
        }
        Ok(())
    }
}

/// What a frame may change.
#[derive(Debug)]
struct Hands<'a> {
    stage: &'a mut Stage,
    login: &'a mut Option<Box<Login>>,
    heartbeat_s: u16,
    out: &'a mut Vec<u8>,
}

impl Hands<'_> {
    fn on_frame(&mut self, frame: &Frame<'_>, counts: &mut Counts) -> Result<(), ClientError> {
        let payload = match *frame {
            Frame::Method { payload, .. } => payload,
            Frame::Heartbeat { .. } => {
                counts.pings = counts.pings.saturating_add(1);
                return Ok(());
            }
            Frame::Header { .. } | Frame::Body { .. } => {
                return Err(ClientError::Unexpected("content"));
            }
        };
        let method = Method::decode(payload)?;
        match (*self.stage, &method) {
            (Stage::Starting, Method::Connection(Connection::Start(_))) => self.start()?,
            (Stage::Tuning, Method::Connection(Connection::Tune(tune))) => self.tune(tune),
            (Stage::Opening, Method::Connection(Connection::OpenOk(_))) => {
                *self.stage = Stage::Open;
                *self.login = None;
                counts.opened = counts.opened.saturating_add(1);
            }
            (Stage::Leaving, Method::Connection(Connection::CloseOk)) => {
                *self.stage = Stage::Closed;
                counts.left = counts.left.saturating_add(1);
            }
            (_, Method::Connection(Connection::Blocked(_) | Connection::Unblocked)) => {}
            (
                Stage::Starting
                | Stage::Tuning
                | Stage::Opening
                | Stage::Open
                | Stage::Leaving
                | Stage::Closed,
                _,
            ) => return Err(ClientError::of(&method)),
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), ClientError> {
        let Some(login) = &*self.login else { return Ok(()) };
        let properties = client_properties(&login.name)?;
        let start_ok = connection::StartOk {
            client_properties: properties.view(),
            mechanism: "PLAIN",
            response: login.response.as_bytes(),
            locale: "en_US",
        };
        frame::put_method(self.out, 0, &start_ok);
        *self.stage = Stage::Tuning;
        Ok(())
    }

    fn tune(&mut self, tune: &connection::Tune) {
        let frame_max = match tune.frame_max {
            0 => FRAME_BYTES_MAX,
            frame_max => frame_max.min(FRAME_BYTES_MAX),
        };
        let (channel_max, heartbeat) = (tune.channel_max, self.heartbeat_s);
        let tune_ok = connection::TuneOk { channel_max, frame_max, heartbeat };
        frame::put_method(self.out, 0, &tune_ok);
        let virtual_host = self.login.as_ref().map_or("/", |login| login.virtual_host.as_str());
        let open = connection::Open { virtual_host, capabilities: "", insist: false };
        frame::put_method(self.out, 0, &open);
        *self.stage = Stage::Opening;
    }
}
