//! What must come, and what must not; everything else fails with what came instead.

use std::time::{Duration, Instant};

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::{Channel, Connection, Method, channel, connection};

use super::client::{Client, Event, GLANCE, PATIENCE, Received};

impl Client {
    /// The next frame must be a method on this channel that `pick` picks something from.
    pub(crate) fn expect<T>(
        &mut self,
        channel: u16,
        wanted: &str,
        pick: impl FnOnce(Method<'_>) -> Option<T>,
    ) -> T {
        let received = self.next(wanted);
        let picked =
            (received.channel == channel).then(|| received.method().and_then(pick)).flatten();
        picked.unwrap_or_else(|| {
            panic!("expected {wanted} on channel {channel}, got {}", received.describe())
        })
    }

    /// Skips frames until a method on this channel that `pick` picks something from.
    pub(crate) fn skip_until<T>(
        &mut self,
        channel: u16,
        wanted: &str,
        pick: impl Fn(Method<'_>) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let received = self.next(wanted);
            if received.channel == channel
                && let Some(picked) = received.method().and_then(&pick)
            {
                return picked;
            }
            assert!(Instant::now() < deadline, "no {wanted} within {PATIENCE:?}");
        }
    }

    /// connection.close with this code and these words in its text, which is answered, and the
    /// end of the connection; the whole text.
    pub(crate) fn expect_close(&mut self, code: u16, words: &str) -> String {
        let text = self.expect(0, &format!("connection.close {code}"), |method| match method {
            Method::Connection(Connection::Close(close)) if close.reply_code == code => {
                Some(close.reply_text.to_owned())
            }
            _ => None,
        });
        assert!(text.contains(words), "connection.close {code} says: {text}");
        self.send(0, &Connection::CloseOk);
        self.expect_eof();
        text
    }

    /// channel.close with this code and these words in its text, which is answered; the text.
    pub(crate) fn expect_channel_close(&mut self, channel: u16, code: u16, words: &str) -> String {
        let wanted = format!("channel.close {code}");
        let text = self.expect(channel, &wanted, |method| match method {
            Method::Channel(Channel::Close(close)) if close.reply_code == code => {
                Some(close.reply_text.to_owned())
            }
            _ => None,
        });
        assert!(text.contains(words), "channel.close {code} says: {text}");
        self.send(channel, &Channel::CloseOk);
        text
    }

    /// The broker closes the socket; frames before that fail.
    pub(crate) fn expect_eof(&mut self) {
        match self.next_event(PATIENCE) {
            Event::End => {}
            Event::Frame(received) => panic!("expected the end, got {}", received.describe()),
            Event::Silence => panic!("the broker has not closed the socket within {PATIENCE:?}"),
        }
    }

    /// Nothing but heartbeats comes, as far as a glance can tell.
    pub(crate) fn expect_silence(&mut self) {
        self.expect_silence_for(GLANCE);
    }

    /// Nothing but heartbeats comes within this time.
    pub(crate) fn expect_silence_for(&mut self, wait: Duration) {
        let deadline = Instant::now() + wait;
        loop {
            match self.next_event(deadline.saturating_duration_since(Instant::now())) {
                Event::Silence => return,
                Event::Frame(received) if received.kind == frame::HEARTBEAT => {}
                Event::Frame(received) => panic!("expected silence, got {}", received.describe()),
                Event::End => panic!("expected silence, but the broker closed the socket"),
            }
        }
    }

    /// A heartbeat comes within this time.
    pub(crate) fn expect_heartbeat(&mut self, wait: Duration) {
        match self.next_event(wait) {
            Event::Frame(Received { kind: frame::HEARTBEAT, channel: 0, .. }) => {}
            other => panic!("expected a heartbeat within {wait:?}, got {other:?}"),
        }
    }

    /// Opens a channel.
    pub(crate) fn open_channel(&mut self, number: u16) {
        self.send(number, &channel::Open { out_of_band: "" });
        self.expect(number, "channel.open-ok", |method| {
            matches!(method, Method::Channel(Channel::OpenOk(_))).then_some(())
        });
    }

    /// Closes a channel; deliveries that were on their way are skipped.
    pub(crate) fn close_channel(&mut self, number: u16) {
        let (reply_code, reply_text) = (200, "done");
        self.send(number, &channel::Close { reply_code, reply_text, class_id: 0, method_id: 0 });
        self.skip_until(number, "channel.close-ok", |method| {
            matches!(method, Method::Channel(Channel::CloseOk)).then_some(())
        });
    }

    /// Sends connection.close without waiting for anything.
    pub(crate) fn send_close(&mut self) {
        let (reply_code, reply_text) = (200, "bye");
        self.send(0, &connection::Close { reply_code, reply_text, class_id: 0, method_id: 0 });
    }
}
