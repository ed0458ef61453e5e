//! What is retained, for a queue that is newly bound to topics and asks for it: once, before bind-ok
//! (mqtt.md X-11). May import the files of this folder, `broker`, `command`.
//!
//! One page after the other is read and put into the queue; the next is asked for when the last is
//! stored. What is published meanwhile comes by the binding, so that what is retained then may be there
//! twice, and the older one last: its header says that it is retained.

use crate::command::{Answer, Command};
use crate::ids::PublishSeq;
use crate::message::Message;
use crate::properties::TOPICS;
use crate::protocol::{Context, may_be_shown};
use crate::subscriber::{FILTERS, RetainedCursor};
use crate::value::{Table, Value};

use super::channel::{Channel, unanswered};
use super::link::{Link, channel_id};
use super::reply_code::Fault;
use super::wire::method::{Method, Queue};

/// The argument of a binding that asks for it.
const ARGUMENT: &str = "x-mqtt-retained";

/// What messages are counted by until they are stored: no publish of a client has this number.
pub(super) const SHOWN: PublishSeq = PublishSeq(u64::MAX);

/// Octets of a page, about.
const PAGE_BYTES: u32 = 64 * 1024;

/// How far it is. One per channel that binds so, until bind-ok.
#[derive(Debug)]
pub(super) struct Showing {
    queue: Box<str>,
    filter: Box<str>,
    pattern: Option<Box<str>>,
    from: RetainedCursor,
    is_asked: bool,
    is_read: bool,
    /// Messages that are not stored yet.
    storing: u32,
    /// The client waits for bind-ok.
    pub(super) replies: bool,
}

impl Showing {
    /// `None`: the binding does not ask for it, or its exchange is not one of topics.
    pub(super) fn of(
        queue: &str,
        (exchange, key): (&str, &str),
        arguments: &Table,
        replies: bool,
    ) -> Option<Box<Self>> {
        if arguments.get(ARGUMENT).and_then(Value::as_bool) != Some(true) {
            return None;
        }
        let (filter, pattern) = match exchange {
            TOPICS => ("#", Some(key.into())),
            FILTERS => (key, None),
            _ => return None,
        };
        Some(Box::new(Self {
            queue: queue.into(),
            filter: filter.into(),
            pattern,
            from: RetainedCursor::default(),
            is_asked: false,
            is_read: false,
            storing: 0,
            replies,
        }))
    }
}

impl Channel {
    /// Asks for the next page if the last is stored, or ends.
    pub(super) fn show_on(&mut self, link: &Link, cx: &mut Context<'_>) -> Result<(), Fault> {
        // A page that is answered at once was refused.
        while let Some(showing) = &mut self.showing {
            if showing.is_asked || showing.storing > 0 {
                return Ok(());
            }
            if showing.is_read {
                let replies = showing.replies;
                self.showing = None;
                if replies {
                    self.reply(&Method::Queue(Queue::BindOk), cx);
                }
                return Ok(());
            }
            showing.is_asked = true;
            let command = Command::ReadRetained {
                filter: showing.filter.clone(),
                pattern: showing.pattern.clone(),
                from: showing.from,
                bytes_max: PAGE_BYTES,
            };
            match cx.broker.execute(link.id(), channel_id(self.number), command, cx.now) {
                None => return Ok(()),
                Some(answer) => self.end_page(&answer)?,
            }
        }
        Ok(())
    }

    /// A page is complete.
    pub(super) fn end_page(&mut self, answer: &Answer) -> Result<(), Fault> {
        let Some(showing) = &mut self.showing else { return Ok(()) };
        showing.is_asked = false;
        let Answer::RetainedRead { next } = answer else { return Err(unanswered(answer)) };
        match next {
            Some(next) => showing.from = *next,
            None => showing.is_read = true,
        }
        Ok(())
    }

    /// A retained message for the queue.
    pub(super) fn on_retained(&mut self, message: &Message, link: &Link, cx: &mut Context<'_>) {
        let Some(showing) = &mut self.showing else { return };
        if cx.broker.denies_topic(link.id(), message.routing_key())
            || !may_be_shown(message, &link.vhost, &link.peer)
        {
            return;
        }
        let at = (link.id(), channel_id(self.number));
        let is_pending = cx.broker.show_to_queue(at, &showing.queue, message, SHOWN, cx.now);
        showing.storing = showing.storing.saturating_add(u32::from(is_pending));
    }

    /// One of them is stored; true: it was the last, and the client has heard.
    pub(super) fn on_shown(&mut self, link: &Link, cx: &mut Context<'_>) -> Result<bool, Fault> {
        let Some(showing) = &mut self.showing else { return Ok(false) };
        showing.storing = showing.storing.saturating_sub(1);
        self.show_on(link, cx)?;
        Ok(self.showing.is_none())
    }
}
