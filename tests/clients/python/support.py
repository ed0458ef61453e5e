"""What the pika suites share: where the broker is, fresh names, patient waiting, expected refusals."""
import contextlib
import itertools
import os
import time

import pika
import pytest
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker, UnroutableError

URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
REFERENCE = os.environ.get("BROKER") == "rabbitmq"
PERSISTENT = pika.BasicProperties(delivery_mode=2)

_numbers = itertools.count(1)


def unique(kind):
    """A name nobody else uses, neither in this run nor in one beside it."""
    return f"{kind}-{os.getpid()}-{time.time_ns() % 10**9}-{next(_numbers)}"


def parameters(**changes):
    """The connection parameters of AMQP_URL with some of them changed."""
    result = pika.URLParameters(URL)
    result.socket_timeout = 10
    result.stack_timeout = 20
    result.blocked_connection_timeout = 30
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def connect(**changes):
    """A blocking connection."""
    return pika.BlockingConnection(parameters(**changes))


def close_quietly(connection):
    """Closes what a test may have lost already."""
    with contextlib.suppress(AMQPError):
        if connection.is_open:
            connection.close()


def delete_queue(*names):
    """Removes queues on a connection of its own, so that a closed channel does not leave them."""
    connection = connect()
    channel = connection.channel()
    for name in names:
        channel.queue_delete(name)
    connection.close()


@contextlib.contextmanager
def channel_refusal(code, text=""):
    """The block must end with the broker closing the channel with this code and these words."""
    with pytest.raises(ChannelClosedByBroker) as caught:
        yield
    assert caught.value.reply_code == code, caught.value
    assert text in caught.value.reply_text, caught.value


@contextlib.contextmanager
def connection_refusal(code, text=""):
    """The block must end with the broker closing the connection with this code and these words."""
    with pytest.raises(ConnectionClosedByBroker) as caught:
        yield
    assert caught.value.reply_code == code, caught.value
    assert text in caught.value.reply_text, caught.value


def eventually(connection, check, what, seconds=10):
    """Serves the connection until `check` holds; the result of `check`."""
    deadline = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < deadline, f"did not happen within {seconds} s: {what}"
        connection.process_data_events(time_limit=0.02)


def depth(channel, queue):
    """Ready messages of a queue."""
    return channel.queue_declare(queue, passive=True).method.message_count


def consumers(channel, queue):
    """Consumers of a queue."""
    return channel.queue_declare(queue, passive=True).method.consumer_count


def wait_depth(channel, queue, count, seconds=10):
    """Waits until so many messages are ready."""
    eventually(channel.connection, lambda: depth(channel, queue) == count, f"{queue} holds {count}", seconds)


def queue_exists(name):
    """Asks on a channel of its own, since a refusal would close it."""
    connection = connect()
    try:
        connection.channel().queue_declare(name, passive=True)
        return True
    except ChannelClosedByBroker as refusal:
        assert refusal.reply_code in (404, 405), refusal
        return refusal.reply_code == 405
    finally:
        close_quietly(connection)


def is_routable(queue):
    """Whether a queue is there, asked without using it: x-expires counts a declaration as use."""
    connection = connect()
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        channel.basic_publish("", queue, "probe", mandatory=True)
        return True
    except UnroutableError:
        return False
    finally:
        close_quietly(connection)


def exchange_exists(name):
    """As `queue_exists`, for an exchange."""
    connection = connect()
    try:
        connection.channel().exchange_declare(name, passive=True)
        return True
    except ChannelClosedByBroker as refusal:
        assert refusal.reply_code == 404, refusal
        return False
    finally:
        close_quietly(connection)


def publish(channel, queue, *bodies, properties=None):
    """Publishes bodies to a queue through the default exchange, on this channel, unconfirmed unless it confirms."""
    for body in bodies:
        channel.basic_publish("", queue, body, properties)


def put(channel, queue, *bodies, properties=None):
    """The same, but what it published is in the queue when it returns: on a confirming channel beside this one.

    A declaration that asks for the depth may overtake publishes of its own channel (in RabbitMQ it does).
    """
    connection = channel.connection
    confirming = getattr(connection, "confirming_channel", None)
    if confirming is None or not confirming.is_open:
        confirming = connection.confirming_channel = connection.channel()
        confirming.confirm_delivery()
    publish(confirming, queue, *bodies, properties=properties)


def take(channel, queue, auto_ack=True):
    """One basic.get: (method, properties, body), or None when the queue is empty."""
    method, properties, body = channel.basic_get(queue, auto_ack=auto_ack)
    return None if method is None else (method, properties, body)


def take_when_there(channel, queue, auto_ack=True, seconds=10):
    """basic.get until a message has come."""
    return eventually(channel.connection, lambda: take(channel, queue, auto_ack), f"a message in {queue}", seconds)


def drain(channel, queue, count, seconds=10):
    """The bodies of the next `count` messages, in order."""
    return [take_when_there(channel, queue, seconds=seconds)[2] for _ in range(count)]


class Consumer:
    """A consumer that keeps what it gets."""

    def __init__(self, channel, queue, auto_ack=False, **options):
        self.channel = channel
        self.deliveries = []
        self.tag = channel.basic_consume(queue, self._on_message, auto_ack=auto_ack, **options)

    def _on_message(self, _channel, method, properties, body):
        self.deliveries.append((method, properties, body))

    @property
    def bodies(self):
        """The bodies so far, in order."""
        return [body for _, _, body in self.deliveries]

    def wait(self, count, seconds=10):
        """Waits until at least `count` deliveries are here; the deliveries."""
        eventually(self.channel.connection, lambda: len(self.deliveries) >= count, f"{count} deliveries", seconds)
        return self.deliveries

    def stays_at(self, count, seconds=0.25):
        """No more than `count` deliveries come, as far as a short look can tell."""
        self.wait(count)
        self.channel.connection.process_data_events(time_limit=seconds)
        assert len(self.deliveries) == count, self.bodies

    def ack(self, position=-1, multiple=False):
        """Acknowledges the delivery at that position of the list."""
        self.channel.basic_ack(self.deliveries[position][0].delivery_tag, multiple=multiple)
