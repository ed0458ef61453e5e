//! What a node owes to sessions, whatever happens to it: for each message and session whether it has
//! to come, may come or must not. Knows no disk, no shard and no connection.
//! May import the broker's words.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::broker::deliver::SETTLED;
use crate::command::Delivery;
use crate::subscriber::{Assurance, Lasts, OpenedSession, group_of};

/// The last two are those whose time runs out.
pub(super) const SESSIONS: [Lasts; 6] = [
    Lasts::Forever,
    Lasts::Forever,
    Lasts::Forever,
    Lasts::Connection,
    Lasts::Ms(300),
    Lasts::Ms(700),
];
/// Hears of those that are gone, and of nothing else.
pub(super) const MOURNER: usize = 0;
/// Members for ever of the group that has to get everything.
pub(super) const MEMBERS: [usize; 2] = [1, 2];
pub(super) const MEMBERS_FILTER: &str = "group:g:a/#";
pub(super) const WILLS: &str = "w/#";
/// What sessions subscribe to besides, now and then.
pub(super) const FILTERS_TRIED: [&str; 7] = ["a/#", "a/+", "+/b", "a/b", "#", "c", "group:h:+/b"];
pub(super) const TOPICS_TRIED: [&str; 5] = ["a/b", "a/c", "b/b", "c", "a/b/c"];

/// The definition, by recursion over both lists of words.
fn fits(filter: &[&str], topic: &[&str]) -> bool {
    match (filter.split_first(), topic.split_first()) {
        (Some((&"#", _)), _) | (None, None) => true,
        (None, Some(_)) | (Some(_), None) => false,
        (Some((word, rest)), Some((first, later))) => {
            (*word == "+" || word == first) && fits(rest, later)
        }
    }
}

/// A filter as written, which may begin with `group:NAME:`.
fn matches(filter: &str, topic: &str) -> bool {
    let filter = filter.rsplit(':').next().unwrap();
    fits(&filter.split('/').collect::<Vec<_>>(), &topic.split('/').collect::<Vec<_>>())
}

/// A message that was sent, or a will.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) topic: String,
    pub(super) persistent: bool,
    pub(super) publisher: usize,
    pub(super) is_will: bool,
    /// How often it was published at most.
    pub(super) tries: usize,
    from: u64,
    confirmed: bool,
    /// From here on it reaches nothing that it has not reached.
    settled: Option<u64>,
}

/// A message in a session's queue: known by its position.
#[derive(Debug, Default)]
struct Place {
    id: usize,
    address: String,
    came_now: bool,
    received: bool,
    received_now: bool,
    surely: bool,
    ended: bool,
    over: bool,
}

/// A subscription, past or present.
#[derive(Debug)]
struct Filter {
    /// What it may be after a crash; the last is what was asked for last.
    possible: Vec<Option<Assurance>>,
    /// Messages are stored for it without doubt.
    sure_since: Option<u64>,
    first_asked: u64,
    off_since: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Exists {
    #[default]
    No,
    Yes,
    Perhaps,
}

/// What is known of a session.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) exists: Exists,
    began: u64,
    filters: BTreeMap<&'static str, Filter>,
    places: BTreeMap<u64, Place>,
    owed: BTreeSet<usize>,
    /// Last of each publisher and topic that came for the first time, stored or not.
    seen: HashMap<(usize, String, bool, bool), usize>,
    /// When its client left, at the earliest and the latest that a node may believe.
    left: Option<(u64, u64)>,
    left_durable: bool,
    /// A crash may forget that it came back after it had left then.
    stale_left: Option<u64>,
    /// Whether it may have run out, and must have, when it was asked for.
    out: (bool, bool),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SessionOracle {
    pub(super) step: u64,
    pub(super) sent: Vec<Sent>,
    pub(super) known: [Known; SESSIONS.len()],
    /// Confirmed, and no member of the group has accepted it.
    group_owed: BTreeSet<usize>,
    /// Places that a message has taken in sessions of the group.
    group_places: BTreeMap<usize, BTreeSet<(usize, u64)>>,
    pub(super) deliveries: u64,
    pub(super) confirmed: u64,
    /// A single history is looked at.
    loud: bool,
}

pub(super) fn id_of(delivery: &Delivery) -> usize {
    let body = String::from_utf8(delivery.message.body().to_vec()).unwrap();
    body.split(' ').next().and_then(|id| id.parse().ok()).expect("invented")
}

impl Known {
    fn reset(&mut self, step: u64) {
        *self = Self { exists: self.exists, began: step, ..Self::default() };
    }

    /// It may deliver this.
    fn may_have(&self, sent: &Sent, address: Option<&str>) -> bool {
        self.filters.iter().any(|(name, filter)| {
            let same = match address {
                None => !name.starts_with("group:"),
                Some(group) => name.strip_prefix("group:").is_some_and(|n| n.starts_with(group)),
            };
            let off = filter.off_since.is_some_and(|off| off < sent.from);
            let before = sent.settled.is_some_and(|at| at < filter.first_asked);
            same && matches(name, &sent.topic) && !off && (!before || address.is_some())
        })
    }

    fn ends_ms(lasts: Lasts, left: u64) -> Option<u64> {
        match lasts {
            Lasts::Ms(ms) => Some(left + ms),
            Lasts::Connection | Lasts::Forever => None,
        }
    }

    /// Whether it may have run out, and whether it must have.
    fn is_out(&self, lasts: Lasts, now: u64) -> (bool, bool) {
        let Some((min, max)) = self.left else { return (false, false) };
        let is_due = |left| Self::ends_ms(lasts, left).is_some_and(|ends| ends <= now);
        (is_due(min), is_due(max))
    }
}

impl SessionOracle {
    pub(super) fn new() -> Self {
        Self { loud: std::env::var("RINGMQ_DISK_SEED").is_ok(), ..Self::default() }
    }

    /// For whoever looks at a single history.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.loud {
            eprintln!("{}: {}", self.step, what());
        }
    }

    pub(super) fn publish(
        &mut self,
        topic: &str,
        persistent: bool,
        (publisher, is_will): (usize, bool),
    ) -> usize {
        self.step += 1;
        self.sent.push(Sent {
            topic: topic.into(),
            persistent,
            publisher,
            is_will,
            tries: 1,
            from: self.step,
            confirmed: false,
            settled: None,
        });
        let id = self.sent.len() - 1;
        self.tell(|| format!("{publisher} sends {id} to {topic}, kept: {persistent}"));
        id
    }

    /// Its publisher sends it again.
    pub(super) fn again(&mut self, id: usize) {
        self.sent[id].tries += 1;
        self.sent[id].settled = None;
    }

    /// It has been stored wherever it belongs.
    pub(super) fn confirmed(&mut self, id: usize) {
        self.tell(|| format!("{id} is confirmed"));
        self.step += 1;
        self.confirmed += 1;
        let step = self.step;
        let sent = &mut self.sent[id];
        if std::mem::replace(&mut sent.confirmed, true) {
            return;
        }
        sent.settled = Some(step);
        if !sent.persistent {
            return;
        }
        for known in self.known.iter_mut().filter(|known| known.exists == Exists::Yes) {
            let is_sure = known.filters.iter().any(|(name, filter)| {
                let sure = filter.sure_since.is_some_and(|since| since < sent.from);
                sure && !name.starts_with("group:") && matches(name, &sent.topic)
            });
            let has_it = known.places.values().any(|p| p.id == id && p.ended);
            if is_sure && !has_it {
                known.owed.insert(id);
            }
        }
        let has = |s: &usize| self.known[*s].filters[MEMBERS_FILTER].sure_since;
        let all = MEMBERS.iter().all(|s| has(s).is_some_and(|since| since < sent.from));
        let places = self.group_places.get(&id);
        let ended = |(s, at): &(usize, u64)| self.known[*s].places[at].ended;
        let done = places.is_some_and(|places| places.iter().any(ended));
        if all && !done && matches(MEMBERS_FILTER, &sent.topic) {
            self.group_owed.insert(id);
        }
    }

    /// Nothing is on its way any more.
    pub(super) fn at_rest(&mut self) {
        self.step += 1;
        let step = self.step;
        for sent in self.sent.iter_mut().filter(|sent| !sent.is_will) {
            sent.settled.get_or_insert(step);
        }
    }

    /// A delivery has reached the client of a session; `last` is the position of the one before.
    pub(super) fn delivered(&mut self, s: usize, delivery: &Delivery, last: &mut u64) {
        self.deliveries += 1;
        self.tell(|| {
            let Delivery { position, redelivered, received, id, message, .. } = delivery;
            let body = message.body().to_vec();
            let body = String::from_utf8_lossy(&body).chars().take(12).collect::<String>();
            let address = message.exchange();
            format!("{s} gets {body} at {position} {redelivered} {received} {id:?} of {address}")
        });
        if delivery.received {
            let place = self.known[s].places.get(&delivery.position).expect("it was sent before");
            return self.placed(s, place.id, delivery, last);
        }
        let id = id_of(delivery);
        let (sent, known) = (self.sent.get(id).expect("invented"), &mut self.known[s]);
        let shown = || format!("{id} for session {s}: {sent:?}");
        let address = group_of(delivery.message.exchange());
        let address = address.map(|(group, filter)| format!("{group}:{filter}"));
        assert_eq!(delivery.message.routing_key(), sent.topic, "{}", shown());
        assert_ne!(known.exists, Exists::No, "the session is gone: {}", shown());
        assert!(
            known.may_have(sent, address.as_deref()),
            "unwanted: {} {:?}",
            shown(),
            known.filters
        );
        let gone = sent.settled.is_some_and(|settled| settled < known.began);
        assert!(!gone || address.is_some(), "it was for the session before: {}", shown());
        if address.is_none() && !delivery.redelivered && sent.tries == 1 && !sent.is_will {
            let stored = delivery.id != SETTLED;
            let place = (sent.publisher, sent.topic.clone(), sent.persistent, stored);
            let before = known.seen.insert(place, id);
            assert!(before.is_none_or(|before| before < id), "after {before:?}: {}", shown());
        }
        if delivery.id == SETTLED {
            let other = sent.tries > 1 || address.is_some();
            assert!(other || !known.owed.contains(&id), "it is not stored: {}", shown());
            return;
        }
        assert!(sent.persistent, "it is stored: {}", shown());
        self.placed(s, id, delivery, last);
    }

    fn placed(&mut self, s: usize, id: usize, delivery: &Delivery, last: &mut u64) {
        let (at, known) = (delivery.position, &mut self.known[s]);
        let tries = self.sent[id].tries;
        assert!(*last < at, "{id} for session {s} at {at} after {last}");
        *last = at;
        let address = delivery.message.exchange();
        let is_new = !known.places.contains_key(&at);
        let place = known.places.entry(at).or_insert_with(|| Place {
            id,
            address: address.into(),
            ..Place::default()
        });
        let before = (place.id, place.received, place.surely, place.ended);
        let shown = || format!("{id} for session {s} at {at}: {before:?}");
        assert_eq!(place.id, id, "{}", shown());
        assert!(!place.over && !place.ended, "it is done with and comes again: {}", shown());
        assert!(!place.came_now || delivery.redelivered, "it does not say so: {}", shown());
        if delivery.received {
            assert!(place.received, "it was never received: {}", shown());
        } else {
            assert!(!place.surely && !place.received_now, "it is sent again: {}", shown());
        }
        let name = place.address.clone();
        place.came_now = true;
        (place.received, place.surely) = (delivery.received, delivery.received);
        place.received_now = delivery.received;
        if !is_new {
            return;
        }
        let count = known.places.values().filter(|p| p.id == id && p.address == name).count();
        assert!(count <= tries, "{count} copies of {tries}: {}", shown());
        if group_of(&name).is_some_and(|(group, _)| group == "g") {
            let places = self.group_places.entry(id).or_default();
            places.insert((s, at));
            assert!(places.len() <= tries, "several members have it: {places:?} {}", shown());
        }
    }

    pub(super) fn received(&mut self, s: usize, at: u64) {
        self.tell(|| format!("session {s} has received {at}"));
        let place = self.known[s].places.get_mut(&at).unwrap();
        (place.received, place.received_now) = (true, true);
    }

    /// What was received will be known as received.
    pub(super) fn surely(&mut self, s: usize, at: u64) {
        // Its session may have ended meanwhile.
        if let Some(place) = self.known[s].places.get_mut(&at) {
            place.surely = place.received;
        }
    }

    pub(super) fn accepted(&mut self, s: usize, at: u64) {
        self.tell(|| format!("session {s} accepts {at}"));
        let place = self.known[s].places.get_mut(&at).unwrap();
        place.ended = true;
        let id = place.id;
        match group_of(&place.address) {
            None => self.known[s].owed.remove(&id),
            Some(("g", _)) => self.group_owed.remove(&id),
            Some(_) => false,
        };
    }

    /// Asks for a filter, or for `None` any more.
    pub(super) fn asks(&mut self, s: usize, filter: &'static str, level: Option<Assurance>) {
        self.tell(|| format!("session {s} asks for {filter}: {level:?}"));
        self.step += 1;
        let step = self.step;
        let known = self.known[s].filters.entry(filter).or_insert_with(|| Filter {
            possible: vec![None],
            sure_since: None,
            first_asked: step,
            off_since: None,
        });
        known.possible.push(level);
        known.sure_since = None;
        if level.is_some() {
            known.off_since = None;
        }
    }

    pub(super) fn answered(&mut self, s: usize, filter: &'static str) {
        self.tell(|| format!("session {s} has {filter}"));
        self.step += 1;
        let step = self.step;
        let known = self.known[s].filters.get_mut(filter).unwrap();
        known.possible.drain(..known.possible.len() - 1);
        match known.possible[0] {
            None => known.off_since = Some(step),
            Some(Assurance::AtMostOnce) => {}
            Some(_) => known.sure_since = Some(step),
        }
    }

    /// Somebody asks for a session. What was there may be gone at once.
    pub(super) fn opening(&mut self, s: usize, fresh: bool, now: u64) {
        self.tell(|| format!("session {s} is asked for at {now}, fresh: {fresh}"));
        self.step += 1;
        let known = &mut self.known[s];
        known.out = match known.left {
            Some(_) => known.is_out(SESSIONS[s], now),
            None => (known.out.0, false),
        };
        if let Some((min, _)) = known.left.take() {
            known.stale_left = Some(known.stale_left.map_or(min, |stale| stale.min(min)));
        }
        if fresh || known.exists == Exists::No {
            known.owed.clear();
            known.filters.values_mut().for_each(|filter| {
                filter.possible.push(None);
                filter.sure_since = None;
            });
        }
        if fresh || known.exists == Exists::No || SESSIONS[s] == Lasts::Connection {
            known.exists = Exists::Perhaps;
        }
    }

    /// Whether the session may be, or must be, one that goes on.
    pub(super) fn opened(&mut self, s: usize, fresh: bool, opened: &OpenedSession, now: u64) {
        self.tell(|| format!("session {s} at {now}: {opened:?}"));
        self.step += 1;
        let (step, lasts, known) = (self.step, SESSIONS[s], &mut self.known[s]);
        let (may_out, must_out) = std::mem::take(&mut known.out);
        let shown =
            format!("session {s} at {now}, out {:?}, {:?}", (may_out, must_out), known.exists);
        if opened.resumed {
            assert!(!must_out && !fresh, "it comes back: {shown}");
            assert_ne!(lasts, Lasts::Connection, "it comes back: {shown}");
        } else {
            let may_be_new = fresh || may_out || known.exists != Exists::Yes;
            assert!(may_be_new, "it is forgotten: {shown}");
            known.reset(step);
        }
        known.exists = Exists::Yes;
        for (name, filter) in &mut known.filters {
            let wanted = super::subscriber::filter(name);
            let there = opened.subscriptions.iter().find(|sub| sub.name == wanted);
            let there = there.map(|sub| sub.assurance);
            assert!(filter.possible.contains(&there), "{name} {there:?}: {filter:?} {shown}");
            let is_sure = there.is_some_and(|level| level != Assurance::AtMostOnce);
            filter.sure_since = filter.sure_since.or(Some(step)).filter(|_| is_sure);
            if there.is_none() {
                filter.off_since.get_or_insert(step);
            }
            filter.possible = vec![there];
        }
        assert!(opened.subscriptions.len() <= known.filters.len(), "invented: {shown}");
    }

    /// Its client has gone without taking anything back.
    pub(super) fn left(&mut self, s: usize, now: u64) {
        self.tell(|| format!("session {s} loses its client at {now}"));
        self.step += 1;
        let (step, known) = (self.step, &mut self.known[s]);
        if SESSIONS[s] == Lasts::Connection {
            known.exists = Exists::No;
            known.reset(step);
        } else {
            (known.left, known.left_durable) = (Some((now, now)), false);
        }
    }

    /// Time has passed, and everything that was due has happened.
    pub(super) fn passed(&mut self, now: u64) {
        self.step += 1;
        for (known, lasts) in self.known.iter_mut().zip(SESSIONS) {
            match known.is_out(lasts, now) {
                (_, true) => {
                    known.exists = Exists::No;
                    known.owed.clear();
                }
                (true, false) if known.exists == Exists::Yes => known.exists = Exists::Perhaps,
                _ => {}
            }
        }
    }

    /// Everything that has happened is durable.
    pub(super) fn durable(&mut self) {
        self.tell(|| "all is durable".to_owned());
        for known in &mut self.known {
            known.places.values_mut().for_each(|place| place.over |= place.ended);
            known.left_durable = known.left.is_some();
            known.stale_left = None;
            if known.exists == Exists::No {
                known.reset(self.step);
            }
        }
    }

    /// A node has started anew.
    pub(super) fn restarted(&mut self, now: u64) {
        self.tell(|| format!("a node starts at {now}"));
        self.step += 1;
        let step = self.step;
        for sent in &mut self.sent {
            if sent.is_will {
                // It may be published again.
                sent.tries += 1;
            } else {
                sent.settled.get_or_insert(step);
            }
        }
        for (known, lasts) in self.known.iter_mut().zip(SESSIONS) {
            for place in known.places.values_mut() {
                (place.came_now, place.received_now, place.ended) = (false, false, false);
            }
            // That something was out may be forgotten.
            known.seen.clear();
            let durable = known.left_durable;
            let (min, max) = known.left.unwrap_or((now, now));
            let min = known.stale_left.map_or(min, |stale| stale.min(min));
            known.left = Some((min, if durable { max } else { now }));
            if known.exists == Exists::No && !known.filters.is_empty() {
                // That it ran out may be forgotten.
                known.exists = Exists::Perhaps;
            }
            if lasts == Lasts::Connection {
                known.exists = Exists::No;
                known.left = None;
                known.reset(step);
            }
        }
        self.passed(now);
    }

    /// When a session runs out whose client has left, at the earliest.
    pub(super) fn ends_ms(&self, s: usize) -> Option<u64> {
        let known = &self.known[s];
        if SESSIONS[s] == Lasts::Connection {
            return Some(0);
        }
        known.left.and_then(|(min, _)| Known::ends_ms(SESSIONS[s], min))
    }

    /// Everything was delivered and accepted: what is missing?
    pub(super) fn check_all_came(&self) {
        for (s, known) in self.known.iter().enumerate() {
            let lost: Vec<_> = known.owed.iter().map(|id| (id, &self.sent[*id])).collect();
            assert!(lost.is_empty(), "session {s} has lost {lost:?}");
        }
        assert!(self.group_owed.is_empty(), "the group has lost {:?}", self.group_owed);
    }
}
