//! A client of the node under test: what its session would do, in the words of the broker.

use super::cluster::Cluster;
use crate::broker::deliver::SETTLED;
use crate::command::{
    Answer, Command, Consume, Delivery, Event, Outcome, Publish, Published, Refusal,
};
use crate::ids::{
    ChannelId, ConnectionRef, ConsumerKey, ConsumerRef, DeliveryId, PublishSeq, QueueRef,
};
use crate::message::{Body, ProtocolTag, Traits};
use crate::value::{Table, Value};

/// The place of a client among the seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client(pub(super) usize);

pub(super) const ONE: ChannelId = ChannelId(1);
pub(super) const TWO: ChannelId = ChannelId(2);

/// A delivery that the session has not settled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Held {
    pub(super) channel: ChannelId,
    pub(super) queue: QueueRef,
    pub(super) id: DeliveryId,
    pub(super) counted: bool,
}

/// What is known of a client.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) at: ConnectionRef,
    pub(super) open: bool,
    /// Its session takes events.
    pub(super) reads: bool,
    /// Its socket takes what the session writes.
    pub(super) drains: bool,
    pub(super) log: Vec<Event>,
    pub(super) held: Vec<Held>,
    waiting: Vec<ChannelId>,
    closing: Vec<ChannelId>,
    seq: u64,
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stored,
    Overflowed,
    Returned,
}

impl Seat {
    pub(super) fn new(at: ConnectionRef) -> Self {
        Self {
            at,
            open: true,
            reads: true,
            drains: true,
            log: Vec::new(),
            held: Vec::new(),
            waiting: Vec::new(),
            closing: Vec::new(),
            seq: 0,
        }
    }

    /// A command has not been answered.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes events in; what came for a channel that is closing goes back.
    pub(super) fn note(&mut self, events: Vec<Event>) -> Vec<Held> {
        let mut late = Vec::new();
        for event in events {
            let delivery = match &event {
                Event::Delivery(delivery) => Some(delivery),
                Event::Answer { channel, answer } => {
                    let place = self.waiting.iter().position(|c| c == channel);
                    self.waiting.remove(place.expect("an answer that nobody waits for"));
                    self.closing.retain(|c| c != channel);
                    if let Answer::Got { delivery, .. } = answer { Some(&**delivery) } else { None }
                }
                _ => None,
            };
            if let Some(d) = delivery.filter(|d| d.id != SETTLED) {
                let counted = d.consumer.is_some();
                let held = Held { channel: d.channel, queue: d.queue, id: d.id, counted };
                if self.closing.contains(&d.channel) {
                    late.push(held);
                    continue;
                }
                self.held.push(held);
            }
            self.log.push(event);
        }
        late
    }
}

pub(super) fn publish<'a>(exchange: &'a str, key: &'a str, body: &'a str) -> Publish<'a> {
    Publish {
        exchange,
        routing_key: key,
        extra_keys: &[],
        hidden_keys: &[],
        mandatory: false,
        traits: Traits {
            protocol: ProtocolTag(0),
            persistent: false,
            priority: None,
            expiration_ms: None,
        },
        properties: b"",
        body: Body::Slice(body.as_bytes()),
        seq: None,
        once: None,
    }
}

pub(super) fn table(entries: &[(&str, Value)]) -> Table {
    Table(entries.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
}

pub(super) fn queue(name: &str, entries: &[(&str, Value)]) -> Command {
    Command::DeclareQueue {
        name: name.into(),
        passive: false,
        durable: false,
        exclusive: false,
        auto_delete: false,
        arguments: table(entries),
    }
}

pub(super) fn exclusive(name: &str) -> Command {
    own(queue(name, &[]), true, false)
}

pub(super) fn auto_delete(name: &str) -> Command {
    own(queue(name, &[]), false, true)
}

fn own(mut command: Command, is_exclusive: bool, goes: bool) -> Command {
    if let Command::DeclareQueue { exclusive, auto_delete, .. } = &mut command {
        (*exclusive, *auto_delete) = (is_exclusive, goes);
    }
    command
}

pub(super) fn exchange(name: &str, kind: &str, entries: &[(&str, Value)]) -> Command {
    Command::DeclareExchange {
        name: name.into(),
        kind: kind.into(),
        passive: false,
        durable: false,
        auto_delete: false,
        internal: false,
        arguments: table(entries),
    }
}

/// The same, to survive a restart.
pub(super) fn durable(mut command: Command) -> Command {
    if let Command::DeclareExchange { durable, .. } | Command::DeclareQueue { durable, .. } =
        &mut command
    {
        *durable = true;
    }
    command
}

pub(super) fn auto_delete_exchange(name: &str, kind: &str) -> Command {
    let mut command = exchange(name, kind, &[]);
    if let Command::DeclareExchange { auto_delete, .. } = &mut command {
        *auto_delete = true;
    }
    command
}

pub(super) fn bind(queue: &str, exchange: &str, key: &str) -> Command {
    bind_with(queue, exchange, key, &[])
}

pub(super) fn bind_with(
    queue: &str,
    exchange: &str,
    key: &str,
    entries: &[(&str, Value)],
) -> Command {
    Command::BindQueue {
        queue: queue.into(),
        exchange: exchange.into(),
        key: key.into(),
        arguments: table(entries),
    }
}

pub(super) fn unbind(queue: &str, exchange: &str, key: &str) -> Command {
    Command::UnbindQueue {
        queue: queue.into(),
        exchange: exchange.into(),
        key: key.into(),
        arguments: Table::default(),
    }
}

pub(super) fn link(source: &str, destination: &str, key: &str) -> Command {
    Command::BindExchange {
        source: source.into(),
        destination: destination.into(),
        key: key.into(),
        arguments: Table::default(),
    }
}

pub(super) fn delete_queue(name: &str) -> Command {
    Command::DeleteQueue { name: name.into(), if_unused: false, if_empty: false }
}

pub(super) fn delete_exchange(name: &str) -> Command {
    Command::DeleteExchange { name: name.into(), if_unused: false }
}

pub(super) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|d| String::from_utf8(d.message.body().to_vec()).unwrap()).collect()
}

impl Cluster {
    /// Starts a command on a channel; its answer may be there at once.
    pub(super) fn start(&mut self, client: Client, channel: ChannelId, command: Command) {
        let (at, now) = (self.seats[client.0].at, self.now);
        if command == Command::CloseChannel || command == Command::CloseConnection {
            self.give_all_back(client, &command, channel);
        }
        self.seats[client.0].waiting.push(channel);
        let answer = self.broker_of(client).execute(at.connection, channel, command, now);
        if let Some(answer) = answer {
            self.seats[client.0].note(vec![Event::Answer { channel, answer }]);
        }
    }

    /// A session settles what it has before it closes.
    fn give_all_back(&mut self, client: Client, command: &Command, channel: ChannelId) {
        let all = *command == Command::CloseConnection;
        let seat = &mut self.seats[client.0];
        let (gone, kept) = seat.held.iter().partition(|h| all || h.channel == channel);
        seat.held = kept;
        seat.closing.extend(if all { vec![ONE, TWO] } else { vec![channel] });
        let gone: Vec<Held> = gone;
        for held in gone {
            self.give_back(client, &held);
        }
    }

    /// Waits for the answer.
    pub(super) fn finish(&mut self, client: Client, channel: ChannelId) -> Answer {
        for _ in 0..5_000_000 {
            let log = &mut self.seats[client.0].log;
            let place = log
                .iter()
                .position(|e| matches!(e, Event::Answer { channel: c, .. } if *c == channel));
            if let Some(place) = place
                && let Event::Answer { answer, .. } = log.remove(place)
            {
                return answer;
            }
            assert!(self.step(), "no answer comes");
        }
        panic!("no answer comes");
    }

    /// Executes on channel one.
    pub(super) fn execute(&mut self, client: Client, command: Command) -> Answer {
        self.start(client, ONE, command);
        self.finish(client, ONE)
    }

    /// Executes what must succeed.
    pub(super) fn done(&mut self, client: Client, command: Command) {
        let shown = format!("{command:?}");
        match self.execute(client, command) {
            Answer::Done
            | Answer::Bound { .. }
            | Answer::QueueDeclared { .. }
            | Answer::Removed { .. } => {}
            other => panic!("{shown}: {other:?}"),
        }
    }

    pub(super) fn refused(&mut self, client: Client, command: Command) -> Refusal {
        let shown = format!("{command:?}");
        match self.execute(client, command) {
            Answer::Refused(refusal) => refusal,
            other => panic!("{shown}: {other:?}"),
        }
    }

    pub(super) fn consume(&mut self, client: Client, queue: &str, prefetch: u32) -> ConsumerRef {
        self.consume_with(client, ONE, queue, |c| c.prefetch = prefetch)
    }

    pub(super) fn consume_with(
        &mut self,
        client: Client,
        channel: ChannelId,
        queue: &str,
        change: impl FnOnce(&mut Consume),
    ) -> ConsumerRef {
        self.keys += 1;
        let mut consume = Consume {
            queue: queue.into(),
            key: ConsumerKey(self.keys),
            tag: "tag".into(),
            prefetch: 0,
            no_settle: false,
            exclusive: false,
            arguments: Table::default(),
        };
        change(&mut consume);
        self.start(client, channel, Command::Consume(Box::new(consume)));
        match self.finish(client, channel) {
            Answer::Consuming { consumer, .. } => consumer,
            other => panic!("{other:?}"),
        }
    }

    /// Publishes without waiting for anything.
    pub(super) fn send(
        &mut self,
        client: Client,
        publish: &Publish<'_>,
    ) -> Result<Published, Refusal> {
        let (at, now) = (self.seats[client.0].at, self.now);
        self.broker_of(client).publish(at.connection, ONE, publish, now)
    }

    pub(super) fn send_all(
        &mut self,
        client: Client,
        exchange: &str,
        key: &str,
        bodies: &[String],
    ) {
        for body in bodies {
            self.send(client, &publish(exchange, key, body)).unwrap();
        }
    }

    /// Publishes and waits for what became of it.
    pub(super) fn fate(&mut self, client: Client, mut publish: Publish<'_>) -> Fate {
        let seat = &mut self.seats[client.0];
        seat.seq += 1;
        let seq = PublishSeq(seat.seq);
        publish.seq = Some(seq);
        let from = seat.log.len();
        match self.send(client, &publish).unwrap() {
            Published::Stored => return Fate::Stored,
            Published::Overflowed => return Fate::Overflowed,
            Published::Unroutable => return Fate::Returned,
            Published::Pending => {}
        }
        for _ in 0..1_000_000 {
            let log = &self.seats[client.0].log[from..];
            let is_end = |e: &Event| matches!(e, Event::Stored { seq: s, .. } if *s == seq);
            if let Some(place) = log.iter().position(is_end) {
                let returned = log[..place].iter().any(|e| matches!(e, Event::Returned { .. }));
                let Event::Stored { accepted, .. } = log[place] else { panic!() };
                return match (returned, accepted) {
                    (true, true) => Fate::Returned,
                    (false, true) => Fate::Stored,
                    (_, false) => Fate::Overflowed,
                };
            }
            assert!(self.step(), "{publish:?} is never confirmed");
        }
        panic!("{publish:?} is never confirmed");
    }

    /// Publishes as mandatory and waits for what became of it.
    pub(super) fn offer(&mut self, client: Client, exchange: &str, key: &str, body: &str) -> Fate {
        let mandatory = Publish { mandatory: true, ..publish(exchange, key, body) };
        self.fate(client, mandatory)
    }

    /// Whatever was delivered to a client by now, and will be without anything else happening.
    pub(super) fn take(&mut self, client: Client) -> Vec<Delivery> {
        self.rest();
        let log = &mut self.seats[client.0].log;
        let (mut taken, mut kept) = (Vec::new(), Vec::new());
        for event in log.drain(..) {
            match event {
                Event::Delivery(delivery) => taken.push(delivery),
                other => kept.push(other),
            }
        }
        *log = kept;
        taken
    }

    pub(super) fn settle(&mut self, client: Client, delivery: &Delivery, outcome: Outcome) {
        let (at, now) = (self.seats[client.0].at, self.now);
        let held = &mut self.seats[client.0].held;
        let place = held.iter().position(|h| (h.queue, h.id) == (delivery.queue, delivery.id));
        held.remove(place.expect("it was settled before"));
        let counted = delivery.consumer.is_some();
        let which = (delivery.queue, delivery.id);
        self.broker_of(client).settle(
            at.connection,
            delivery.channel,
            which,
            outcome,
            counted,
            now,
        );
    }

    pub(super) fn accept(&mut self, client: Client, deliveries: &[Delivery]) {
        for delivery in deliveries {
            self.settle(client, delivery, Outcome::Accept);
        }
    }

    /// Fetches everything from a queue and accepts it.
    pub(super) fn drain(&mut self, client: Client, queue: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            match self.execute(client, Command::Get { queue: queue.into(), no_settle: true }) {
                Answer::Got { delivery, .. } => all.extend(bodies(&[*delivery])),
                Answer::Empty => return all,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Ready messages of a queue.
    pub(super) fn ready(&mut self, client: Client, name: &str) -> u64 {
        let mut look = queue(name, &[]);
        if let Command::DeclareQueue { passive, .. } = &mut look {
            *passive = true;
        }
        match self.execute(client, look) {
            Answer::QueueDeclared { messages, .. } => messages,
            other => panic!("{other:?}"),
        }
    }
}
