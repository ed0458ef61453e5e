"""The HTTP API and the metrics as other people's programs read them."""

import base64
import json
import os
import urllib.error
import urllib.request

import pika
import pytest
from prometheus_client.parser import text_string_to_metric_families

API = f"http://{os.environ.get('HTTP_HOST', '127.0.0.1')}:{os.environ.get('HTTP_PORT', '15672')}"
LOGIN = base64.b64encode(b"guest:guest").decode()


def ask(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, method=method, data=data)
    request.add_header("Authorization", "Basic " + LOGIN)
    with urllib.request.urlopen(request, timeout=20) as response:
        text = response.read().decode()
        kind = response.headers.get("Content-Type", "")
        return json.loads(text) if text and kind.startswith("application/json") else text


@pytest.fixture
def connection():
    parameters = pika.URLParameters(os.environ["AMQP_URL"])
    connection = pika.BlockingConnection(parameters)
    yield connection
    if connection.is_open:
        connection.close()


def families():
    """Every line parses, and no metric comes twice."""
    found = {}
    for family in text_string_to_metric_families(ask("GET", "/metrics")):
        assert family.name not in found, family.name
        found[family.name] = family
    return found


def test_prometheus_parses_every_metric(connection):
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    before = families()["rabbitmq_global_messages_received"].samples[0].value
    for _ in range(10):
        channel.basic_publish("", queue, b"x")
    channel.queue_declare(queue, passive=True)
    after = families()
    assert after["rabbitmq_global_messages_received"].samples[0].value - before >= 10
    assert after["rabbitmq_connections"].samples[0].value >= 1
    identity = after["rabbitmq_identity_info"].samples[0].labels
    assert set(identity) == {
        "rabbitmq_node",
        "rabbitmq_cluster",
        "rabbitmq_cluster_permanent_id",
        "rabbitmq_endpoint",
    }


def test_a_connection_is_found_by_its_client_properties_and_closed(connection):
    rows = ask("GET", "/api/connections")
    rows = [row for row in rows if row["client_properties"].get("product") == "Pika Python Client Library"]
    assert rows
    for row in rows:
        path = "/api/connections/" + urllib.request.quote(row["name"], safe="")
        assert ask("GET", path)["name"] == row["name"]
        ask("DELETE", path)
    with pytest.raises(pika.exceptions.ConnectionClosed):
        connection.process_data_events(time_limit=10)


def test_a_user_that_is_made_may_connect_and_one_that_is_deleted_may_not():
    ask("PUT", "/api/users/made", {"password": "secret", "tags": ""})
    ask("PUT", "/api/permissions/%2F/made", {"configure": ".*", "write": ".*", "read": ".*"})
    parameters = pika.URLParameters(os.environ["AMQP_URL"])
    parameters.credentials = pika.PlainCredentials("made", "secret")
    pika.BlockingConnection(parameters).close()
    ask("DELETE", "/api/users/made")
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(parameters)
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask("GET", "/api/users/made")
    assert refused.value.code == 404
