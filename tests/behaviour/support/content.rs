//! Methods with content, whole: method, header, body.

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::{Basic, Method};
use ringmq::protocol::amqp091::wire::properties::{ContentHeader, Properties};
use ringmq::value::Table;

use super::client::{Client, Received};

/// What a message came with; fields that its method does not have are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Content {
    /// basic.deliver only.
    pub(crate) consumer_tag: String,
    /// basic.deliver and basic.get-ok.
    pub(crate) delivery_tag: u64,
    /// basic.deliver and basic.get-ok.
    pub(crate) redelivered: bool,
    /// All.
    pub(crate) exchange: String,
    /// All.
    pub(crate) routing_key: String,
    /// basic.get-ok only.
    pub(crate) message_count: u32,
    /// basic.return only: code and text.
    pub(crate) reply: Option<(u16, String)>,
    /// The property block, flags and values.
    pub(crate) properties: Vec<u8>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Content {
    /// The properties, decoded.
    pub(crate) fn decoded(&self) -> Properties<'_> {
        Properties::decode(&self.properties).expect("the broker sends properties that are some")
    }

    /// The headers; empty when there are none.
    pub(crate) fn headers(&self) -> Table {
        self.decoded().headers.map_or_else(Table::default, |headers| headers.to_value())
    }

    /// The fields of the method, when it is one that carries content.
    fn of(method: &Method<'_>) -> Option<Self> {
        let Method::Basic(method) = method else { return None };
        let content = match *method {
            Basic::Deliver(deliver) => Self {
                consumer_tag: deliver.consumer_tag.to_owned(),
                delivery_tag: deliver.delivery_tag,
                redelivered: deliver.redelivered,
                exchange: deliver.exchange.to_owned(),
                routing_key: deliver.routing_key.to_owned(),
                ..Self::default()
            },
            Basic::GetOk(got) => Self {
                delivery_tag: got.delivery_tag,
                redelivered: got.redelivered,
                exchange: got.exchange.to_owned(),
                routing_key: got.routing_key.to_owned(),
                message_count: got.message_count,
                ..Self::default()
            },
            Basic::Return(returned) => Self {
                exchange: returned.exchange.to_owned(),
                routing_key: returned.routing_key.to_owned(),
                reply: Some((returned.reply_code, returned.reply_text.to_owned())),
                ..Self::default()
            },
            _ => return None,
        };
        Some(content)
    }
}

/// A property block of these properties: `properties(|p| p.priority = Some(3))`.
pub(crate) fn properties<'a>(set: impl FnOnce(&mut Properties<'a>)) -> Vec<u8> {
    let mut properties = Properties::default();
    set(&mut properties);
    properties.to_block()
}

impl Client {
    /// The next message on this channel by the method that `is_wanted` wants.
    fn expect_content(
        &mut self,
        channel: u16,
        wanted: &str,
        is_wanted: impl Fn(&Basic<'_>) -> bool,
    ) -> Content {
        let content = self.expect(channel, wanted, |method| {
            matches!(&method, Method::Basic(basic) if is_wanted(basic))
                .then(|| Content::of(&method))
                .flatten()
        });
        self.finish_content(channel, content)
    }

    /// Header and body behind a method that has been read.
    pub(crate) fn finish_content(&mut self, channel: u16, mut content: Content) -> Content {
        let header = self.next("a content header");
        assert_eq!(
            (header.kind, header.channel),
            (frame::HEADER, channel),
            "{}",
            header.describe()
        );
        let decoded = ContentHeader::decode(&header.payload).expect("a content header");
        content.properties = decoded.properties.to_vec();
        let body_bytes = usize::try_from(decoded.body_bytes).expect("a body that fits in memory");
        while content.body.len() < body_bytes {
            let piece = self.next("a piece of the body");
            assert_eq!((piece.kind, piece.channel), (frame::BODY, channel), "{}", piece.describe());
            content.body.extend_from_slice(&piece.payload);
        }
        assert_eq!(content.body.len(), body_bytes, "octets of the body");
        content
    }

    /// basic.deliver.
    pub(crate) fn expect_delivery(&mut self, channel: u16) -> Content {
        self.expect_content(channel, "basic.deliver", |basic| matches!(basic, Basic::Deliver(_)))
    }

    /// So many basic.deliver, in order.
    pub(crate) fn expect_deliveries(&mut self, channel: u16, count: usize) -> Vec<Content> {
        (0..count).map(|_| self.expect_delivery(channel)).collect()
    }

    /// basic.return.
    pub(crate) fn expect_return(&mut self, channel: u16) -> Content {
        self.expect_content(channel, "basic.return", |basic| matches!(basic, Basic::Return(_)))
    }

    /// basic.get-ok with its message, or `None` for basic.get-empty.
    pub(crate) fn expect_get(&mut self, channel: u16) -> Option<Content> {
        let received: Received = self.next("basic.get-ok or basic.get-empty");
        let method = received.method();
        match (received.channel == channel).then_some(method).flatten() {
            Some(Method::Basic(Basic::GetEmpty(_))) => None,
            Some(method @ Method::Basic(Basic::GetOk(_))) => {
                let content = Content::of(&method).expect("it carries content");
                Some(self.finish_content(channel, content))
            }
            _ => panic!("expected the answer of basic.get, got {}", received.describe()),
        }
    }
}
