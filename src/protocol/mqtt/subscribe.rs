//! SUBSCRIBE and UNSUBSCRIBE (3.8 to 3.11; H-19, H-22, H-32; abuse rows 64 to 67, 82, 83). May import
//! the files of this folder, `broker`, `command`, `subscriber`.
//!
//! One request is with the broker at a time, so answers come in order; packets behind it are dealt
//! with meanwhile. What is asked for holds from the moment it is asked: a message may come before
//! the answer.

use std::collections::VecDeque;

use crate::command::{Answer, Command, Refusal};
use crate::properties::queue_of;
use crate::protocol::Context;
use crate::subscriber::{FilterName, Subscription};

use super::block::{assurance_of, level};
use super::interest::is_shared;
use super::limits::{FILTERS_PER_PACKET_MAX, REQUESTS_WAITING_MAX, TOO_DEEP};
use super::link::tell;
use super::queues::Begun;
use super::reason::code_of;
use super::retained::{Read, Reading};
use super::session::{Flow, Mqtt, SESSION};
use super::wire::fault::Fault;
use super::wire::property_table::Place;
use super::wire::reason_code::ReasonCode;
use super::wire::suback::{AnswerKind, Suback};
use super::wire::subscribe::{RetainHandling, Subscribe};
use super::wire::topic::{Filter, check_filter};
use super::wire::unsubscribe::Unsubscribe;
use super::wire::{PacketId, Version};

/// A filter of a SUBSCRIBE.
#[derive(Debug)]
struct Wish {
    subscription: Subscription,
    handling: RetainHandling,
    /// What it was before.
    before: Option<Subscription>,
    /// It was refused without asking the broker, or is a queue's and the broker refused it.
    refused: Option<ReasonCode>,
}

impl Wish {
    /// The queue, if it is one that is subscribed to.
    fn queue(&self) -> Option<&str> {
        queue_of(&self.subscription.name.filter).filter(|_| self.subscription.name.group.is_none())
    }
}

/// What waits for the broker.
#[derive(Debug)]
enum Request {
    Subscribe { packet_id: PacketId, wishes: Vec<Wish> },
    Unsubscribe { packet_id: PacketId, filters: Vec<Result<FilterName, ReasonCode>> },
}

/// Requests of a client about its subscriptions. Only for clients that make some.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// The first is with the broker if `is_asked`.
    waiting: VecDeque<Request>,
    is_asked: bool,
    /// How many filters of the first are dealt with, as far as they are queues.
    queues_done: usize,
    /// Retained messages that new subscriptions are still to be shown.
    pub(super) reads: VecDeque<Read>,
    pub(super) reading: Reading,
}

impl Requests {
    /// Nothing more can be asked before something is answered.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= REQUESTS_WAITING_MAX
    }

    /// Nothing waits and nothing is to be shown any more.
    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty() && !self.is_asked && self.reads.is_empty() && self.reading.is_over()
    }

    pub(super) const fn deadline_ms(&self) -> Option<u64> {
        self.reading.deadline_ms()
    }
}

/// A filter by name: shared by whom the client says, or by the connections with its client id.
fn named(filter: &Filter<'_>, own_group: Option<&str>) -> FilterName {
    // Queues have their own way to share.
    let own_group = own_group.filter(|_| queue_of(filter.filter).is_none());
    let group = filter.group.or(own_group).map(Into::into);
    FilterName { group, filter: filter.filter.into() }
}

impl Mqtt {
    /// SUBSCRIBE.
    pub(super) fn on_subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        let mut wishes = Vec::new();
        let own_group = self.link.own_group();
        let qos_max = self.link.limits.qos_max;
        for (text, options) in subscribe.filters.iter() {
            if wishes.len() >= FILTERS_PER_PACKET_MAX {
                return Err(Fault::new(ReasonCode::QuotaExceeded, "too many filters in a packet"));
            }
            let (name, refused) = match check_filter(text) {
                Ok(filter) => {
                    if !self.link.limits.allows_levels(filter.filter) {
                        return Err(TOO_DEEP);
                    }
                    (named(&filter, own_group.as_deref()), None)
                }
                Err(fault) if self.link.limits.malformed_closes => {
                    return Err(Fault::malformed(fault.text));
                }
                Err(fault) => {
                    (FilterName { group: None, filter: Box::default() }, Some(fault.code))
                }
            };
            let subscription = Subscription {
                name,
                assurance: assurance_of(options.qos.min(qos_max).bits()).unwrap_or_default(),
                // A bridge has what it sends already (mqtt.md 2.2).
                not_own: options.no_local || self.link.is_bridge,
                as_published: options.retain_as_published,
                number: subscribe.subscription_id.unwrap_or(0),
            };
            let handling = options.retain_handling;
            wishes.push(Wish { subscription, handling, before: None, refused });
        }
        let packet_id = subscribe.packet_id;
        let requests = self.requests.get_or_insert_default();
        requests.waiting.push_back(Request::Subscribe { packet_id, wishes });
        self.ask(cx);
        Ok(Flow::Go)
    }

    /// UNSUBSCRIBE.
    pub(super) fn on_unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Flow, Fault> {
        let mut filters = Vec::new();
        let own_group = self.link.own_group();
        for text in unsubscribe.filters.iter() {
            if filters.len() >= FILTERS_PER_PACKET_MAX {
                return Err(Fault::new(ReasonCode::QuotaExceeded, "too many filters in a packet"));
            }
            filters.push(match check_filter(text) {
                Ok(filter) => Ok(named(&filter, own_group.as_deref())),
                // What 3.1 has granted without effect is taken back without effect.
                Err(fault) if self.link.version == Version::V3 => Err(fault.code),
                // 0x8F is for what "is correctly formed" (3.11.3): this can be no mistake about rights.
                Err(fault) => return Err(Fault::malformed(fault.text)),
            });
        }
        let packet_id = unsubscribe.packet_id;
        let requests = self.requests.get_or_insert_default();
        requests.waiting.push_back(Request::Unsubscribe { packet_id, filters });
        self.ask(cx);
        Ok(Flow::Go)
    }

    /// Asks the broker for what waits, as long as it answers at once.
    fn ask(&mut self, cx: &mut Context<'_>) {
        // Each round answers one request, so this ends.
        while self.is_open() {
            let Some(requests) = self.requests.as_mut().filter(|r| !r.is_asked) else { return };
            if requests.waiting.is_empty() {
                return;
            }
            requests.is_asked = true;
            if self.ask_queues(cx) != Some(true) {
                return;
            }
            let requests = self.requests.get_or_insert_default();
            let Some(first) = requests.waiting.front_mut() else { return };
            let command = match first {
                Request::Subscribe { wishes, .. } => {
                    let max = self.link.limits.subscriptions_max;
                    let mut subscriptions = Vec::new();
                    let of_session =
                        |wish: &&mut Wish| wish.refused.is_none() && wish.queue().is_none();
                    for wish in wishes.iter_mut().filter(of_session) {
                        let name = &wish.subscription.name;
                        if max > 0 && self.interest.len() >= max && !self.interest.has(name) {
                            wish.refused = Some(ReasonCode::QuotaExceeded);
                            continue;
                        }
                        wish.before = self.interest.insert(wish.subscription.clone());
                        subscriptions.push(wish.subscription.clone());
                    }
                    if subscriptions.is_empty() {
                        None
                    } else {
                        Some(Command::Subscribe { subscriptions })
                    }
                }
                Request::Unsubscribe { filters, .. } => {
                    let filters: Vec<_> = filters.iter().flatten().cloned().collect();
                    if filters.is_empty() { None } else { Some(Command::Unsubscribe { filters }) }
                }
            };
            let answer = match command {
                Some(command) => cx.broker.execute(self.link.id(), SESSION, command, cx.now),
                None => Some(Answer::Done),
            };
            let Some(answer) = answer else { return };
            self.answer_request(answer, cx);
        }
    }

    /// Asks about the queues of the first request one by one. `false`: an answer is awaited; `None`:
    /// there is no request.
    fn ask_queues(&mut self, cx: &mut Context<'_>) -> Option<bool> {
        // Each round deals with one filter, so this ends.
        loop {
            let requests = self.requests.as_mut()?;
            let at = requests.queues_done;
            let begun = match requests.waiting.front()? {
                Request::Subscribe { wishes, .. } => {
                    let Some(wish) = wishes.get(at) else { return Some(true) };
                    let Some(queue) = wish.queue().filter(|_| wish.refused.is_none()) else {
                        requests.queues_done = at.saturating_add(1);
                        continue;
                    };
                    let (queue, subscription) = (Box::<str>::from(queue), &wish.subscription);
                    let (assurance, number) = (subscription.assurance, subscription.number);
                    let max = self.link.limits.subscriptions_max;
                    let count = self.interest.len().saturating_add(self.queues_len());
                    if max > 0 && count >= max && self.granted(&queue).is_none() {
                        self.queue_done(Err(ReasonCode::QuotaExceeded));
                        continue;
                    }
                    self.begin_queue(&queue, assurance, number, cx)
                }
                Request::Unsubscribe { filters, .. } => {
                    let Some(filter) = filters.get(at) else { return Some(true) };
                    let name = filter.as_ref().ok().filter(|name| name.group.is_none());
                    let Some(queue) = name.and_then(|name| queue_of(&name.filter)) else {
                        requests.queues_done = at.saturating_add(1);
                        continue;
                    };
                    let queue = Box::<str>::from(queue);
                    let Some(begun) = self.end_queue(&queue, cx) else {
                        self.queue_done(Err(ReasonCode::NoSubscriptionExisted));
                        continue;
                    };
                    begun
                }
            };
            match begun {
                Begun::Waits => return Some(false),
                Begun::Done(result) => self.queue_done(result.map_err(|r| code_of(&r))),
            }
        }
    }

    /// A queue of the first request is dealt with.
    fn queue_done(&mut self, result: Result<(), ReasonCode>) {
        let Some(requests) = &mut self.requests else { return };
        let at = requests.queues_done;
        requests.queues_done = at.saturating_add(1);
        match requests.waiting.front_mut() {
            Some(Request::Subscribe { wishes, .. }) => {
                let Some(wish) = wishes.get_mut(at) else { return };
                wish.refused = result.err();
                let granted = wish.queue().map(Box::<str>::from);
                let granted = granted.and_then(|queue| self.queues.as_ref()?.granted(&queue));
                wish.subscription.assurance = granted.unwrap_or(wish.subscription.assurance);
            }
            Some(Request::Unsubscribe { filters, .. }) => {
                if let Some(filter) = filters.get_mut(at) {
                    *filter = Err(result.err().unwrap_or(ReasonCode::Success));
                }
            }
            None => {}
        }
    }

    /// The broker has answered about a queue of the first request.
    pub(super) fn on_queue_answered(&mut self, answer: Answer, cx: &mut Context<'_>) {
        let result = self.queue_answered(answer, cx);
        if !self.is_open() {
            return;
        }
        self.queue_done(result.map_err(|refusal| code_of(&refusal)));
        if let Some(requests) = &mut self.requests {
            requests.is_asked = false;
        }
        self.ask(cx);
    }

    /// The broker has answered the first request.
    pub(super) fn on_request_answered(&mut self, answer: Answer, cx: &mut Context<'_>) {
        if !self.is_open() {
            return;
        }
        self.answer_request(answer, cx);
        self.ask(cx);
    }

    fn answer_request(&mut self, answer: Answer, cx: &mut Context<'_>) {
        let Some(requests) = &mut self.requests else { return };
        if !std::mem::take(&mut requests.is_asked) {
            return;
        }
        requests.queues_done = 0;
        match requests.waiting.pop_front() {
            Some(Request::Subscribe { packet_id, wishes }) => {
                let results = subscribed(answer, wishes.len());
                self.put_suback(packet_id, wishes, results, cx);
            }
            Some(Request::Unsubscribe { packet_id, filters }) => {
                self.put_unsuback(packet_id, &filters, &unsubscribed(answer), cx);
            }
            None => {}
        }
    }

    fn put_suback(
        &mut self,
        packet_id: PacketId,
        wishes: Vec<Wish>,
        results: Vec<Result<bool, Refusal>>,
        cx: &mut Context<'_>,
    ) {
        let mut codes = Vec::with_capacity(wishes.len());
        let mut results = results.into_iter();
        let mut reads = Vec::new();
        for wish in wishes {
            let is_queue = wish.queue().is_some();
            let result = match wish.refused {
                Some(code) => Err(code),
                None if is_queue => Ok(false),
                None => match results.next() {
                    Some(Ok(is_new)) => Ok(is_new),
                    Some(Err(refusal)) => Err(self.take_back(&wish, &refusal)),
                    None => Err(ReasonCode::UnspecifiedError),
                },
            };
            let granted = level(wish.subscription.assurance);
            codes.push(match result {
                Ok(_) => granted,
                // There is no way to refuse it: granted, and nothing comes of it (mqtt.md 2.2).
                Err(_) if self.link.version == Version::V3 => granted,
                Err(code) => code.octet(),
            });
            let is_shown = match (result, wish.handling) {
                (Ok(_), RetainHandling::Always) => true,
                (Ok(is_new), RetainHandling::IfNew) => is_new,
                (Ok(_), RetainHandling::Never) | (Err(_), _) => false,
            };
            let is_shown = is_shown && self.link.limits.retain_available;
            if is_shown && !is_queue && !is_shared(wish.subscription.name.group.as_deref()) {
                reads.push(Read::of(wish.subscription));
            }
        }
        let diagnostics = super::wire::properties::Diagnostics::default();
        let packet = Suback { kind: AnswerKind::Suback, packet_id, diagnostics, codes: &codes };
        let _ = self.link.put(&packet, cx);
        if !reads.is_empty() {
            self.requests.get_or_insert_default().read(reads);
            self.read_on(false, cx);
        }
    }

    /// A subscription that the broker refuses; what is said of it.
    fn take_back(&mut self, wish: &Wish, refusal: &Refusal) -> ReasonCode {
        let filter = &*wish.subscription.name.filter;
        tell!(info, self.link, filter, ?refusal, "a subscription was refused");
        match &wish.before {
            Some(before) => {
                self.interest.insert(before.clone());
            }
            None => self.interest.remove(&wish.subscription.name),
        }
        code_of(refusal)
    }

    fn put_unsuback(
        &mut self,
        packet_id: PacketId,
        filters: &[Result<FilterName, ReasonCode>],
        results: &Result<Vec<bool>, ReasonCode>,
        cx: &mut Context<'_>,
    ) {
        let mut found = results.as_ref().map(|all| all.iter()).ok();
        let mut codes = Vec::with_capacity(filters.len());
        for filter in filters {
            let code = match (filter, results) {
                (Err(code), _) | (Ok(_), Err(code)) => *code,
                (Ok(name), Ok(_)) => {
                    self.interest.remove(name);
                    if found.as_mut().and_then(Iterator::next) == Some(&true) {
                        ReasonCode::Success
                    } else {
                        ReasonCode::NoSubscriptionExisted
                    }
                }
            };
            // A store that is full has no code of its own here (3.11.3-2).
            let may_stand = code.may_stand_in(Place::Unsuback);
            let code = if may_stand { code } else { ReasonCode::UnspecifiedError };
            codes.push(code.octet());
        }
        let diagnostics = super::wire::properties::Diagnostics::default();
        let packet = Suback { kind: AnswerKind::Unsuback, packet_id, diagnostics, codes: &codes };
        let _ = self.link.put(&packet, cx);
    }
}

/// What became of each subscription.
fn subscribed(answer: Answer, count: usize) -> Vec<Result<bool, Refusal>> {
    match answer {
        Answer::Subscribed(results) => results,
        Answer::Refused(refusal) => vec![Err(refusal); count],
        Answer::Done
        | Answer::Bound { .. }
        | Answer::QueueDeclared { .. }
        | Answer::Removed { .. }
        | Answer::Consuming { .. }
        | Answer::ReplyTo { .. }
        | Answer::Got { .. }
        | Answer::Empty
        | Answer::SessionOpened(_)
        | Answer::Unsubscribed(_)
        | Answer::RetainedRead { .. } => Vec::new(),
    }
}

/// Which subscriptions there were.
fn unsubscribed(answer: Answer) -> Result<Vec<bool>, ReasonCode> {
    match answer {
        Answer::Unsubscribed(found) => Ok(found),
        Answer::Refused(refusal) => Err(code_of(&refusal)),
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
        | Answer::RetainedRead { .. } => Ok(Vec::new()),
    }
}
