//! The protocols: what a session is, and the table of those built in.
//!
//! A protocol is one folder and one line in [`PROTOCOLS`]. It may import `broker` (the public calls
//! of [`Broker`]), `command`, `message`, `properties`, `subscriber`, `value`, `ids`, `auth`, `limits`, `config`; never another
//! protocol, a socket or a clock.

#[cfg(feature = "amqp091")]
pub mod amqp091;
mod endpoint;
mod listener_settings;
#[cfg(feature = "mqtt")]
pub mod mqtt;
pub mod octets;
mod stranger;

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;

use ringmq_shards::Output;

use crate::auth::slow::{Hashing, Job, Known, Secret};
use crate::auth::{Identity, LoginLimiter, LoginReason, LoginRefused, Users};
use crate::broker::Broker;
use crate::command::{Event, Now};
use crate::config::Config;
use crate::ids::{ConnectionRef, ShardId};
use crate::message::{Message, PropertyReader, ProtocolTag};
use crate::properties::Properties;
use crate::stats::ConnectionReport;

pub use endpoint::Endpoint;
pub use listener_settings::{ListenAt, ListenerSettings};
pub use stranger::{is_tls, looks_like};

/// Everything that is spoken, in the order in which first octets are shown to them. The place of a
/// protocol says nothing: its [`ProtocolTag`] does, since records on disk carry that.
pub const PROTOCOLS: &[Protocol] = &[
    #[cfg(feature = "amqp091")]
    amqp091::PROTOCOL,
    #[cfg(feature = "mqtt")]
    mqtt::PROTOCOL,
];

/// What the publisher of a message says in no protocol's words.
pub fn neutral_properties(message: &Message) -> Properties {
    let writer = PROTOCOLS.iter().find(|protocol| protocol.tag == message.traits().protocol);
    writer.map_or_else(Properties::default, |p| (p.properties.neutral)(message.properties()))
}

/// Whether a message that is retained in this virtual host may be shown to the peer as far as its
/// publisher goes, who may have lost the right to it (abuse row 69).
pub fn may_be_shown(message: &Message, vhost: &str, peer: &Peer) -> bool {
    let writer = PROTOCOLS.iter().find(|protocol| protocol.tag == message.traits().protocol);
    writer.is_none_or(|protocol| (protocol.may_be_shown)(message, vhost, peer))
}

/// One protocol: how to know it, start it and read what its publishers wrote.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// Short, for logs and the start line (`listening amqp ...`).
    pub name: &'static str,
    /// The mark of its property blocks, fixed for ever.
    pub tag: ProtocolTag,
    /// The listeners that the settings want for it.
    pub listeners: fn(&'static Self, &Config) -> Vec<ListenerSettings>,
    /// Names of which a WebSocket has to ask for one. None: it asks for none, or for one that begins
    /// like `name`.
    pub web_names: &'static [&'static str],
    /// Whether the first octets are its own.
    pub recognises: fn(&[u8]) -> Recognised,
    /// Makes the session of an accepted connection. The octets shown to `recognises` are fed to
    /// the session again.
    pub start: fn(Peer) -> Box<dyn Session>,
    /// Reads property blocks that carry its tag.
    pub properties: PropertyReader,
    /// See [`may_be_shown`]; of a message that carries its tag.
    pub may_be_shown: fn(&Message, &str, &Peer) -> bool,
}

/// What a protocol says about the first octets of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognised {
    /// They are its own.
    Yes,
    /// They cannot become its own.
    No,
    /// It needs this many octets in all to tell.
    NeedMore(usize),
}

/// What a session is given with each call.
#[derive(Debug)]
pub struct Context<'a> {
    /// The broker of this shard.
    pub broker: &'a mut Broker,
    /// What goes to the peer.
    pub out: &'a mut Output,
    /// The time of this turn.
    pub now: Now,
}

/// What the connection loop should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Feed again when there are at least this many octets (an estimate, 1 is always right). It may
    /// be less than what the loop still holds: the session stopped because the output is full, and
    /// is to be fed again as soon as that is written.
    Read {
        /// Octets from the front of the unconsumed input.
        bytes_min: usize,
    },
    /// The same, only that the peer's end is none yet: what it sent last waits for its turn, and the
    /// session for [`Session::on_event`] if no more comes.
    ReadAhead {
        /// As there.
        bytes_min: usize,
    },
    /// Feed nothing until [`Session::on_event`] or [`Session::on_tick`] says so: an answer is
    /// awaited, or publishing is paused.
    Wait,
    /// Move the connection to this shard: the session ends here as if it had never been, and one
    /// that is started there is fed the same input from the first octet not taken. Only while
    /// nothing has been written, and once: see [`Peer::moved`].
    Move(ShardId),
    /// Write what is in the output, then close the socket. Nothing is fed any more.
    Close,
}

/// One client connection as its protocol sees it: bytes in, bytes out, no I/O, no clock.
///
/// A turn of the loop is any number of `on_*` calls, then one [`Session::on_turn_end`], then one
/// write of the output.
pub trait Session: Debug {
    /// Takes complete frames from the front of `input`; says how many octets it took.
    fn on_bytes(&mut self, input: &[u8], cx: &mut Context<'_>) -> (usize, Next);

    /// Something the broker says. The loop calls [`Session::on_bytes`] again if it returns `Read`.
    fn on_event(&mut self, event: Event, cx: &mut Context<'_>) -> Next;

    /// Time passed: heartbeats, deadlines. Also says when to call again (monotonic ms), as
    /// [`Session::deadline_ms`] does.
    fn on_tick(&mut self, cx: &mut Context<'_>) -> (Next, Option<u64>);

    /// When [`Session::on_tick`] wants to be called at the latest, monotonic ms. Any call may bring
    /// it nearer, so the loop looks at it after each turn; it is a field read.
    fn deadline_ms(&self) -> Option<u64>;

    /// Everything of this turn has been handed over: what was gathered (confirms, which go out as
    /// one for many) is written now.
    fn on_turn_end(&mut self, cx: &mut Context<'_>);

    /// The peer is gone without goodbye: give back what is out. Output is no longer sent.
    fn on_lost(&mut self, why: &str, cx: &mut Context<'_>);

    /// What the session knows of its connection, for operators who ask; the rest is filled in already.
    fn describe(&self, report: &mut ConnectionReport);

    /// The server stops: say so to the peer; then `Close` follows by itself or at the deadline.
    fn on_stop(&mut self, cx: &mut Context<'_>) -> Next;
}

/// What is known of a connection before its first octet.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The connection's place in the broker's table.
    pub id: ConnectionRef,
    /// Address of the client.
    pub remote: Endpoint,
    /// Whom a certificate names that the client has shown, if its listener goes by that.
    pub certified: Option<Rc<Certified>>,
    /// The listener through which it came.
    pub listener: Rc<ListenerSettings>,
    /// When it was accepted, monotonic milliseconds.
    pub accepted_ms: u64,
    /// It has been moved here by [`Next::Move`].
    pub moved: bool,
    /// The settings.
    pub config: Rc<Config>,
    /// Who may log in.
    pub logins: Rc<RefCell<Logins>>,
}

/// Whom a client's certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// The user.
    pub name: Box<str>,
    /// That settles it. Otherwise the name came from somebody whom nobody has vouched for, and a
    /// password has to come with it.
    pub is_proof: bool,
}

/// Who may log in, and who failed to of late. One per shard, shared by its sessions; the shard
/// replaces `users` when a new snapshot comes.
#[derive(Debug, Default)]
pub struct Logins {
    /// The snapshot in force.
    pub users: Arc<Users>,
    /// Slows down who guesses.
    pub limiter: LoginLimiter,
    /// Where passwords are checked that take too long here; without it they are checked here.
    pub elsewhere: Option<Rc<dyn Hashing>>,
    /// Such passwords that were right of late.
    pub known: Known,
}

/// What became of a login.
#[derive(Debug)]
pub enum Login {
    /// It is checked.
    Checked(Result<Identity, LoginRefused>),
    /// [`Event::LoginChecked`] brings the end.
    Later,
}

/// Where the login of a session is.
#[derive(Debug, Default)]
pub enum Checking {
    /// Nowhere.
    #[default]
    No,
    /// It is checked elsewhere; nothing is read meanwhile.
    Asked,
    /// It has been.
    Known(Result<Identity, LoginRefused>),
}

impl Logins {
    /// Checks a name and a password, or has them checked: then the session comes again with the same
    /// once it has heard of the end, which it hands over.
    pub fn login(
        &mut self,
        checking: &mut Checking,
        (user, password): (&str, &[u8]),
        peer: &Peer,
        now_ms: u64,
    ) -> Login {
        let ip = peer.remote.ip();
        if let Checking::Known(verdict) = std::mem::take(checking) {
            if verdict.is_ok() {
                self.known.remember(&self.users, (user, password), now_ms);
            }
            return Login::Checked(verdict);
        }
        let Some(elsewhere) = self.elsewhere.as_ref().filter(|_| self.users.is_costly()) else {
            return Login::Checked(self.users.login(user, password, ip));
        };
        if let Some(known) = self.known.find(&self.users, (user, password), ip, now_ms) {
            return Login::Checked(Ok(known));
        }
        let job = Job {
            users: self.users.clone(),
            user: user.into(),
            password: Secret(password.into()),
            peer: ip,
            at: peer.id,
        };
        if elsewhere.ask(job) {
            *checking = Checking::Asked;
            return Login::Later;
        }
        Login::Checked(Err(LoginRefused { reason: LoginReason::Busy }))
    }
}
