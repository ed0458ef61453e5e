"""queue.*: declaration, equivalence, exclusiveness, lifetime, deletion."""
import pytest

from support import (
    Consumer, channel_refusal, connect, consumers, delete_queue, depth, drain, eventually, is_routable, put, queue_exists,
    take, unique, wait_depth,
)


def test_the_server_names_a_queue_without_a_name(channel):
    names = {channel.queue_declare("", exclusive=True).method.queue for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("amq.gen-") for name in names)


def test_declaring_tells_messages_and_consumers(channel, queue):
    put(channel, queue, "1", "2", "3")
    wait_depth(channel, queue, 3)
    assert consumers(channel, queue) == 0
    channel.basic_qos(prefetch_count=1)
    Consumer(channel, queue).wait(1)
    result = channel.queue_declare(queue, durable=True).method
    assert (result.queue, result.message_count, result.consumer_count) == (queue, 2, 1)


@pytest.mark.parametrize(
    "change, argument",
    [({"durable": False}, "durable"), ({"auto_delete": True}, "auto_delete"), ({"exclusive": True}, "exclusive"),
     ({"arguments": {"x-message-ttl": 60000}}, "x-message-ttl"), ({"arguments": {"x-max-length": 5}}, "x-max-length")],
)
def test_another_declaration_of_the_same_name_is_refused(channel, queue, change, argument):
    code = 405 if argument == "exclusive" else 406
    with channel_refusal(code, "" if code == 405 else f"inequivalent arg '{argument}' for queue '{queue}' in vhost '/'"):
        channel.queue_declare(queue, **{"durable": True, **change})


def test_arguments_are_part_of_the_declaration(channel):
    name = unique("queue")
    arguments = {"x-message-ttl": 60000, "x-max-priority": 3, "x-dead-letter-exchange": "amq.direct"}
    channel.queue_declare(name, arguments=arguments)
    channel.queue_declare(name, arguments=dict(reversed(arguments.items())))
    with channel_refusal(406, "x-message-ttl"):
        channel.queue_declare(name, arguments={**arguments, "x-message-ttl": 60001})
    delete_queue(name)


def test_the_classic_type_is_the_default_type(channel, queue):
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "classic"})


@pytest.mark.parametrize(
    "arguments",
    [{"x-message-ttl": -1}, {"x-message-ttl": "soon"}, {"x-expires": 0}, {"x-expires": -5}, {"x-max-length": -1},
     {"x-max-length-bytes": "many"}, {"x-max-priority": -1}, {"x-max-priority": 256}, {"x-overflow": "explode"},
     {"x-dead-letter-exchange": 5}, {"x-dead-letter-routing-key": "key without exchange"},
     {"x-single-active-consumer": "yes"}, {"x-queue-type": "no-such-type"}, {"x-queue-mode": "hasty"}],
    ids=lambda arguments: "-".join(f"{k}={v}" for k, v in arguments.items()).replace(" ", "_"),
)
def test_a_bad_argument_is_refused(channel, arguments):
    with channel_refusal(406, "PRECONDITION_FAILED"):
        channel.queue_declare(unique("queue"), durable=True, arguments=arguments)


@pytest.mark.parametrize("arguments", [{"x-queue-mode": "lazy"}, {"x-queue-version": 1}, {"x-unknown": "kept"}, {"x-message-ttl": 0}])
def test_an_odd_but_legal_argument_is_accepted(channel, arguments):
    name = unique("queue")
    channel.queue_declare(name, arguments=arguments)
    delete_queue(name)


def test_asking_for_a_missing_queue_is_404(channel):
    name = unique("missing")
    with channel_refusal(404, f"no queue '{name}' in vhost '/'"):
        channel.queue_declare(name, passive=True)


def test_asking_for_a_queue_does_not_compare(channel, queue):
    channel.queue_declare(queue, passive=True, durable=False, auto_delete=True, arguments={"x-max-length": 1})


@pytest.mark.parametrize("operation", ["get", "purge", "consume", "bind"])
def test_using_a_missing_queue_is_404(channel, operation):
    name = unique("missing")
    with channel_refusal(404, name):
        match operation:
            case "get":
                channel.basic_get(name)
            case "purge":
                channel.queue_purge(name)
            case "consume":
                channel.basic_consume(name, print)
            case "bind":
                channel.queue_bind(name, "amq.direct", "key")


def test_names_of_the_server_are_reserved(channel):
    with channel_refusal(403, "contains reserved prefix 'amq.*'"):
        channel.queue_declare("amq.mine")


def test_a_name_the_server_made_may_be_asked_for_but_not_declared(channel):
    name = channel.queue_declare("", exclusive=True).method.queue
    assert channel.queue_declare(name, passive=True).method.queue == name
    with channel_refusal(403, "contains reserved prefix 'amq.*'"):
        channel.queue_declare(name, exclusive=True)


@pytest.mark.parametrize("name", ["Grüße/日本", "q" * 255, "with space and 'quote'", "a.b.*.#"])
def test_any_text_names_a_queue(channel, name):
    channel.queue_declare(name)
    put(channel, name, "found")
    assert drain(channel, name, 1) == [b"found"]
    delete_queue(name)


@pytest.mark.parametrize("operation", ["declare", "passive", "get", "purge", "consume", "bind", "delete"])
def test_an_exclusive_queue_is_locked_for_other_connections(connection, other, operation):
    name = unique("mine")
    owner = connection.channel()
    owner.queue_declare(name, exclusive=True)
    stranger = other.channel()
    with channel_refusal(405, f"cannot obtain exclusive access to locked queue '{name}' in vhost '/'"):
        match operation:
            case "declare":
                stranger.queue_declare(name, exclusive=True)
            case "passive":
                stranger.queue_declare(name, passive=True)
            case "get":
                stranger.basic_get(name)
            case "purge":
                stranger.queue_purge(name)
            case "consume":
                stranger.basic_consume(name, print)
            case "bind":
                stranger.queue_bind(name, "amq.direct", "key")
            case "delete":
                stranger.queue_delete(name)
    put(other.channel(), name, "publishing is allowed")
    assert drain(owner, name, 1) == [b"publishing is allowed"]
    owner.queue_declare(name, exclusive=True)


def test_an_exclusive_queue_is_gone_when_close_is_answered():
    name = unique("mine")
    for _ in range(20):
        connection = connect()
        connection.channel().queue_declare(name, exclusive=True)
        connection.close()
    assert not queue_exists(name)


def test_an_auto_delete_queue_goes_with_its_last_consumer(connection, channel):
    name = unique("auto")
    channel.queue_declare(name, auto_delete=True)
    first, second = Consumer(channel, name), Consumer(channel, name)
    channel.basic_cancel(first.tag)
    assert consumers(channel, name) == 1
    channel.basic_cancel(second.tag)
    eventually(connection, lambda: not queue_exists(name), "the queue goes")


def test_an_auto_delete_queue_goes_with_the_connection_of_its_consumer(connection, other):
    name = unique("auto")
    channel = other.channel()
    channel.queue_declare(name, auto_delete=True)
    Consumer(channel, name)
    other.close()
    eventually(connection, lambda: not queue_exists(name), "the queue goes")


def test_an_auto_delete_queue_that_never_had_a_consumer_stays(other):
    name = unique("auto")
    other.channel().queue_declare(name, auto_delete=True)
    other.close()
    assert queue_exists(name)
    delete_queue(name)


def test_deleting_tells_how_many_messages_went(channel):
    name = unique("queue")
    channel.queue_declare(name)
    put(channel, name, "1", "2")
    wait_depth(channel, name, 2)
    assert channel.queue_delete(name).method.message_count == 2
    assert not queue_exists(name)


def test_deleting_a_missing_queue_is_fine(channel):
    assert channel.queue_delete(unique("missing")).method.message_count == 0


def test_delete_if_unused_spares_a_queue_with_consumers(connection, channel, queue):
    Consumer(channel, queue)
    with channel_refusal(406, f"queue '{queue}' in vhost '/' in use"):
        connection.channel().queue_delete(queue, if_unused=True)
    assert queue_exists(queue)


def test_delete_if_empty_spares_a_queue_with_messages(connection, channel, queue):
    put(channel, queue, "1")
    wait_depth(channel, queue, 1)
    with channel_refusal(406, "not empty"):
        connection.channel().queue_delete(queue, if_empty=True)
    assert depth(channel, queue) == 1


def test_purging_spares_what_is_unacknowledged(channel, queue):
    put(channel, queue, "1", "2", "3")
    tag = take(channel, queue, auto_ack=False)[0].delivery_tag
    wait_depth(channel, queue, 2)
    assert channel.queue_purge(queue).method.message_count == 2
    channel.basic_nack(tag)
    assert drain(channel, queue, 1) == [b"1"]


def test_an_empty_name_is_the_last_declared_queue(channel):
    name = channel.queue_declare(unique("queue"), exclusive=True).method.queue
    channel.queue_bind("", "amq.direct", "")  # An empty key with an empty name means the queue's name too.
    channel.basic_publish("amq.direct", name, "to its name")
    assert drain(channel, "", 1) == [b"to its name"]
    assert channel.queue_purge("").method.message_count == 0
    channel.queue_delete("")
    assert not queue_exists(name)


def test_an_empty_name_without_a_declared_queue_is_404(channel):
    with channel_refusal(404, "no previously declared queue"):
        channel.basic_get("")


def test_an_idle_queue_expires(connection, channel):
    name = unique("expiring")
    channel.queue_declare(name, arguments={"x-expires": 300})
    eventually(connection, lambda: not is_routable(name), "the queue goes", seconds=5)


def test_a_queue_with_a_consumer_does_not_expire(connection, channel):
    name = unique("expiring")
    channel.queue_declare(name, arguments={"x-expires": 300})
    consumer = Consumer(channel, name)
    connection.process_data_events(time_limit=1)
    assert queue_exists(name)
    channel.basic_cancel(consumer.tag)
    eventually(connection, lambda: not is_routable(name), "the queue goes", seconds=5)


def test_hundreds_of_queues_come_and_go(channel):
    names = [unique("many") for _ in range(300)]
    for name in names:
        channel.queue_declare(name)
        put(channel, name, name)
    for name in names:
        assert drain(channel, name, 1) == [name.encode()]
        channel.queue_delete(name)
