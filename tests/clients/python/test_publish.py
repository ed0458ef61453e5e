"""basic.publish: properties, sizes, confirms, returns, transactions."""
import datetime
import decimal

import pika
import pytest
from pika.exceptions import NackError, UnroutableError

from support import (
    Consumer, channel_refusal, connect, connection_refusal, depth, drain, eventually, publish, put, take, take_when_there, unique,
    wait_depth,
)

HEADERS = {
    "text": "Grüße", "empty": "", "true": True, "false": False, "small": 1, "negative": -5, "wide": 2**40, "lowest": -(2**63),
    "octets": b"\x00\xff\x80", "nothing": None, "when": datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc),
    "decimal": decimal.Decimal("3.14"), "list": [1, "two", None, [3, {"four": 4}]], "table": {"deep": {"deeper": [True]}},
    "k" * 128: "a long name",
}


def test_all_properties_arrive_as_they_were_sent(channel, queue):
    sent = pika.BasicProperties(
        content_type="text/plain", content_encoding="gzip", headers=HEADERS, delivery_mode=2, priority=7, correlation_id="c-1",
        reply_to="answers", expiration="60000", message_id="m-1", timestamp=1_700_000_000, type="kind", user_id="guest",
        app_id="application", cluster_id="cluster",
    )
    put(channel, queue, "body", properties=sent)
    got = take_when_there(channel, queue)[1]
    assert got.__dict__ == sent.__dict__


@pytest.mark.parametrize("name", ["content_type", "headers", "delivery_mode", "priority", "timestamp", "cluster_id"])
def test_a_single_property_arrives_alone(channel, queue, name):
    value = {"headers": {"a": 1}, "delivery_mode": 1, "priority": 0, "timestamp": 0}.get(name, "text")
    put(channel, queue, "body", properties=pika.BasicProperties(**{name: value}))
    got = take_when_there(channel, queue)[1]
    assert {key: found for key, found in got.__dict__.items() if found is not None} == {name: value}


@pytest.mark.parametrize("size", [0, 1, 4087, 4088, 4089, 131063, 131064, 131065, 2**20])
def test_bodies_of_any_size_arrive_whole(channel, queue, size):
    body = bytes(range(256)) * (size // 256 + 1)
    put(channel, queue, body[:size])
    assert drain(channel, queue, 1) == [body[:size]]


def test_a_message_of_20_mib_passes_beside_small_ones(connection, other, channel, queue):
    body = bytes(range(256)) * (20 * 2**20 // 256)
    consumer = Consumer(other.channel(), queue, auto_ack=True)
    publish(channel, queue, "before", body, "after")
    consumer.wait(3, seconds=30)
    assert consumer.bodies == [b"before", body, b"after"]


def test_a_confirmed_message_is_in_its_queue(channel, queue):
    channel.confirm_delivery()
    for number in range(200):
        channel.basic_publish("", queue, f"{number}", pika.BasicProperties(delivery_mode=2))
    assert depth(channel, queue) == 200


def test_an_unroutable_message_is_confirmed_when_nobody_asks_for_it_back(channel):
    channel.confirm_delivery()
    channel.basic_publish("amq.direct", unique("nowhere"), "lost")


def test_an_unroutable_mandatory_message_comes_back_and_is_confirmed(channel):
    channel.confirm_delivery()
    key = unique("nowhere")
    properties = pika.BasicProperties(message_id="m-1", headers={"a": 1})
    with pytest.raises(UnroutableError) as caught:
        channel.basic_publish("amq.direct", key, "come back", properties, mandatory=True)
    (returned,) = caught.value.messages
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE")
    assert (returned.method.exchange, returned.method.routing_key, returned.body) == ("amq.direct", key, b"come back")
    assert returned.properties.__dict__ == properties.__dict__


def test_a_mandatory_message_that_is_routed_does_not_come_back(channel, queue):
    channel.confirm_delivery()
    channel.basic_publish("", queue, "stays", mandatory=True)
    assert drain(channel, queue, 1) == [b"stays"]


def test_unconfirmed_mandatory_messages_come_back_too(connection, channel, queue):
    returned = []
    channel.add_on_return_callback(lambda _channel, method, _properties, body: returned.append((method.routing_key, body)))
    key = unique("nowhere")
    for number in range(3):
        channel.basic_publish("", key, f"{number}", mandatory=True)
    eventually(connection, lambda: len(returned) == 3, "three returns")
    assert returned == [(key, b"0"), (key, b"1"), (key, b"2")]


def test_a_full_queue_that_rejects_answers_with_nack(channel):
    name = channel.queue_declare("", exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}).method.queue
    channel.confirm_delivery()
    channel.basic_publish("", name, "1")
    with pytest.raises(NackError):
        # The queue may take one more than it should while it learns that it is full, as RabbitMQ's does.
        for number in range(2, 5):
            channel.basic_publish("", name, f"{number}")


def test_immediate_is_not_implemented(connection, channel, queue):
    with connection_refusal(540, "NOT_IMPLEMENTED"):
        channel._impl._send_method(
            pika.spec.Basic.Publish(exchange="", routing_key=queue, immediate=True), (pika.BasicProperties(), b"now")
        )
        eventually(connection, lambda: depth(channel, queue) < 0, "the connection closes")


@pytest.mark.parametrize(
    "properties, text",
    [({"expiration": "soon"}, "expiration"), ({"expiration": "-1"}, "expiration"), ({"user_id": "somebody"}, "user_id"),
     ({"headers": {"CC": "not a list"}}, "CC"), ({"headers": {"BCC": 5}}, "BCC")],
    ids=str,
)
def test_a_bad_property_closes_the_channel(connection, channel, queue, properties, text):
    with channel_refusal(406, text):
        publish(channel, queue, "body", properties=pika.BasicProperties(**properties))
        eventually(connection, lambda: depth(channel, queue) < 0, "the channel closes")


def test_what_follows_a_refused_publish_is_skipped(connection, channel, queue):
    """Frames behind the refusal belong to a channel that is already closed (P72)."""
    with channel_refusal(404):
        channel.basic_publish(unique("missing"), "key", "x" * 300_000)
        for _ in range(50):
            channel.basic_publish("", queue, "y" * 10_000)
        eventually(connection, lambda: depth(channel, queue) < 0, "the channel closes")
    fresh = connection.channel()
    assert depth(fresh, queue) in range(51)  # pika may have seen the close before it sent them all.
    put(fresh, queue, "served")


def test_a_transaction_shows_its_messages_at_commit(other, channel, queue):
    channel.tx_select()
    publish(channel, queue, "1", "2")
    assert depth(other.channel(), queue) == 0
    channel.tx_commit()
    assert depth(channel, queue) == 2
    publish(channel, queue, "3")
    channel.tx_rollback()
    assert drain(other.channel(), queue, 2) == [b"1", b"2"]
    channel.tx_commit()
    assert depth(channel, queue) == 0


def test_a_transaction_holds_acknowledgements_until_commit(channel, queue, other):
    put(channel, queue, "1", "2")
    wait_depth(channel, queue, 2)
    channel.tx_select()
    first = take(channel, queue, auto_ack=False)[0].delivery_tag
    second = take(channel, queue, auto_ack=False)[0].delivery_tag
    channel.basic_ack(first)
    channel.tx_commit()
    channel.basic_ack(second)
    channel.tx_rollback()
    channel.close()
    third = other.channel()
    method, _, body = take_when_there(third, queue)
    assert (method.redelivered, body) == (True, b"2")
    assert take(third, queue) is None


def test_a_transaction_that_is_never_committed_leaves_nothing(channel, queue):
    lost = connect()
    lost_channel = lost.channel()
    lost_channel.tx_select()
    publish(lost_channel, queue, "lost")
    lost.close()
    assert depth(channel, queue) == 0


def test_mandatory_returns_of_a_transaction_come_at_commit(connection, channel):
    returned = []
    channel.add_on_return_callback(lambda _channel, method, _properties, body: returned.append(body))
    channel.tx_select()
    channel.basic_publish("", unique("nowhere"), "back", mandatory=True)
    connection.process_data_events(time_limit=0.1)
    assert returned == []
    channel.tx_commit()
    eventually(connection, lambda: returned == [b"back"], "the return")


@pytest.mark.parametrize("verb", ["tx_commit", "tx_rollback"])
def test_ending_a_transaction_that_was_never_begun_is_refused(channel, verb):
    with channel_refusal(406, "channel is not transactional"):
        getattr(channel, verb)()


def test_a_channel_is_either_transactional_or_confirming(connection):
    channel = connection.channel()
    channel.tx_select()
    channel.tx_select()
    with channel_refusal(406, "cannot switch from tx to confirm mode"):
        channel.confirm_delivery()
    channel = connection.channel()
    channel.confirm_delivery()
    with channel_refusal(406, "cannot switch from confirm to tx mode"):
        channel.tx_select()
