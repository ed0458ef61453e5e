"""aio-pika: its own robust connections, queues, confirms, calls."""
import asyncio
import os

import pytest

aio_pika = pytest.importorskip("aio_pika")

from support import URL, unique


def run(story):
    """Runs a coroutine with a robust connection, bounded in time."""

    async def with_connection():
        connection = await aio_pika.connect_robust(URL, timeout=10)
        async with connection:
            await story(connection)

    asyncio.run(asyncio.wait_for(with_connection(), 30))


def test_messages_are_published_confirmed_and_consumed():
    async def story(connection):
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        queue = await channel.declare_queue(unique("aio"), auto_delete=True)
        exchange = await channel.declare_exchange(unique("aio"), aio_pika.ExchangeType.TOPIC, auto_delete=True)
        await queue.bind(exchange, "a.*")
        await asyncio.gather(*[
            exchange.publish(aio_pika.Message(str(number).encode(), headers={"number": number}), "a.b") for number in range(100)
        ])
        got = []
        async with queue.iterator(timeout=10) as messages:
            async for message in messages:
                async with message.process():
                    assert message.headers["number"] == int(message.body)
                    got.append(int(message.body))
                if len(got) == 100:
                    break
        assert sorted(got) == list(range(100))

    run(story)


def test_an_unroutable_message_raises():
    async def story(connection):
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        with pytest.raises(aio_pika.exceptions.DeliveryError):
            await channel.default_exchange.publish(aio_pika.Message(b"back"), unique("nowhere"), mandatory=True)

    run(story)


def test_a_missing_queue_raises_and_the_connection_serves_on():
    async def story(connection):
        channel = await connection.channel()
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await channel.get_queue(unique("missing"), ensure=True)
        fresh = await connection.channel()
        await fresh.declare_queue(exclusive=True)

    run(story)


def test_its_pattern_of_calls_works():
    async def story(connection):
        from aio_pika.patterns import RPC

        rpc = await RPC.create(await connection.channel())
        name = unique("multiply")

        async def multiply(x, y):
            return x * y

        await rpc.register(name, multiply, auto_delete=True)
        assert await asyncio.gather(*[rpc.call(name, {"x": n, "y": 2}) for n in range(20)]) == [n * 2 for n in range(20)]

    run(story)


def test_a_transaction_commits():
    async def story(connection):
        channel = await connection.channel(publisher_confirms=False)
        queue = await channel.declare_queue(exclusive=True)
        async with channel.transaction():
            await channel.default_exchange.publish(aio_pika.Message(b"in it"), queue.name)
        assert (await queue.get(timeout=5, no_ack=True)).body == b"in it"

    run(story)


def test_messages_die_and_are_found():
    async def story(connection):
        channel = await connection.channel()
        dead = await channel.declare_queue(exclusive=True)
        queue = await channel.declare_queue(
            exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name}
        )
        await channel.default_exchange.publish(aio_pika.Message(b"refused"), queue.name)
        await (await queue.get(timeout=5)).reject(requeue=False)
        for _ in range(100):
            message = await dead.get(fail=False, no_ack=True)
            if message is not None:
                break
            await asyncio.sleep(0.05)
        assert message.headers["x-death"][0]["reason"] == "rejected"

    run(story)


def test_a_large_message_passes():
    async def story(connection):
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        body = os.urandom(5 * 2**20)
        await channel.default_exchange.publish(aio_pika.Message(body), queue.name)
        assert (await queue.get(timeout=20, no_ack=True)).body == body

    run(story)
