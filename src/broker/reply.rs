//! Direct replies (amqp.md L51, P52): a channel consumes from no queue at all; who knows its
//! address publishes to it and the message goes straight to that channel. The address names the
//! shard and carries a code that only this process can make, so that none can be forged or guessed
//! (abuse row 40).

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::Broker;
use super::connections::window_bytes;
use super::deliver::SETTLED;
use super::mail::Mail;
use crate::command::{Answer, Delivery, Entity, Event, Now, Publish, Published, Refusal};
use crate::ids::{ChannelId, ChannelRef, ConnectionId, ConsumerKey, QueueId, QueueRef, ShardId};
use crate::message::Message;

/// Reply addresses begin so.
pub(super) const PREFIX: &str = "amq.rabbitmq.reply-to.";

/// Octets of the code at the end of an address: 96 bits cannot be searched.
const CODE_BYTES: usize = 12;
/// Shard, connection index, its generation, channel, a random part.
const PLACE_BYTES: usize = 2 + 4 + 4 + 2 + 8;

/// A name with 24 random octets behind the prefix.
pub(super) fn random_name(prefix: &str) -> Box<str> {
    let mut octets = [0_u8; 24];
    // Without a source of randomness all names are the same; who makes a queue looks for that.
    let _ = getrandom::fill(&mut octets);
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(octets)).into()
}

fn code(secret: &[u8], place: &[u8]) -> [u8; CODE_BYTES] {
    let digest = Sha256::new().chain_update(secret).chain_update(place).finalize();
    digest.first_chunk().copied().unwrap_or_default()
}

impl Broker {
    /// A channel, or the whole connection, takes no replies any more.
    pub(super) fn forget_replies(
        replies: &mut HashMap<Box<str>, (ChannelRef, ConsumerKey), ahash::RandomState>,
        of: &mut Vec<(ChannelId, Box<str>)>,
        channel: Option<ChannelId>,
    ) {
        of.retain(|(at, address)| {
            let goes = channel.is_none_or(|channel| channel == *at);
            if goes {
                replies.remove(address);
            }
            !goes
        });
    }

    /// Opens the reply address of a channel.
    pub(super) fn consume_replies(&mut self, at: ChannelRef, key: ConsumerKey) -> Answer {
        let connection = at.connection.connection;
        let mut place = Vec::with_capacity(PLACE_BYTES + CODE_BYTES);
        place.extend_from_slice(&at.connection.shard.0.to_be_bytes());
        place.extend_from_slice(
            &u32::try_from(connection.index()).unwrap_or(u32::MAX).to_be_bytes(),
        );
        place.extend_from_slice(&connection.generation().to_be_bytes());
        place.extend_from_slice(&at.channel.0.to_be_bytes());
        let mut random = [0_u8; 8];
        let _ = getrandom::fill(&mut random);
        place.extend_from_slice(&random);
        let code = code(&self.secret, &place);
        place.extend_from_slice(&code);
        let address: Box<str> = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&place)).into();
        if let Some(entry) = self.connections.get_mut(connection) {
            // One address per channel: an earlier one is void.
            let earlier = entry.replies.iter().position(|(channel, _)| *channel == at.channel);
            if let Some((_, earlier)) = earlier.map(|place| entry.replies.swap_remove(place)) {
                self.replies.remove(&earlier);
            }
            entry.replies.push((at.channel, address.clone()));
        }
        self.replies.insert(address.clone(), (at, key));
        Answer::ReplyTo { address }
    }

    /// The channel takes no replies any more; its address is nobody's.
    pub fn cancel_replies(&mut self, connection: ConnectionId, channel: ChannelId) {
        if let Some(entry) = self.connections.get_mut(connection) {
            Self::forget_replies(&mut self.replies, &mut entry.replies, Some(channel));
        }
    }

    /// The shard an address points to, if this process made it.
    fn reply_shard(&self, address: &str) -> Option<ShardId> {
        let octets = URL_SAFE_NO_PAD.decode(address.strip_prefix(PREFIX)?).ok()?;
        let (place, given) = octets.split_at_checked(PLACE_BYTES)?;
        (given == code(&self.secret, place)).then_some(())?;
        Some(ShardId(u16::from_be_bytes(*place.first_chunk()?)))
    }

    /// Whether somebody waits for replies there (amqp.md P39). Of another shard's addresses only
    /// that they are genuine is known here.
    pub(super) fn look_at_reply_address(&self, address: &str) -> Answer {
        let there = match self.reply_shard(address) {
            Some(shard) if shard == self.shard => self.replies.contains_key(address),
            Some(_) => true,
            None => false,
        };
        if there {
            Answer::QueueDeclared { name: address.into(), messages: 0, consumers: 1 }
        } else {
            Answer::Refused(Refusal::NotFound(Entity::Queue, address.into()))
        }
    }

    pub(super) fn publish_reply(
        &mut self,
        publish: &Publish<'_>,
        now: Now,
    ) -> Result<Published, Refusal> {
        let shard = self.reply_shard(publish.routing_key).ok_or(Refusal::NoSuchReplyConsumer)?;
        let message = Message::new(
            self.no_name.clone(),
            publish.routing_key,
            publish.traits,
            publish.properties,
            publish.body.clone(),
            now.mono_ms,
        );
        let Some(message) = message else { return Ok(Published::Overflowed) };
        if shard == self.shard {
            return Ok(match self.reply(&message) {
                false if publish.mandatory => Published::Unroutable,
                _ => Published::Stored,
            });
        }
        self.post.send_message(shard, &message, |parcel| Mail::Reply { parcel });
        Ok(Published::Stored)
    }

    /// Hands a reply to its channel. False: that consumer is gone, or does not read.
    pub(super) fn reply(&mut self, message: &Message) -> bool {
        let Some((at, key)) = self.replies.get(message.routing_key()).copied() else {
            return false;
        };
        let delivery = Delivery {
            channel: at.channel,
            consumer: Some(key),
            queue: QueueRef { shard: self.shard, queue: QueueId::new(u32::MAX, 0) },
            id: SETTLED,
            redelivered: false,
            delivery_count: None,
            position: 0,
            received: false,
            message: message.clone(),
        };
        let connection = at.connection.connection;
        if let Some(entry) = self.connections.get_mut(connection) {
            // There is no queue where a reply could wait: whoever does not read loses it, as a
            // reply to somebody who is gone is lost.
            if !entry.window.has_room() {
                return false;
            }
            // Its session reports it as written like any other delivery.
            entry.window.in_flight += window_bytes(message);
        }
        self.tell(connection, Event::Delivery(delivery));
        true
    }
}
