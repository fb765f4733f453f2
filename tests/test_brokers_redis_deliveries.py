"""Redis keeps no record of who has a message of the ledger, and still none is lost when a worker ends in good order."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from kombu import Connection, Queue

from brokers import load_profile
from brokers.redis.profile import RedisProfile
from brokers.wire import BODY, STANDS_FOR, TaskMessage
from tests.harness.servers import Servers


@pytest.fixture
def profile(servers: Servers) -> RedisProfile:
    profile = load_profile("redis", environ=servers.broker("redis").env)
    assert isinstance(profile, RedisProfile)
    return profile


@pytest.fixture
def queue() -> Queue:
    return Queue(f"test-{uuid4().hex[:12]}")


@pytest.fixture
def connection(profile: RedisProfile) -> Iterator[Connection]:
    """A worker's connection."""
    with profile.connection() as connection:
        yield connection


def publish(profile: RedisProfile, queue: Queue, count: int = 1) -> list[UUID]:
    ids = [uuid4() for _ in range(count)]
    profile.publish(queue.name, [TaskMessage(id, "some.task") for id in ids])
    return ids


def recorded(connection: Connection) -> int:
    """How many messages Redis knows a worker to have."""
    with connection.default_channel.conn_or_acquire() as client:  # type: ignore[attr-defined]
        return int(client.hlen("unacked"))


def take(connection: Connection, queue: Queue, channel: Any = None) -> Any:
    message = queue(channel or connection.default_channel).get()
    assert message is not None
    return message


def test_a_message_of_the_ledger_is_taken_without_a_record(
    profile: RedisProfile, connection: Connection, queue: Queue
) -> None:
    publish(profile, queue)
    before = recorded(connection)

    message = take(connection, queue)

    assert recorded(connection) == before
    message.ack()
    assert profile.depth(queue.name).waiting == 0


def test_any_other_message_is_recorded_until_it_is_acknowledged(
    profile: RedisProfile, connection: Connection, queue: Queue
) -> None:
    connection.Producer().publish("anything", routing_key=queue.name, declare=[queue])
    before = recorded(connection)

    message = take(connection, queue)

    assert recorded(connection) == before + 1
    message.ack()
    assert recorded(connection) == before


def test_a_message_of_the_ledger_from_a_release_without_the_header_is_recorded(
    connection: Connection, queue: Queue
) -> None:
    message = TaskMessage(uuid4(), "some.task")
    headers = {name: value for name, value in message.headers.items() if name != STANDS_FOR}
    connection.Producer().publish(BODY, routing_key=queue.name, declare=[queue], headers=headers, **message.properties)
    before = recorded(connection)

    taken = take(connection, queue)

    assert taken.headers["id"] == str(message.id)
    assert recorded(connection) == before + 1
    taken.ack()
    assert recorded(connection) == before


def test_an_acknowledged_message_frees_its_place(profile: RedisProfile, connection: Connection, queue: Queue) -> None:
    publish(profile, queue)
    channel: Any = connection.default_channel
    channel.basic_qos(0, 1, False)
    message = take(connection, queue)
    assert not channel.qos.can_consume()

    message.ack()

    assert channel.qos.can_consume()


@pytest.mark.parametrize("requeue", [True, False])
def test_a_rejected_message_goes_back_or_is_gone(
    profile: RedisProfile, connection: Connection, queue: Queue, requeue: bool
) -> None:
    (id,) = publish(profile, queue)

    take(connection, queue).reject(requeue=requeue)

    assert profile.depth(queue.name).waiting == requeue
    if requeue:
        again = take(connection, queue)
        assert again.headers["id"] == str(id)
        assert again.headers["task"] == "some.task"
        again.ack()


def test_what_a_worker_has_taken_and_not_begun_goes_back_when_it_ends(
    profile: RedisProfile, connection: Connection, queue: Queue
) -> None:
    ids = publish(profile, queue, count=3)
    channel: Any = connection.channel()
    take(connection, queue, channel).ack()
    taken = [take(connection, queue, channel) for _ in range(2)]

    channel.close()

    assert profile.depth(queue.name).waiting == 2
    assert {take(connection, queue).headers["id"] for _ in range(2)} == {message.headers["id"] for message in taken}
    assert {message.headers["id"] for message in taken} < {str(id) for id in ids}
