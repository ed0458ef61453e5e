//! Where services meet subscribers: what is published to topics by words between dots reaches
//! filters by words between slashes, and the other way round (mqtt.md ).
//!
//! The two exchanges of a virtual host know each other; a walk that comes by one of them goes on at
//! the other under the translated key, if anything is bound there. May import `properties`.

use super::Broker;
use crate::ids::{ExchangeId, VhostId};
use crate::properties::{TOPICS, key_of_topic, topic_of_key};
use crate::subscriber::{FILTERS, GROUPS};

/// Longest key that clients of exchanges can be shown (mqtt.md X-03).
const KEY_BYTES_MAX: usize = 255;

/// The other exchange, and what a key is called there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meeting {
    pub(super) with: ExchangeId,
    translate: fn(&str) -> Option<String>,
}

impl Meeting {
    /// The key as it is spelled at the other exchange; `None`: it does not exist there.
    pub(super) fn translate(self, key: &str) -> Option<String> {
        (self.translate)(key)
    }
}

fn key(topic: &str) -> Option<String> {
    // Topics of the server's own are for those who name them (mqtt.md X-05).
    let stays = topic.starts_with('$') || topic.len() > KEY_BYTES_MAX;
    (!stays).then(|| key_of_topic(topic))
}

impl Broker {
    /// The two exchanges of a virtual host are both there.
    pub(super) fn introduce(&mut self, vhost: VhostId) {
        let id = |name: &str| self.exchange_id(vhost, name);
        let (Some(topics), Some(filters)) = (id(TOPICS), id(FILTERS)) else { return };
        let groups = id(GROUPS);
        if let Some(entry) = self.exchanges.get_mut(&topics) {
            entry.meeting = Some(Meeting { with: filters, translate: topic_of_key });
        }
        if let Some(entry) = self.exchanges.get_mut(&filters) {
            entry.meeting = Some(Meeting { with: topics, translate: key });
            entry.groups = groups;
        }
    }
}
