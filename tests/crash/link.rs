//! A connection that may end at any moment, which is no failure here. Over the client of the
//! behaviour tests. May import the codec of the crate.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::{
    Basic, Channel, Connection, Encode, Method, Queue, basic, channel, confirm, queue,
};
use ringmq::protocol::amqp091::wire::properties::{ContentHeader, Properties};
use ringmq::value::Value;

use crate::support::client::{Client, Event, Received};
use crate::support::content::properties;
use crate::support::handshake::Login;
use crate::support::methods;

/// How long an answer may take. Arbitrary, far above what a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A message that came.
#[derive(Debug)]
pub(crate) struct Message {
    /// To settle it by.
    pub(crate) tag: u64,
    /// It may have been delivered before.
    pub(crate) is_again: bool,
    /// The property block.
    pub(crate) properties: Vec<u8>,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// It was returned to its publisher.
    pub(crate) is_returned: bool,
}

impl Message {
    /// The first death in its x-death header: queue, reason and count.
    pub(crate) fn first_death(&self) -> Option<(String, String, i64)> {
        let headers = Properties::decode(&self.properties).ok()?.headers?.to_value();
        let Some(Value::Array(deaths)) = headers.get("x-death") else { return None };
        let Some(Value::Table(death)) = deaths.first() else { return None };
        let text = |name| death.get(name).and_then(Value::as_text).map(str::to_owned);
        Some((text("queue")?, text("reason")?, death.get("count")?.as_integer()?))
    }
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A delivery, or a message returned.
    Message(Message),
    /// Any other method.
    Method(Received),
    /// Nothing within the time.
    Silence,
    /// The connection is over.
    End,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer<T> {
    /// It was answered.
    Done(T),
    /// The channel was closed with this code, and has been opened again.
    Refused(u16),
    /// The connection is over: nobody knows.
    Unknown,
}

/// See the module. Everything is on channel 1.
#[derive(Debug)]
pub(crate) struct Link {
    client: Client,
}

impl Link {
    /// A connection that has logged in. The broker must be up.
    pub(crate) fn open(addr: SocketAddr) -> Self {
        let mut client = Client::connect(addr);
        client.log_in(&Login::default());
        client.open_channel(1);
        Self { client }
    }

    /// What comes within `wait`.
    pub(crate) fn next(&mut self, wait: Duration) -> Next {
        loop {
            match self.client.next_event(wait) {
                Event::Silence => return Next::Silence,
                Event::End => return Next::End,
                Event::Frame(received) if received.kind == frame::HEARTBEAT => {}
                Event::Frame(received) => return self.whole(received),
            }
        }
    }

    /// A method, with the content that belongs to it.
    fn whole(&mut self, received: Received) -> Next {
        let message = |tag, is_again, is_returned| Message {
            tag,
            is_again,
            properties: Vec::new(),
            body: Vec::new(),
            is_returned,
        };
        let start = match received.method() {
            Some(Method::Connection(Connection::Close(_))) => {
                self.client.send(0, &Connection::CloseOk);
                return Next::End;
            }
            Some(Method::Basic(Basic::Deliver(it))) => {
                message(it.delivery_tag, it.redelivered, false)
            }
            Some(Method::Basic(Basic::GetOk(it))) => {
                message(it.delivery_tag, it.redelivered, false)
            }
            Some(Method::Basic(Basic::Return(_))) => message(0, false, true),
            _ => return Next::Method(received),
        };
        self.with_content(start).map_or(Next::End, Next::Message)
    }

    fn with_content(&mut self, mut message: Message) -> Option<Message> {
        let header = self.piece()?;
        let header = ContentHeader::decode(&header.payload).expect("a content header");
        message.properties = header.properties.to_vec();
        let bytes = usize::try_from(header.body_bytes).expect("a body that fits in memory");
        while message.body.len() < bytes {
            message.body.extend_from_slice(&self.piece()?.payload);
        }
        Some(message)
    }

    fn piece(&mut self) -> Option<Received> {
        match self.client.next_event(PATIENCE) {
            Event::Frame(received) => Some(received),
            Event::End | Event::Silence => None,
        }
    }

    /// Sends a request; other messages that come before its answer are dropped.
    pub(crate) fn ask<T>(
        &mut self,
        method: &impl Encode,
        pick: impl Fn(Method<'_>) -> Option<T>,
    ) -> Answer<T> {
        self.send(method);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.next(PATIENCE) {
                Next::Silence | Next::End => return Answer::Unknown,
                Next::Message(_) => {}
                Next::Method(received) => {
                    if let Some(code) = closed(&received) {
                        return self.reopen(code);
                    }
                    if let Some(answer) = received.method().and_then(&pick) {
                        return Answer::Done(answer);
                    }
                }
            }
        }
        Answer::Unknown
    }

    /// After channel.close with this code.
    pub(crate) fn reopen<T>(&mut self, code: u16) -> Answer<T> {
        self.send(&Channel::CloseOk);
        let opened = self.ask(&channel::Open { out_of_band: "" }, |method| {
            matches!(method, Method::Channel(Channel::OpenOk(_))).then_some(())
        });
        if opened == Answer::Done(()) { Answer::Refused(code) } else { Answer::Unknown }
    }

    /// Sends a method. A socket that is closed already is no failure.
    pub(crate) fn send(&mut self, method: &impl Encode) {
        self.client.send(1, method);
    }

    /// Publishes a persistent message.
    pub(crate) fn publish(
        &mut self,
        exchange: &str,
        key: &str,
        priority: Option<u8>,
        is_mandatory: bool,
        body: &[u8],
    ) {
        let block = properties(|it| {
            it.delivery_mode = Some(2);
            it.priority = priority;
        });
        let method = basic::Publish { mandatory: is_mandatory, ..methods::publish(exchange, key) };
        self.client.send_content(1, &method, &block, body);
    }

    /// confirm.select.
    pub(crate) fn confirm_select(&mut self) -> Answer<()> {
        self.ask(&confirm::Select { no_wait: false }, |method| {
            matches!(method, Method::Confirm(_)).then_some(())
        })
    }

    /// Begins to consume with this prefetch; 0 for any number.
    pub(crate) fn consume(&mut self, queue: &str, prefetch_count: u16) -> Answer<()> {
        let limit = basic::Qos { prefetch_size: 0, prefetch_count, global: false };
        let limited =
            self.ask(&limit, |method| matches!(method, Method::Basic(Basic::QosOk)).then_some(()));
        if limited != Answer::Done(()) {
            return limited;
        }
        // Deliveries may follow at once, and none comes before this answer.
        self.ask(&methods::consume(queue, "tag"), |method| {
            matches!(method, Method::Basic(Basic::ConsumeOk(_))).then_some(())
        })
    }

    /// Settles by basic.ack.
    pub(crate) fn accept(&mut self, delivery_tag: u64, multiple: bool) {
        self.send(&basic::Ack { delivery_tag, multiple });
    }

    /// Settles by basic.nack.
    pub(crate) fn give_back(&mut self, delivery_tag: u64, requeue: bool) {
        self.send(&basic::Nack { delivery_tag, multiple: false, requeue });
    }

    /// Ready messages of a queue, by a passive declaration.
    pub(crate) fn ready(&mut self, name: &str) -> Answer<u32> {
        let method = queue::Declare { passive: true, durable: true, ..methods::declare(name) };
        self.ask(&method, declared)
    }

    /// Another handle of the socket.
    pub(crate) fn stream(&self) -> TcpStream {
        self.client.stream()
    }

    /// Says goodbye and waits for the answer, so that everything that was sent has been read.
    pub(crate) fn close(mut self) {
        self.client.send_close();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.client.next_event(PATIENCE) {
                Event::End | Event::Silence => return,
                Event::Frame(received) => {
                    let method = received.method();
                    if matches!(method, Some(Method::Connection(Connection::CloseOk))) {
                        return;
                    }
                }
            }
        }
    }
}

/// Messages in queue.declare-ok.
pub(crate) fn declared(method: Method<'_>) -> Option<u32> {
    if let Method::Queue(Queue::DeclareOk(ok)) = method { Some(ok.message_count) } else { None }
}

/// The code, if this is channel.close.
pub(crate) fn closed(received: &Received) -> Option<u16> {
    match received.method() {
        Some(Method::Channel(Channel::Close(close))) => Some(close.reply_code),
        _ => None,
    }
}
