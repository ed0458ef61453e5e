//! Waiting for other shards: a call is open until every shard it was sent to has said
//! [`Mail::Done`]; only then is the client answered, so that whoever sees the answer can rely on
//! it on any connection (design: answers only after all shards know).

use std::rc::Rc;

use super::Broker;
use super::mail::{BindingSpec, CallId, Mail, PlainAnswer, for_session};
use super::storage::leave::NewCheckpoint;
use super::subscriber::session::SessionId;
use super::vhosts::Outside;
use crate::command::{Answer, Entity, Event, Refusal};
use crate::ids::{ChannelId, ChannelRef, ConnectionId, ExchangeId, QueueId, ShardId};

/// What happens when all have answered.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing.
    Nothing,
    /// A session is answered.
    Answer { to: ChannelRef, answer: PlainAnswer },
    /// A session is answered, or the binding is taken back because its exchange is gone.
    Bound {
        to: ChannelRef,
        queue: QueueId,
        exchange: Rc<str>,
        new: bool,
        binding: Box<BindingSpec>,
    },
    /// A session is open: its connection is answered and gets what waits for it.
    SessionOpened { to: ChannelRef, session: SessionId, resumed: bool },
    /// Another shard's call is answered.
    Done { shard: ShardId, call: CallId },
    /// Readers of retained messages go on.
    RetainedRound,
    /// What this shard has left out may be forgotten on its disk; these definitions are what is left.
    Forgettable { definitions: Option<NewCheckpoint> },
    /// Who is no shard and has asked hears of it.
    Outside(Outside),
    /// The keeper forgets that the exchange is being deleted.
    Forget { exchange: ExchangeId, then: Box<Self> },
}

#[derive(Debug)]
pub(super) struct Call {
    /// Answers outstanding, plus one while the caller still adds to it.
    left: u32,
    /// No shard said that the exchange was gone.
    known: bool,
    /// It told other shards something: others that rely on it must wait for it too.
    told: bool,
    then: Then,
}

impl Broker {
    /// Opens a call that the caller holds until [`Self::release`].
    pub(super) fn open_call(&mut self, then: Then) -> Option<CallId> {
        self.calls.insert(Call { left: 1, known: true, told: false, then })
    }

    /// Says what happens when all have answered; to be asked before the caller releases it.
    pub(super) fn set_then(&mut self, call: CallId, then: Then) {
        if let Some(call) = self.calls.get_mut(call) {
            call.then = then;
        }
    }

    /// Tells all other shards something that belongs to a call.
    pub(super) fn tell_others(&mut self, call: CallId, mail: impl Fn(CallId) -> Mail) {
        let others: u32 = self
            .post
            .others()
            .map(|shard| self.post.send(shard, mail(call)))
            .fold(0, |n, ()| n + 1);
        if others == 0 {
            return;
        }
        if let Some(call) = self.calls.get_mut(call) {
            call.left += others;
            if !call.told {
                call.told = true;
                self.telling += 1;
            }
        }
    }

    /// One more answer is expected.
    pub(super) fn expect(&mut self, call: CallId) {
        if let Some(call) = self.calls.get_mut(call) {
            call.left += 1;
        }
    }

    /// One answer less is outstanding; the last one ends the call.
    pub(super) fn release(&mut self, id: CallId, known: bool) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.known &= known;
        call.left = call.left.saturating_sub(1);
        if call.left > 0 {
            return;
        }
        let Some(call) = self.calls.remove(id) else { return };
        if call.told {
            self.telling = self.telling.saturating_sub(1);
        }
        self.finish(call.then, call.known);
    }

    fn finish(&mut self, then: Then, known: bool) {
        match then {
            Then::Nothing => {}
            Then::Answer { to, answer } => self.answer(to, answer),
            Then::Bound { to, queue, exchange, new, binding } => {
                if known {
                    self.answer(to, Answer::Bound { new });
                } else {
                    self.forget_binding(queue, &binding);
                    let refusal = Refusal::NotFound(Entity::Exchange, Box::from(&*exchange));
                    self.answer(to, Answer::Refused(refusal));
                }
            }
            Then::SessionOpened { to, session, resumed } => {
                self.session_opened(to, session, resumed);
            }
            Then::Done { shard, call } => self.done(shard, call, true),
            Then::Forgettable { definitions } => self.forgettable(definitions),
            Then::Outside(outside) => self.outside_done.push(outside),
            Then::RetainedRound => self.retained_round_over(),
            Then::Forget { exchange, then } => {
                self.leaving.retain(|id| *id != exchange);
                self.finish(*then, known);
            }
        }
    }

    /// Reports a call as carried out.
    pub(super) fn done(&mut self, shard: ShardId, call: CallId, known: bool) {
        if shard == self.shard {
            self.release(call, known);
        } else {
            self.post.send(shard, Mail::Done { call, known });
        }
    }

    /// Answers a session, here or by mail.
    pub(super) fn answer(&mut self, to: ChannelRef, answer: PlainAnswer) {
        if to.connection.shard == self.shard {
            self.answered(to.connection.connection, to.channel, for_session(answer));
        } else {
            let mail = Mail::Answered {
                connection: to.connection.connection,
                channel: to.channel,
                answer: Box::new(answer),
            };
            self.post.send(to.connection.shard, mail);
        }
    }

    /// The answer has come home.
    pub(super) fn answered(
        &mut self,
        connection: ConnectionId,
        channel: ChannelId,
        answer: Answer,
    ) {
        if let Answer::Consuming { consumer, .. } = &answer {
            self.consumer_started(connection, channel, *consumer);
        }
        self.consumer_stopped(connection, channel);
        self.tell(connection, Event::Answer { channel, answer });
    }

    /// A call that told nobody anything by itself still waits for what was told before: whoever
    /// came second must not be answered before the others know either.
    pub(super) fn wait_for_earlier(&mut self, id: CallId) {
        let told = self.calls.get(id).is_some_and(|call| call.told);
        if !told && self.telling > 0 {
            self.tell_others(id, |call| Mail::Barrier { call });
        }
    }

    /// Answers once everything told to other shards so far has been applied by them: needed when
    /// a declaration finds the thing there already while its first declaration is still crossing.
    pub(super) fn answer_when_known(&mut self, to: ChannelRef, answer: PlainAnswer) {
        if self.telling == 0 {
            self.answer(to, answer);
            return;
        }
        if let Some(call) = self.open_call(Then::Answer { to, answer }) {
            self.tell_others(call, |call| Mail::Barrier { call });
            self.release(call, true);
        }
    }
}
