"""paho-mqtt, unchanged: 3.1, 3.1.1 and 5.0 as applications use them."""
import time

import pytest
from mqtt_support import V5, V31, V311, AtOnce, Client, properties, unique
from paho.mqtt.subscribeoptions import SubscribeOptions

EVERY_VERSION = pytest.mark.parametrize("version", [V31, V311, V5])
REMEMBERED = {"properties": properties("CONNECT", SessionExpiryInterval=600)}


def remembered(version, client_id, **options):
    """A client with a session that outlives its connection."""
    if version == V5:
        options.update(REMEMBERED)
    return Client(version, client_id, clean=False, **options)


@EVERY_VERSION
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_is_published_arrives(version, qos):
    topic = unique("t")
    with Client(version) as client:
        assert client.subscribe(topic, qos) == [qos]
        for number in range(50):
            client.publish(topic, str(number), qos=qos)
        got = client.receive(50)
        assert [message.payload for message in got] == [str(n).encode() for n in range(50)]
        assert {message.qos for message in got} == {qos}
        assert not any(message.retain or message.dup for message in got)


@EVERY_VERSION
def test_the_lower_assurance_counts(version):
    topic = unique("t")
    with Client(version) as client:
        client.subscribe(topic, 1)
        client.publish(topic, b"2", qos=2)
        client.publish(topic, b"0", qos=0)
        assert sorted((m.payload, m.qos) for m in client.receive(2)) == [(b"0", 0), (b"2", 1)]


@EVERY_VERSION
def test_wildcards_match_levels(version):
    root = unique("t")
    with Client(version) as client:
        assert client.subscribe([(f"{root}/+/c", 1), (f"{root}/d/#", 1)]) == [1, 1]
        for topic in ["a", "b/c", "d", "d/e/f", "b/x/c"]:
            client.publish(f"{root}/{topic}", topic, qos=1)
        assert [m.payload for m in client.receive(3)] == [b"b/c", b"d", b"d/e/f"]
        client.nothing_until(f"{root}/d/last")


@EVERY_VERSION
def test_unsubscribing_ends_it(version):
    topic, other = unique("t"), unique("t")
    with Client(version) as client:
        client.subscribe([(topic, 1), (other, 1)])
        client.unsubscribe(topic)
        client.publish(topic, b"no", qos=1)
        client.nothing_until(other)


@EVERY_VERSION
def test_a_retained_message_meets_new_subscribers(version):
    topic = unique("t")
    with Client(version) as client:
        client.publish(topic, b"old", qos=1, retain=True)
        client.publish(topic, b"new", qos=1, retain=True)
        client.subscribe(topic, 1)
        (message,) = client.receive()
        assert (message.payload, message.retain) == (b"new", True)
        client.publish(topic, b"", qos=1, retain=True)
        assert client.receive()[0].payload == b""
    with Client(version) as client:
        client.subscribe([(topic, 1)])
        client.nothing_until(topic)


@EVERY_VERSION
def test_a_session_is_kept_while_its_client_is_away(version):
    topic, name = unique("t"), unique("s")
    with remembered(version, name) as client:
        client.subscribe(topic, 2)
    with Client(version) as publisher:
        for number in range(30):
            publisher.publish(topic, str(number), qos=number % 3)
    with remembered(version, name) as client:
        assert client.session_present == (version != V31)
        stored = [n for n in range(30) if n % 3]
        got = client.receive(len(stored))
        # Order holds for each level.
        for qos in (1, 2):
            assert [int(m.payload) for m in got if m.qos == qos] == [n for n in stored if n % 3 == qos]
    Client(version, name, clean=True).close()
    with Client(version, name, clean=True) as client:
        assert not client.session_present


@EVERY_VERSION
def test_a_will_is_published_when_its_client_vanishes(version):
    topic = unique("t")
    with Client(version) as watcher:
        watcher.subscribe(topic, 1)
        will = {"topic": topic, "payload": b"gone", "qos": 1}
        Client(version, will=will).close()
        Client(version, will=will).vanish()
        assert watcher.receive()[0].payload == b"gone"
        watcher.nothing_until(topic)


@EVERY_VERSION
def test_a_newcomer_with_the_same_name_takes_over(version):
    name = unique("s")
    first = Client(version, name)
    first.paho.reconnect_delay_set(60, 60)
    with Client(version, name):
        assert first.closed.get(timeout=20).is_failure
    first.paho.loop_stop()


def test_a_shared_subscription_gives_each_message_to_one():
    group, topic = unique("g"), unique("t")
    with Client(V5) as one, Client(V5) as two, Client(V311) as publisher:
        for member in (one, two):
            member.subscribe(f"$share/{group}/{topic}", 1)
        for number in range(100):
            publisher.publish(topic, str(number), qos=1)
        deadline = time.monotonic() + 20
        while one.messages.qsize() + two.messages.qsize() < 100 and time.monotonic() < deadline:
            time.sleep(0.01)
        got = [int(m.payload) for member in (one, two) for m in list(member.messages.queue)]
        assert sorted(got) == list(range(100))


def test_properties_arrive_as_they_were():
    topic = unique("t")
    sent = properties("PUBLISH", PayloadFormatIndicator=1, ContentType="text/plain",
                      ResponseTopic="answers/here", CorrelationData=b"\x00\xff",
                      UserProperty=[("a", "1"), ("b", "2"), ("a", "3")], MessageExpiryInterval=600)
    with Client(V5) as client:
        client.subscribe(topic, options=SubscribeOptions(qos=1),
                         properties=properties("SUBSCRIBE", SubscriptionIdentifier=7))
        client.publish(topic, b"text", qos=1, properties=sent)
        got = client.receive()[0].properties
        assert got.UserProperty == sent.UserProperty
        assert (got.ContentType, got.ResponseTopic) == ("text/plain", "answers/here")
        assert (got.CorrelationData, got.PayloadFormatIndicator) == (b"\x00\xff", 1)
        assert 0 < got.MessageExpiryInterval <= 600
        assert got.SubscriptionIdentifier == [7]


def test_no_local_and_retain_as_published():
    topic = unique("t")
    with Client(V5) as one, Client(V5) as two:
        one.subscribe(topic, options=SubscribeOptions(qos=1, noLocal=True))
        two.subscribe(topic, options=SubscribeOptions(qos=1, retainAsPublished=True))
        one.publish(topic, b"mine", qos=1, retain=True)
        assert two.receive()[0].retain
        two.publish(topic, b"theirs", qos=1)
        assert one.receive()[0].payload == b"theirs"
        two.publish(topic, b"", retain=True, qos=1)


def test_a_name_is_given_to_those_without():
    with Client(V5, "") as client:
        assert client.properties.AssignedClientIdentifier


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_384, 300_000])
def test_bodies_of_any_size_arrive_whole(size):
    topic, body = unique("t"), bytes(range(256)) * (size // 256 + 1)
    with Client(V5) as client:
        client.subscribe(topic, 2)
        client.publish(topic, body[:size], qos=2)
        assert client.receive()[0].payload == body[:size]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_client_that_subscribed_first_need_not_have_its_answer(qos):
    for _ in range(20):
        topic = unique("t")
        with AtOnce(V5) as publisher, AtOnce(V5) as subscriber:
            subscriber.paho.subscribe(topic, 2)
            publisher.paho.publish(topic, b"first", qos)
            assert subscriber.receive().payload == b"first"


def test_nor_does_one_whose_publisher_hears_the_topic_but_not_itself():
    not_own = SubscribeOptions(2, noLocal=True)
    for _ in range(20):
        topic = unique("t")
        with AtOnce(V5) as one, AtOnce(V5) as other:
            one.paho.subscribe(topic, options=not_own)
            one.until(lambda: one.answers)
            other.paho.subscribe(topic, options=not_own)
            one.paho.publish(topic, b"request", 1)
            assert other.receive().payload == b"request"
            other.paho.publish(topic, b"response", 1)
            assert one.receive().payload == b"response"
