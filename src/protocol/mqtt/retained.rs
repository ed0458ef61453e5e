//! Retained messages for new subscriptions (3.3.1-6; in version 5 3.3.1-9 to 3.3.1-11; H-19, H-20;
//! abuse rows 67 and 69). May import the files of this folder, `auth`, `broker`, `command`.
//!
//! One filter is read at a time, page by page: the next page is asked for when the client has taken
//! what came of the last. What needs no answer of the client is written at once, everything else
//! goes through the session's queue, so that it survives a lost connection. A page is never larger than
//! what the queue has room for: it drops what is too much, and a client that answers in batches would
//! miss most of what is retained.
//!
//! What is retained while a filter is read reaches the client twice: as the message that it is, and as
//! what is retained then. The second is left out if the client was shown the first after its SUBACK.

use std::collections::VecDeque;

use crate::auth::TopicRights;
use crate::command::{Answer, Command};
use crate::message::Message;
use crate::protocol::{Context, Peer};
use crate::subscriber::{Assurance, RETAINED as BACKLOG, RetainedCursor, Subscription, group_of};

use super::block::{Block, TAG};
use super::deliver::{Plan, rest_of_life};
use super::foreign;
use super::link::tell;
use super::session::{Mqtt, RETAINED};
use super::subscribe::Requests;

/// Octets of a page, about.
const PAGE_BYTES: u32 = 16 * 1024;

/// Output that may wait before the next page is asked for.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Octets that any message counts in a page, at least: so many messages fit, and one.
const MESSAGE_BYTES_MIN: u64 = 96;

/// What was put into the queue and does not come out (it has expired) is not waited for longer.
const REPLAY_MS_MAX: u64 = 1_000;

/// Messages of which is remembered, while filters are read, that the client was shown them.
const SHOWN_MAX: usize = 64;

/// A subscription that is to be shown what is retained.
#[derive(Debug)]
pub(super) struct Read {
    filter: Box<str>,
    assurance: Assurance,
    not_own: bool,
    number: u32,
    from: RetainedCursor,
    /// The first of the messages of [`Reading::shown`] that came after its SUBACK.
    since: u64,
}

impl Read {
    pub(super) fn of(subscription: Subscription) -> Self {
        let Subscription { name, assurance, not_own, number, .. } = subscription;
        Self {
            filter: name.filter,
            assurance,
            not_own,
            number,
            from: RetainedCursor::default(),
            since: 0,
        }
    }
}

/// How far the reading is.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// A page was asked for.
    is_asked: bool,
    /// Messages of the last page that are on their way through the queue, and until when that is
    /// waited for.
    replayed: u32,
    replayed_until_ms: Option<u64>,
    /// Messages that were retained and shown meanwhile, oldest first, and how many in all.
    shown: VecDeque<Message>,
    count: u64,
}

impl Reading {
    /// Whether a message like this one was shown since.
    fn was_shown(&self, message: &Message, since: u64) -> bool {
        let later = usize::try_from(self.count.saturating_sub(since)).unwrap_or(usize::MAX);
        self.shown.iter().rev().take(later).any(|shown| {
            shown.routing_key() == message.routing_key()
                && shown.properties() == message.properties()
                && shown.body() == message.body()
        })
    }

    /// No page is awaited, and none is on its way through the queue.
    pub(super) const fn is_over(&self) -> bool {
        !self.is_asked && self.replayed_until_ms.is_none()
    }

    pub(super) const fn deadline_ms(&self) -> Option<u64> {
        self.replayed_until_ms
    }

    const fn forget_replayed(&mut self) {
        self.replayed = 0;
        self.replayed_until_ms = None;
    }
}

/// How large the next page may be; `None`: nothing has room now, and something will come out of the
/// queue before it has.
fn page_bytes(read: &Read, room: Option<u64>) -> Option<u32> {
    let through_queue = read.assurance > Assurance::AtMostOnce;
    let Some(room) = room.filter(|_| through_queue) else { return Some(PAGE_BYTES) };
    let bytes = room.saturating_mul(MESSAGE_BYTES_MIN).min(u64::from(PAGE_BYTES));
    u32::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

/// Whether the publisher of a retained message has the right to it now (abuse row 69,
/// CVE-2018-12546): else who has lost it could go on being heard.
pub(super) fn may_be_shown(message: &Message, vhost: &str, peer: &Peer) -> bool {
    let Some(source) = Block::of(message).source.filter(|_| peer.config.mqtt.check_retain_source)
    else {
        return true;
    };
    let identity = peer.logins.borrow().users.publisher(source.has_login, source.name);
    identity.is_some_and(|identity| {
        let rights = TopicRights::of(&identity, vhost, source.client);
        rights.allows_publish(message.routing_key())
    })
}

impl Requests {
    /// Subscriptions that the client has just heard of are to be shown what is retained.
    pub(super) fn read(&mut self, mut reads: Vec<Read>) {
        reads.iter_mut().for_each(|read| read.since = self.reading.count);
        self.reads.extend(reads);
    }
}

impl Mqtt {
    /// A message goes to the client as its publisher has sent it.
    #[inline]
    pub(super) fn note_shown(&mut self, message: &Message) {
        let Some(requests) = &mut self.requests else { return };
        let exchange = message.exchange();
        let is_for_all = exchange != BACKLOG && group_of(exchange).is_none();
        if requests.reads.is_empty() || !is_for_all || !Block::of(message).retain {
            return;
        }
        let reading = &mut requests.reading;
        if reading.shown.len() == SHOWN_MAX {
            reading.shown.pop_front();
        }
        reading.shown.push_back(message.clone());
        reading.count += 1;
    }

    /// Asks for the next page if the client is ready for it.
    pub(super) fn read_on(&mut self, is_tick: bool, cx: &mut Context<'_>) {
        let now_ms = cx.now.mono_ms;
        if is_tick && let Some(requests) = &mut self.requests {
            let reading = &mut requests.reading;
            if reading.replayed_until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
                reading.forget_replayed();
            }
        }
        // Each round asks for a page; those that are answered at once are bounded by the output.
        while self.is_open() && cx.out.len() < OUTPUT_BYTES_MAX {
            let is_busy = self.outgoing.len() >= self.window();
            let Some(requests) = &mut self.requests else { return };
            let reading = &mut requests.reading;
            if reading.is_asked || reading.replayed_until_ms.is_some() || is_busy {
                return;
            }
            let Some(read) = requests.reads.front() else { return };
            let Some(bytes_max) = page_bytes(read, cx.broker.session_room(self.link.id())) else {
                return;
            };
            reading.is_asked = true;
            let command = Command::ReadRetained {
                filter: read.filter.clone(),
                pattern: None,
                from: read.from,
                bytes_max,
            };
            match cx.broker.execute(self.link.id(), RETAINED, command, cx.now) {
                Some(answer) => self.end_page(&answer),
                None => return,
            }
        }
    }

    /// A page is complete.
    pub(super) fn on_retained_read(&mut self, answer: &Answer, cx: &mut Context<'_>) {
        self.end_page(answer);
        self.read_on(false, cx);
    }

    fn end_page(&mut self, answer: &Answer) {
        let Some(requests) = &mut self.requests else { return };
        requests.reading.is_asked = false;
        if let Answer::RetainedRead { next: Some(next) } = answer {
            if let Some(read) = requests.reads.front_mut() {
                read.from = *next;
            }
            return;
        }
        if let Answer::Refused(refusal) = answer {
            tell!(info, self.link, ?refusal, "retained messages not read");
        }
        requests.reads.pop_front();
        if requests.reads.is_empty() {
            requests.reading.shown = VecDeque::new();
        }
    }

    /// A retained message for the subscription that is read.
    pub(super) fn on_retained(&mut self, message: &Message, cx: &mut Context<'_>) {
        if !self.is_open() {
            return;
        }
        let Some(read) = self.requests.as_ref().and_then(|r| r.reads.front()) else { return };
        let (assurance, not_own, number) = (read.assurance, read.not_own, read.number);
        let since = read.since;
        let translated;
        let message = if message.traits().protocol == TAG {
            message
        } else {
            let Some(own) = foreign::translated(message, cx.broker.crossing()) else { return };
            translated = own;
            &translated
        };
        if cx.broker.denies_topic(self.link.id(), message.routing_key()) {
            return;
        }
        if self.requests.as_ref().is_some_and(|r| r.reading.was_shown(message, since)) {
            return;
        }
        let block = Block::of(message);
        if not_own && block.publisher == self.link.publisher {
            return;
        }
        if block.source.is_some() && !may_be_shown(message, &self.link.vhost, &self.link.peer) {
            return;
        }
        let is_upgraded = self.link.limits.upgrade_outgoing_qos;
        let assurance = if is_upgraded { assurance } else { block.assurance.min(assurance) };
        if assurance > Assurance::AtMostOnce {
            let until_ms = cx.now.mono_ms.saturating_add(REPLAY_MS_MAX);
            if let Some(requests) = &mut self.requests {
                requests.reading.replayed = requests.reading.replayed.saturating_add(1);
                requests.reading.replayed_until_ms = Some(until_ms);
            }
            cx.broker.replay(self.link.id(), message, cx.now);
            return;
        }
        let Some(expiry_s) = rest_of_life(message, cx.now.wall_ms) else { return };
        self.numbers.clear();
        self.numbers.extend((number != 0).then_some(number));
        let plan = Plan { assurance, retain: true, expiry_s };
        self.put_publish(message, plan, None, false, cx);
    }

    /// Something comes out of the queue: when all that the last page put in has, the next may come.
    #[inline]
    pub(super) fn note_replay(&mut self, is_replay: bool) {
        if is_replay && let Some(requests) = &mut self.requests {
            let reading = &mut requests.reading;
            reading.replayed = reading.replayed.saturating_sub(1);
            if reading.replayed == 0 {
                reading.forget_replayed();
            }
        }
    }

    /// Deliveries that may be unanswered.
    fn window(&self) -> usize {
        self.link.window.into()
    }
}
