"""Time to live, length limits, priorities, dead letters, redelivery limits, duplicates."""
import datetime

import pika
import pytest
from pika.exceptions import NackError

from support import (
    REFERENCE, Consumer, channel_refusal, delete_queue, depth, drain, eventually, publish, put, take, take_when_there, unique,
    wait_depth,
)


@pytest.fixture
def declare(channel):
    """Declares exclusive queues with these arguments."""
    return lambda **arguments: channel.queue_declare(
        unique("queue"), exclusive=True, arguments={f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    ).method.queue


@pytest.fixture
def graveyard(declare):
    """Where messages go when they die."""
    return declare()


def dead(channel, queue):
    """Headers and body of the next dead message, its x-death without the time, which is checked by itself."""
    method, properties, body = take_when_there(channel, queue)
    deaths = properties.headers["x-death"]
    for death in deaths:
        assert abs(death.pop("time") - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(minutes=2)
    return method, properties, body


def death(queue, reason, exchange, key, count=1, **more):
    """One entry of x-death."""
    return {"queue": queue, "reason": reason, "exchange": exchange, "routing-keys": [key], "count": count, **more}


def test_messages_expire_after_the_time_of_their_queue(channel, declare):
    queue = declare(message_ttl=200)
    put(channel, queue, "1", "2")
    wait_depth(channel, queue, 0, seconds=5)


def test_messages_expire_after_their_own_time(channel, queue):
    put(channel, queue, "short", properties=pika.BasicProperties(expiration="200"))
    put(channel, queue, "long", properties=pika.BasicProperties(expiration="60000"))
    wait_depth(channel, queue, 1, seconds=5)
    assert drain(channel, queue, 1) == [b"long"]


def test_the_shorter_time_counts(channel, declare):
    queue = declare(message_ttl=60000)
    put(channel, queue, "gone", properties=pika.BasicProperties(expiration="100"))
    wait_depth(channel, queue, 0, seconds=5)
    queue = declare(message_ttl=100)
    put(channel, queue, "gone", properties=pika.BasicProperties(expiration="60000"))
    wait_depth(channel, queue, 0, seconds=5)


@pytest.mark.parametrize("how", ["queue", "message"])
def test_time_zero_delivers_at_once_or_not_at_all(channel, declare, how):
    queue = declare(message_ttl=0) if how == "queue" else declare()
    properties = pika.BasicProperties(expiration="0") if how == "message" else None
    put(channel, queue, "gone", properties=properties)
    wait_depth(channel, queue, 0)
    assert take(channel, queue) is None
    consumer = Consumer(channel, queue, auto_ack=True)
    put(channel, queue, "delivered", properties=properties)
    consumer.wait(1)


def test_an_expired_message_is_never_delivered(connection, channel, declare):
    queue = declare()
    channel.basic_qos(prefetch_count=1)
    consumer = Consumer(channel, queue)
    put(channel, queue, "1")
    put(channel, queue, "2", properties=pika.BasicProperties(expiration="100"))
    put(channel, queue, "3")
    consumer.wait(1)
    connection.process_data_events(time_limit=0.4)
    consumer.ack()
    consumer.wait(2)
    assert consumer.bodies == [b"1", b"3"]


def test_an_expired_message_goes_to_the_dead_letter_exchange(channel, declare, graveyard):
    queue = declare(message_ttl=100, dead_letter_exchange="", dead_letter_routing_key=graveyard)
    put(channel, queue, "body", properties=pika.BasicProperties(message_id="m-1", headers={"kept": 1}, delivery_mode=2))
    method, properties, body = dead(channel, graveyard)
    assert (body, method.exchange, method.routing_key, method.redelivered) == (b"body", "", graveyard, False)
    assert (properties.message_id, properties.delivery_mode, properties.headers["kept"]) == ("m-1", 2, 1)
    assert properties.headers["x-death"] == [death(queue, "expired", "", queue)]
    for name, value in {"queue": queue, "reason": "expired", "exchange": ""}.items():
        assert properties.headers[f"x-first-death-{name}"] == value
        if not REFERENCE:  # RabbitMQ has these since 3.13.
            assert properties.headers[f"x-last-death-{name}"] == value


def test_the_own_time_of_a_message_ends_with_its_death(channel, declare, graveyard):
    queue = declare(dead_letter_exchange="", dead_letter_routing_key=graveyard)
    put(channel, queue, "body", properties=pika.BasicProperties(expiration="100"))
    _, properties, _ = dead(channel, graveyard)
    assert properties.expiration is None
    assert properties.headers["x-death"] == [death(queue, "expired", "", queue, **{"original-expiration": "100"})]


@pytest.mark.parametrize("how", ["reject", "nack", "nack multiple"])
def test_a_refused_message_goes_to_the_dead_letter_exchange(channel, declare, graveyard, how):
    queue = declare(dead_letter_exchange="amq.direct")  # Its own routing key is kept.
    channel.queue_bind(graveyard, "amq.direct", queue)
    put(channel, queue, "body")
    tag = take_when_there(channel, queue, auto_ack=False)[0].delivery_tag
    if how == "reject":
        channel.basic_reject(tag, requeue=False)
    else:
        channel.basic_nack(tag, multiple=how.endswith("multiple"), requeue=False)
    method, properties, _ = dead(channel, graveyard)
    assert (method.exchange, method.routing_key) == ("amq.direct", queue)
    assert properties.headers["x-death"] == [death(queue, "rejected", "", queue)]


def test_a_message_that_falls_out_of_a_full_queue_is_dead_lettered(channel, declare, graveyard):
    queue = declare(max_length=2, dead_letter_exchange="", dead_letter_routing_key=graveyard)
    put(channel, queue, "1", "2", "3")
    _, properties, body = dead(channel, graveyard)
    assert body == b"1"
    assert properties.headers["x-death"] == [death(queue, "maxlen", "", queue)]
    assert drain(channel, queue, 2) == [b"2", b"3"]


def test_dying_again_counts(channel, declare, graveyard):
    queue = declare(dead_letter_exchange="", dead_letter_routing_key=graveyard)
    other = declare(dead_letter_exchange="", dead_letter_routing_key=graveyard)
    headers = None
    for target in (queue, queue, other):
        put(channel, target, "body", properties=pika.BasicProperties(headers=headers))
        tag = take_when_there(channel, target, auto_ack=False)[0].delivery_tag
        channel.basic_reject(tag, requeue=False)
        _, properties, _ = take_when_there(channel, graveyard)
        headers = properties.headers
    counts = [(entry["queue"], entry["reason"], entry["count"]) for entry in headers["x-death"]]
    # What a client publishes with x-death in it may be taken for a history (RabbitMQ up to 3.13) or not (4.0).
    assert counts[0] == (other, "rejected", 1)
    assert headers["x-first-death-queue"] == queue


def test_a_message_that_travels_by_itself_gathers_its_deaths(channel, declare):
    end = declare()
    third = declare(message_ttl=50, dead_letter_exchange="", dead_letter_routing_key=end)
    second = declare(message_ttl=50, dead_letter_exchange="", dead_letter_routing_key=third)
    first = declare(max_length=0, dead_letter_exchange="", dead_letter_routing_key=second)
    put(channel, first, "body")
    _, properties, _ = dead(channel, end)
    deaths = properties.headers["x-death"]
    if REFERENCE:  # Only the newest had a sure place before RabbitMQ 4.0.
        deaths[1:] = sorted(deaths[1:], key=lambda entry: entry["reason"])
    assert deaths == [
        death(third, "expired", "", third), death(second, "expired", "", second), death(first, "maxlen", "", first),
    ]
    assert (properties.headers["x-first-death-queue"], properties.headers["x-first-death-reason"]) == (first, "maxlen")


def test_a_cycle_without_a_refusal_ends(connection, channel):
    first, second = unique("queue"), unique("queue")
    channel.queue_declare(first, arguments={"x-message-ttl": 50, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": second})
    channel.queue_declare(second, arguments={"x-message-ttl": 50, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": first})
    put(channel, first, "body")
    eventually(connection, lambda: depth(channel, first) == 0 and depth(channel, second) == 0, "it is dropped")
    connection.process_data_events(time_limit=0.3)
    assert (depth(channel, first), depth(channel, second)) == (0, 0)
    delete_queue(first, second)


def test_a_cycle_with_a_refusal_goes_on(channel):
    work, pause = unique("work"), unique("pause")
    channel.queue_declare(work, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": pause})
    channel.queue_declare(pause, arguments={"x-message-ttl": 20, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": work})
    put(channel, work, "retry")
    for turn in range(5):
        method, properties, _ = take_when_there(channel, work, auto_ack=False)
        if turn:
            counts = {(entry["queue"], entry["reason"]): entry["count"] for entry in properties.headers["x-death"]}
            assert counts == {(work, "rejected"): turn, (pause, "expired"): turn}
        channel.basic_reject(method.delivery_tag, requeue=False)
    delete_queue(work, pause)


def test_a_dead_letter_exchange_that_is_missing_swallows(channel, declare):
    queue = declare(message_ttl=20, dead_letter_exchange=unique("missing"))
    put(channel, queue, "gone")
    wait_depth(channel, queue, 0, seconds=5)


def test_a_full_queue_drops_its_oldest(channel, declare):
    queue = declare(max_length=3)
    put(channel, queue, *"12345")
    wait_depth(channel, queue, 3)
    assert drain(channel, queue, 3) == [b"3", b"4", b"5"]


def test_a_queue_full_of_octets_drops_its_oldest(channel, declare):
    queue = declare(max_length_bytes=10)
    put(channel, queue, "aaaa", "bbbb", "cccc")
    wait_depth(channel, queue, 2)
    assert drain(channel, queue, 2) == [b"bbbb", b"cccc"]


def test_what_is_out_for_delivery_does_not_count_as_length(channel, declare):
    queue = declare(max_length=2)
    put(channel, queue, "1", "2")
    wait_depth(channel, queue, 2)
    take(channel, queue, auto_ack=False)
    put(channel, queue, "3")
    wait_depth(channel, queue, 2)
    assert drain(channel, queue, 2) == [b"2", b"3"]


def test_a_full_queue_may_refuse_instead(connection, channel, declare):
    queue = declare(max_length=2, overflow="reject-publish")
    put(channel, queue, *"12")
    publisher = connection.channel()
    publisher.confirm_delivery()
    for body in "345":
        with pytest.raises(NackError):
            publish(publisher, queue, body)
    assert drain(channel, queue, 2) == [b"1", b"2"]
    put(channel, queue, "6")
    assert drain(channel, queue, 1) == [b"6"]


def test_a_full_queue_may_dead_letter_what_it_refuses(channel, declare, graveyard):
    queue = declare(max_length=1, overflow="reject-publish-dlx", dead_letter_exchange="", dead_letter_routing_key=graveyard)
    put(channel, queue, "1")
    wait_depth(channel, queue, 1)
    publish(channel, queue, "2")
    _, properties, body = dead(channel, graveyard)
    assert body == b"2"
    assert properties.headers["x-death"] == [death(queue, "maxlen", "", queue)]
    assert drain(channel, queue, 1) == [b"1"]


def test_higher_priorities_leave_first_and_equals_in_order(channel, declare):
    queue = declare(max_priority=5)
    for body, priority in (("a0", None), ("b3", 3), ("c5", 5), ("d3", 3), ("e9", 9), ("f0", 0), ("g1", 1)):
        put(channel, queue, body, properties=pika.BasicProperties(priority=priority))
    wait_depth(channel, queue, 7)
    # 9 counts as 5, the queue's highest; none counts as 0.
    assert drain(channel, queue, 7) == [b"c5", b"e9", b"b3", b"d3", b"g1", b"a0", b"f0"]


def test_a_requeued_message_returns_to_its_place_among_priorities(channel, declare):
    queue = declare(max_priority=5)
    for body, priority in (("low", 1), ("high", 5), ("high too", 5)):
        put(channel, queue, body, properties=pika.BasicProperties(priority=priority))
    wait_depth(channel, queue, 3)
    method, _, body = take(channel, queue, auto_ack=False)
    assert body == b"high"
    channel.basic_nack(method.delivery_tag)
    wait_depth(channel, queue, 3)
    assert drain(channel, queue, 3) == [b"high", b"high too", b"low"]


def test_priorities_mean_nothing_to_a_queue_without_them(channel, queue):
    put(channel, queue, "1", properties=pika.BasicProperties(priority=1))
    put(channel, queue, "9", properties=pika.BasicProperties(priority=9))
    assert drain(channel, queue, 2) == [b"1", b"9"]


def test_a_quorum_queue_counts_deliveries_and_gives_up(channel, graveyard):
    queue = unique("quorum")
    channel.queue_declare(queue, durable=True, arguments={
        "x-queue-type": "quorum", "x-delivery-limit": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": graveyard,
    })
    put(channel, queue, "poison")
    for turn in range(3):
        method, properties, _ = take_when_there(channel, queue, auto_ack=False)
        assert ((properties.headers or {}).get("x-delivery-count", 0), method.redelivered) == (turn, turn > 0)
        channel.basic_nack(method.delivery_tag)
    _, properties, _ = dead(channel, graveyard)
    assert properties.headers["x-death"] == [death(queue, "delivery_limit", "", queue)]
    delete_queue(queue)


@pytest.mark.parametrize("options", [{"durable": False}, {"durable": True, "exclusive": True}, {"durable": True, "auto_delete": True}])
def test_a_quorum_queue_is_durable_and_shared(channel, options):
    if REFERENCE and "auto_delete" in options:
        pytest.skip("RabbitMQ 3.10 words it differently")
    with channel_refusal(406, "invalid property"):
        channel.queue_declare(unique("quorum"), arguments={"x-queue-type": "quorum"}, **options)


@pytest.mark.not_in_reference("only quorum queues of RabbitMQ have a delivery limit")
def test_a_classic_queue_may_have_a_delivery_limit(channel, declare, graveyard):
    queue = declare(delivery_limit=1, dead_letter_exchange="", dead_letter_routing_key=graveyard)
    put(channel, queue, "poison")
    for _ in range(2):
        channel.basic_nack(take_when_there(channel, queue, auto_ack=False)[0].delivery_tag)
    assert dead(channel, graveyard)[1].headers["x-death"] == [death(queue, "delivery_limit", "", queue)]


@pytest.mark.not_in_reference("LavinMQ's argument")
def test_a_queue_may_refuse_duplicates(channel, declare):
    queue = declare(message_deduplication=True, cache_size=10)
    for body, identity in (("1", "a"), ("2", "a"), ("3", "b"), ("4", "a")):
        put(channel, queue, body, properties=pika.BasicProperties(headers={"x-deduplication-header": identity}))
    put(channel, queue, "5")
    wait_depth(channel, queue, 3)
    assert drain(channel, queue, 3) == [b"1", b"3", b"5"]
