"""Connections and channels: login, negotiation, limits, ends."""
import socket

import pika
import pytest
from pika.exceptions import AMQPError, ProbableAccessDeniedError, ProbableAuthenticationError

from support import connect, connection_refusal, drain, publish, put, unique


@pytest.mark.parametrize("user, password", [("guest", "wrong"), ("nobody-of-this-name", "guest"), ("guest", "")])
def test_a_wrong_login_is_refused_with_403(user, password):
    with pytest.raises(ProbableAuthenticationError) as caught:
        connect(credentials=pika.PlainCredentials(user, password))
    assert "403" in str(caught.value) and "ACCESS_REFUSED" in str(caught.value)


def test_a_missing_vhost_is_refused_with_530():
    with pytest.raises(ProbableAccessDeniedError) as caught:
        connect(virtual_host="no-such-vhost")
    assert "530" in str(caught.value) and "no-such-vhost" in str(caught.value)


def test_the_server_announces_what_it_can(connection):
    properties = connection._impl.server_properties
    assert {"product", "version", "platform", "capabilities"} <= properties.keys()
    for name in (
        "publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
        "consumer_priorities", "authentication_failure_close", "per_consumer_qos", "direct_reply_to",
    ):
        assert properties["capabilities"][name] is True, name


def test_many_channels_share_a_connection_and_numbers_are_used_again(connection, queue):
    for _ in range(3):
        channels = [connection.channel() for _ in range(200)]
        for number, channel in enumerate(channels):
            publish(channel, queue, str(number))
        got = set(drain(channels[0], queue, 200))
        assert got == {str(number).encode() for number in range(200)}
        for channel in channels:
            channel.close()


def test_a_chosen_channel_number_may_be_opened_again_after_close(connection):
    for _ in range(20):
        channel = connection.channel(channel_number=7)
        channel.close()


def test_a_connection_lives_on_heartbeats_alone():
    connection = connect(heartbeat=1)
    connection.process_data_events(time_limit=4)
    assert connection.is_open
    connection.channel().queue_declare("", exclusive=True)
    connection.close()


def test_heartbeats_may_be_switched_off():
    connection = connect(heartbeat=0)
    connection.channel().queue_declare("", exclusive=True)
    connection.close()


@pytest.mark.parametrize("frame_max", [4096, 8192, 65536, 131072])
def test_bodies_are_cut_to_the_negotiated_frame_size(frame_max):
    connection = connect(frame_max=frame_max)
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    for size in (frame_max - 9, frame_max - 8, frame_max - 7, 3 * frame_max + 1):
        put(channel, queue, b"x" * size)
        assert drain(channel, queue, 1) == [b"x" * size]
    connection.close()


def test_a_secret_may_be_renewed(connection):
    connection.update_secret("guest", "renewed")
    connection.channel().queue_declare("", exclusive=True)


def test_a_name_of_the_client_is_accepted():
    connection = connect(client_properties={"connection_name": unique("name"), "nested": {"list": [1, "two", None]}})
    assert connection.is_open
    connection.close()


def test_connections_come_and_go_quickly():
    for _ in range(50):
        connection = connect()
        connection.channel()
        connection.close()


def test_an_end_without_goodbye_gives_the_messages_back(connection, channel, queue):
    put(channel, queue, "kept")
    lost = connect()
    lost_channel = lost.channel()
    assert lost_channel.basic_get(queue)[2] == b"kept"
    lost._impl._transport._sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(AMQPError):
        lost.process_data_events(time_limit=5)
    assert drain(channel, queue, 1) == [b"kept"]


def test_a_refusal_on_one_channel_leaves_the_others(connection, queue):
    good, bad = connection.channel(), connection.channel()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        bad.queue_declare(unique("missing"), passive=True)
    put(good, queue, "still served")
    assert drain(good, queue, 1) == [b"still served"]


def test_prefetch_size_is_not_implemented_and_ends_the_connection(connection, channel):
    with connection_refusal(540, "NOT_IMPLEMENTED"):
        channel.basic_qos(prefetch_size=1000)
