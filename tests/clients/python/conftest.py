"""Fixtures of every suite: a connection, a channel, fresh names; and the rule for the reference broker."""
import pytest

import support


def pytest_collection_modifyitems(items):
    """Against RabbitMQ itself, leave out what its Debian package cannot do."""
    if not support.REFERENCE:
        return
    for item in items:
        mark = item.get_closest_marker("not_in_reference")
        if mark:
            item.add_marker(pytest.mark.skip(reason=mark.args[0]))


@pytest.fixture
def connection():
    """A connection of this test alone."""
    connection = support.connect()
    yield connection
    support.close_quietly(connection)


@pytest.fixture
def other():
    """A second connection, for what two clients do to each other."""
    connection = support.connect()
    yield connection
    support.close_quietly(connection)


@pytest.fixture
def channel(connection):
    """A channel of this test alone."""
    return connection.channel()


@pytest.fixture
def queue(channel):
    """A classic, durable queue with a fresh name, deleted afterwards."""
    name = support.unique("queue")
    channel.queue_declare(name, durable=True)
    yield name
    support.delete_queue(name)
