"""What the profiles publish: every broker takes a batch, and stock kombu and stock Celery read it."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from kombu import Connection, Consumer, Queue
from kombu.message import Message

from app.first_run.embedded import EmbeddedBroker
from app.first_run.processes import ChildProcess
from brokers import BrokerProfile, load_profile
from brokers.errors import BrokerError, PublishError
from brokers.wire import TaskMessage, is_in_ledger
from settings import PROJECT_ROOT
from tests.harness.environment import child_environment
from tests.harness.others import plain
from tests.harness.servers import Servers
from tests.harness.waiting import wait_until

TASK = "tests.note"

#: Publishing to a broker that is away must have failed after so many seconds, on a busy machine too.
SECONDS = 20


@pytest.fixture
def profile(broker: EmbeddedBroker) -> BrokerProfile:
    return profile_of(broker)


def profile_of(broker: EmbeddedBroker) -> BrokerProfile:
    return load_profile(broker.env["BROKER"], environ=broker.env, env_file=Path(os.devnull))


@pytest.fixture
def queue(profile: BrokerProfile) -> str:
    """A queue of the test's own."""
    name = new_name()
    profile.prepare([name])
    return name


def new_name() -> str:
    return f"wire-{uuid4().hex[:8]}"


def new_messages(count: int) -> list[TaskMessage]:
    return [TaskMessage(uuid4(), TASK) for _ in range(count)]


def connect(profile: BrokerProfile, queue: str) -> Connection:
    """A connection of stock kombu, with the settings that a worker gets."""
    settings = profile.celery_settings([queue])
    return Connection(settings["broker_url"], transport_options=settings["broker_transport_options"])


def consume(profile: BrokerProfile, queue: str, sent: Iterable[TaskMessage]) -> list[Message]:
    """Receive and acknowledge until all that was `sent` is there."""
    expected = {message.id for message in sent}
    received: list[Message] = []

    def keep(message: Message) -> None:
        received.append(message)
        message.ack()

    with connect(profile, queue) as connection:
        declared = Queue(queue, no_declare=True)
        with Consumer(connection, [declared], on_message=keep, accept=["json"]):
            while not expected <= set(ids_of(received)):
                connection.drain_events(timeout=30)
    return received


def ids_of(received: list[Message]) -> list[UUID]:
    return [UUID(message.headers["id"]) for message in received]


@pytest.mark.parametrize("count", [1, 10, 11, 250])
def test_every_message_of_a_batch_arrives_once(profile: BrokerProfile, queue: str, count: int) -> None:
    messages = new_messages(count)
    profile.publish(queue, messages)
    received = consume(profile, queue, messages)
    assert sorted(ids_of(received)) == sorted(message.id for message in messages)
    wait_until(lambda: profile.depth(queue).waiting == 0, "an empty queue")


def test_a_message_is_a_task_without_arguments(profile: BrokerProfile, queue: str) -> None:
    [sent] = new_messages(1)
    profile.publish(queue, [sent])
    [message] = consume(profile, queue, [sent])
    expected = {"task": TASK, "id": str(sent.id), "root_id": str(sent.id), "eta": None, "expires": None, "retries": 0}
    assert {name: message.headers[name] for name in expected} == expected
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert message.properties["correlation_id"] == str(sent.id)
    args, kwargs, embed = message.decode()
    assert (list(args), kwargs) == ([], {})
    assert set(embed) == {"callbacks", "errbacks", "chain", "chord"}


def test_every_broker_carries_what_a_message_stands_for(profile: BrokerProfile, queue: str) -> None:
    [sent] = new_messages(1)
    profile.publish(queue, [sent])
    [message] = consume(profile, queue, [sent])
    assert is_in_ledger(message.headers)


def test_what_a_message_stands_for_is_not_read_from_a_text_for_people() -> None:
    [message] = new_messages(1)
    assert is_in_ledger({**message.headers, "argsrepr": "()"})
    assert not is_in_ledger({"argsrepr": message.headers["argsrepr"]})


def test_several_batches_follow_one_another(profile: BrokerProfile, queue: str) -> None:
    messages = new_messages(30)
    for start in range(0, 30, 10):
        profile.publish(queue, messages[start : start + 10])
    assert sorted(ids_of(consume(profile, queue, messages))) == sorted(message.id for message in messages)


def test_several_threads_may_publish_at_once(profile: BrokerProfile, queue: str) -> None:
    batches = [new_messages(10) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(partial(profile.publish, queue), batches))
    messages = [message for batch in batches for message in batch]
    assert sorted(ids_of(consume(profile, queue, messages))) == sorted(message.id for message in messages)


def test_a_stock_celery_worker_runs_what_was_published(
    broker: EmbeddedBroker, profile: BrokerProfile, queue: str, tmp_path: Path
) -> None:
    messages = new_messages(12)
    profile.publish(queue, messages)
    stock = {
        "STOCK_SETTINGS": json.dumps(plain(profile.celery_settings([queue]))),
        "STOCK_QUEUE": json.dumps({"name": queue, "queue_arguments": profile.queue(queue).queue_arguments}),
    }
    environment = child_environment(tmp_path, **stock, **broker.env)
    command = [sys.executable, "-m", "celery", "-A", "tests.harness.stock_worker", "worker", "-l", "INFO"]
    command += ["--pool", "solo", "--without-mingle", "--without-gossip", "--without-heartbeat"]
    log = tmp_path / "stock.log"
    worker = ChildProcess(command, env=environment, log=log, cwd=PROJECT_ROOT)
    worker.start()
    try:
        wait_until(lambda: len(succeeded(log)) == 12, "a stock worker to run everything", within_seconds=60)
    finally:
        worker.stop()
    assert sorted(succeeded(log)) == sorted(str(message.id) for message in messages)


def succeeded(log: Path) -> list[str]:
    return re.findall(rf"Task {TASK}\[([^]]+)\] succeeded", log.read_text())


DOWN: dict[str, Callable[[EmbeddedBroker], None]] = {
    "stopped": EmbeddedBroker.stop,
    "killed": EmbeddedBroker.kill,
    "frozen": EmbeddedBroker.freeze,
}


class TestBrokerDown:
    @pytest.fixture(autouse=True)
    def up_again(self, broker: EmbeddedBroker) -> Iterator[None]:
        yield
        broker.thaw()
        if not broker.is_running:
            broker.start()

    @pytest.mark.parametrize("how", DOWN)
    def test_publishing_fails_within_seconds(
        self, broker: EmbeddedBroker, profile: BrokerProfile, queue: str, how: str
    ) -> None:
        profile.publish(queue, new_messages(1))
        cold = profile_of(broker)
        DOWN[how](broker)
        for each in (profile, cold):
            begin = time.monotonic()
            with pytest.raises(BrokerError) as failure:
                each.publish(queue, new_messages(20))
            assert time.monotonic() - begin < SECONDS
            assert not isinstance(failure.value, PublishError), "all of it is to be published again"

    def test_publishing_works_again_when_it_is_back(
        self, broker: EmbeddedBroker, profile: BrokerProfile, queue: str
    ) -> None:
        profile.publish(queue, new_messages(1))
        broker.stop()
        with pytest.raises(BrokerError):
            profile.publish(queue, new_messages(1))
        broker.start()
        profile.prepare([queue])
        messages = new_messages(10)
        profile.publish(queue, messages)
        assert consume(profile, queue, messages)


class TestRabbitMQ:
    """Only RabbitMQ can take a part of a batch so that a test can tell which."""

    @pytest.fixture
    def profile(self, servers: Servers) -> BrokerProfile:
        servers.provide("rabbitmq", print)
        return profile_of(servers.broker("rabbitmq"))

    def test_a_queue_that_does_not_exist_takes_nothing(self, profile: BrokerProfile) -> None:
        messages = new_messages(10)
        with pytest.raises(PublishError, match=r"did not take 10 of 10 messages for queue wire-") as failure:
            profile.publish(new_name(), messages)
        assert failure.value.unpublished == {message.id for message in messages}

    def test_of_a_full_queue_exactly_those_that_did_not_arrive_are_named(self, profile: BrokerProfile) -> None:
        queue, messages = new_name(), new_messages(20)
        with connect(profile, queue) as connection:
            arguments = {"x-max-length": 7, "x-overflow": "reject-publish"}
            Queue(queue, queue_arguments=arguments, channel=connection.default_channel).declare()
        with pytest.raises(PublishError) as failure:
            profile.publish(queue, messages)
        taken = [message for message in messages if message.id not in failure.value.unpublished]
        assert 0 < len(taken) < 20
        assert sorted(ids_of(consume(profile, queue, taken))) == sorted(message.id for message in taken)
        assert profile.depth(queue).waiting == 0

    def test_after_a_refusal_the_next_batch_is_judged_by_itself(self, profile: BrokerProfile) -> None:
        queue = new_name()
        with pytest.raises(PublishError):
            profile.publish(queue, new_messages(5))
        profile.prepare([queue])
        messages = new_messages(5)
        profile.publish(queue, messages)
        assert sorted(ids_of(consume(profile, queue, messages))) == sorted(message.id for message in messages)
