"""basic.get, consume, ack, nack, reject, recover: what is delivered, again, to whom, in which order."""
import pytest

from support import (
    Consumer, channel_refusal, connect, connection_refusal, depth, drain, eventually, publish, put, queue_exists, take,
    take_when_there, unique, wait_depth,
)


def test_get_tells_what_it_got_and_what_is_left(channel, queue):
    assert take(channel, queue) is None
    put(channel, queue, "1", "2", "3")
    wait_depth(channel, queue, 3)
    method, _, body = take(channel, queue, auto_ack=False)
    assert (body, method.message_count, method.redelivered, method.exchange, method.routing_key) == (b"1", 2, False, "", queue)
    assert take(channel, queue)[0].delivery_tag == method.delivery_tag + 1


def test_messages_come_in_the_order_they_were_published(channel, queue):
    bodies = [f"{number}".encode() for number in range(1000)]
    publish(channel, queue, *bodies)
    consumer = Consumer(channel, queue)
    consumer.wait(1000)
    assert consumer.bodies == bodies
    assert [method.delivery_tag for method, _, _ in consumer.deliveries] == list(range(1, 1001))
    assert {method.consumer_tag for method, _, _ in consumer.deliveries} == {consumer.tag}
    channel.basic_ack(1000, multiple=True)


def test_what_is_acknowledged_is_gone_and_the_rest_comes_again(other, channel, queue):
    put(channel, queue, *"123456")
    wait_depth(channel, queue, 6)
    second = other.channel()
    tags = [take(second, queue, auto_ack=False)[0].delivery_tag for _ in range(6)]
    second.basic_ack(tags[1])
    second.basic_ack(tags[3], multiple=True)
    second.close()
    again = [take_when_there(channel, queue) for _ in range(2)]
    assert [(body, method.redelivered) for method, _, body in again] == [(b"5", True), (b"6", True)]
    assert take(channel, queue) is None


@pytest.mark.parametrize("how", ["nack", "nack multiple", "reject", "recover", "channel close", "connection close"])
def test_requeued_messages_come_back_to_their_places_marked(connection, channel, queue, how):
    put(channel, queue, *"12345")
    wait_depth(channel, queue, 5)
    lost_connection = connect()
    lost = lost_connection.channel()
    tags = [take(lost, queue, auto_ack=False)[0].delivery_tag for _ in range(3)]
    match how:
        case "nack":
            for tag in reversed(tags):
                lost.basic_nack(tag)
        case "nack multiple":
            lost.basic_nack(tags[-1], multiple=True)
        case "reject":
            for tag in (tags[1], tags[0], tags[2]):
                lost.basic_reject(tag)
        case "recover":
            lost.basic_recover(requeue=True)
        case "channel close":
            lost.close()
        case "connection close":
            lost_connection.close()
    wait_depth(channel, queue, 5)
    got = [take(channel, queue) for _ in range(5)]
    assert [body for _, _, body in got] == [b"1", b"2", b"3", b"4", b"5"]
    assert [method.redelivered for method, _, _ in got] == [True, True, True, False, False]
    if lost_connection.is_open:
        lost_connection.close()


def test_messages_of_several_dying_channels_merge_in_order(channel, queue):
    put(channel, queue, *"123456")
    wait_depth(channel, queue, 6)
    lost = connect()
    channels = [lost.channel(), lost.channel()]
    for number in range(6):
        take(channels[number % 2], queue, auto_ack=False)
    lost.close()
    wait_depth(channel, queue, 6)
    assert drain(channel, queue, 6) == [b"1", b"2", b"3", b"4", b"5", b"6"]


@pytest.mark.parametrize("how", ["reject", "nack"])
def test_what_is_refused_for_good_is_gone(channel, queue, how):
    put(channel, queue, "1", "2")
    wait_depth(channel, queue, 2)
    tag = take(channel, queue, auto_ack=False)[0].delivery_tag
    if how == "reject":
        channel.basic_reject(tag, requeue=False)
    else:
        channel.basic_nack(tag, requeue=False)
    assert drain(channel, queue, 1) == [b"2"]
    assert take(channel, queue) is None


@pytest.mark.parametrize("how", ["unknown", "twice", "no ack"])
@pytest.mark.parametrize("verb", ["ack", "nack", "reject"])
def test_settling_a_tag_that_is_not_outstanding_closes_the_channel(connection, channel, queue, verb, how):
    put(channel, queue, "1")
    tag = take_when_there(channel, queue, auto_ack=(how == "no ack"))[0].delivery_tag
    if how == "unknown":
        tag += 1
    settle = getattr(channel, f"basic_{verb}")
    if how == "twice":
        channel.basic_ack(tag)
    with channel_refusal(406, f"unknown delivery tag {tag}"):
        settle(tag)
        eventually(connection, lambda: depth(channel, queue) < 0, "the channel closes")


def test_acknowledging_all_of_nothing_is_fine(channel, queue):
    channel.basic_ack(0, multiple=True)
    assert depth(channel, queue) == 0


def test_prefetch_bounds_what_a_consumer_holds(channel, queue):
    channel.basic_qos(prefetch_count=3)
    put(channel, queue, *"1234567")
    consumer = Consumer(channel, queue)
    consumer.stays_at(3)
    consumer.ack(0)
    consumer.stays_at(4)
    consumer.ack(3, multiple=True)
    consumer.wait(7)
    assert consumer.bodies == [b"1", b"2", b"3", b"4", b"5", b"6", b"7"]


def test_prefetch_counts_for_each_consumer_by_itself(channel, queue):
    channel.basic_qos(prefetch_count=2)
    first, second = Consumer(channel, queue), Consumer(channel, queue)
    put(channel, queue, *"123456")
    first.wait(2)
    second.wait(2)
    first.stays_at(2)
    second.stays_at(2)
    wait_depth(channel, queue, 2)


def test_global_prefetch_counts_for_the_whole_channel(channel, queue):
    channel.basic_qos(prefetch_count=3, global_qos=True)
    first, second = Consumer(channel, queue), Consumer(channel, queue)
    put(channel, queue, *"123456")
    wait_depth(channel, queue, 3)
    channel.connection.process_data_events(time_limit=0.25)
    assert len(first.deliveries) + len(second.deliveries) == 3


def test_get_ignores_prefetch(channel, queue):
    channel.basic_qos(prefetch_count=1)
    put(channel, queue, "1", "2", "3")
    wait_depth(channel, queue, 3)
    assert [take(channel, queue, auto_ack=False)[2] for _ in range(3)] == [b"1", b"2", b"3"]


def test_messages_go_round_consumers_in_turn(channel, queue):
    consumers = [Consumer(channel, queue) for _ in range(4)]
    put(channel, queue, *[f"{number}" for number in range(40)])
    for consumer in consumers:
        consumer.wait(10)
        consumer.stays_at(10, seconds=0.05)


def test_a_busy_consumer_is_passed_over(channel, queue):
    channel.basic_qos(prefetch_count=1)
    busy, idle = Consumer(channel, queue), Consumer(channel, queue)
    put(channel, queue, "1", "2")
    busy.wait(1)
    idle.wait(1)
    put(channel, queue, "3", "4")
    idle.ack()
    idle.wait(2)
    idle.ack()
    idle.wait(3)
    busy.stays_at(1, seconds=0.1)


def test_consumers_of_higher_priority_come_first(channel, queue):
    channel.basic_qos(prefetch_count=2)
    low = Consumer(channel, queue, arguments={"x-priority": -1})
    default = Consumer(channel, queue)
    high = Consumer(channel, queue, arguments={"x-priority": 10})
    put(channel, queue, *"12345")
    high.wait(2)
    default.wait(2)
    low.wait(1)
    assert (high.bodies, default.bodies, low.bodies) == ([b"1", b"2"], [b"3", b"4"], [b"5"])


def test_only_one_of_several_consumers_is_active_when_the_queue_says_so(connection, channel):
    queue = unique("single")
    channel.queue_declare(queue, arguments={"x-single-active-consumer": True}, exclusive=True)
    first, second = Consumer(channel, queue), Consumer(channel, queue)
    put(channel, queue, "1", "2")
    first.wait(2)
    second.stays_at(0)
    first.ack(1, multiple=True)
    channel.basic_cancel(first.tag)
    put(channel, queue, "3")
    second.wait(1)
    assert (first.bodies, second.bodies) == ([b"1", b"2"], [b"3"])


def test_an_exclusive_consumer_is_alone(connection, channel, queue):
    first = Consumer(channel, queue, exclusive=True)
    with channel_refusal(403, "in exclusive use"):
        connection.channel().basic_consume(queue, print)
    channel.basic_cancel(first.tag)
    Consumer(channel, queue)
    with channel_refusal(403, "in exclusive use"):
        connection.channel().basic_consume(queue, print, exclusive=True)


def test_the_server_names_a_consumer_without_a_name(channel, queue):
    # pika makes tags itself unless told otherwise, so the raw call is used.
    tag = channel._impl.basic_consume(queue, print, consumer_tag="chosen")
    assert tag == "chosen"
    assert Consumer(channel, queue, consumer_tag="mine").tag == "mine"


def test_a_consumer_tag_is_used_once_on_a_channel(connection, channel, queue):
    import pika

    Consumer(channel, queue, consumer_tag="twice")
    with connection_refusal(530, "attempt to reuse consumer tag 'twice'"):
        channel._impl._send_method(pika.spec.Basic.Consume(queue=queue, consumer_tag="twice"))
        eventually(connection, lambda: depth(channel, queue) < 0, "the connection closes")


def test_after_cancel_nothing_more_comes_and_the_rest_may_be_acknowledged(channel, queue):
    channel.basic_qos(prefetch_count=2)
    put(channel, queue, "1", "2", "3")
    consumer = Consumer(channel, queue)
    consumer.wait(2)
    channel.basic_cancel(consumer.tag)
    consumer.ack(0)
    consumer.stays_at(2)
    assert depth(channel, queue) == 1
    channel.basic_nack(consumer.deliveries[1][0].delivery_tag)
    wait_depth(channel, queue, 2)
    assert drain(channel, queue, 2) == [b"2", b"3"]


def test_a_consumer_is_told_when_its_queue_is_deleted(connection, other, channel):
    name = unique("queue")
    channel.queue_declare(name)
    cancelled = []
    channel.add_on_cancel_callback(cancelled.append)
    consumer = Consumer(channel, name)
    other.channel().queue_delete(name)
    eventually(connection, lambda: cancelled, "the cancel comes")
    assert cancelled[0].method.consumer_tag == consumer.tag
    assert not queue_exists(name)
    channel.queue_declare("", exclusive=True)


def test_automatic_acknowledgement_leaves_nothing_behind(other, queue, channel):
    put(channel, queue, *"123")
    second = other.channel()
    Consumer(second, queue, auto_ack=True).wait(3)
    other.close()
    assert depth(channel, queue) == 0


def test_a_waiting_consumer_gets_what_is_published_later(other, channel, queue):
    consumer = Consumer(channel, queue, auto_ack=True)
    consumer.stays_at(0, seconds=0.05)
    put(other.channel(), queue, "later")
    consumer.wait(1)
    assert consumer.bodies == [b"later"]


def test_a_hundred_consumers_share_a_queue(channel, queue):
    consumers = [Consumer(channel, queue, auto_ack=True) for _ in range(100)]
    publish(channel, queue, *[f"{number}" for number in range(1000)])
    eventually(channel.connection, lambda: sum(len(c.deliveries) for c in consumers) == 1000, "all are delivered")
    assert {body for c in consumers for body in c.bodies} == {f"{number}".encode() for number in range(1000)}


def test_recover_gives_everything_back_to_any_consumer(channel, queue):
    put(channel, queue, "1", "2")
    consumer = Consumer(channel, queue)
    consumer.wait(2)
    channel.basic_recover(requeue=True)
    consumer.wait(4)
    assert [(body, method.redelivered) for method, _, body in consumer.deliveries] == [
        (b"1", False), (b"2", False), (b"1", True), (b"2", True),
    ]


def test_consuming_iterates_in_pika_s_own_generator(channel, queue):
    put(channel, queue, *"123")
    got = []
    for method, _, body in channel.consume(queue, inactivity_timeout=5):
        assert method is not None, "nothing came for 5 s"
        got.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(got) == 3:
            break
    channel.cancel()
    assert got == [b"1", b"2", b"3"]
