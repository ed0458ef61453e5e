//! One channel: its state, and which method goes to which file (AMQP 0-9-1 1.5.2).
//! May import the files of this folder, `broker`, `command`.

use crate::command::{Answer, Command, Outcome};
use crate::ids::ConsumerKey;
use crate::limits::ASSEMBLY_IDLE_MS_MAX;
use crate::protocol::Context;
use crate::stats::MessageCounts;

use super::confirm::Confirms;
use super::consume::Consumers;
use super::link::{Link, channel_id};
use super::publish::Assembly;
use super::reply_code::{Fault, ReplyCode};
use super::retained::Showing;
use super::transaction::Transaction;
use super::unacked::{Out, Unacked};
use super::wire::frame;
use super::wire::method::{self, Encode, Method, channel as methods};

/// Where a channel is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// In use.
    Open,
    /// The broker winds it up; one of the sides is told when that is done.
    Ending,
    /// channel.close was sent: everything is discarded until close-ok (P19, P72).
    Closing,
}

/// What a channel has been switched to (P58).
#[derive(Debug)]
pub(super) enum Mode {
    /// Publishes are not reported.
    Plain,
    /// Publishes are confirmed.
    Confirm(Confirms),
    /// Publishes and settlements wait for a commit.
    Transaction(Box<Transaction>),
}

/// Direct replies: who consumes them, and under which address (P52).
#[derive(Debug)]
pub(super) struct Replies {
    /// Stays theirs when they are cancelled: the broker is not told of that, and replies that still
    /// come must not meet another consumer.
    pub(super) key: ConsumerKey,
    /// Known from the broker's answer to the end of the consumer.
    pub(super) address: Option<Box<str>>,
}

/// What is to be done when the broker has answered a command.
#[derive(Debug)]
pub(super) enum Then {
    /// The client wants no answer.
    Nothing,
    /// It wants this one.
    Reply(Method<'static>),
    QueueDeclared {
        is_silent: bool,
    },
    Purged {
        is_silent: bool,
    },
    Deleted {
        is_silent: bool,
    },
    Consuming {
        key: ConsumerKey,
        is_silent: bool,
    },
    Replying {
        key: ConsumerKey,
        is_silent: bool,
    },
    Cancelled {
        key: ConsumerKey,
        tag: Box<str>,
        is_silent: bool,
    },
    Got {
        no_ack: bool,
    },
    /// tx.commit-ok, when all publishes of the transaction are stored.
    Committed,
    /// bind-ok, when what is retained has been shown.
    Bound {
        showing: Option<Box<Showing>>,
        is_silent: bool,
    },
    /// The same, later.
    Showing,
    /// channel.close-ok.
    ChannelClosed,
    /// channel.close, for an error.
    ChannelFailed {
        fault: Fault,
        method: (u16, u16),
    },
}

/// How a session goes on after a method.
#[derive(Debug)]
pub(super) enum Flow {
    /// With the next frame.
    Go,
    /// With nothing before the broker has answered.
    Wait(Then),
    /// The client closes the channel.
    Close,
}

/// See the module. One per open channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) number: u16,
    pub(super) phase: Phase,
    pub(super) mode: Mode,
    pub(super) assembly: Assembly,
    pub(super) unacked: Unacked,
    pub(super) consumers: Consumers,
    pub(super) replies: Option<Replies>,
    /// A queue that is newly bound is shown what is retained.
    pub(super) showing: Option<Box<Showing>>,
    /// What an empty queue name means (P31); empty before the first declaration.
    pub(super) last_queue: Box<str>,
    /// For consumers to come; 0: no limit asked for (P42).
    pub(super) prefetch: u32,
    /// Publishes that the broker knows of under this channel number are counted on from here: news
    /// of a channel that had the number before must not confirm a publish of this one.
    pub(super) seq_base: u64,
    /// It is on the list of those that have confirms to report.
    pub(super) is_to_report: bool,
    /// Its messages so far.
    pub(super) counts: MessageCounts,
}

impl Channel {
    pub(super) fn new(number: u16, seq_base: u64) -> Self {
        Self {
            number,
            seq_base,
            phase: Phase::Open,
            mode: Mode::Plain,
            assembly: Assembly::Idle,
            unacked: Unacked::default(),
            consumers: Consumers::default(),
            replies: None,
            showing: None,
            last_queue: Box::default(),
            prefetch: 0,
            is_to_report: false,
            counts: MessageCounts::default(),
        }
    }

    /// A method other than channel.open and basic.publish, while no content is awaited.
    pub(super) fn on_method(
        &mut self,
        method: &Method<'_>,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        match method {
            Method::Basic(basic) => self.on_basic(basic, link, cx),
            Method::Queue(queue) => self.on_queue(queue, link, cx),
            Method::Exchange(exchange) => self.on_exchange(exchange, link, cx),
            Method::Channel(channel) => self.on_channel(channel, link, cx),
            Method::Tx(tx) => self.on_tx(*tx, link, cx),
            Method::Confirm(confirm) => self.on_confirm(*confirm, cx),
            Method::Access(access) => self.on_access(access, cx),
            Method::Connection(_) => Err(unexpected()),
        }
    }

    fn on_basic(
        &mut self,
        basic: &method::Basic<'_>,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        use method::Basic;
        match basic {
            Basic::Ack(ack) => {
                self.settle(ack.delivery_tag, ack.multiple, Outcome::Accept, link, cx)
            }
            Basic::Nack(nack) => {
                let outcome = refusal(nack.requeue);
                self.settle(nack.delivery_tag, nack.multiple, outcome, link, cx)
            }
            Basic::Reject(reject) => {
                self.settle(reject.delivery_tag, false, refusal(reject.requeue), link, cx)
            }
            Basic::Recover(recover) => {
                self.recover(recover.requeue, link, cx)?;
                self.reply(&Method::Basic(Basic::RecoverOk), cx);
                Ok(Flow::Go)
            }
            Basic::RecoverAsync(recover) => self.recover(recover.requeue, link, cx),
            Basic::Qos(qos) => self.qos(*qos, link, cx),
            Basic::Consume(consume) => self.consume(consume, link, cx),
            Basic::Cancel(cancel) => self.cancel(cancel, link, cx),
            // The answer to a basic.cancel of ours: nothing is asked of a client (P70).
            Basic::CancelOk(_) => Ok(Flow::Go),
            Basic::Get(get) => self.get(get, link, cx),
            Basic::QosOk
            | Basic::ConsumeOk(_)
            | Basic::Publish(_)
            | Basic::Return(_)
            | Basic::Deliver(_)
            | Basic::GetOk(_)
            | Basic::GetEmpty(_)
            | Basic::RecoverOk => Err(unexpected()),
        }
    }

    fn on_channel(
        &mut self,
        channel: &method::Channel<'_>,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        use method::Channel as Methods;
        match channel {
            Methods::Close(_) => Ok(Flow::Close),
            Methods::Flow(flow) => {
                cx.broker.pause_channel(link.id(), channel_id(self.number), !flow.active);
                self.reply(&methods::FlowOk { active: flow.active }, cx);
                Ok(Flow::Go)
            }
            // Answers to nothing, or to something long settled.
            Methods::FlowOk(_) | Methods::CloseOk => Ok(Flow::Go),
            Methods::Open(_) => {
                Err(Fault::new(ReplyCode::ChannelError, "second 'channel.open' seen"))
            }
            Methods::OpenOk(_) => Err(unexpected()),
        }
    }

    /// Tickets mean nothing since 0-9-1; old clients ask for them (P20).
    fn on_access(&self, access: &method::Access<'_>, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        match access {
            method::Access::Request(_) => {
                self.reply(&method::access::RequestOk { ticket: 1 }, cx);
                Ok(Flow::Go)
            }
            method::Access::RequestOk(_) => Err(unexpected()),
        }
    }

    /// Where the next channel of this number counts on.
    pub(super) fn seq_end(&self) -> u64 {
        let own = match &self.mode {
            Mode::Plain => 0,
            Mode::Confirm(confirms) => confirms.last_assigned(),
            Mode::Transaction(transaction) => transaction.last_seq(),
        };
        self.seq_base.saturating_add(own)
    }

    /// Sends a method to the client.
    pub(super) fn reply(&self, method: &impl Encode, cx: &mut Context<'_>) {
        frame::put_method(cx.out.buffer(), self.number, method);
    }

    /// Gives a command to the broker; its answer is dealt with here, or when it comes.
    pub(super) fn execute(
        &mut self,
        command: Command,
        then: Then,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        match cx.broker.execute(link.id(), channel_id(self.number), command, cx.now) {
            None => Ok(Flow::Wait(then)),
            Some(answer) => {
                self.on_answer(then, answer, link, cx)?;
                Ok(if self.showing.is_some() { Flow::Wait(Then::Showing) } else { Flow::Go })
            }
        }
    }

    /// Gives back everything that is out, in order, and drops what is unfinished: the channel
    /// ends (P66).
    pub(super) fn give_back(&mut self, link: &mut Link, cx: &mut Context<'_>) {
        self.drop_assembly(link);
        if let Mode::Transaction(transaction) = &mut self.mode {
            self.unacked.put_back(transaction.forget(link));
        }
        for out in self.unacked.iter() {
            settle_one(out, self.number, Outcome::Requeue { failed: true }, link, cx);
        }
        self.unacked = Unacked::default();
    }

    /// Whether a body under assembly has been waiting for too long (abuse row 17).
    pub(super) fn is_stalled(&self, now_ms: u64) -> bool {
        self.assembly
            .progress_ms()
            .is_some_and(|since_ms| now_ms.saturating_sub(since_ms) > ASSEMBLY_IDLE_MS_MAX)
    }

    /// The time that a delivery was out for too long, if one was (RabbitMQ's consumer timeout).
    pub(super) fn overdue_ms(&self, now_ms: u64) -> Option<u64> {
        let shortest_ms = self.consumers.timeout_ms_min()?;
        let late = |out: &&Out| now_ms.saturating_sub(out.sent_ms) > shortest_ms;
        self.unacked.iter().take_while(late).find_map(|out| {
            // A consumer that was cancelled left its deliveries to the strictest of the others.
            let own = self.consumers.get(out.consumer?).map_or(Some(shortest_ms), |c| c.timeout_ms);
            own.filter(|own_ms| now_ms.saturating_sub(out.sent_ms) > *own_ms)
        })
    }
}

/// Tells the broker how a delivery ended.
pub(super) fn settle_one(
    out: &Out,
    channel: u16,
    outcome: Outcome,
    link: &Link,
    cx: &mut Context<'_>,
) {
    let delivery = (out.queue, out.id);
    cx.broker.settle(
        link.id(),
        channel_id(channel),
        delivery,
        outcome,
        out.consumer.is_some(),
        cx.now,
    );
}

/// What reject and nack ask for (P48).
const fn refusal(requeue: bool) -> Outcome {
    if requeue { Outcome::Requeue { failed: true } } else { Outcome::Reject }
}

/// A method that no client sends (P10).
pub(super) fn unexpected() -> Fault {
    Fault::new(ReplyCode::CommandInvalid, "unimplemented method")
}

/// An answer that does not fit its command: a fault of ours.
pub(super) fn unanswered(answer: &Answer) -> Fault {
    tracing::error!(?answer, "an answer that does not fit its command");
    Fault::new(ReplyCode::InternalError, "")
}
