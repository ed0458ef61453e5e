"""pika's asynchronous adapter: what comes back without being waited for, and in which order."""
import pika
import pytest

from support import parameters, unique


class Session:
    """One SelectConnection with one channel, driven by a function that is called when both are open."""

    def __init__(self, begin):
        self.events = []
        self.error = None
        self.begin = begin
        self.connection = pika.SelectConnection(
            parameters(), on_open_callback=self._on_open, on_open_error_callback=self._on_failure, on_close_callback=self._on_close
        )

    def _on_open(self, connection):
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel):
        self.channel = channel
        self.begin(self, channel)

    def _on_failure(self, _connection, error):
        self.error = error
        self.connection.ioloop.stop()

    def _on_close(self, _connection, reason):
        self.reason = reason
        self.connection.ioloop.stop()

    def finish(self, *_):
        """Ends the session from inside."""
        self.connection.close()

    def run(self, seconds=20):
        """Runs until `finish`; more than `seconds` is a failure."""

        def give_up():
            self.error = self.error or TimeoutError(f"not finished; events so far: {self.events[-20:]}")
            self.connection.close()

        self.connection.ioloop.call_later(seconds, give_up)
        self.connection.ioloop.start()
        if self.error:
            raise self.error
        return self.events


def test_confirms_come_in_order_and_cover_every_message():
    def begin(session, channel):
        settled = set()

        def on_confirm(frame):
            method = frame.method
            assert isinstance(method, pika.spec.Basic.Ack)
            session.events.append(method.delivery_tag)
            fresh = range(max(settled, default=0) + 1, method.delivery_tag + 1) if method.multiple else [method.delivery_tag]
            settled.update(fresh)
            if len(settled) == 2000:
                session.finish()

        def on_declared(frame):
            queue = frame.method.queue
            channel.confirm_delivery(on_confirm, callback=lambda _: [
                channel.basic_publish("", queue, str(number), pika.BasicProperties(delivery_mode=2)) for number in range(2000)
            ])

        channel.queue_declare("", exclusive=True, callback=on_declared)

    tags = Session(begin).run()
    assert tags[-1] == 2000 or max(tags) == 2000
    assert len(tags) == len(set(tags))


def test_a_return_comes_before_the_confirm_of_its_message():
    def begin(session, channel):
        channel.add_on_return_callback(lambda _channel, method, _properties, body: session.events.append(("return", body)))

        def on_confirm(frame):
            session.events.append(("confirm", frame.method.delivery_tag))
            if frame.method.delivery_tag == 1:
                session.finish()

        channel.confirm_delivery(on_confirm, callback=lambda _: channel.basic_publish(
            "amq.direct", unique("nowhere"), b"back", mandatory=True
        ))

    assert Session(begin).run() == [("return", b"back"), ("confirm", 1)]


def test_requests_sent_at_once_are_answered_in_order():
    count = 50

    def begin(session, channel):
        def on_declared(number):
            def answered(_frame):
                session.events.append(number)
                if number == count - 1:
                    session.finish()
            return answered

        for number in range(count):
            channel.queue_declare(unique("pipelined"), exclusive=True, callback=on_declared(number))

    assert Session(begin).run() == list(range(count))


def test_a_stream_of_messages_flows_through_prefetch():
    count = 3000

    def begin(session, channel):
        def on_message(_channel, method, _properties, body):
            session.events.append(int(body))
            channel.basic_ack(method.delivery_tag)
            if len(session.events) == count:
                session.finish()

        def on_declared(frame):
            queue = frame.method.queue
            channel.basic_qos(prefetch_count=10, callback=lambda _: channel.basic_consume(queue, on_message, callback=lambda _: [
                channel.basic_publish("", queue, str(number)) for number in range(count)
            ]))

        channel.queue_declare("", exclusive=True, callback=on_declared)

    assert Session(begin).run() == list(range(count))


def test_a_closed_channel_tells_its_code_and_the_connection_stays():
    def begin(session, channel):
        def on_closed(_channel, reason):
            session.events.append(reason.reply_code)
            session.connection.channel(on_open_callback=lambda fresh: session.finish())

        channel.add_on_close_callback(on_closed)
        channel.queue_declare(unique("missing"), passive=True)

    assert Session(begin).run() == [404]


@pytest.mark.parametrize("kind", ["queue_purge", "queue_delete"])
def test_a_callback_is_called_for_each_request(kind):
    def begin(session, channel):
        def on_declared(frame):
            getattr(channel, kind)(frame.method.queue, callback=on_done)

        def on_done(frame):
            session.events.append(frame.method.message_count)
            session.finish()

        channel.queue_declare("", exclusive=True, callback=on_declared)

    assert Session(begin).run() == [0]
