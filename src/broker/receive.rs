//! What other shards say, one sentence at a time.

use std::rc::Rc;

use super::Broker;
use super::clockwork::Waiting;
use super::deliver::SETTLED;
use super::mail::{Batch, Envelope, Mail, Parcel, PendingId, for_session};
use super::storage::waits::{Put, Waiter};
use crate::command::{Answer, Delivery, Event, Now};
use crate::ids::{ConsumerRef, QueueRef, ShardId};
use crate::message::Message;

impl Broker {
    /// Reads an envelope of another shard.
    pub fn receive(&mut self, from: ShardId, envelope: Envelope, now: Now) {
        let Envelope { mut batch, spare, taken } = envelope;
        let weight = batch.weight();
        self.post.received(from, spare, taken);
        let (mut mails, bytes) = batch.open();
        for mail in mails.drain(..) {
            let of_origin = self.has_origin();
            self.read(from, mail, &bytes, now);
            if of_origin {
                self.set_origin(None);
            }
        }
        batch.refill(mails, bytes);
        self.post.done_with(from, batch, weight);
    }

    /// What has to cross to other shards now.
    pub fn collect(&mut self, ship: impl FnMut(ShardId, Envelope)) {
        self.post.collect(ship);
    }

    fn unpack(&mut self, bytes: &[u8], parcel: Parcel) -> Option<Message> {
        let last = &mut self.last_name;
        Batch::unpack(bytes, parcel, &mut |name| {
            if **last != *name {
                *last = Rc::from(name);
            }
            last.clone()
        })
    }

    /// Reports to the publisher's shard, when the message is safe.
    fn report(&mut self, to: ShardId, wanted: Option<PendingId>, put: Put, found: bool) {
        let Some(pending) = wanted else { return };
        let waiter = Waiter::Remote { shard: to, pending, found };
        if !(put.accepted && self.wait_for(put.safe, waiter)) {
            self.post.send(to, Mail::Stored { pending, accepted: put.accepted, found });
        }
    }

    fn read(&mut self, from: ShardId, mail: Mail, bytes: &[u8], now: Now) {
        match mail {
            Mail::Publish { .. }
            | Mail::PublishTo { .. }
            | Mail::PublishToMember { .. }
            | Mail::PublishByName { .. }
            | Mail::Reply { .. }
            | Mail::Retain { .. }
            | Mail::Delay { .. } => self.read_publish(from, mail, bytes, now),
            Mail::Deliver { .. } | Mail::Returned { .. } | Mail::Retained { .. } => {
                self.read_delivery(from, mail, bytes, now);
            }
            Mail::Origin(origin) => self.set_origin(Some(origin)),
            Mail::Stored { pending, accepted, found } => self.stored(pending, accepted, found),
            Mail::Settle { queue, id, outcome } => self.settle_here(queue, id, outcome, now),
            Mail::Settled { pending } => {
                let waiter = Waiter::Remote { shard: from, pending, found: true };
                self.wait_for_settlements(waiter);
            }
            Mail::Room { connection, bytes } => self.room(connection, bytes),
            Mail::Request { at, vhost, command, limited } => {
                self.request(at, vhost, *command, limited, now);
            }
            Mail::Answered { connection, channel, answer } => {
                self.answered(connection, channel, for_session(*answer));
            }
            Mail::Gone { connection, channel, call } => {
                self.connection_gone(connection, channel, call.map(|call| (from, call)), now);
            }
            Mail::ConsumerGone { connection, channel, consumer } => {
                self.consumer_lost(connection, channel, consumer);
                self.tell(connection, Event::ConsumerGone { channel, consumer });
            }
            Mail::VhostMade { vhost, name, call } => {
                debug_assert_eq!(vhost.0 as usize, self.vhosts.len(), "they come in order");
                self.add_vhost(&name);
                self.done(from, call, true);
            }
            Mail::Tally { what, tally } => self.heard_tally(from, *what, tally),
            Mail::Revoked { at, queue, consumer } => self.revoke(at, queue, consumer, now),
            Mail::ExchangeMade { id, vhost, spec, uid, call } => {
                self.exchange_made(id, vhost, &spec, uid);
                self.done(from, call, true);
            }
            Mail::ExchangeGone { id, call } => {
                self.drop_exchange(id, None);
                self.done(from, call, true);
            }
            Mail::ExchangeBound { .. }
            | Mail::Interest { .. }
            | Mail::NamedInterest { .. }
            | Mail::NamedGone { .. } => {
                self.read_topology(from, mail);
            }
            Mail::Away { exchange, queue, away } => self.apply_away(exchange, queue, away),
            Mail::Barrier { call } => self.done(from, call, true),
            Mail::Durable { call } => self.durable_asked(from, call),
            Mail::Done { call, known } => self.release(call, known),
            Mail::Limited { queue, consumer, on } => self.set_limited(queue, consumer, on),
            Mail::Paused { queue, consumer, on } => self.consumer_paused(queue, consumer, on),
            Mail::Want { channel, consumer } => self.wanted(channel, consumer),
            Mail::Grant { queue, consumer, tokens } => self.granted(queue, consumer, tokens),
            Mail::Recall { queue, consumer } => self.recalled(queue, consumer),
            Mail::Unused { channel, queue, consumer, tokens } => {
                let queue = QueueRef { shard: from, queue };
                self.unused(channel, ConsumerRef { queue, consumer }, tokens);
            }
            Mail::CatchUp { round } => self.asked_to_catch_up(from, round),
            Mail::CaughtUp { round } => self.shard_caught_up(round, now),
            Mail::Census(census) => self.census_told(from, census),
            Mail::Adopted => self.adopted_by(from),
            Mail::EarlierGone => self.earlier_gone(),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has sorted them")]
    fn read_publish(&mut self, from: ShardId, mail: Mail, bytes: &[u8], now: Now) {
        match mail {
            Mail::Publish { exchange, keys, picks, parcel, wanted } => {
                let Some(message) = self.unpack(bytes, parcel) else { return };
                let more = (keys.as_deref(), picks.as_deref());
                let put = self.publish_mailed(from, exchange, &message, more, now);
                self.report(from, wanted, put, true);
            }
            Mail::PublishTo { queue, parcel, wanted } => {
                let Some(message) = self.unpack(bytes, parcel) else { return };
                let put = self.enqueue(queue, message, now);
                self.report(from, wanted, put, true);
            }
            Mail::PublishToMember { exchange, queue, parcel, wanted } => {
                let Some(message) = self.unpack(bytes, parcel) else { return };
                let to = (exchange, queue);
                if let Some(put) = self.put_to_member(to, message, (from, wanted), now) {
                    self.report(from, wanted, put, true);
                }
            }
            Mail::PublishByName { vhost, queue, parcel, mandatory, wanted } => {
                let Some(message) = self.unpack(bytes, parcel) else { return };
                let name = queue.as_deref().unwrap_or_else(|| message.routing_key());
                let mut put = Put::DONE;
                let id = self.addressed(vhost, name);
                let found = id.is_some();
                if let Some(id) = id {
                    put = self.enqueue(id, message, now);
                } else if let Some((connection, channel)) = mandatory {
                    self.post.send_message(from, &message, |parcel| Mail::Returned {
                        connection,
                        channel,
                        parcel,
                    });
                }
                self.report(from, wanted, put, found);
            }
            Mail::Reply { parcel } => {
                if let Some(message) = self.unpack(bytes, parcel) {
                    self.reply(&message);
                }
            }
            Mail::Delay { exchange, lasting, due_ms, keys, parcel, wanted } => {
                let Some(message) = self.unpack(bytes, parcel) else { return };
                let waiting = Waiting { due_ms, exchange, keys, message, logged: None, will: None };
                let put = self.delay(waiting, lasting, now);
                self.report(from, wanted, put, true);
            }
            Mail::Retain { vhost, keep, parcel, wanted } => {
                let Some(message) = self.unpack(bytes, parcel) else { return };
                let put = self.retain_here(vhost, keep, &message, now);
                self.report(from, wanted, put, true);
            }
            other => debug_assert!(false, "not a publish: {other:?}"),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has sorted them")]
    fn read_delivery(&mut self, from: ShardId, mail: Mail, bytes: &[u8], now: Now) {
        match mail {
            Mail::Deliver {
                connection,
                channel,
                consumer,
                queue,
                id,
                redelivered,
                delivery_count,
                left,
                parcel,
            } => {
                let Some(message) = self.unpack(bytes, parcel) else { return };
                let queue = QueueRef { shard: from, queue };
                let delivery = Delivery {
                    channel,
                    consumer,
                    queue,
                    id,
                    redelivered,
                    delivery_count,
                    position: 0,
                    received: false,
                    message,
                };
                if self.connections.get(connection).is_none() {
                    // The connection went while this was on its way.
                    if id != SETTLED {
                        self.give_back(&delivery, now);
                    }
                    return;
                }
                let event = match left {
                    None => {
                        if let (Some(key), Some(entry)) = (
                            consumer.filter(|_| id != SETTLED),
                            self.connections.get_mut(connection),
                        ) {
                            entry.delivered(channel, key);
                        }
                        Event::Delivery(delivery)
                    }
                    Some(left) => Event::Answer {
                        channel,
                        answer: Answer::Got { delivery: Box::new(delivery), left },
                    },
                };
                self.tell(connection, event);
            }
            Mail::Returned { connection, channel, parcel } => {
                if let Some(message) = self.unpack(bytes, parcel) {
                    self.tell(connection, Event::Returned { channel, message });
                }
            }
            Mail::Retained { connection, channel, parcel } => {
                if let Some(message) = self.unpack(bytes, parcel) {
                    self.tell(connection, Event::Retained { channel, message });
                }
            }
            other => debug_assert!(false, "not a delivery: {other:?}"),
        }
    }
}
