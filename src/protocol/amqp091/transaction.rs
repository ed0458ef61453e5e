//! tx.*: publishes and settlements that wait for a commit (P58, P59; abuse row 52). May import the files of this folder, `broker`, `command`.

use bytes::Bytes;

use crate::command::{self, Outcome, Published};
use crate::ids::PublishSeq;
use crate::limits::{TRANSACTION_BYTES_MAX, TRANSACTION_ENTRIES_MAX};
use crate::message::{Body, Traits};
use crate::protocol::Context;

use super::channel::{Channel, Flow, Mode, Then, settle_one, unexpected};
use super::foreign;
use super::link::{Link, channel_id};
use super::publish::Whole;
use super::reply_code::{Fault, ReplyCode};
use super::unacked::Out;
use super::vet::Vetted;
use super::wire::method::{Method, Tx};

/// A publish that waits for a commit, in its own memory.
#[derive(Debug)]
struct Held {
    exchange: Box<str>,
    routing_key: Box<str>,
    visible_keys: Vec<Box<str>>,
    hidden_keys: Vec<Box<str>>,
    mandatory: bool,
    retains: bool,
    traits: Traits,
    block: Box<[u8]>,
    body: Bytes,
}

/// What a channel has done since its last commit.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    publishes: Vec<Held>,
    /// Deliveries that the client settled, and how.
    pub(super) settled: Vec<(Out, Outcome)>,
    /// Octets of `publishes`.
    bytes: u64,
    /// The number of the last publish given to the broker.
    last_seq: u64,
    /// Publishes of the commit under way that are not stored yet.
    pending: u64,
    /// One of them was refused by a full queue.
    is_partial: bool,
}

/// Octets that a held publish takes besides its content.
const HELD_BYTES: u64 = 256;

impl Transaction {
    /// Publishes that wait for the commit.
    pub(super) fn publish_count(&self) -> u64 {
        u64::try_from(self.publishes.len()).unwrap_or(u64::MAX)
    }

    /// Settlements that wait for it.
    pub(super) fn settlement_count(&self) -> u64 {
        u64::try_from(self.settled.len()).unwrap_or(u64::MAX)
    }

    /// Keeps a publish.
    pub(super) fn hold(
        &mut self,
        whole: Whole<'_>,
        vetted: Vetted<'_>,
        link: &mut Link,
    ) -> Result<(), Fault> {
        let content = whole.body.as_slice().len().saturating_add(vetted.block.len());
        let bytes = u64::try_from(content).unwrap_or(u64::MAX).saturating_add(HELD_BYTES);
        let total = link.transaction_bytes.saturating_add(bytes);
        if total > TRANSACTION_BYTES_MAX || self.publishes.len() >= TRANSACTION_ENTRIES_MAX {
            return Err(Fault::new(ReplyCode::PreconditionFailed, "transaction is too large"));
        }
        link.transaction_bytes = total;
        self.bytes = self.bytes.saturating_add(bytes);
        let own = |keys: &[&str]| keys.iter().map(|key| Box::from(*key)).collect();
        self.publishes.push(Held {
            exchange: whole.exchange.into(),
            routing_key: whole.routing_key.into(),
            visible_keys: own(&vetted.visible_keys),
            hidden_keys: own(&vetted.hidden_keys),
            mandatory: whole.mandatory,
            retains: vetted.retains,
            traits: vetted.traits,
            block: vetted.block.into(),
            body: match whole.body {
                Body::Slice(body) => Bytes::copy_from_slice(body),
                Body::Owned(body) => body,
            },
        });
        Ok(())
    }

    /// Drops the publishes; gives the settlements back.
    pub(super) fn forget(&mut self, link: &mut Link) -> Vec<Out> {
        self.publishes.clear();
        self.release(link);
        std::mem::take(&mut self.settled).into_iter().map(|(out, _)| out).collect()
    }

    fn release(&mut self, link: &mut Link) {
        link.transaction_bytes = link.transaction_bytes.saturating_sub(self.bytes);
        self.bytes = 0;
    }

    fn next_seq(&mut self) -> u64 {
        self.last_seq = self.last_seq.saturating_add(1);
        self.last_seq
    }

    /// The number of the last publish given to the broker.
    pub(super) const fn last_seq(&self) -> u64 {
        self.last_seq
    }
}

impl Channel {
    pub(super) fn on_tx(
        &mut self,
        tx: Tx,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        match tx {
            Tx::Select => {
                match self.mode {
                    Mode::Plain => self.mode = Mode::Transaction(Box::default()),
                    Mode::Transaction(_) => {}
                    Mode::Confirm(_) => {
                        return Err(refused("cannot switch from confirm to tx mode"));
                    }
                }
                self.reply(&Method::Tx(Tx::SelectOk), cx);
                Ok(Flow::Go)
            }
            Tx::Commit => self.commit(link, cx),
            Tx::Rollback => {
                let Mode::Transaction(transaction) = &mut self.mode else {
                    return Err(refused("channel is not transactional"));
                };
                self.unacked.put_back(transaction.forget(link));
                self.reply(&Method::Tx(Tx::RollbackOk), cx);
                Ok(Flow::Go)
            }
            Tx::SelectOk | Tx::CommitOk | Tx::RollbackOk => Err(unexpected()),
        }
    }

    /// First the publishes: should the broker refuse one, what the client settled is still out.
    fn commit(&mut self, link: &mut Link, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let Mode::Transaction(transaction) = &mut self.mode else {
            return Err(refused("channel is not transactional"));
        };
        transaction.release(link);
        for held in std::mem::take(&mut transaction.publishes) {
            self.publish_held(held, link, cx)?;
        }
        let number = self.number;
        let Mode::Transaction(transaction) = &mut self.mode else { return Ok(Flow::Go) };
        let settled = std::mem::take(&mut transaction.settled);
        if !settled.is_empty() {
            for (out, outcome) in settled {
                self.counts.accepted += u64::from(outcome == Outcome::Accept);
                settle_one(&out, number, outcome, link, cx);
            }
            let seq = PublishSeq(transaction.next_seq().saturating_add(self.seq_base));
            let stored = cx.broker.await_settlements(link.id(), channel_id(number), seq);
            transaction.pending += u64::from(stored == Published::Pending);
        }
        if transaction.pending > 0 {
            return Ok(Flow::Wait(Then::Committed));
        }
        self.committed(cx)?;
        Ok(Flow::Go)
    }

    fn publish_held(&mut self, held: Held, link: &Link, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Mode::Transaction(transaction) = &mut self.mode else { return Ok(()) };
        let visible: Vec<&str> = held.visible_keys.iter().map(|key| &**key).collect();
        let hidden: Vec<&str> = held.hidden_keys.iter().map(|key| &**key).collect();
        let publish = command::Publish {
            exchange: &held.exchange,
            routing_key: &held.routing_key,
            extra_keys: &visible,
            hidden_keys: &hidden,
            mandatory: held.mandatory,
            traits: held.traits,
            properties: &held.block,
            body: Body::Owned(held.body),
            seq: Some(PublishSeq(transaction.next_seq().saturating_add(self.seq_base))),
            once: None,
        };
        let at = (link.id(), channel_id(self.number));
        let published = foreign::hand_over(&publish, held.retains, at, cx)
            .map_err(|refusal| link.fault(refusal))?;
        self.counts.published += 1;
        match published {
            Published::Stored => {}
            Published::Overflowed => transaction.is_partial = true,
            Published::Unroutable => self.give_back_unroutable(&publish, link, cx),
            Published::Pending => transaction.pending = transaction.pending.saturating_add(1),
        }
        Ok(())
    }

    /// All publishes of the commit have ended.
    fn committed(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Mode::Transaction(transaction) = &mut self.mode else { return Ok(()) };
        if std::mem::take(&mut transaction.is_partial) {
            return Err(refused("partial tx completion"));
        }
        self.reply(&Method::Tx(Tx::CommitOk), cx);
        Ok(())
    }

    /// What became of a publish that was pending. `true`: the commit under way is complete.
    pub(super) fn on_stored(
        &mut self,
        seq: PublishSeq,
        accepted: bool,
        link: &mut Link,
        cx: &mut Context<'_>,
    ) -> Result<bool, Fault> {
        // Below the base it is news of the channel that had this number before.
        let Some(seq) = seq.0.checked_sub(self.seq_base).filter(|seq| *seq > 0) else {
            return Ok(false);
        };
        match &mut self.mode {
            Mode::Plain => Ok(false),
            Mode::Confirm(confirms) => {
                confirms.settle(PublishSeq(seq), accepted);
                self.want_report(link);
                Ok(false)
            }
            Mode::Transaction(transaction) => {
                if transaction.pending == 0 {
                    return Ok(false);
                }
                transaction.is_partial |= !accepted;
                transaction.pending = transaction.pending.saturating_sub(1);
                if transaction.pending > 0 {
                    return Ok(false);
                }
                self.committed(cx)?;
                Ok(true)
            }
        }
    }
}

fn refused(detail: &'static str) -> Fault {
    Fault::new(ReplyCode::PreconditionFailed, detail)
}
