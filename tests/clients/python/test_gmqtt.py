"""gmqtt, unchanged: the asyncio client, 3.1.1 and 5.0 as applications use them."""
import asyncio
import itertools
import os
import time

import gmqtt
import pytest

HOST = os.environ.get("MQTT_HOST", "127.0.0.1")
PORT = int(os.environ.get("MQTT_PORT", "1883"))
PATIENCE_S = 20
EVERY_VERSION = pytest.mark.parametrize("version", [4, 5])

_numbers = itertools.count(1)


def unique(kind):
    """A name nobody else uses; 23 octets at most."""
    return f"{kind}{os.getpid() % 10**6}{time.time_ns() % 10**5}{next(_numbers)}"


async def connect(version, client_id=None, clean=True, user="guest", will=None, **properties):
    """A client whose messages wait in `came`, and what CONNACK said in `hello`."""
    client = gmqtt.Client(client_id or unique("g"), clean, will_message=will, **properties)
    client.came, granted, hello = asyncio.Queue(), asyncio.Queue(), asyncio.Queue()
    client.on_message = lambda _c, *message: client.came.put_nowait(message)
    client.on_subscribe = lambda _c, _mid, codes, _p: granted.put_nowait(codes)
    client.on_connect = lambda _c, flags, _code, props: hello.put_nowait((flags, props))
    client.set_config({"reconnect_retries": 0})
    client.set_auth_credentials(user, "guest" if user else None)
    await client.connect(HOST, PORT, version=version)
    client.hello = await asyncio.wait_for(hello.get(), PATIENCE_S)

    async def subscribe(topic, qos, **options):
        client.subscribe(topic, qos, **options)
        return list(await asyncio.wait_for(granted.get(), PATIENCE_S))

    client.subscribe_surely = subscribe
    client.next = lambda: asyncio.wait_for(client.came.get(), PATIENCE_S)
    return client


def run(test):
    """Runs a coroutine as a test: pytest-asyncio would be one more package to pin."""
    def wrapper(**arguments):
        asyncio.run(asyncio.wait_for(test(**arguments), 2 * PATIENCE_S))
    wrapper.__name__, wrapper.__doc__ = test.__name__, test.__doc__
    return wrapper


async def arrives(version):
    client, topic = await connect(version), unique("t")
    for qos in [2, 1, 0]:
        assert await client.subscribe_surely(f"{topic}/{qos}", qos) == [qos]
        # Five at a time: it raises an error where others wait for the receive maximum.
        for start in range(0, 50, 5):
            for number in range(start, start + 5):
                client.publish(f"{topic}/{qos}", str(number), qos=qos)
            came = [await client.next() for _ in range(5)]
            wanted = [str(number).encode() for number in range(start, start + 5)]
            assert [message[1] for message in came] == wanted
            assert {message[2] for message in came} == {qos}
    await client.disconnect()


@EVERY_VERSION
def test_what_is_published_arrives(version):
    run(arrives)(version=version)


async def retained(version):
    client, topic = await connect(version), unique("t")
    client.publish(topic, b"kept", qos=1, retain=True)
    await client.subscribe_surely(topic, 1)
    assert (await client.next())[1:2] == (b"kept",)
    client.publish(topic, b"", qos=1, retain=True)
    assert (await client.next())[1:2] == (b"",)
    await client.disconnect()


@EVERY_VERSION
def test_a_retained_message_comes_and_goes(version):
    run(retained)(version=version)


async def goes_on(version):
    name, topic = unique("s"), unique("t")
    lasting = {"session_expiry_interval": 600} if version == 5 else {}
    client = await connect(version, name, clean=False, **lasting)
    assert client.hello[0] == 0
    assert await client.subscribe_surely(topic, 2) == [2]
    await client.disconnect()
    other = await connect(version)
    await other.subscribe_surely(topic, 2)
    for start in range(0, 20, 5):
        for number in range(start, start + 5):
            other.publish(topic, str(number), qos=1 + number % 2)
        for _ in range(5):
            await other.next()
    client = await connect(version, name, clean=False, **lasting)
    assert client.hello[0] == 1
    came = [await client.next() for _ in range(20)]
    assert [message[1] for message in came] == [str(n).encode() for n in range(20)]
    await client.disconnect()
    await other.disconnect()


@EVERY_VERSION
def test_a_session_goes_on(version):
    run(goes_on)(version=version)


async def will(version):
    topic = unique("t")
    witness = await connect(version)
    await witness.subscribe_surely(topic, 1)
    client = await connect(version, will=gmqtt.Message(topic, b"gone", qos=1))
    client._connection._transport.abort()
    assert (await witness.next())[1] == b"gone"
    await witness.disconnect()


@EVERY_VERSION
def test_a_will_is_sent_for_a_client_that_vanishes(version):
    run(will)(version=version)


async def properties_arrive():
    client, topic = await connect(5), unique("t")
    await client.subscribe_surely(topic, 1, subscription_identifier=7)
    client.publish(
        topic, b"x", qos=1, user_property=[("a", "1"), ("a", "2")], content_type="text/plain",
        response_topic="answers", correlation_data=b"\0\1", message_expiry_interval=60)
    _topic, payload, qos, came = await client.next()
    assert (payload, qos) == (b"x", 1)
    assert came["user_property"] == [("a", "1"), ("a", "2")]
    assert came["content_type"] == ["text/plain"] and came["response_topic"] == ["answers"]
    assert came["correlation_data"] == [b"\0\1"] and came["subscription_identifier"] == [7]
    assert 0 < came["message_expiry_interval"][0] <= 60
    await client.disconnect()


def test_properties_arrive():
    run(properties_arrive)()


async def refused():
    with pytest.raises(gmqtt.mqtt.handler.MQTTConnectError):
        await connect(5, user="nobody")


def test_a_user_that_nobody_knows_is_refused():
    run(refused)()
