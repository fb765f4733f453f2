"""What every broker's profile promises, on the real broker."""

import os
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
import redis
from celery import Celery
from kombu import Connection, Queue
from kombu.exceptions import OperationalError
from kombu.pools import reset as forget_connections

from app.first_run.embedded import EmbeddedBroker
from brokers import BrokerError, BrokerProfile, BrokerUnreachableError, Finding, load_profile
from brokers.base import STEP_SECONDS
from tests.harness.environment import child_environment
from tests.harness.service import ServiceProcess, says
from tests.harness.waiting import wait_until

NO_FILE = Path(os.devnull)

#: What a loaded machine may add to a time limit.
GRACE_SECONDS = 3


@pytest.fixture
def profile(broker: EmbeddedBroker) -> Iterator[BrokerProfile]:
    yield load_profile(broker.env["BROKER"], environ=broker.env, env_file=NO_FILE)
    forget_connections()


@pytest.fixture
def queue() -> str:
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def app(profile: BrokerProfile, queue: str) -> Celery:
    """A publisher with nothing but the profile's settings."""
    app = Celery("publisher", set_as_current=False)
    app.conf.update(profile.celery_settings([queue]))
    return app


@pytest.fixture
def worker(broker: EmbeddedBroker, queue: str, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A worker with nothing but the profile's settings, ready for tasks."""
    worker = ServiceProcess(
        ["-m", "celery", "-A", "tests.plain_app", "worker", "-l", "INFO", "--concurrency", "1"],
        env=child_environment(tmp_path, QUEUES=queue, **broker.env),
        log=tmp_path / "worker.log",
        is_ready=says(" ready."),
    )
    worker.start()
    worker.wait_until_ready()
    yield worker
    worker.stop()


def levels(findings: list[Finding]) -> set[str]:
    return {finding.level for finding in findings}


def seconds_of(call: Callable[[], object]) -> float:
    """How long `call` takes, whatever comes of it."""
    started = time.monotonic()
    with suppress(BrokerError, OperationalError):
        call()
    return time.monotonic() - started


# --- a good day -------------------------------------------------------------------------------------------------------


def test_preparing_twice_leaves_queues_without_a_finding(profile: BrokerProfile, queue: str) -> None:
    profile.prepare([queue])
    profile.prepare([queue])

    findings = profile.findings([queue])
    assert levels(findings) == {"ok"}, findings
    assert profile.address in [finding.message for finding in findings]


def test_depth_counts_what_was_published(profile: BrokerProfile, queue: str, app: Celery) -> None:
    profile.prepare([queue])
    assert profile.depth(queue).waiting == 0

    for _ in range(3):
        app.send_task("plain.touch", ["/dev/null"])

    wait_until(lambda: profile.depth(queue).waiting == 3, "three waiting messages")
    assert (profile.depth(queue).unacknowledged is not None) == profile.counts_unacknowledged


def test_depth_keeps_its_connection(profile: BrokerProfile, queue: str) -> None:
    profile.prepare([queue])
    profile.depth(queue)
    started = time.monotonic()
    for _ in range(50):
        profile.depth(queue)
    assert time.monotonic() - started < 50 * 0.1


def test_a_worker_runs_a_task_with_nothing_but_the_profile(
    profile: BrokerProfile, queue: str, app: Celery, worker: ServiceProcess, tmp_path: Path
) -> None:
    app.send_task("plain.touch", [str(tmp_path / "ran")])

    wait_until((tmp_path / "ran").exists, "the task to run")
    wait_until(lambda: profile.depth(queue).waiting == 0, "an empty queue")


def test_a_queue_that_was_not_declared_is_an_error(app: Celery) -> None:
    with pytest.raises(Exception, match="nowhere"):
        app.send_task("plain.touch", ["/dev/null"], queue="nowhere")


# --- a broker that is away --------------------------------------------------------------------------------------------


def test_what_we_ask_a_stopped_broker_is_answered_with_address_reason_and_cure(
    broker: EmbeddedBroker, profile: BrokerProfile, queue: str
) -> None:
    profile.prepare([queue])
    profile.depth(queue)
    broker.stop()

    for ask in (lambda: profile.prepare([queue]), lambda: profile.depth(queue), lambda: profile.depth(queue)):
        with pytest.raises(BrokerUnreachableError) as caught:
            ask()
        assert str(caught.value) == f"Cannot reach {profile.address} (connection refused). {profile.reach_hint}"
    (finding,) = profile.findings([queue])
    assert (finding.level, finding.cure) == ("fail", profile.reach_hint)


def test_publishing_to_a_stopped_broker_fails_at_once(broker: EmbeddedBroker, app: Celery) -> None:
    broker.stop()

    started = time.monotonic()
    with pytest.raises(OperationalError):
        app.send_task("plain.touch", ["/dev/null"])
    assert time.monotonic() - started < GRACE_SECONDS


def test_a_worker_goes_on_when_the_broker_is_back(
    broker: EmbeddedBroker, profile: BrokerProfile, queue: str, app: Celery, worker: ServiceProcess, tmp_path: Path
) -> None:
    broker.stop()
    wait_until(lambda: "again" in worker.output, "the worker to say that it tries again")
    assert worker.is_running
    broker.start()
    profile.prepare([queue])

    app.send_task("plain.touch", [str(tmp_path / "ran")])

    wait_until((tmp_path / "ran").exists, "the task to run", within_seconds=60)


def test_a_kept_connection_that_broke_is_replaced(broker: EmbeddedBroker, profile: BrokerProfile, queue: str) -> None:
    profile.prepare([queue])
    profile.depth(queue)
    broker.restart()
    profile.prepare([queue])
    assert profile.depth(queue).waiting == 0


def test_a_frozen_broker_holds_nobody_up(
    broker: EmbeddedBroker, profile: BrokerProfile, queue: str, app: Celery
) -> None:
    profile.prepare([queue])
    app.send_task("plain.touch", ["/dev/null"])
    profile.depth(queue)
    broker.freeze()

    with ThreadPoolExecutor() as beside:
        publishing = beside.submit(seconds_of, lambda: app.send_task("plain.touch", ["/dev/null"]))
        # One step on the kept connection, and one on a new one that may show whether only the kept one was cut off.
        assert seconds_of(lambda: profile.depth(queue)) < 2 * STEP_SECONDS + GRACE_SECONDS
        assert seconds_of(lambda: profile.prepare([queue])) < STEP_SECONDS + GRACE_SECONDS

        started = time.monotonic()
        findings = profile.findings([queue])
        assert time.monotonic() - started < STEP_SECONDS + GRACE_SECONDS
    assert publishing.result() < 20
    assert levels(findings) == {"fail"}
    assert "no answer" in findings[-1].message


def test_the_error_survives_its_way_from_a_worker_process() -> None:
    error = BrokerUnreachableError("Cannot reach it.", "Start it.")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (str(copy), copy.cure) == ("Cannot reach it. Start it.", "Start it.")


# --- a broker that is set up wrongly ----------------------------------------------------------------------------------


def evict_when_full(broker: EmbeddedBroker, name: str) -> None:
    redis.Redis(port=broker.port).config_set("maxmemory-policy", "allkeys-lru")


def declare_as_classic(broker: EmbeddedBroker, name: str) -> None:
    with Connection(broker.env["RABBITMQ_URL"]) as connection:
        Queue(name)(connection.default_channel).declare()


def hide_for_a_second(broker: EmbeddedBroker, name: str) -> None:
    client = boto3.client("sqs", region_name=broker.env["SQS_REGION"], endpoint_url=broker.env["SQS_ENDPOINT_URL"])
    client.create_queue(QueueName=f"anybroker-{name}", Attributes={"VisibilityTimeout": "1"})


#: How somebody sets up each broker so that a promise breaks, and the word that the finding must name.
MISTAKES: dict[str, tuple[Callable[[EmbeddedBroker, str], None], str]] = {
    "redis": (evict_when_full, "allkeys-lru"),
    "rabbitmq": (declare_as_classic, "inequivalent"),
    "sqs": (hide_for_a_second, "VisibilityTimeout"),
}


@pytest.fixture
def mistake(broker: EmbeddedBroker, profile: BrokerProfile, queue: str) -> Iterator[str]:
    make, word = MISTAKES[profile.name]
    make(broker, queue)
    yield word
    broker.stop()  # the next test starts it anew, as it should be


def test_a_server_set_up_wrongly_is_found_out_with_its_cure(profile: BrokerProfile, queue: str, mistake: str) -> None:
    failures = [finding for finding in profile.findings([queue]) if finding.level == "fail"]

    assert any(mistake in finding.message for finding in failures), failures
    assert all(finding.cure for finding in failures)


def test_looking_changes_nothing(profile: BrokerProfile, queue: str, app: Celery) -> None:
    profile.prepare([queue])
    app.send_task("plain.touch", ["/dev/null"])
    wait_until(lambda: profile.depth(queue).waiting == 1, "one waiting message")
    for _ in range(3):
        profile.findings([queue])
    assert profile.depth(queue).waiting == 1


# --- secrets ----------------------------------------------------------------------------------------------------------

SECRET = "hunter2"

#: Settings with a secret that the broker, as the tests have it, does not accept or does not need.
SECRETS: dict[str, Callable[[EmbeddedBroker], dict[str, str]]] = {
    "redis": lambda broker: {"REDIS_URL": f"redis://guest:{SECRET}@127.0.0.1:{broker.port}/0"},
    "rabbitmq": lambda broker: {"RABBITMQ_URL": f"amqp://guest:{SECRET}@127.0.0.1:{broker.port}//"},
    "sqs": lambda broker: {"AWS_SECRET_ACCESS_KEY": SECRET},
}


@pytest.mark.parametrize("running", [True, False])
def test_no_secret_is_in_any_text(broker: EmbeddedBroker, queue: str, running: bool) -> None:
    environ = broker.env | SECRETS[broker.env["BROKER"]](broker)
    profile = load_profile(environ["BROKER"], environ=environ, env_file=NO_FILE)
    if not running:
        broker.stop()

    texts = [repr(profile), str(profile), profile.address, *map(str, profile.effective())]
    texts += map(repr, profile.findings([queue]))
    for ask in (lambda: profile.prepare([queue]), lambda: profile.depth(queue)):
        try:
            ask()
        except BrokerError as error:
            texts += [str(error), repr(error)]
    assert not [text for text in texts if SECRET in text]
