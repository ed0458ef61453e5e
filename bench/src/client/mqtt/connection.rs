//! One connection: octets in and out, and what it has been asked to do. Imports `packet`,
//! `sender`, `inbox`, `member`.

use std::io;

use super::Version;
use super::inbox::Inbox;
use super::packet::{self, Answer, Connect, Limits, Packet};
use super::sender::Sender;
use crate::client::ClientError;
use crate::client::broker::Broker;
use crate::client::member::{Context, Load, Member, Seat, Wake};
use crate::client::socket::Socket;

/// Answers that wait to be written stop reading from here on: a broker that does not read would
/// be owed ever more.
const OUT_BYTES_MAX: usize = 1024 * 1024;
/// SUBACK codes from here on are refusals.
const REFUSED: u8 = 0x80;

/// ```text
/// Connecting -> Subscribing -> Open -> Leaving -> Closed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// CONNECT is to be written or answered.
    Connecting,
    /// So many SUBSCRIBE are to be answered.
    Subscribing,
    /// Everything is answered.
    Open,
    /// DISCONNECT is written; the broker is to close the connection.
    Leaving,
    /// The broker has closed the connection.
    Closed,
}

/// What is to be done once connected.
#[derive(Debug, Default)]
pub(crate) struct Task {
    /// SUBSCRIBE packets.
    pub(crate) subscribes: Vec<u8>,
    /// How many of them.
    pub(crate) subscribes_count: u32,
    /// Publishing.
    pub(crate) sender: Option<Box<Sender>>,
    /// Receiving.
    pub(crate) inbox: Option<Box<Inbox>>,
    /// A keep-alive each so many nanoseconds; 0 for none.
    pub(crate) ping_ns: u64,
    /// Leave after so many messages have come and all published ones are settled.
    pub(crate) leaves_after: Option<u64>,
}

/// How a connection is to be opened.
#[derive(Debug)]
pub(crate) struct Spec {
    /// Client identifier.
    pub(crate) client_id: String,
    /// Clean session, clean start.
    pub(crate) is_clean: bool,
    /// How long the session outlives the connection, in seconds (5.0).
    pub(crate) expiry_s: u32,
    /// Keep alive in seconds; 0 for none.
    pub(crate) keep_alive_s: u16,
    /// What is to be done then.
    pub(crate) task: Task,
}

impl Spec {
    /// A connection with a session that ends with it, and nothing to do.
    pub(crate) fn idle(client_id: String) -> Self {
        Self { client_id, is_clean: true, expiry_s: 0, keep_alive_s: 0, task: Task::default() }
    }
}

/// One per connection; small, since there may be a hundred thousand.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Socket and timer.
    pub(crate) seat: Seat,
    /// What is spoken.
    version: Version,
    /// How far it is.
    pub(crate) stage: Stage,
    /// What it is to do.
    pub(crate) task: Task,
    /// Octets to be written.
    out: Vec<u8>,
    /// SUBSCRIBE packets without an answer.
    unanswered: u32,
    next_ping_ns: u64,
    is_ping_open: bool,
}

impl Member for Connection {
    type Spec = Spec;
    type Manners = Version;

    fn begin(socket: Socket, spec: Spec, version: Version, broker: &Broker) -> Self {
        let mut out = Vec::new();
        let connect = Connect {
            version,
            client_id: &spec.client_id,
            login: (&broker.uri.user, &broker.uri.password),
            is_clean: spec.is_clean,
            expiry_s: spec.expiry_s,
            keep_alive_s: spec.keep_alive_s,
        };
        packet::put_connect(&mut out, &connect);
        Self {
            seat: Seat::new(socket),
            version,
            stage: Stage::Connecting,
            unanswered: spec.task.subscribes_count,
            task: spec.task,
            out,
            next_ping_ns: u64::MAX,
            is_ping_open: false,
        }
    }

    fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    fn leave(&mut self) {
        if self.stage != Stage::Closed {
            self.out.extend_from_slice(&packet::DISCONNECT);
            self.stage = Stage::Leaving;
        }
    }

    fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    fn give_up(&mut self) {
        self.stage = Stage::Closed;
    }

    fn turn(&mut self, context: &mut Context<'_>) -> Result<Wake, ClientError> {
        match self.stage {
            Stage::Closed => return Ok(Wake::OnEvent),
            Stage::Leaving => return self.leaving_turn(context),
            Stage::Connecting | Stage::Subscribing | Stage::Open => {}
        }
        if self.seat.socket.is_readable && self.out.len() < OUT_BYTES_MAX {
            let input = self.seat.socket.read(context.scratch, usize::MAX)?;
            let (version, now_ns) = (self.version, context.clock.now_ns());
            let mut rest = input;
            while let Some((packet, behind)) = packet::split(rest, version)? {
                rest = behind;
                let mut hands = Hands {
                    stage: &mut self.stage,
                    task: &mut self.task,
                    out: &mut self.out,
                    unanswered: &mut self.unanswered,
                    is_ping_open: &mut self.is_ping_open,
                };
                hands.on_packet(&packet, now_ns, context.load)?;
            }
            self.seat.socket.keep(rest);
        }
        self.keep_alive(context.clock.now_ns())?;
        let wake = self.write(context)?;
        if self.is_complete() {
            self.leave();
            return Ok(Wake::Now);
        }
        if self.seat.socket.is_readable && self.out.len() < OUT_BYTES_MAX {
            return Ok(Wake::Now);
        }
        Ok(match wake {
            Wake::OnEvent if self.next_ping_ns < u64::MAX => Wake::At(self.next_ping_ns),
            Wake::OnEvent | Wake::Now | Wake::At(_) | Wake::OnRoom => wake,
        })
    }
}

impl Connection {
    /// Subscribes to more.
    pub(crate) fn subscribe(&mut self, subscribe: &[u8]) {
        self.out.extend_from_slice(subscribe);
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// Writes what is left and waits for the end.
    fn leaving_turn(&mut self, context: &mut Context<'_>) -> Result<Wake, ClientError> {
        if self.seat.socket.is_writable && !self.out.is_empty() {
            match self.seat.socket.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) => return self.on_end(error, context),
            }
        }
        if self.seat.socket.is_readable {
            match self.seat.socket.read(context.scratch, usize::MAX) {
                Ok(_) => self.seat.socket.keep(&[]),
                Err(error) => return self.on_end(error, context),
            }
        }
        Ok(if self.seat.socket.is_readable { Wake::Now } else { Wake::OnEvent })
    }

    /// The end of a connection that is leaving is what was asked for.
    fn on_end(
        &mut self,
        error: ClientError,
        context: &mut Context<'_>,
    ) -> Result<Wake, ClientError> {
        let is_end = match &error {
            ClientError::Ended => true,
            ClientError::Io(error) => {
                matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
            }
            ClientError::Uri(_)
            | ClientError::Closed { .. }
            | ClientError::Frame(_)
            | ClientError::Method(_)
            | ClientError::Wire(_)
            | ClientError::Tls(_)
            | ClientError::Refused { .. }
            | ClientError::Fault(_)
            | ClientError::Silence(_)
            | ClientError::Unexpected(_) => false,
        };
        if !is_end {
            return Err(error);
        }
        self.stage = Stage::Closed;
        context.load.counts.left = context.load.counts.left.saturating_add(1);
        Ok(Wake::OnEvent)
    }

    /// Sends a keep-alive if it is time.
    fn keep_alive(&mut self, now_ns: u64) -> Result<(), ClientError> {
        if self.task.ping_ns == 0 || self.stage != Stage::Open {
            return Ok(());
        }
        if self.next_ping_ns == u64::MAX {
            self.next_ping_ns = now_ns.saturating_add(self.task.ping_ns);
        } else if now_ns >= self.next_ping_ns {
            if self.is_ping_open {
                return Err(ClientError::Silence("waiting for PINGRESP"));
            }
            self.out.extend_from_slice(&packet::PINGREQ);
            self.is_ping_open = true;
            self.next_ping_ns = now_ns.saturating_add(self.task.ping_ns);
        }
        Ok(())
    }

    /// Writes what is stamped, then answers, then as many messages as may be sent.
    fn write(&mut self, context: &mut Context<'_>) -> Result<Wake, ClientError> {
        if !self.seat.socket.is_writable {
            return Ok(Wake::OnEvent);
        }
        if self.write_stamped()? {
            return Ok(Wake::OnEvent);
        }
        if !self.out.is_empty() {
            let count = self.seat.socket.write(&self.out)?;
            if count < self.out.len() {
                self.out.drain(..count);
                return Ok(if self.seat.socket.is_writable { Wake::Now } else { Wake::OnEvent });
            }
            self.out.clear();
            if self.task.sender.is_none() && self.task.inbox.is_none() {
                // Of a hundred thousand idle connections none keeps a buffer.
                self.out = Vec::new();
            }
        }
        let Some(sender) = &mut self.task.sender else { return Ok(Wake::OnEvent) };
        if self.stage != Stage::Open {
            return Ok(Wake::OnEvent);
        }
        if let Some(wake) = sender.fill(context.clock.now_ns(), &mut context.load.dispatch) {
            return Ok(wake);
        }
        self.write_stamped()?;
        Ok(if self.seat.socket.is_writable { Wake::Now } else { Wake::OnEvent })
    }

    /// Tells whether something is left.
    fn write_stamped(&mut self) -> Result<bool, ClientError> {
        let Some(sender) = &mut self.task.sender else { return Ok(false) };
        let octets = sender.unwritten();
        if octets.is_empty() {
            return Ok(false);
        }
        let count = self.seat.socket.write(octets)?;
        sender.on_written(count);
        Ok(!sender.unwritten().is_empty())
    }

    fn is_complete(&self) -> bool {
        let Some(messages) = self.task.leaves_after else { return false };
        let is_sent = self
            .task
            .sender
            .as_ref()
            .is_none_or(|sender| sender.is_done(true) && sender.unsettled() == 0);
        let received = self.task.inbox.as_ref().map_or(0, |inbox| inbox.count);
        self.stage == Stage::Open && self.out.is_empty() && is_sent && received >= messages
    }
}

/// What a packet may change.
#[derive(Debug)]
struct Hands<'a> {
    stage: &'a mut Stage,
    task: &'a mut Task,
    out: &'a mut Vec<u8>,
    unanswered: &'a mut u32,
    is_ping_open: &'a mut bool,
}

impl Hands<'_> {
    #[inline]
    fn on_packet(
        &mut self,
        packet: &Packet<'_>,
        now_ns: u64,
        load: &mut Load,
    ) -> Result<(), ClientError> {
        let out = &mut *self.out;
        match (packet, &mut self.task.inbox, &mut self.task.sender) {
            (Packet::Publish(delivery), Some(inbox), _) => {
                inbox.on_message(delivery, now_ns, &mut load.receipts, out);
            }
            (Packet::Answer(Answer::Pubrel, packet_id, _), Some(inbox), _) => {
                inbox.on_release(*packet_id, &mut load.receipts, out);
            }
            (&Packet::Answer(answer, packet_id, code), _, Some(sender)) => {
                sender.on_answer((answer, packet_id, code), now_ns, &mut load.dispatch, out);
            }
            (&Packet::Connack { has_session, code, limits }, _, _) => {
                self.on_connack(has_session, code, limits, load)?;
            }
            (Packet::Suback(codes), _, _) => self.on_suback(codes, load)?,
            (Packet::Pingresp, _, _) => {
                *self.is_ping_open = false;
                load.counts.pings = load.counts.pings.saturating_add(1);
            }
            (&Packet::Disconnect(code), _, _) => {
                return Err(ClientError::Refused { what: "to go on", code });
            }
            (Packet::Publish(_) | Packet::Answer(..), _, _) => {
                return Err(ClientError::Unexpected("message or answer to one"));
            }
        }
        Ok(())
    }

    fn on_connack(
        &mut self,
        has_session: bool,
        code: u8,
        limits: Limits,
        load: &mut Load,
    ) -> Result<(), ClientError> {
        if *self.stage != Stage::Connecting {
            return Err(ClientError::Unexpected("CONNACK"));
        }
        if code != 0 {
            return Err(ClientError::Refused { what: "the connection", code });
        }
        if let Some(sender) = &mut self.task.sender {
            sender.on_connected(limits)?;
        }
        load.counts.resumed = load.counts.resumed.saturating_add(u64::from(has_session));
        *self.stage = Stage::Subscribing;
        self.out.append(&mut self.task.subscribes);
        self.task.subscribes = Vec::new();
        self.open(load);
        Ok(())
    }

    fn open(&mut self, load: &mut Load) {
        if *self.unanswered == 0 && *self.stage == Stage::Subscribing {
            *self.stage = Stage::Open;
            load.counts.opened = load.counts.opened.saturating_add(1);
        }
    }

    fn on_suback(&mut self, codes: &[u8], load: &mut Load) -> Result<(), ClientError> {
        if let Some(&code) = codes.iter().find(|code| **code >= REFUSED) {
            return Err(ClientError::Refused { what: "a subscription", code });
        }
        let Some(left) = self.unanswered.checked_sub(1) else {
            return Err(ClientError::Unexpected("SUBACK"));
        };
        *self.unanswered = left;
        let granted = u64::try_from(codes.len()).unwrap_or(0);
        load.counts.subscribed = load.counts.subscribed.saturating_add(granted);
        self.open(load);
        Ok(())
    }
}
