//! What a channel says to its client when the broker has answered a command.
//! May import the files of this folder, `command`.

use crate::command::Answer;
use crate::protocol::Context;

use super::channel::{Channel, Then, unanswered};
use super::link::Link;
use super::reply_code::Fault;
use super::wire::method::{Method, Queue, basic, queue};

/// A count as methods carry it; a longer queue is as long as they can say.
pub(super) fn count(messages: u64) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}

impl Channel {
    /// The broker has answered. What ends channels is dealt with by the session.
    pub(super) fn on_answer(
        &mut self,
        then: Then,
        answer: Answer,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let answer = match answer {
            Answer::Refused(refusal) => {
                self.undo(&then);
                return Err(link.fault(refusal));
            }
            Answer::Done
            | Answer::Bound { .. }
            | Answer::QueueDeclared { .. }
            | Answer::Removed { .. }
            | Answer::Consuming { .. }
            | Answer::ReplyTo { .. }
            | Answer::Got { .. }
            | Answer::Empty
            | Answer::SessionOpened(_)
            | Answer::Subscribed(_)
            | Answer::Unsubscribed(_)
            | Answer::RetainedRead { .. } => answer,
        };
        match then {
            Then::Nothing => Ok(()),
            Then::Reply(method) => {
                self.reply(&method, cx);
                Ok(())
            }
            Then::Bound { showing, is_silent } => {
                // Who binds the same again has been shown it.
                self.showing = showing.filter(|_| matches!(answer, Answer::Bound { new: true }));
                if self.showing.is_none() {
                    self.reply_unless(is_silent, Queue::BindOk, cx);
                }
                self.show_on(link, cx)
            }
            Then::Showing => {
                self.end_page(&answer)?;
                self.show_on(link, cx)
            }
            Then::QueueDeclared { is_silent } => self.on_declared(answer, is_silent, cx),
            Then::Purged { is_silent } => {
                let Answer::Removed { messages } = answer else { return Err(unanswered(&answer)) };
                let message_count = count(messages);
                self.reply_unless(is_silent, Queue::PurgeOk(queue::PurgeOk { message_count }), cx);
                Ok(())
            }
            Then::Deleted { is_silent } => {
                let Answer::Removed { messages } = answer else { return Err(unanswered(&answer)) };
                let message_count = count(messages);
                let method = Queue::DeleteOk(queue::DeleteOk { message_count });
                self.reply_unless(is_silent, method, cx);
                Ok(())
            }
            Then::Consuming { key, is_silent } => {
                self.on_consuming(key, &answer, is_silent, link, cx)
            }
            Then::Replying { key, is_silent } => self.on_replying(key, answer, is_silent, cx),
            Then::Cancelled { key, tag, is_silent } => {
                self.consumers.remove(key);
                if !is_silent {
                    self.reply(&basic::CancelOk { consumer_tag: &tag }, cx);
                }
                Ok(())
            }
            Then::Got { no_ack } => self.on_got(answer, no_ack, link, cx),
            Then::Committed | Then::ChannelClosed | Then::ChannelFailed { .. } => {
                Err(unanswered(&answer))
            }
        }
    }

    /// Forgets what was prepared for a command that was refused.
    fn undo(&mut self, then: &Then) {
        match then {
            Then::Consuming { key, .. } => {
                self.consumers.remove(*key);
            }
            Then::Replying { key, .. } => {
                self.consumers.remove(*key);
                self.replies = None;
            }
            Then::Bound { .. } | Then::Showing => self.showing = None,
            Then::Nothing
            | Then::Reply(_)
            | Then::QueueDeclared { .. }
            | Then::Purged { .. }
            | Then::Deleted { .. }
            | Then::Cancelled { .. }
            | Then::Got { .. }
            | Then::Committed
            | Then::ChannelClosed
            | Then::ChannelFailed { .. } => {}
        }
    }

    fn on_declared(
        &mut self,
        answer: Answer,
        is_silent: bool,
        cx: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let Answer::QueueDeclared { name, messages, consumers } = answer else {
            return Err(unanswered(&answer));
        };
        let method = queue::DeclareOk {
            queue: &name,
            message_count: count(messages),
            consumer_count: consumers,
        };
        self.reply_unless(is_silent, Queue::DeclareOk(method), cx);
        self.last_queue = name;
        Ok(())
    }

    fn reply_unless(&self, is_silent: bool, method: Queue<'_>, cx: &mut Context<'_>) {
        if !is_silent {
            self.reply(&Method::Queue(method), cx);
        }
    }
}
