//! CONNECT to CONNACK: who it is, where its session lives, how it goes on (3.1, 3.2; H-11, H-16,
//! H-17, X-01, X-06; abuse rows 56 to 62, 75 to 79). May import the files of this folder, `auth`,
//! `broker`, `limits`.

use std::rc::Rc;

use crate::auth::scram::{Mechanism, user_in};
use crate::auth::{Identity, LoginReason, LoginRefused};
use crate::command::{Answer, Command, Refusal};
use crate::ids::ShardId;
use crate::limits::LOGIN_REFUSAL_DELAY_MS;
use crate::protocol::{Certified, Checking, Context, Login};
use crate::subscriber::{Lasts, OpenSession, OpenedSession};

use super::alias::Outbound;
use super::authenticate::Proof;
use super::block::{assurance_of, publisher};
use super::link::tell;
use super::publish::check_topic;
use super::reason::connect_code_of;
use super::session::{Flow, Mqtt, Phase, SESSION};
use super::will::{LastWords, Testament};
use super::wire::connack::{Connack, ConnackProperties};
use super::wire::connect::{Connect, ConnectFault, Will};
use super::wire::header::Raw;
use super::wire::reason_code::ReasonCode;
use super::wire::{Sender, Version};

/// A session expiry interval that never ends.
const FOREVER_S: u32 = u32::MAX;

/// Client ids that are drawn at most to find one whose session lives here (arbitrary: with 256
/// shards one in 60 connections moves).
const DRAWS_MAX: u32 = 1024;

/// What stands for the client id in a setting.
const CLIENT_ID: &str = "%c";

/// What CONNECT said that counts once the session is open.
#[derive(Debug)]
pub(super) struct Greeting {
    keep_alive_s: u16,
    /// Told to the client because it differs from what it asked for.
    server_keep_alive_s: Option<u16>,
    session_expiry_s: Option<u32>,
    id_is_assigned: bool,
    topic_alias_max: u16,
    /// The beginning of topics for answers, if it has asked for one.
    response_information: Option<Box<str>>,
}

/// Where a client belongs.
pub(super) struct Place<'a> {
    vhost: &'a str,
    pub(super) user: Option<&'a str>,
    /// Its own id, or one that was made up.
    client: Box<str>,
    pub(super) is_assigned: bool,
    home: ShardId,
}

/// The name of the queue that is a client's session.
fn queue_name(client: &str) -> Box<str> {
    format!("mqtt-subscription-{client}qos1").into()
}

/// A client id that was made up, in the form that Mosquitto gives it.
fn assigned(seed: u128) -> Box<str> {
    let hex = |shift: u32, digits: u32| (seed >> shift) & ((1 << (4 * digits)) - 1);
    format!(
        "auto-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        hex(96, 8),
        hex(80, 4),
        hex(64, 4),
        hex(48, 4),
        hex(0, 12)
    )
    .into()
}

/// How long a session with that expiry interval is remembered.
pub(super) fn lasts_of(expiry_s: u32) -> Lasts {
    match expiry_s {
        0 => Lasts::Connection,
        FOREVER_S => Lasts::Forever,
        seconds => Lasts::Ms(u64::from(seconds).saturating_mul(1000)),
    }
}

impl Mqtt {
    /// The first packet.
    pub(super) fn on_connect(&mut self, raw: &Raw<'_>, cx: &mut Context<'_>) -> Flow {
        let connect = match Connect::decode(raw.body) {
            Ok(connect) => connect,
            Err(ConnectFault { fault, answer }) => {
                let answers = !self.link.limits.malformed_closes;
                let may_say = answer.is_some_and(|version| version.is_v5() && answers)
                    || fault.code == ReasonCode::UnsupportedProtocolVersion;
                match answer.filter(|_| may_say) {
                    Some(version) => {
                        self.link.version = version;
                        self.refuse_because(fault.code, Some(fault.text), cx);
                    }
                    // A malformed one has no answer before version 5 (3.1.4-1).
                    None => self.fail(fault, cx),
                }
                return Flow::Go;
            }
        };
        self.link.version = connect.version;
        self.link.is_bridge = connect.is_bridge;
        if connect.version.is_v5() {
            let max = connect.properties.packet_bytes_max;
            self.link.packet_bytes_max = max.unwrap_or(self.link.packet_bytes_max);
            self.link.wants_reasons = connect.properties.request_problem == Some(true);
        }
        if let Err(fault) = raw.header.check(connect.version, Sender::Client) {
            self.fail(fault, cx);
            return Flow::Go;
        }
        let (config, listener) = (self.link.peer.config.clone(), self.link.peer.listener.clone());
        let usual = listener.mountpoint.as_deref().unwrap_or(&config.mqtt.default_vhost);
        // Who proves to be somebody says so there, if not here.
        let proof = connect.properties.auth_method.and(connect.properties.auth_data);
        let proof = proof.and_then(user_in);
        let certified = self.certified();
        let user_name = match &certified {
            // In place of whatever the client says (mqtt.md V-097, V-100).
            Some(certified) => Some(&*certified.name),
            None => connect.user_name.or(proof.as_deref()),
        };
        match self.place(&connect, user_name, usual, cx) {
            Ok(place) if place.home != self.link.peer.id.shard && !self.link.peer.moved => {
                Flow::Move(place.home)
            }
            Ok(place) => self.let_in(raw.body, &connect, &place, cx),
            Err(code) => {
                self.refuse(code, cx);
                Flow::Go
            }
        }
    }

    /// Whom the client's certificate names, where that decides (V-097, V-100).
    fn certified(&self) -> Option<Rc<Certified>> {
        let peer = &self.link.peer;
        let counts = peer.listener.tls.as_ref().is_none_or(|tls| tls.names_user);
        peer.certified.clone().filter(|_| counts)
    }

    /// Where the client belongs, as far as can be told before it has proved who it is.
    fn place<'a>(
        &self,
        connect: &Connect<'a>,
        user_name: Option<&'a str>,
        usual_vhost: &'a str,
        cx: &Context<'_>,
    ) -> Result<Place<'a>, ReasonCode> {
        let limits = &self.link.limits;
        let version = connect.version;
        let level = version.level() | if connect.is_bridge { 0x80 } else { 0 };
        let is_spoken =
            limits.versions.contains(level) || (version.is_v5() && limits.versions.contains(5));
        if !is_spoken {
            return Err(ReasonCode::UnsupportedProtocolVersion);
        }
        let client = connect.client_id;
        if client.len() > limits.client_id_bytes_max {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        // In version 5 any client may leave it to us; before only one that leaves nothing behind,
        // and in 3.1 none (3.1.3-6 to 3.1.3-8 of 3.1.1, 3.1.3-6 of 5.0).
        let may_be_empty = match version {
            Version::V3 => false,
            Version::V4 => connect.clean_start,
            Version::V5 => true,
        };
        if client.is_empty() && !may_be_empty {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if client.is_empty() && !limits.allow_empty_client_id {
            // The id is valid, only not welcome: version 5 has no code for that.
            let is_v5 = version.is_v5();
            return Err(if is_v5 {
                ReasonCode::UnspecifiedError
            } else {
                ReasonCode::ClientIdentifierNotValid
            });
        }
        let max_s = limits.keep_alive_s_max;
        if !version.is_v5() && max_s > 0 && connect.keep_alive_s > max_s {
            // Before version 5 a client cannot be told another one; Mosquitto says this.
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if connect.properties.auth_method.is_some_and(|name| Mechanism::named(name).is_none()) {
            return Err(ReasonCode::BadAuthenticationMethod);
        }
        let (vhost, user) = match user_name.and_then(|name| name.rsplit_once(':')) {
            //
            Some((vhost, name)) if limits.vhost_in_username && self.certified().is_none() => {
                (vhost, Some(name))
            }
            Some(_) | None => (usual_vhost, user_name),
        };
        let unknown = limits.login_refusal;
        if !client.is_empty() {
            let home = cx.broker.session_home(vhost, &queue_name(client)).ok_or(unknown)?;
            let client = client.into();
            return Ok(Place { vhost, user, client, is_assigned: false, home });
        }
        let here = self.link.peer.id.shard;
        let mut seed = [0_u8; 16];
        getrandom::fill(&mut seed).map_err(|_| ReasonCode::ServerUnavailable)?;
        let seed = u128::from_be_bytes(seed);
        let mut drawn = None;
        for n in 0..DRAWS_MAX {
            let client = assigned(seed.wrapping_add(n.into()));
            let home = cx.broker.session_home(vhost, &queue_name(&client)).ok_or(unknown)?;
            drawn = Some((client, home));
            if home == here {
                break;
            }
        }
        let (client, home) = drawn.ok_or(ReasonCode::ServerUnavailable)?;
        Ok(Place { vhost, user, client, is_assigned: true, home })
    }

    /// A client whose session lives here, or nowhere it could go to.
    fn let_in(
        &mut self,
        body: &[u8],
        connect: &Connect<'_>,
        place: &Place<'_>,
        cx: &mut Context<'_>,
    ) -> Flow {
        self.link.vhost = place.vhost.into();
        self.link.client = place.client.clone();
        self.link.publisher = publisher(place.vhost, &place.client);
        if connect.properties.auth_method.is_some() {
            self.begin_proof(body, connect, place, cx);
            return Flow::Go;
        }
        match self.login(connect, place.user, cx.now.mono_ms) {
            // The same packet comes again.
            None => return Flow::Hold,
            Some(Ok(identity)) => self.welcome(connect, place.is_assigned, &identity, cx),
            Some(Err(code)) => self.put_off_refusal(code, cx.now.mono_ms),
        }
        Flow::Go
    }

    /// A client that is known.
    pub(super) fn welcome(
        &mut self,
        connect: &Connect<'_>,
        id_is_assigned: bool,
        identity: &Identity,
        cx: &mut Context<'_>,
    ) {
        self.link.identity = Some(identity.clone());
        if let Err(refusal) = cx.broker.enter(self.link.id(), identity, &self.link.vhost) {
            tell!(info, self.link, ?refusal, "no access to the virtual host");
            return self.refuse(connect_code_of(&refusal), cx);
        }
        if let Some(code) = connect.will.as_ref().and_then(|will| self.fault_of_will(will)) {
            return self.refuse(code, cx);
        }
        self.open(connect, id_is_assigned, cx);
    }

    /// Why a will is not taken, if it is not. Before version 5 some reasons have no word; Mosquitto says
    /// that the client is not authorized.
    fn fault_of_will(&self, will: &Will<'_>) -> Option<ReasonCode> {
        let limits = &self.link.limits;
        let or_forbidden =
            |code| if self.link.version.is_v5() { code } else { ReasonCode::NotAuthorized };
        let bytes_max = limits.will_bytes_max();
        if bytes_max > 0 && will.payload.len() > bytes_max {
            return Some(or_forbidden(ReasonCode::PacketTooLarge));
        }
        if will.retain && !limits.retain_available {
            // 3.2.2-13 of 5.0.
            return Some(or_forbidden(ReasonCode::RetainNotSupported));
        }
        if will.qos > limits.qos_max {
            // 3.2.2-12 of 5.0.
            return Some(or_forbidden(ReasonCode::QosNotSupported));
        }
        if !limits.allows_levels(will.topic) {
            return Some(ReasonCode::TopicNameInvalid);
        }
        check_topic(will.topic).err()
    }

    /// The refusal of a login, told after a while.
    pub(super) fn put_off_refusal(&mut self, code: ReasonCode, now_ms: u64) {
        let until_ms = now_ms.saturating_add(self.refusal_delay_ms(now_ms));
        self.phase = Phase::Refusing { code, until_ms };
    }

    /// The time after which a refusal is told: never quite the same, so that it tells nothing of
    /// the work behind it (abuse row 48).
    fn refusal_delay_ms(&self, now_ms: u64) -> u64 {
        let port = u64::from(self.link.peer.remote.port());
        LOGIN_REFUSAL_DELAY_MS.saturating_add(port.wrapping_mul(31).wrapping_add(now_ms) % 256)
    }

    /// Who this is; `None`: that is checked elsewhere. The reason of a refusal goes to the log only.
    fn login(
        &mut self,
        connect: &Connect<'_>,
        user: Option<&str>,
        now_ms: u64,
    ) -> Option<Result<Identity, ReasonCode>> {
        let mut checking = Checking::No;
        if let Phase::Checking(known) = &mut self.phase {
            checking = std::mem::take(&mut **known);
        }
        let peer = &self.link.peer.remote;
        let mut logins = self.link.peer.logins.borrow_mut();
        if let Err(error) = logins.limiter.admit(peer.ip(), now_ms) {
            tell!(warn, self.link, %error, "login refused");
            return Some(Err(self.link.limits.login_refusal));
        }
        let is_secured = self.link.peer.listener.tls.is_some();
        if let Some(certified) = self.certified()
            && certified.is_proof
            && (is_secured || connect.password.is_none())
        {
            // A password that comes all the same has to be right, unless the broker itself has seen
            // the certificate: many clients cannot leave it out.
            let proven = logins.users.proven(&certified.name, peer.ip());
            return Some(proven.map_err(|refused| {
                logins.limiter.failed(peer.ip(), now_ms);
                let (user, reason) = (&certified.name, refused.reason.name());
                let client = &*self.link.client;
                tracing::warn!(%peer, client, %user, reason, "login refused: certificate");
                self.link.limits.login_refusal
            }));
        }
        let is_welcome = self.link.peer.listener.takes_nameless;
        // Clients that cannot leave the name out send an empty one (gmqtt).
        let is_nobody = connect.user_name == Some("") && self.certified().is_none();
        let Some(user) = user.filter(|_| !is_nobody) else {
            let nameless = logins.users.nameless().filter(|_| is_welcome);
            if nameless.is_none() {
                tell!(info, self.link, "login refused: no user name");
            }
            return Some(nameless.ok_or(ReasonCode::NotAuthorized));
        };
        let password = connect.password.unwrap_or_default();
        // Where anybody is let in, a name that nobody has is worth no less than none (V-020), and the
        // ACL file may know it. A password file means that names are checked. Not with a virtual host: one that is named
        // has to be earned.
        let anybody = logins.users.nameless_as(user).filter(|_| {
            is_welcome
                && connect.user_name == Some(user)
                && self.link.peer.config.mqtt.password_file.is_none()
        });
        let login = logins.login(&mut checking, (user, password), &self.link.peer, now_ms);
        let Login::Checked(checked) = login else {
            self.phase = Phase::Checking(Box::new(checking));
            return None;
        };
        Some(match (checked, anybody) {
            (Ok(identity), _) => Ok(identity),
            (Err(LoginRefused { reason: LoginReason::UnknownUser }), Some(nameless)) => {
                let client = &*self.link.client;
                tracing::info!(%peer, client, user, "no such user: let in as a client without a name");
                Ok(nameless)
            }
            (Err(LoginRefused { reason }), _) => {
                logins.limiter.failed(peer.ip(), now_ms);
                let (client, reason) = (&*self.link.client, reason.name());
                tracing::warn!(%peer, client, user, reason, "login refused");
                Err(self.link.limits.login_refusal)
            }
        })
    }

    /// Asks the broker for the session.
    fn open(&mut self, connect: &Connect<'_>, id_is_assigned: bool, cx: &mut Context<'_>) {
        let limits = &self.link.limits;
        let is_v5 = connect.version.is_v5();
        let asked_s = connect.properties.session_expiry_s;
        let expiry_s = asked_s.min(limits.session_expiry_s_max);
        let lasts = match (is_v5, connect.clean_start) {
            (true, _) => lasts_of(expiry_s),
            (false, true) => Lasts::Connection,
            (false, false) => limits.session_lasts,
        };
        let window = if is_v5 {
            connect.properties.receive_max.min(limits.receive_max_out)
        } else if limits.inflight_max == 0 {
            u16::MAX
        } else {
            limits.inflight_max
        };
        let max_s = limits.keep_alive_s_max;
        let asks_more = connect.keep_alive_s == 0 || connect.keep_alive_s > max_s;
        let is_capped = is_v5 && max_s > 0 && asks_more;
        let keep_alive_s = if is_capped { max_s } else { connect.keep_alive_s };
        self.link.window = window;
        self.link.is_lasting = lasts != Lasts::Connection;
        self.link.expiry_s = if is_v5 { asked_s } else { 0 };
        if let Some(will) = &connect.will {
            // CONNACK says that it is kept (3.1.2-8; in version 5 3.1.2-7), so it goes before.
            let will = self.testament(will, expiry_s, cx);
            cx.broker.set_will(self.link.id(), Some(&will.as_will()), cx.now);
        }
        let greeting = Greeting {
            keep_alive_s,
            server_keep_alive_s: is_capped.then_some(max_s),
            session_expiry_s: (expiry_s != asked_s).then_some(expiry_s),
            id_is_assigned,
            topic_alias_max: connect.properties.topic_alias_max,
            response_information: connect
                .properties
                .request_response
                .then(|| self.response_information())
                .flatten(),
        };
        self.phase = Phase::Opening(Box::new(greeting));
        self.open_session(queue_name(&self.link.client), connect.clean_start, lasts, cx);
    }

    fn open_session(&mut self, queue: Box<str>, fresh: bool, lasts: Lasts, cx: &mut Context<'_>) {
        let command = Command::OpenSession(Box::new(OpenSession {
            client: self.link.client.clone(),
            queue,
            fresh,
            lasts,
            window: self.link.window.into(),
            takes_over: !self.link.allows_several(),
            takeovers_max: self.link.limits.takeovers_max,
            limits: self.link.limits.session,
        }));
        let answer = cx.broker.execute(self.link.id(), SESSION, command, cx.now);
        if let Some(answer) = answer {
            self.on_opened(answer, cx);
        }
    }

    /// The client id has a connection already and may have more: this one has a session of its own,
    /// which lives here and no longer than itself (V-034).
    fn open_further(&mut self, cx: &mut Context<'_>) {
        self.link.is_further = true;
        self.link.is_lasting = false;
        let here = self.link.peer.id.shard;
        let mut seed = [0_u8; 16];
        let queue = getrandom::fill(&mut seed).ok().and_then(|()| {
            let seed = u128::from_be_bytes(seed);
            let name = |n: u32| format!("mqtt-further-{:032x}qos1", seed.wrapping_add(n.into()));
            let is_here =
                |name: &String| cx.broker.session_home(&self.link.vhost, name) == Some(here);
            (0..DRAWS_MAX).map(name).find(is_here)
        });
        match queue {
            Some(queue) => self.open_session(queue.into(), true, Lasts::Connection, cx),
            None => self.refuse(ReasonCode::ServerUnavailable, cx),
        }
    }

    /// What topics for answers to this client begin with (3.1.2-28: only where it has asked; H-29).
    fn response_information(&self) -> Option<Box<str>> {
        let prefix = &self.link.peer.config.mqtt.response_information;
        if !prefix.contains(CLIENT_ID) {
            return (!prefix.is_empty()).then(|| prefix.as_str().into());
        }
        // Such an id would say more than one level, or filters.
        let is_level = !self.link.client.contains(['/', '+', '#']);
        is_level.then(|| prefix.replace(CLIENT_ID, &self.link.client).into())
    }

    fn testament(&self, will: &Will<'_>, expiry_s: u32, cx: &Context<'_>) -> Testament {
        let mut scratch = Vec::new();
        let properties = &will.properties.message;
        // The session's end is the latest time for it (3.1.3.2.2 of 5.0, H-13).
        let delay_s = will.properties.delay_s.min(expiry_s);
        Testament::of(LastWords {
            topic: will.topic,
            assurance: assurance_of(will.qos.bits()).unwrap_or_default(),
            retain: will.retain,
            expiry_s: properties.expiry_s,
            forwarded: properties.forwarded(&mut scratch),
            body: will.payload,
            delay_ms: u64::from(delay_s)
                .saturating_mul(1000)
                .min(self.link.limits.will_delay_ms_max),
            publisher: self.link.publisher,
            user: cx.broker.shown_user(self.link.id()),
            source: self.link.source().filter(|_| will.retain),
        })
    }

    /// The broker has opened the session, or refuses to.
    pub(super) fn on_opened(&mut self, answer: Answer, cx: &mut Context<'_>) {
        let opened = match answer {
            Answer::SessionOpened(opened) => opened,
            Answer::Refused(Refusal::InUse(..)) if !self.link.is_further => {
                return self.open_further(cx);
            }
            Answer::Refused(refusal) => {
                tell!(warn, self.link, ?refusal, "no session");
                let code = connect_code_of(&refusal);
                if code == ReasonCode::QuotaExceeded {
                    // Whoever is refused comes again: not at once (abuse row 78).
                    return self.put_off_refusal(code, cx.now.mono_ms);
                }
                return self.refuse(code, cx);
            }
            Answer::Done
            | Answer::Bound { .. }
            | Answer::QueueDeclared { .. }
            | Answer::Removed { .. }
            | Answer::Consuming { .. }
            | Answer::ReplyTo { .. }
            | Answer::Got { .. }
            | Answer::Empty
            | Answer::Subscribed(_)
            | Answer::Unsubscribed(_)
            | Answer::RetainedRead { .. } => return self.refuse(ReasonCode::ServerUnavailable, cx),
        };
        let Phase::Opening(greeting) = std::mem::replace(&mut self.phase, Phase::Open) else {
            return;
        };
        let OpenedSession { resumed, subscriptions, receipts } = *opened;
        self.link.is_resumed = resumed;
        for subscription in subscriptions {
            self.interest.insert(subscription);
        }
        if !receipts.is_empty() {
            self.incoming.get_or_insert_default().receipts.extend(receipts);
        }
        let max = greeting.topic_alias_max.min(self.link.limits.topic_alias_max_out);
        if self.link.version.is_v5() && max > 0 {
            self.aliases.get_or_insert_default().outbound = Outbound::new(max);
        }
        self.live.agree(greeting.keep_alive_s, cx.now.mono_ms);
        self.put_connack(&greeting, resumed, cx);
    }

    fn put_connack(&mut self, greeting: &Greeting, resumed: bool, cx: &mut Context<'_>) {
        let limits = &self.link.limits;
        // The usual setting is the largest remaining length: nobody needs to be told.
        let is_limited = limits.packet_bytes_max < super::wire::PACKET_BYTES_MAX - 5;
        let properties = ConnackProperties {
            session_expiry_s: greeting.session_expiry_s,
            receive_max: limits.receive_max_in,
            qos_max: limits.qos_max,
            retain_available: limits.retain_available,
            packet_bytes_max: is_limited.then_some(limits.packet_bytes_max),
            assigned_client_id: greeting.id_is_assigned.then_some(&*self.link.client),
            topic_alias_max: limits.topic_alias_max_in,
            server_keep_alive_s: greeting.server_keep_alive_s,
            response_information: greeting.response_information.as_deref(),
            auth_method: self.proof.as_deref().map(Proof::method),
            auth_data: self.proof.as_deref().and_then(Proof::last),
            ..ConnackProperties::default()
        };
        let packet = Connack { session_present: resumed, code: ReasonCode::Success, properties };
        if self.link.put(&packet, cx).is_err() {
            // A client that takes not even this cannot be talked to.
            tell!(info, self.link, "the client takes no CONNACK");
            self.phase = Phase::Closed;
            return;
        }
        tell!(info, self.link, version = self.link.version.level(), resumed, "connection opened");
    }
}
