"""exchange.*: declaration, equivalence, deletion, and what each type routes where."""
import pytest
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from support import (
    REFERENCE, channel_refusal, connection_refusal, depth, drain, eventually, exchange_exists, put, take, unique, wait_depth,
)


@pytest.fixture
def exchange(connection):
    """Declares exchanges with fresh names and deletes them afterwards."""
    made = []

    def declare(kind, channel=None, **options):
        name = unique("exchange")
        (channel or connection.channel()).exchange_declare(name, kind, **options)
        made.append(name)
        return name

    yield declare
    if connection.is_open:
        channel = connection.channel()
        for name in made:
            channel.exchange_delete(name)


@pytest.fixture
def queues(channel):
    """Makes exclusive queues."""
    return lambda count: [channel.queue_declare("", exclusive=True).method.queue for _ in range(count)]


def routed(channel, queues):
    """Ready messages of each queue, which are then purged."""
    return [channel.queue_purge(queue).method.message_count for queue in queues]


def send(channel, exchange, key, headers=None):
    """Publishes and waits until it is where it belongs."""
    import pika

    with_confirms = channel.connection.channel()
    with_confirms.confirm_delivery()
    with_confirms.basic_publish(exchange, key, key, pika.BasicProperties(headers=headers))
    with_confirms.close()


@pytest.mark.parametrize("name, kind", [
    ("amq.direct", "direct"), ("amq.fanout", "fanout"), ("amq.topic", "topic"), ("amq.headers", "headers"), ("amq.match", "headers"),
])
def test_standard_exchanges_exist_and_may_be_declared_as_they_are(channel, name, kind):
    channel.exchange_declare(name, kind, durable=True)
    channel.exchange_declare(name, passive=True)


@pytest.mark.parametrize(
    "change, argument",
    [({"exchange_type": "fanout"}, "type"), ({"durable": False}, "durable"), ({"auto_delete": True}, "auto_delete"),
     ({"internal": True}, "internal"), ({"arguments": {"alternate-exchange": "amq.fanout"}}, "alternate-exchange")],
)
def test_another_declaration_of_the_same_name_is_refused(channel, exchange, change, argument):
    name = exchange("direct", durable=True)
    with channel_refusal(406, f"inequivalent arg '{argument}' for exchange '{name}' in vhost '/'"):
        channel.exchange_declare(name, **{"exchange_type": "direct", "durable": True, **change})


def test_an_unknown_type_is_refused(channel):
    # RabbitMQ up to early 4.x ends the connection with 503.
    refusal = connection_refusal(503, "unknown exchange type") if REFERENCE else channel_refusal(406, "unknown exchange type")
    with refusal:
        channel.exchange_declare(unique("exchange"), "telepathic")


def test_asking_for_a_missing_exchange_is_404(channel):
    name = unique("missing")
    with channel_refusal(404, f"no exchange '{name}' in vhost '/'"):
        channel.exchange_declare(name, passive=True)


def test_asking_for_an_exchange_does_not_compare(channel, exchange):
    channel.exchange_declare(exchange("topic", durable=True), "fanout", passive=True)


def test_names_of_the_server_are_reserved(channel):
    with channel_refusal(403, "contains reserved prefix 'amq.*'"):
        channel.exchange_declare("amq.mine", "direct")


@pytest.mark.parametrize("operation", ["declare", "delete", "bind", "unbind"])
def test_the_default_exchange_is_not_to_be_changed(channel, queue, operation):
    with channel_refusal(403, "operation not permitted on the default exchange"):
        match operation:
            case "declare":
                channel.exchange_declare("", "direct")
            case "delete":
                channel.exchange_delete("")
            case "bind":
                channel.queue_bind(queue, "", "key")
            case "unbind":
                channel.queue_unbind(queue, "", "key")


def test_standard_exchanges_cannot_be_deleted(channel):
    with channel_refusal(403, "ACCESS_REFUSED"):
        channel.exchange_delete("amq.fanout")


def test_delete_if_unused_spares_an_exchange_with_bindings(connection, channel, queue, exchange):
    name = exchange("direct")
    channel.queue_bind(queue, name, "key")
    with channel_refusal(406, f"exchange '{name}' in vhost '/' in use"):
        connection.channel().exchange_delete(name, if_unused=True)
    channel.queue_unbind(queue, name, "key")
    channel.exchange_delete(name, if_unused=True)
    assert not exchange_exists(name)


def test_deleting_a_missing_exchange_is_fine(channel):
    channel.exchange_delete(unique("missing"))


def test_deleting_an_exchange_removes_its_bindings(channel, queue):
    name = unique("exchange")
    channel.exchange_declare(name, "fanout")
    channel.queue_bind(queue, name)
    channel.exchange_delete(name)
    channel.exchange_declare(name, "fanout")
    send(channel, name, "lost")
    assert depth(channel, queue) == 0
    channel.exchange_delete(name)


def test_publishing_to_a_missing_exchange_closes_the_channel(connection, channel):
    name = unique("missing")
    with channel_refusal(404, f"no exchange '{name}' in vhost '/'"):
        channel.basic_publish(name, "key", "body")
        eventually(connection, lambda: channel.queue_declare("", exclusive=True) and False, "the channel closes")


def test_publishing_to_an_internal_exchange_is_refused(connection, channel, exchange):
    name = exchange("fanout", internal=True)
    with channel_refusal(403, "cannot publish to internal exchange"):
        channel.basic_publish(name, "key", "body")
        eventually(connection, lambda: channel.queue_declare("", exclusive=True) and False, "the channel closes")


@pytest.mark.parametrize("missing", ["queue", "exchange"])
def test_binding_what_is_missing_is_404(channel, queue, exchange, missing):
    name = unique("missing")
    with channel_refusal(404, f"no {missing} '{name}' in vhost '/'"):
        if missing == "queue":
            channel.queue_bind(name, exchange("direct"), "key")
        else:
            channel.queue_bind(queue, name, "key")


def test_an_auto_delete_exchange_goes_with_its_last_binding(connection, channel, queue):
    name = unique("auto")
    channel.exchange_declare(name, "direct", auto_delete=True)
    assert exchange_exists(name)
    channel.queue_bind(queue, name, "1")
    channel.queue_bind(queue, name, "2")
    channel.queue_unbind(queue, name, "1")
    assert exchange_exists(name)
    channel.queue_unbind(queue, name, "2")
    eventually(connection, lambda: not exchange_exists(name), "the exchange goes")


def test_an_auto_delete_exchange_goes_with_the_last_bound_queue(connection, channel):
    name, queue = unique("auto"), unique("queue")
    channel.exchange_declare(name, "direct", auto_delete=True)
    channel.queue_declare(queue)
    channel.queue_bind(queue, name, "1")
    channel.queue_delete(queue)
    eventually(connection, lambda: not exchange_exists(name), "the exchange goes")


def test_the_default_exchange_routes_by_queue_name(channel, queue):
    put(channel, queue, "there")
    assert drain(channel, queue, 1) == [b"there"]


def test_direct_routes_by_equal_key(channel, queues, exchange):
    name, (a, b, both) = exchange("direct"), queues(3)
    for queue, key in ((a, "a"), (b, "b"), (both, "a"), (both, "b")):
        channel.queue_bind(queue, name, key)
    expected = {"a": [1, 0, 1], "b": [0, 1, 1], "": [0, 0, 0], "A": [0, 0, 0], "a.b": [0, 0, 0]}
    for key, counts in expected.items():
        send(channel, name, key)
        assert routed(channel, [a, b, both]) == counts, key


def test_fanout_routes_to_all_once(channel, queues, exchange):
    name, bound = exchange("fanout"), queues(5)
    for queue in bound:
        channel.queue_bind(queue, name, "one")
        channel.queue_bind(queue, name, "two")
    send(channel, name, "whatever")
    assert routed(channel, bound) == [1] * 5


TOPICS = [
    ("a.b.c", ["a.b.c"], ["a.b", "a.b.c.d", "", "a..c", "A.b.c"]),
    ("*", ["a", "abc"], ["", "a.b", "."]),
    ("#", ["", "a", "a.b.c", ".", "..."], []),
    ("*.b", ["a.b", ".b"], ["b", "a.b.c", "a.c"]),
    ("a.#", ["a", "a.b", "a.b.c", "a."], ["", "b.a", "ab"]),
    ("#.a", ["a", "b.a", "c.b.a", ".a"], ["", "a.b", "ba"]),
    ("a.*.c", ["a.b.c", "a..c"], ["a.c", "a.b.b.c"]),
    ("a.#.c", ["a.c", "a.b.c", "a.b.b.c"], ["a", "c", "a.c.b"]),
    ("#.b.#", ["b", "a.b", "b.c", "a.b.c", "a.a.b.c.c"], ["", "a", "ab.c"]),
    ("*.*", ["a.b", "."], ["a", "a.b.c"]),
    ("#.*", ["a", "a.b"], []),
    ("#.#", ["", "a", "a.b.c"], []),
    ("a.*.#", ["a.b", "a.b.c"], ["a"]),
    ("", [""], ["a"]),
]


@pytest.mark.parametrize("pattern, hits, misses", TOPICS, ids=[repr(pattern) for pattern, _, _ in TOPICS])
def test_topic_routes_by_words_and_wildcards(channel, queues, exchange, pattern, hits, misses):
    name, (queue,) = exchange("topic"), queues(1)
    # An empty key with a named queue stays an empty key.
    channel.queue_bind(queue, name, pattern)
    for key in hits:
        send(channel, name, key)
        assert routed(channel, [queue]) == [1], key
    for key in misses:
        send(channel, name, key)
        assert routed(channel, [queue]) == [0], key


def test_overlapping_topics_route_once(channel, queues, exchange):
    name, (queue,) = exchange("topic"), queues(1)
    for pattern in ("#", "a.#", "*.b", "a.b", "#.b"):
        channel.queue_bind(queue, name, pattern)
    send(channel, name, "a.b")
    assert routed(channel, [queue]) == [1]
    for pattern in ("#", "a.#", "a.b", "#.b"):
        channel.queue_unbind(queue, name, pattern)
    send(channel, name, "a.b")
    send(channel, name, "a.c")
    assert routed(channel, [queue]) == [1]


HEADERS = [
    ({"x-match": "all", "a": 1, "b": "two"}, [{"a": 1, "b": "two"}, {"a": 1, "b": "two", "c": 3}], [{"a": 1}, {"a": 1, "b": "x"}, {}]),
    ({"a": 1, "b": "two"}, [{"a": 1, "b": "two"}], [{"a": 1}]),
    ({"x-match": "any", "a": 1, "b": "two"}, [{"a": 1}, {"b": "two", "a": 9}], [{"a": 2}, {"c": 1}, {}]),
    ({"x-match": "all"}, [{}, {"a": 1}], []),
    ({"x-match": "any"}, [], [{}, {"a": 1}]),
    ({"x-match": "all", "a": None}, [{"a": 1}, {"a": "text"}, {"a": None}], [{"b": 1}]),
    ({"x-match": "all", "x-secret": 5, "a": 1}, [{"a": 1}], [{"x-secret": 5}]),
    ({"x-match": "all-with-x", "x-secret": 5, "a": 1}, [{"a": 1, "x-secret": 5}], [{"a": 1}]),
    ({"x-match": "any-with-x", "x-secret": 5, "a": 1}, [{"a": 1}, {"x-secret": 5}], [{"x-secret": 6}]),
    ({"x-match": "all", "a": True}, [{"a": True}], [{"a": False}, {"a": "true"}, {"a": 1}]),
]


@pytest.mark.parametrize("arguments, hits, misses", HEADERS, ids=[str(arguments) for arguments, _, _ in HEADERS])
def test_headers_route_by_named_values(channel, queues, exchange, arguments, hits, misses):
    name, (queue,) = exchange("headers"), queues(1)
    channel.queue_bind(queue, name, "ignored", arguments=arguments)
    for headers in hits:
        send(channel, name, "", headers)
        assert routed(channel, [queue]) == [1], headers
    for headers in misses:
        send(channel, name, "", headers)
        assert routed(channel, [queue]) == [0], headers


def test_a_bad_match_word_is_refused(channel, queue, exchange):
    with channel_refusal(406, "x-match"):
        channel.queue_bind(queue, exchange("headers"), "", arguments={"x-match": "perhaps"})


def test_consistent_hash_spreads_by_weight_and_keeps_keys_together(channel, queues, exchange):
    name, bound = exchange("x-consistent-hash"), queues(3)
    for queue, weight in zip(bound, ("10", "10", "20")):
        channel.queue_bind(queue, name, weight)
    for number in range(2000):
        channel.basic_publish(name, f"key {number}", f"{number}")
    eventually(channel.connection, lambda: sum(depth(channel, queue) for queue in bound) == 2000, "all are routed")
    first = [channel.queue_purge(queue).method.message_count for queue in bound]
    assert all(count > 150 for count in first), first
    assert first[2] > max(first[:2]), first
    for _ in range(20):
        channel.basic_publish(name, "one key", "same")
    eventually(channel.connection, lambda: 20 in [depth(channel, queue) for queue in bound], "one queue has all of one key")


def test_consistent_hash_may_hash_a_header(channel, queues, exchange):
    import pika

    name, bound = exchange("x-consistent-hash", arguments={"hash-header": "customer"}), queues(2)
    for queue in bound:
        channel.queue_bind(queue, name, "50")
    for number in range(20):
        channel.basic_publish(name, f"{number}", "x", pika.BasicProperties(headers={"customer": "c1"}))
    eventually(channel.connection, lambda: 20 in [depth(channel, queue) for queue in bound], "one queue has all of one customer")


def test_random_picks_one_queue_for_each_message(channel, queues, exchange):
    name, bound = exchange("x-random"), queues(3)
    for queue in bound:
        channel.queue_bind(queue, name, "")
    for number in range(300):
        channel.basic_publish(name, "same", f"{number}")
    eventually(channel.connection, lambda: sum(depth(channel, queue) for queue in bound) == 300, "all are routed")
    assert all(depth(channel, queue) > 30 for queue in bound)


@pytest.mark.not_in_reference("Debian's RabbitMQ has no delayed message exchange")
def test_a_delayed_message_comes_later_than_one_that_is_not(connection, channel, queues, exchange):
    import pika

    name = exchange("x-delayed-message", arguments={"x-delayed-type": "direct"})
    (queue,) = queues(1)
    channel.queue_bind(queue, name, "key")
    for delay in (600, 300, 0):
        channel.basic_publish(name, "key", f"{delay}", pika.BasicProperties(headers={"x-delay": delay} if delay else None))
    assert drain(channel, queue, 3) == [b"0", b"300", b"600"]


@pytest.mark.not_in_reference("Debian's RabbitMQ has no delayed message exchange")
def test_a_delayed_exchange_needs_the_type_it_delays(channel):
    with pytest.raises((ChannelClosedByBroker, Exception)) as caught:
        channel.exchange_declare(unique("exchange"), "x-delayed-message")
    assert "406" in str(caught.value)


def test_exchanges_may_be_bound_to_exchanges(channel, queue, exchange):
    source, middle, end = exchange("topic"), exchange("direct"), exchange("fanout")
    channel.exchange_bind(middle, source, "a.#")
    channel.exchange_bind(end, middle, "a.b")
    channel.queue_bind(queue, end)
    send(channel, source, "a.b")
    send(channel, source, "a.c")
    send(channel, source, "b")
    assert drain(channel, queue, 1) == [b"a.b"]
    assert take(channel, queue) is None
    channel.exchange_unbind(middle, source, "a.#")
    send(channel, source, "a.b")
    assert take(channel, queue) is None


def test_a_cycle_of_exchanges_routes_once(channel, queue, exchange):
    first, second = exchange("fanout"), exchange("fanout")
    channel.exchange_bind(first, second)
    channel.exchange_bind(second, first)
    channel.exchange_bind(first, first)
    channel.queue_bind(queue, first)
    channel.queue_bind(queue, second)
    send(channel, first, "once")
    assert drain(channel, queue, 1) == [b"once"]
    assert take(channel, queue) is None


def test_an_alternate_exchange_takes_what_nobody_wants(channel, queues, exchange):
    wanted, unwanted = queues(2)
    alternate = exchange("fanout")
    name = exchange("direct", arguments={"alternate-exchange": alternate})
    channel.queue_bind(wanted, name, "key")
    channel.queue_bind(unwanted, alternate)
    send(channel, name, "key")
    send(channel, name, "else")
    assert (drain(channel, wanted, 1), drain(channel, unwanted, 1)) == ([b"key"], [b"else"])
    assert take(channel, wanted) is None and take(channel, unwanted) is None


def test_alternate_exchanges_form_chains_and_loops_end(channel, exchange):
    first, second = unique("exchange"), unique("exchange")
    channel.exchange_declare(first, "direct", arguments={"alternate-exchange": second})
    channel.exchange_declare(second, "direct", arguments={"alternate-exchange": first})
    channel.confirm_delivery()
    with pytest.raises(UnroutableError):
        channel.basic_publish(first, "nowhere", "body", mandatory=True)
    channel.exchange_delete(first)
    channel.exchange_delete(second)


def test_a_message_to_an_alternate_exchange_counts_as_routed(channel, queue, exchange):
    alternate = exchange("fanout")
    channel.queue_bind(queue, alternate)
    name = exchange("direct", arguments={"alternate-exchange": alternate})
    channel.confirm_delivery()
    channel.basic_publish(name, "else", "body", mandatory=True)


def test_a_binding_is_made_once_and_may_be_removed_twice(channel, queue, exchange):
    name = exchange("direct")
    for _ in range(3):
        channel.queue_bind(queue, name, "key")
    send(channel, name, "key")
    wait_depth(channel, queue, 1)
    channel.queue_unbind(queue, name, "key")
    channel.queue_unbind(queue, name, "key")
    send(channel, name, "key")
    assert depth(channel, queue) == 1


def test_cc_and_bcc_add_routing_keys(channel, queues, exchange):
    import pika

    name, (to, cc, bcc) = exchange("direct"), queues(3)
    for queue, key in ((to, "to"), (cc, "cc"), (bcc, "bcc")):
        channel.queue_bind(queue, name, key)
    channel.basic_publish(name, "to", "body", pika.BasicProperties(headers={"CC": ["cc"], "BCC": ["bcc"], "kept": 1}))
    for queue in (to, cc, bcc):
        wait_depth(channel, queue, 1)
        assert take(channel, queue)[1].headers == {"CC": ["cc"], "kept": 1}
