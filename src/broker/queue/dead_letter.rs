//! What becomes of a message that dies in a queue: its history, and where it may still go.
//!
//! May import `message`.

use std::rc::Rc;

use crate::message::{Death, DeathHistory, DeathReason, Message};

/// Where a queue sends its dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetterTarget {
    /// The exchange; empty: the default exchange.
    pub(crate) exchange: Rc<str>,
    /// Replaces the message's routing keys, all of them.
    pub(crate) routing_key: Option<Rc<str>>,
}

/// The message with this death on top of its history and without its own time to live, so that it
/// does not expire again where it goes (L43, R45b).
pub(crate) fn buried(message: &Message, queue: &str, reason: DeathReason, wall_ms: u64) -> Message {
    let expiration_ms = message.traits().expiration_ms;
    let here = || (Box::from(queue), reason, Box::from(message.exchange()));
    let mut history = message.deaths().cloned().unwrap_or_else(|| DeathHistory {
        deaths: Vec::new(),
        first: here(),
        last: here(),
    });
    history.last = here();
    let known = history.deaths.iter().position(|d| &*d.queue == queue && d.reason == reason);
    let death = match known {
        Some(index) => {
            let mut death = history.deaths.remove(index);
            death.count = death.count.saturating_add(1);
            death
        }
        None => Death {
            queue: queue.into(),
            reason,
            count: 1,
            at_ms: wall_ms,
            exchange: message.exchange().into(),
            routing_keys: routing_keys(message),
            original_expiration_ms: expiration_ms,
        },
    };
    history.deaths.insert(0, death);
    message.with(|inner| {
        inner.traits.expiration_ms = None;
        inner.deaths = Some(Box::new(history));
    })
}

fn routing_keys(message: &Message) -> Vec<Box<str>> {
    let first = std::iter::once(Box::from(message.routing_key()));
    first.chain(message.extra_keys().iter().cloned()).collect()
}

/// Whether a dead message may go into a queue: not when it died there before and nobody has
/// rejected it since, for then it would go round for ever (R45c, P56; abuse row 35).
pub(crate) fn may_enter(history: &DeathHistory, queue: &str) -> bool {
    let Some(last_here) = history.deaths.iter().position(|d| &*d.queue == queue) else {
        return true;
    };
    history.deaths.iter().take(last_here + 1).any(|d| d.reason == DeathReason::Rejected)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{message, message_with};
    use super::*;

    fn died(message: &Message, steps: &[(&str, DeathReason)]) -> Message {
        steps
            .iter()
            .enumerate()
            .fold(message.clone(), |m, (n, (queue, reason))| buried(&m, queue, *reason, n as u64))
    }

    #[test]
    fn the_history_is_newest_first_with_one_line_per_queue_and_reason() {
        use DeathReason::{Expired, Rejected};
        let steps = [("a", Expired), ("b", Rejected), ("a", Expired), ("a", Rejected)];
        let message = died(&message("m"), &steps);
        let history = message.deaths().unwrap();
        let lines: Vec<_> =
            history.deaths.iter().map(|d| (&*d.queue, d.reason, d.count, d.at_ms)).collect();
        assert_eq!(lines, [("a", Rejected, 1, 3), ("a", Expired, 2, 0), ("b", Rejected, 1, 1)]);
        assert_eq!((&*history.first.0, history.first.1), ("a", Expired));
        assert_eq!((&*history.last.0, history.last.1), ("a", Rejected));
    }

    #[test]
    fn the_time_to_live_is_taken_away_and_remembered() {
        let message = message_with("m", |t| t.expiration_ms = Some(70));
        let dead = buried(&message, "q", DeathReason::Expired, 9);
        assert_eq!(dead.traits().expiration_ms, None);
        let deaths = &dead.deaths().unwrap().deaths;
        assert_eq!(deaths[0].original_expiration_ms, Some(70));
        assert_eq!(deaths[0].routing_keys, ["m".into()]);
        let again = buried(&dead, "r", DeathReason::Expired, 10);
        assert_eq!(again.deaths().unwrap().deaths[0].original_expiration_ms, None);
    }

    #[test]
    fn a_circle_without_a_rejection_is_closed() {
        use DeathReason::{Expired, MaxLength, Rejected};
        let enters =
            |steps: &[_], queue| may_enter(died(&message("m"), steps).deaths().unwrap(), queue);
        assert!(!enters(&[("a", Expired)], "a"), "to itself");
        assert!(enters(&[("a", Expired)], "b"));
        assert!(!enters(&[("a", Expired), ("b", MaxLength)], "a"));
        assert!(enters(&[("a", Rejected)], "a"));
        assert!(enters(&[("a", Expired), ("b", Rejected)], "a"));
        assert!(!enters(&[("b", Rejected), ("a", Expired)], "a"), "rejected before the circle");
    }
}
