//! Consumers: one per queue at a time, so that the order in which messages come can be judged.

use std::time::{Duration, Instant};

use ringmq::protocol::amqp091::wire::method::{Basic, Method, basic};

use crate::body::{Id, check};
use crate::ledger::{Note, Outcome};
use crate::link::{Answer, Link, Message, Next, PATIENCE, closed};
use crate::random::Random;
use crate::topology::{DEAD, QUEUES, QueueIndex, REJECTED};

/// No consumer lives longer. Arbitrary: a broker that neither answers nor ends is a finding.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// What a consumer does with what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Accepts, so many at once.
    Accept(usize),
    /// Accepts most, gives some back, holds some.
    Mixed,
    /// Holds everything.
    Hold,
    /// Rejects, accepts, gives back.
    Reject,
}

impl Style {
    /// Any that suits the queue.
    pub(crate) fn any(queue: QueueIndex, random: &mut Random) -> Self {
        match random.below(10) {
            _ if queue == REJECTED && random.percent(80) => Self::Reject,
            0..5 => Self::Accept(usize::try_from(random.between(1, 50)).expect("a count")),
            5..8 => Self::Mixed,
            _ => Self::Hold,
        }
    }

    fn outcome(self, random: &mut Random) -> Option<Outcome> {
        let lot = random.below(100);
        match self {
            Self::Accept(_) => Some(Outcome::Accept),
            Self::Hold => None,
            Self::Mixed => match lot {
                0..70 => Some(Outcome::Accept),
                70..85 => Some(Outcome::Requeue),
                _ => None,
            },
            Self::Reject => match lot {
                0..40 => Some(Outcome::Reject),
                40..80 => Some(Outcome::Accept),
                80..95 => Some(Outcome::Requeue),
                _ => None,
            },
        }
    }
}

/// Consumes until the connection ends.
pub(crate) fn consume(
    mut link: Link,
    queue: QueueIndex,
    style: Style,
    mut random: Random,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let prefetch = u16::try_from(random.between(1, 200)).expect("a prefetch");
    if link.consume(QUEUES[queue], prefetch) != Answer::Done(()) {
        return notes;
    }
    let batch = match style {
        Style::Accept(batch) => batch.min(usize::from(prefetch)),
        Style::Mixed | Style::Hold | Style::Reject => 1,
    };
    let mut open: Vec<Id> = Vec::new();
    let mut last = 0;
    let deadline = Instant::now() + LIFE_MAX;
    while Instant::now() < deadline {
        match link.next(Duration::from_millis(100)) {
            Next::Message(message) => {
                let tag = message.tag;
                let Some(id) = note(&mut notes, queue, &message) else { continue };
                if batch > 1 {
                    open.push(id);
                    last = tag;
                } else if let Some(outcome) = style.outcome(&mut random) {
                    notes.push(Note::Settled { queue, id, outcome });
                    settle(&mut link, tag, outcome);
                }
            }
            Next::Silence => {}
            Next::Method(_) => continue,
            Next::End => return notes,
        }
        if batch > 1 && (open.len() >= batch || (last > 0 && random.percent(2))) {
            accept_all(&mut link, &mut notes, queue, last, &mut open);
        }
    }
    notes.push(Note::Wrong("stuck", format!("{}: still there after {LIFE_MAX:?}", QUEUES[queue])));
    notes
}

fn settle(link: &mut Link, tag: u64, outcome: Outcome) {
    match outcome {
        Outcome::Accept => link.accept(tag, false),
        Outcome::Requeue => link.give_back(tag, true),
        Outcome::Reject => link.give_back(tag, false),
    }
}

fn accept_all(
    link: &mut Link,
    notes: &mut Vec<Note>,
    queue: QueueIndex,
    last: u64,
    open: &mut Vec<Id>,
) {
    if open.is_empty() {
        return;
    }
    let outcome = Outcome::Accept;
    notes.extend(open.drain(..).map(|id| Note::Settled { queue, id, outcome }));
    link.accept(last, true);
}

/// Notes a delivery and what is wrong with it; its id, if it has one.
fn note(notes: &mut Vec<Note>, queue: QueueIndex, message: &Message) -> Option<Id> {
    let id = check(&message.body);
    notes.push(Note::Delivered { queue, id: id.clone(), is_again: message.is_again });
    let id = id.ok()?;
    if queue == DEAD {
        let wanted = (QUEUES[REJECTED].to_owned(), "rejected".to_owned(), 1);
        let death = message.first_death();
        if death.as_ref() != Some(&wanted) {
            notes.push(Note::Wrong("x-death", format!("{id} has {death:?}")));
        }
    }
    Some(id)
}

/// Takes and accepts all that a queue has.
pub(crate) fn drain(link: &mut Link, queue: QueueIndex) -> Vec<Note> {
    let name = QUEUES[queue];
    let mut notes = Vec::new();
    // What is on its way from another shard may come after the first count.
    for round in 0..5 {
        match link.ready(name) {
            Answer::Done(0) => return notes,
            Answer::Done(ready) => drain_once(link, queue, ready, &mut notes),
            Answer::Refused(_) | Answer::Unknown if round == 0 => return notes,
            Answer::Refused(_) | Answer::Unknown => break,
        }
    }
    notes.push(Note::Wrong("counts", format!("{name} is not empty after it was drained")));
    notes
}

fn drain_once(link: &mut Link, queue: QueueIndex, ready: u32, notes: &mut Vec<Note>) {
    let name = QUEUES[queue];
    if link.consume(name, 1000) != Answer::Done(()) {
        notes.push(Note::Wrong("counts", format!("{name} cannot be consumed")));
        return;
    }
    let (mut count, mut is_cancelled) = (0_u32, false);
    let deadline = Instant::now() + PATIENCE;
    loop {
        if count >= ready && !is_cancelled {
            is_cancelled = true;
            link.send(&basic::Cancel { consumer_tag: "tag", no_wait: false });
        }
        match link.next(deadline.saturating_duration_since(Instant::now())) {
            Next::Message(message) => {
                count += 1;
                let (tag, outcome) = (message.tag, Outcome::Accept);
                if let Some(id) = note(notes, queue, &message) {
                    notes.push(Note::Settled { queue, id, outcome });
                }
                link.accept(tag, false);
            }
            Next::Method(received) => {
                let method = received.method();
                if matches!(method, Some(Method::Basic(Basic::CancelOk(_)))) {
                    break;
                }
                if closed(&received).is_some() {
                    let what = format!("draining {name}: {}", received.describe());
                    notes.push(Note::Wrong("refused", what));
                    return;
                }
            }
            Next::Silence | Next::End => {
                let what = format!("{name} said {ready} and delivered {count} within {PATIENCE:?}");
                notes.push(Note::Wrong("counts", what));
                return;
            }
        }
    }
    if count != ready {
        notes.push(Note::Wrong("counts", format!("{name} said {ready} and delivered {count}")));
    }
}
