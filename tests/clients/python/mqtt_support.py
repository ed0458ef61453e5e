"""What the MQTT suites share: where the broker is, a client that remembers what it was told."""
import itertools
import os
import queue
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HOST = os.environ.get("MQTT_HOST", "127.0.0.1")
PORT = int(os.environ.get("MQTT_PORT", "1883"))
PATIENCE_S = 20

V31, V311, V5 = paho.MQTTv31, paho.MQTTv311, paho.MQTTv5

_numbers = itertools.count(1)


def unique(kind):
    """A name nobody else uses; 23 octets at most, which MQTT 3.1 asks of client ids."""
    return f"{kind[:6]}{os.getpid() % 10**6}{time.time_ns() % 10**5}{next(_numbers)}"


def properties(packet, **values):
    """Properties of a packet by their names without spaces."""
    result = Properties(getattr(PacketTypes, packet))
    for name, value in values.items():
        setattr(result, name, value)
    return result


class Client:
    """A paho client in a thread of its own; what happens to it comes in order of arrival."""

    def __init__(self, version=V311, client_id=None, clean=True, keepalive=60, will=None, **connect):
        self.id = unique("c") if client_id is None else client_id
        options = {} if version == V5 else {"clean_session": clean}
        self.paho = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=self.id, protocol=version, **options)
        self.version = version
        self.connected, self.messages = queue.Queue(), queue.Queue()
        self.done, self.closed = queue.Queue(), queue.Queue()
        self.paho.on_connect = lambda _c, _u, flags, code, props: self.connected.put(
            (flags.session_present, code, props))
        self.paho.on_message = lambda _c, _u, message: self.messages.put(message)
        self.paho.on_publish = lambda _c, _u, mid, code, _p: self.done.put((mid, code))
        self.paho.on_subscribe = lambda _c, _u, mid, codes, _p: self.done.put((mid, codes))
        self.paho.on_unsubscribe = lambda _c, _u, mid, codes, _p: self.done.put((mid, codes))
        self.paho.on_disconnect = lambda _c, _u, _f, code, _p: self.closed.put(code)
        self.paho.username_pw_set("guest", "guest")
        if will is not None:
            self.paho.will_set(**will)
        if version == V5:
            connect["clean_start"] = clean
        self.paho.connect(HOST, PORT, keepalive, **connect)
        self.paho.loop_start()
        self.session_present, self.code, self.properties = self.connected.get(timeout=PATIENCE_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def subscribe(self, *args, **kwargs):
        """The codes of the answer."""
        code, mid = self.paho.subscribe(*args, **kwargs)
        assert code == paho.MQTT_ERR_SUCCESS
        return self._answer(mid)

    def unsubscribe(self, *args):
        """The codes of the answer."""
        code, mid = self.paho.unsubscribe(*args)
        assert code == paho.MQTT_ERR_SUCCESS
        return self._answer(mid)

    def publish(self, topic, payload=b"", **options):
        """Publishes and waits for the end of the exchange."""
        info = self.paho.publish(topic, payload, **options)
        info.wait_for_publish(PATIENCE_S)
        assert info.is_published()
        return info

    def receive(self, count=1):
        """The next messages."""
        return [self.messages.get(timeout=PATIENCE_S) for _ in range(count)]

    def nothing_until(self, topic):
        """Publishes a last message to a topic it has subscribed to and fails if another is first."""
        self.publish(topic, b"last", qos=1)
        assert self.receive()[0].payload == b"last"

    def vanish(self):
        """The connection breaks without goodbye."""
        self.paho.loop_stop()
        self.paho.socket().close()

    def close(self, **kwargs):
        self.paho.disconnect(**kwargs)
        self.paho.loop_stop()

    def _answer(self, mid):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            answered, codes = self.done.get(timeout=PATIENCE_S)
            if answered == mid:
                return [code.value for code in codes]
        raise AssertionError("no answer")


class AtOnce:
    """A paho client without a thread: what it is told to send is sent before the call returns."""

    def __init__(self, version=V311):
        self.paho = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=unique("c"), protocol=version)
        self.messages, self.answers = [], []
        self.paho.on_message = lambda _c, _u, message: self.messages.append(message)
        self.paho.on_subscribe = lambda _c, _u, _mid, codes, _p: self.answers.append(codes)
        self.paho.username_pw_set("guest", "guest")
        self.paho.connect(HOST, PORT)
        self.until(self.paho.is_connected)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.paho.disconnect()

    def until(self, there):
        """Reads until something is there."""
        deadline = time.monotonic() + PATIENCE_S
        while not there():
            assert time.monotonic() < deadline, "it never comes"
            self.paho.loop(0.1)

    def receive(self):
        """The next message."""
        self.until(lambda: self.messages)
        return self.messages.pop(0)
