"""kombu and Celery: the way most Python services use a broker."""
import os
import pathlib
import subprocess
import sys
import uuid

import pytest

kombu = pytest.importorskip("kombu")

from support import URL, unique


def test_a_queue_with_an_exchange_passes_messages():
    exchange = kombu.Exchange(unique("kombu"), "direct", durable=True, auto_delete=True)
    queue = kombu.Queue(unique("kombu"), exchange=exchange, routing_key="key", auto_delete=True)
    got = []
    with kombu.Connection(URL) as connection:
        with connection.Producer(serializer="json") as producer:
            for number in range(50):
                producer.publish({"number": number}, exchange=exchange, routing_key="key", declare=[exchange, queue])

        def on_message(body, message):
            got.append(body["number"])
            message.ack()

        with connection.Consumer(queue, callbacks=[on_message]):
            while len(got) < 50:
                connection.drain_events(timeout=10)
    assert got == list(range(50))


def test_confirmed_publishing_works():
    with kombu.Connection(URL, transport_options={"confirm_publish": True}) as connection:
        queue = connection.SimpleQueue(unique("kombu"), queue_opts={"auto_delete": True, "durable": False})
        queue.put({"a": [1, 2, None]}, compression="zlib")
        message = queue.get(timeout=10)
        assert message.payload == {"a": [1, 2, None]}
        message.ack()
        queue.close()


def test_a_fanout_of_kombu_reaches_all():
    exchange = kombu.Exchange(unique("kombu"), "fanout", durable=False, auto_delete=True)
    queues = [kombu.Queue("", exchange=exchange, exclusive=True) for _ in range(3)]
    with kombu.Connection(URL) as connection:
        channel = connection.channel()
        bound = [queue(channel) for queue in queues]
        for queue in bound:
            queue.declare()
        kombu.Producer(channel, exchange).publish("news")
        for queue in bound:
            for _ in range(100):
                message = queue.get(no_ack=True)
                if message is not None:
                    break
            assert message.payload == "news"


@pytest.mark.timeout(90)
def test_a_celery_worker_does_tasks_and_answers():
    environment = {**os.environ, "CELERY_QUEUE": unique("celery"), "PYTHONPATH": str(pathlib.Path(__file__).parent)}
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "celery_application", "worker", "--pool=solo", "--loglevel=WARNING",
         "-n", f"{uuid.uuid4()}@localhost", "--without-gossip", "--without-mingle"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    try:
        os.environ["CELERY_QUEUE"] = environment["CELERY_QUEUE"]
        from celery_application import add, application, fail_once

        answers = [add.delay(number, number) for number in range(20)]
        assert [answer.get(timeout=40) for answer in answers] == [number * 2 for number in range(20)]
        assert fail_once.delay().get(timeout=20) == "second try"
        application.close()
        worker.terminate()
        worker.wait(20)
    finally:
        if worker.poll() is None:
            worker.kill()
        output = worker.communicate()[0]
        print(output)
