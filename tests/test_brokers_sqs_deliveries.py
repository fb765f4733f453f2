"""How a worker takes messages from SQS and acknowledges them, on an emulator."""

# mypy: disable-error-code="attr-defined"

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection, Queue

from brokers import load_profile
from brokers.sqs.profile import SQSProfile
from brokers.wire import TaskMessage
from tests.harness.servers import Servers
from tests.harness.waiting import wait_until

#: More than two requests can delete.
MESSAGES = 23


@pytest.fixture
def profile(servers: Servers) -> SQSProfile:
    profile = load_profile("sqs", environ=servers.broker("sqs").env)
    assert isinstance(profile, SQSProfile)
    return profile


@pytest.fixture
def queue(profile: SQSProfile) -> Queue:
    queue = Queue(f"test-{uuid4().hex[:12]}")
    profile.prepare([queue.name])
    return queue


@pytest.fixture
def connection(profile: SQSProfile, queue: Queue) -> Iterator[Connection]:
    """A worker's connection."""
    settings = profile.celery_settings([queue.name])
    options = settings["broker_transport_options"]
    with Connection(settings["broker_url"], transport_options=options) as connection:
        yield connection


@pytest.fixture
def taken(profile: SQSProfile, connection: Connection, queue: Queue) -> list[Any]:
    """Messages that a worker has taken."""
    profile.publish(queue.name, [TaskMessage(uuid4(), "some.task") for _ in range(MESSAGES)])
    found: list[Any] = []

    def take() -> bool:
        message = queue(connection.default_channel).get()
        if message is not None:
            found.append(message)
        return len(found) == MESSAGES

    wait_until(take, "all are taken")
    return found


def requests_of(channel: Any, queue: str) -> list[str]:
    """The requests that a channel makes from now on."""
    made: list[str] = []
    client = channel.sqs(queue=channel.canonical_queue_name(queue))
    client.meta.events.register("before-call.sqs", lambda model, **_: made.append(model.name))
    return made


def test_many_messages_are_deleted_ten_at_a_time(profile: SQSProfile, taken: list[Any], queue: Queue) -> None:
    channel = taken[0].channel
    made = requests_of(channel, queue.name)
    profile.acknowledge(taken)
    assert made == ["DeleteMessageBatch"] * 3
    assert all(each.acknowledged for each in taken)
    assert not channel.qos._delivered.keys() - channel.qos._dirty
    depth = profile.depth(queue.name)
    assert (depth.waiting, depth.unacknowledged) == (0, 0)


@pytest.mark.parametrize("handle", ["garbage", ""])
def test_what_sqs_does_not_delete_takes_no_place_and_stops_nothing(
    profile: SQSProfile, taken: list[Any], queue: Queue, handle: str, caplog: pytest.LogCaptureFixture
) -> None:
    channel = taken[0].channel
    taken[0].delivery_info["sqs_message"]["ReceiptHandle"] = handle
    profile.acknowledge(taken)
    assert "come" in caplog.text
    assert not channel.qos._delivered.keys() - channel.qos._dirty
    assert profile.depth(queue.name).unacknowledged in range(1, 11)


def test_nothing_to_acknowledge_is_no_request(profile: SQSProfile) -> None:
    profile.acknowledge([])
