"""Calls and answers: direct reply-to, and the tutorial's exclusive answer queue."""
import threading

import pika
import pytest

from support import Consumer, channel_refusal, connect, depth, eventually, queue_exists, take_when_there, unique

REPLY_TO = "amq.rabbitmq.reply-to"


def test_an_answer_comes_directly_to_the_caller(other, channel, queue):
    answers = Consumer(channel, REPLY_TO, auto_ack=True)
    channel.basic_publish("", queue, "question", pika.BasicProperties(reply_to=REPLY_TO, correlation_id="c-1"))
    server = other.channel()
    _, properties, body = take_when_there(server, queue)
    assert body == b"question"
    assert properties.reply_to.startswith(f"{REPLY_TO}.")
    assert server.queue_declare(properties.reply_to, passive=True).method.consumer_count == 1
    server.basic_publish("", properties.reply_to, "answer", pika.BasicProperties(correlation_id=properties.correlation_id))
    ((method, got, answer),) = answers.wait(1)
    assert (answer, got.correlation_id) == (b"answer", "c-1")
    assert (method.exchange, method.routing_key) == ("", properties.reply_to)


def test_answers_keep_their_order_and_their_caller(other, queue):
    callers = [other.channel() for _ in range(3)]
    answers = [Consumer(caller, REPLY_TO, auto_ack=True) for caller in callers]
    for number in range(30):
        callers[number % 3].basic_publish("", queue, f"{number}", pika.BasicProperties(reply_to=REPLY_TO))
    server = connect()
    channel = server.channel()
    for _ in range(30):
        _, properties, body = take_when_there(channel, queue)
        channel.basic_publish("", properties.reply_to, body)
    for index, consumer in enumerate(answers):
        consumer.wait(10)
        assert consumer.bodies == [f"{number}".encode() for number in range(index, 30, 3)]
    server.close()


def test_a_call_without_a_reply_consumer_is_refused(connection, channel, queue):
    with channel_refusal(406, "fast reply consumer does not exist"):
        channel.basic_publish("", queue, "question", pika.BasicProperties(reply_to=REPLY_TO))
        eventually(connection, lambda: depth(channel, queue) < 0, "the channel closes")


def test_answers_are_never_acknowledged(channel):
    with channel_refusal(406, "reply consumer cannot acknowledge"):
        channel.basic_consume(REPLY_TO, print, auto_ack=False)


def test_a_channel_has_one_reply_consumer(channel):
    Consumer(channel, REPLY_TO, auto_ack=True)
    with channel_refusal(406, "reply consumer already set"):
        channel.basic_consume(REPLY_TO, print, auto_ack=True)


def test_an_answer_to_a_caller_that_has_gone_is_unroutable(other, channel, queue):
    caller = other.channel()
    Consumer(caller, REPLY_TO, auto_ack=True)
    caller.basic_publish("", queue, "question", pika.BasicProperties(reply_to=REPLY_TO))
    _, properties, _ = take_when_there(channel, queue)
    other.close()
    eventually(channel.connection, lambda: not queue_exists(properties.reply_to), "the caller is gone")


def test_calls_through_an_exclusive_queue(queue):
    """The sixth tutorial, with the server in a thread of its own."""
    ready = threading.Event()

    def serve():
        connection = connect()
        channel = connection.channel()
        ready.set()
        for _ in range(10):
            method, properties, body = take_when_there(channel, queue, auto_ack=False)
            channel.basic_publish("", properties.reply_to, str(int(body) ** 2), pika.BasicProperties(correlation_id=properties.correlation_id))
            channel.basic_ack(method.delivery_tag)
        connection.close()

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    assert ready.wait(10)
    connection = connect()
    channel = connection.channel()
    answers = channel.queue_declare("", exclusive=True).method.queue
    consumer = Consumer(channel, answers, auto_ack=True)
    for number in range(10):
        identity = unique("call")
        channel.basic_publish("", queue, str(number), pika.BasicProperties(reply_to=answers, correlation_id=identity))
        _, properties, body = consumer.wait(number + 1)[-1]
        assert (properties.correlation_id, body) == (identity, str(number**2).encode())
    connection.close()
    server.join(10)
    assert not server.is_alive()


@pytest.mark.parametrize("transient", [True, False])
def test_messages_pass_between_threads_of_clients(queue, transient):
    """Two publishers and two consumers at once: everything arrives once, in each publisher's order."""
    count, got, lock, done = 500, [], threading.Lock(), threading.Event()

    def publish(who):
        connection = connect()
        channel = connection.channel()
        channel.confirm_delivery()
        for number in range(count):
            channel.basic_publish("", queue, f"{who} {number}", pika.BasicProperties(delivery_mode=1 if transient else 2))
        connection.close()

    def consume():
        connection = connect()
        channel = connection.channel()
        channel.basic_qos(prefetch_count=50)

        def on_message(_channel, method, _properties, body):
            channel.basic_ack(method.delivery_tag)
            with lock:
                got.append(body.decode())
                if len(got) >= 2 * count:
                    done.set()

        channel.basic_consume(queue, on_message)
        while not done.is_set():
            connection.process_data_events(time_limit=0.05)
        connection.close()

    threads = [threading.Thread(target=publish, args=(who,), daemon=True) for who in "AB"]
    threads += [threading.Thread(target=consume, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == sorted(f"{who} {number}" for who in "AB" for number in range(count))
