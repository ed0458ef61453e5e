"""RabbitMQ's own rabbitmqadmin, unchanged, as operators type it."""

import json
import os
import subprocess
import sys

import pika
import pytest

SCRIPT = os.environ["RABBITMQADMIN"]
HOST = os.environ.get("HTTP_HOST", "127.0.0.1")
PORT = os.environ.get("HTTP_PORT", "15672")


def run(*words, user="guest", password="guest"):
    """What it printed and how it ended."""
    command = [sys.executable, SCRIPT, "-H", HOST, "-P", PORT, "-u", user, "-p", password]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=60)


def admin(*words, **login):
    ended = run(*words, **login)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def rows(*words):
    return json.loads(admin("-f", "raw_json", *words))


@pytest.fixture
def connection():
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
    connection.channel()
    yield connection
    if connection.is_open:
        connection.close()


def test_the_node_is_shown():
    (overview,) = rows("show", "overview")
    assert overview["rabbitmq_version"] and overview["cluster_name"]
    assert "rabbitmq_version" in admin("show", "overview")
    (node,) = rows("list", "nodes")
    assert node["running"] and node["mem_used"] > 0
    assert node["name"] in admin("list", "nodes", "name", "type", "mem_used")


def test_users_are_declared_listed_and_deleted():
    declared = admin("declare", "user", "name=ada", "password=secret", "tags=monitoring,x")
    assert declared == "user declared\n"
    user = next(row for row in rows("list", "users") if row["name"] == "ada")
    assert user["tags"] == ["monitoring", "x"] or user["tags"] == "monitoring,x"
    assert "ada" in admin("list", "users", "name", "tags")
    admin("show", "overview", user="ada", password="secret")
    assert admin("delete", "user", "name=ada") == "user deleted\n"
    ended = run("delete", "user", "name=ada")
    assert ended.returncode == 1 and "not found" in ended.stderr.lower()


def test_virtual_hosts_have_permissions_and_limits():
    admin("declare", "vhost", "name=v/1")
    assert {"/", "v/1"} == {row["name"] for row in rows("list", "vhosts")}
    admin("declare", "user", "name=ada", "password=secret", "tags=")
    admin("declare", "permission", "vhost=v/1", "user=ada", "configure=^c", "write=.*", "read=")
    found = [row for row in rows("list", "permissions") if row["user"] == "ada"]
    expected = {"user": "ada", "vhost": "v/1", "configure": "^c", "write": ".*", "read": ""}
    assert found == [expected]
    admin("declare", "vhost_limit", "vhost=v/1", "name=max-connections", "value=3")
    assert rows("list", "vhost_limits") == [{"vhost": "v/1", "value": {"max-connections": 3}}]
    admin("delete", "vhost_limit", "vhost=v/1", "name=max-connections")
    assert rows("list", "vhost_limits") == []
    admin("delete", "permission", "vhost=v/1", "user=ada")
    admin("delete", "user", "name=ada")
    admin("delete", "vhost", "name=v/1")
    assert [row["name"] for row in rows("list", "vhosts")] == ["/"]


def test_connections_and_channels_are_listed_and_closed(connection):
    (row,) = rows("list", "connections")
    assert (row["user"], row["channels"], row["state"]) == ("guest", 1, "running")
    assert row["name"] in admin("list", "connections", "name", "user", "channels")
    (channel,) = rows("list", "channels")
    assert channel["name"] == row["name"] + " (1)"
    assert admin("close", "connection", "name=" + row["name"]) == "connection closed\n"
    with pytest.raises(pika.exceptions.ConnectionClosed):
        connection.process_data_events(time_limit=10)


def test_definitions_are_exported_and_imported(tmp_path):
    file = str(tmp_path / "definitions.json")
    admin("declare", "vhost", "name=kept")
    admin("declare", "vhost_limit", "vhost=kept", "name=max-queues", "value=4")
    admin("export", file)
    admin("delete", "vhost", "name=kept")
    admin("import", file)
    assert rows("list", "vhost_limits") == [{"vhost": "kept", "value": {"max-queues": 4}}]
    own = str(tmp_path / "own.json")
    admin("-V", "kept", "export", own)
    admin("delete", "vhost_limit", "vhost=kept", "name=max-queues")
    admin("-V", "kept", "import", own)
    assert len(rows("list", "vhost_limits")) == 1
    admin("delete", "vhost", "name=kept")


def test_who_may_not_is_told_so():
    admin("declare", "user", "name=weak", "password=weak", "tags=management")
    ended = run("list", "users", user="weak", password="weak")
    said = ended.stdout + ended.stderr
    assert ended.returncode == 1 and "Access refused" in said, said
    ended = run("show", "overview", password="wrong")
    assert ended.returncode == 1 and "Access refused" in ended.stdout + ended.stderr
    admin("delete", "user", "name=weak")
