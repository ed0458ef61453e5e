"""pika and paho-mqtt over TLS: by password, and by a certificate alone."""
import os
import ssl
import threading

import paho.mqtt.client as mqtt
import pika
import pytest

HOST = os.environ.get("TLS_HOST", "localhost")
PAPERS = os.environ.get("TLS_PAPERS", ".")
AMQPS = int(os.environ.get("AMQPS_PORT", "5671"))
MQTTS = int(os.environ.get("MQTTS_PORT", "8883"))
PATIENCE_S = 20
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
SIZES = [0, 1, 16_384, 1_000_000]


def context(version, certificate=False):
    """What a careful client has: it looks at the name and at who has issued the certificate."""
    made = ssl.create_default_context(cafile=os.path.join(PAPERS, "ca.pem"))
    made.minimum_version = made.maximum_version = version
    if certificate:
        made.load_cert_chain(os.path.join(PAPERS, "client.pem"), os.path.join(PAPERS, "client.key"))
    return made


def pass_messages(parameters):
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    for size in SIZES:
        channel.basic_publish("", queue, b"x" * size)
        _, _, body = channel.basic_get(queue, auto_ack=True)
        assert body == b"x" * size
    connection.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_pika_logs_in_by_password(version):
    options = pika.SSLOptions(context(version), HOST)
    pass_messages(pika.ConnectionParameters(HOST, AMQPS, ssl_options=options))


@pytest.mark.parametrize("version", VERSIONS)
def test_pika_logs_in_by_certificate(version):
    options = pika.SSLOptions(context(version, certificate=True), HOST)
    external = pika.credentials.ExternalCredentials()
    pass_messages(pika.ConnectionParameters(HOST, AMQPS, ssl_options=options, credentials=external))


def test_pika_is_not_let_in_without_either():
    options = pika.SSLOptions(context(VERSIONS[-1]), HOST)
    external = pika.credentials.ExternalCredentials()
    parameters = pika.ConnectionParameters(HOST, AMQPS, ssl_options=options, credentials=external)
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(parameters)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("by_certificate", [False, True])
@pytest.mark.parametrize("protocol", [mqtt.MQTTv311, mqtt.MQTTv5])
def test_paho_logs_in(version, by_certificate, protocol):
    name = f"tls-{version}-{by_certificate}-{protocol}"
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol)
    client.tls_set_context(context(version, by_certificate))
    if not by_certificate:
        client.username_pw_set("guest", "guest")
    got, done = [], threading.Event()
    client.on_connect = lambda *_: client.subscribe(name, 1)
    client.on_subscribe = lambda *_: [client.publish(name, b"y" * size, 1) for size in SIZES]

    def on_message(_client, _data, message):
        got.append(len(message.payload))
        if len(got) == len(SIZES):
            done.set()

    client.on_message = on_message
    client.connect(HOST, MQTTS)
    client.loop_start()
    assert done.wait(PATIENCE_S), got
    client.disconnect()
    client.loop_stop()
    assert got == SIZES
