"""The relay, queue by queue: what one queue, task or worker does leaves the others alone."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import amqp
import psycopg
import pytest
import redis
from celery import Celery
from django.conf import settings
from django.db import Error, OperationalError, connection, transaction
from django.db.models import F
from kombu.pools import connections

from app.first_run.embedded import EmbeddedBroker
from brokers import BrokerProfile, load_profile
from brokers.channel import ChannelProfile
from brokers.sqs.profile import SQSProfile
from outbox import ledger
from outbox.models import Heartbeat, Message, Pause
from outbox.sql import is_connection_lost, run
from outbox.task import OutboxTask
from settings.outbox import OutboxSettings
from tests.harness.waiting import wait_until
from tests.outbox_rows import LEASE_SECONDS, TASK, add, again, let_pass, publish, row, seconds_from_now, start, state
from workers.relaying import lane, relay
from workers.relaying.lane import Lane
from workers.relaying.relay import Relay, drain
from workers.watchdog import known_tasks

pytestmark = pytest.mark.django_db(transaction=True)

State = Message.State

NEW_TASK = "tests.task_of_the_next_release"


@pytest.fixture
def profile(broker: EmbeddedBroker) -> Iterator[BrokerProfile]:
    profile = load_profile(broker.env["BROKER"], environ=broker.env, env_file=Path(os.devnull))
    yield profile
    if isinstance(profile, ChannelProfile):
        # Its own only: the app of the other tests has one, too.
        kept = profile.connection()
        connections[kept].force_close_all()
        del connections[kept]


@pytest.fixture
def queue() -> str:
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def options() -> OutboxSettings:
    options: OutboxSettings = settings.OUTBOX
    return options


def beat_as_worker(*queues: str, name: str = "worker:test:1", **details: Any) -> None:
    """Be a live worker of some queues."""
    details = {"queues": list(queues), **details}
    Heartbeat.objects.update_or_create(name=name, defaults={"kind": "worker", "details": details})


def look(relay: Relay) -> int:
    """Look at every queue, with the latest news, whatever failed before."""
    relay._news_at = 0
    for each in relay.lanes:
        each._not_before = 0
    return relay.look_at_all()


# --- One queue refuses ------------------------------------------------------------------------------------------------


@contextmanager
def redis_refuses(profile: BrokerProfile, port: int, queue: str) -> Iterator[BrokerProfile]:
    client = redis.Redis(port=port)
    client.set(queue, "this is no list")
    yield profile
    client.delete(queue)


@contextmanager
def rabbitmq_refuses(profile: BrokerProfile, port: int, queue: str) -> Iterator[BrokerProfile]:
    with amqp.Connection(f"127.0.0.1:{port}") as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False)  # a classic one: 406 to whoever declares ours
        yield profile
        channel.queue_delete(queue)


@contextmanager
def sqs_refuses(profile: BrokerProfile, port: int, queue: str) -> Iterator[BrokerProfile]:
    assert isinstance(profile, SQSProfile)
    yield profile.model_copy(update={"create_queues": False})
    profile.prepare([queue])


def refusing(profile: BrokerProfile, port: int, queue: str) -> AbstractContextManager[BrokerProfile]:
    """A profile whose broker says no to one queue while the block runs."""
    ways = {"redis": redis_refuses, "rabbitmq": rabbitmq_refuses, "sqs": sqs_refuses}
    return ways[profile.name](profile, port, queue)


@pytest.mark.databases("postgresql")
def test_a_queue_that_refuses_stops_no_other_though_it_is_listed_first(
    broker: EmbeddedBroker,
    profile: BrokerProfile,
    queue: str,
    options: OutboxSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    profile.prepare([f"{queue}-good"])
    refused = [add(queue=f"{queue}-bad", countdown=-50) for _ in range(3)]
    with refusing(profile, broker.port, f"{queue}-bad") as refused_by:
        relay = Relay(refused_by, [f"{queue}-bad", f"{queue}-good"], options)
        for _ in range(3):
            good = add(queue=f"{queue}-good")
            assert look(relay) == 1
            assert state(good) == State.PUBLISHED

        assert [state(id) for id in refused] == [State.PENDING] * 3
        assert [seconds_from_now(id) for id in refused] == [pytest.approx(-50, abs=10)] * 3
        assert {row(id).publishes for id in refused} == {0}
        warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
        assert len(warnings) == 1, warnings
        assert "What is due waits in the database." in warnings[0]
        with pytest.raises(ConnectionError):
            drain(relay)

    assert look(relay) == 3
    assert f"Publishing {queue}-bad again" in caplog.messages
    assert {state(id) for id in refused} == {State.PUBLISHED}


@pytest.mark.databases("postgresql")
@pytest.mark.brokers("redis")
def test_a_broker_that_is_away_is_reported_once_for_all_queues(
    broker: EmbeddedBroker, queue: str, options: OutboxSettings, caplog: pytest.LogCaptureFixture
) -> None:
    away = load_profile("redis", environ=broker.env_at(1), env_file=Path(os.devnull))  # nothing listens there
    relay = Relay(away, [f"{queue}-{number}" for number in range(5)], options)
    for each in relay.queues:
        add(queue=each)
    for _ in range(4):
        assert look(relay) == 0
    assert sum("Cannot reach Redis" in text for text in caplog.messages) == 1
    assert Message.objects.filter(state=State.PENDING).count() == 5


@pytest.mark.databases("sqlite")
@pytest.mark.brokers("redis")
def test_a_queue_that_failed_is_left_alone_for_longer_each_time(
    profile: BrokerProfile, queue: str, options: OutboxSettings
) -> None:
    one = Lane(queue, profile, options)
    pauses, ready = [], [one.is_ready]
    for _ in range(8):
        one.fail(OSError())
        pauses.append(one._not_before - time.monotonic())
    assert [*ready, one.is_ready] == [True, False]
    assert 0.1 < pauses[0] <= lane.FIRST_BACKOFF_SECONDS
    assert 2.4 < pauses[-1] <= lane.LAST_BACKOFF_SECONDS
    one.recover()
    one.fail(OSError())
    assert one._not_before - time.monotonic() <= lane.FIRST_BACKOFF_SECONDS


# --- The database refuses, or is away ---------------------------------------------------------------------------------


@pytest.mark.databases("postgresql")
@pytest.mark.brokers("redis")
def test_a_statement_that_timed_out_is_reported_and_extends_no_lease(
    profile: BrokerProfile, queue: str, options: OutboxSettings, caplog: pytest.LogCaptureFixture
) -> None:
    claimed = start()
    let_pass(LEASE_SECONDS - 5)
    add(queue=queue)
    relay = Relay(profile, [queue], options)
    look(relay)
    id = add(queue=queue)
    with locked_table(), connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '200ms'")
        assert look(relay) == 0
        cursor.execute("RESET statement_timeout")
    assert "A statement timed out (canceling statement due to statement timeout" in caplog.text
    assert isinstance(relay.lanes[0].error, OperationalError)
    assert 0 < seconds_from_now(claimed.id) <= 5
    assert look(relay) == 1
    assert state(id) == State.PUBLISHED


@contextmanager
def locked_table() -> Iterator[None]:
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None, "context": None}) as other:
        other.execute("LOCK TABLE outbox_message IN ACCESS EXCLUSIVE MODE")
        yield
        other.rollback()


@pytest.mark.databases("postgresql")
@pytest.mark.brokers("redis")
def test_a_missing_column_is_reported_with_its_name(
    profile: BrokerProfile, queue: str, options: OutboxSettings, caplog: pytest.LogCaptureFixture
) -> None:
    relay = Relay(profile, [queue], options)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE outbox_message RENAME COLUMN wanted_at TO elsewhere")
        try:
            assert look(relay) == 0
        finally:
            cursor.execute("ALTER TABLE outbox_message RENAME COLUMN elsewhere TO wanted_at")
    assert f"Queue {queue}: The database refused a statement" in caplog.text
    assert "wanted_at" in caplog.text


def lose_connection() -> None:
    """Let the server end our connection to the database."""
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None, "context": None}) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])


@pytest.mark.databases("postgresql")
@pytest.mark.brokers("redis")
def test_a_database_that_was_away_for_long_extends_the_leases_once(
    profile: BrokerProfile, queue: str, options: OutboxSettings
) -> None:
    claimed = start()
    let_pass(LEASE_SECONDS - 5)
    relay = Relay(profile, [queue], options)
    look(relay)
    for away_seconds, left in ((0.0, 5), (options.renew_seconds + 1, options.lease_seconds)):
        lose_connection()
        with pytest.raises(Error) as lost:
            look(relay)
        relay._answered_at = time.monotonic() - away_seconds
        relay._wait_for_database(lost.value)
        assert seconds_from_now(claimed.id) == pytest.approx(left, abs=4)
        add(queue=queue)
        assert look(relay) == 1


@pytest.mark.databases("postgresql")
@pytest.mark.parametrize("in_a_transaction", [False, True])
def test_a_connection_that_is_lost_in_a_transaction_is_lost_too(in_a_transaction: bool) -> None:
    """Django has a new connection by the time that the error arrives."""
    connection.ensure_connection()
    lose_connection()
    with pytest.raises(Error) as lost, transaction.atomic() if in_a_transaction else nullcontext():
        Heartbeat.objects.count()
    assert is_connection_lost(lost.value)
    connection.close()
    with pytest.raises(Error) as refused:
        run("SELECT missing FROM outbox_message", [])
    assert not is_connection_lost(refused.value)


# --- Tasks that no worker knows ---------------------------------------------------------------------------------------


@pytest.mark.databases("postgresql")
def test_1000_messages_that_no_worker_knows_are_not_in_the_way_of_others(
    profile: BrokerProfile, queue: str, options: OutboxSettings
) -> None:
    beat_as_worker(queue, tasks=[TASK])
    copy(add(task=NEW_TASK, queue=queue, priority=9), 999)
    relay = Relay(profile, [queue], options)
    fresh = add(queue=queue)

    assert look(relay) == 1

    assert state(fresh) == State.PUBLISHED
    assert look(relay) == 0
    set_aside = Message.objects.filter(task=NEW_TASK)
    assert set_aside.filter(state=State.PENDING, attempts=0, refused_at__isnull=False).count() == 1000
    assert set(set_aside.values_list("last_error", flat=True)) == {ledger.UNKNOWN}
    assert 0 < seconds_from_now(set_aside.latest("due_at").pk) <= 60
    assert profile.depth(queue).waiting == 1

    beat_as_worker(queue, name="worker:test:2", tasks=[NEW_TASK])
    assert look(relay) + drain(relay) == options.max_in_flight - 1
    # All are due at once; the last one waits for its place in the window.
    assert set_aside.filter(state=State.PUBLISHED).count() == options.max_in_flight - 1
    assert set_aside.filter(state=State.PENDING, due_at=F("wanted_at")).count() == 1


def copy(id: UUID, times: int) -> None:
    original = row(id)
    copies = [Message(**{f.name: getattr(original, f.name) for f in Message._meta.fields}) for _ in range(times)]
    for each in copies:
        each.pk = uuid4()
    Message.objects.bulk_create(copies)


@pytest.mark.brokers("redis")
class TestTasksNobodyKnows:
    @pytest.fixture
    def relay(self, profile: BrokerProfile, queue: str, options: OutboxSettings) -> Relay:
        return Relay(profile, [queue], options)

    def test_without_a_live_worker_everything_is_published(self, relay: Relay, queue: str) -> None:
        beat_as_worker("another", tasks=[TASK])
        add(task=NEW_TASK, queue=queue)
        assert look(relay) == 1

    def test_a_worker_of_an_older_release_is_given_everything(self, relay: Relay, queue: str) -> None:
        beat_as_worker(queue, tasks=[TASK])
        beat_as_worker(queue, name="worker:test:old")
        add(task=NEW_TASK, queue=queue)
        assert look(relay) == 1

    def test_a_worker_that_has_not_been_seen_for_long_does_not_count(self, relay: Relay, queue: str) -> None:
        beat_as_worker(queue, tasks=[TASK])
        Heartbeat.objects.update(seen_at=F("seen_at") - timedelta(hours=1))
        add(task=NEW_TASK, queue=queue)
        assert look(relay) == 1

    def test_what_is_set_aside_keeps_since_when_it_waits(self, relay: Relay, queue: str) -> None:
        beat_as_worker(queue, tasks=[TASK])
        id = add(task=NEW_TASK, queue=queue, countdown=-70)
        assert look(relay) == 0
        assert seconds_from_now(id, "wanted_at") == pytest.approx(-70, abs=5)
        assert 0 < seconds_from_now(id) <= 60
        beat_as_worker(queue, tasks=[TASK, NEW_TASK])
        assert look(relay) == 1
        assert seconds_from_now(id, "wanted_at") == pytest.approx(-70, abs=5)

    def test_it_is_set_aside_again_when_its_pause_is_over_and_refused_since_the_first_time(
        self, relay: Relay, queue: str
    ) -> None:
        beat_as_worker(queue, tasks=[TASK])
        id = add(task=NEW_TASK, queue=queue)
        look(relay)
        let_pass(100)
        assert look(relay) == 0
        assert 0 < seconds_from_now(id) <= 60
        assert seconds_from_now(id, "refused_at") == pytest.approx(-100, abs=5)

    def test_it_is_dead_when_nobody_has_known_it_for_long_enough(
        self, relay: Relay, queue: str, options: OutboxSettings
    ) -> None:
        beat_as_worker(queue, tasks=[TASK])
        id = add(task=NEW_TASK, queue=queue)
        look(relay)
        let_pass(options.refused_days * 86_400 + 60)
        assert look(relay) == 0
        assert (state(id), row(id).last_error, row(id).attempts) == (State.DEAD, ledger.UNKNOWN, 0)

    def test_what_expired_meanwhile_is_dead_of_that(self, relay: Relay, queue: str) -> None:
        beat_as_worker(queue, tasks=[TASK])
        id = add(task=NEW_TASK, queue=queue, expires=90)
        look(relay)
        let_pass(100)
        look(relay)
        assert (state(id), row(id).last_error) == (State.DEAD, ledger.EXPIRED)

    def test_a_relay_that_has_just_started_makes_due_what_another_one_set_aside(
        self, relay: Relay, queue: str, profile: BrokerProfile, options: OutboxSettings
    ) -> None:
        beat_as_worker(queue, tasks=[TASK])
        add(task=NEW_TASK, queue=queue)
        look(relay)
        beat_as_worker(queue, tasks=[NEW_TASK])
        assert look(Relay(profile, [queue], options)) == 1

    def test_the_lease_of_one_that_nobody_knows_any_more_ends_and_it_is_set_aside(
        self, relay: Relay, queue: str
    ) -> None:
        claimed = start(task=NEW_TASK, queue=queue)
        beat_as_worker(queue, tasks=[TASK])
        let_pass(LEASE_SECONDS + 1)
        assert look(relay) == 0
        assert (state(claimed.id), row(claimed.id).attempts) == (State.PENDING, 1)

    def test_a_worker_says_which_durable_tasks_it_knows(self) -> None:
        app: Any = Celery("tests", set_as_current=False, task_cls=OutboxTask)
        app.task(name="b")(publish)
        app.task(name="a")(publish)
        app.task(name="c", durable=False)(publish)
        assert [name for name in known_tasks(app) if len(name) == 1] == ["a", "b"]


# --- Pauses -----------------------------------------------------------------------------------------------------------


@pytest.mark.brokers("redis")
class TestPauses:
    @pytest.fixture
    def relay(self, profile: BrokerProfile, queue: str, options: OutboxSettings) -> Relay:
        return Relay(profile, [queue, f"{queue}-2"], options)

    def test_of_a_paused_queue_nothing_is_published_until_it_is_resumed(self, relay: Relay, queue: str) -> None:
        pause = Pause.objects.create(kind=Pause.Kind.QUEUE, name=queue, by="ada")
        waiting, other = add(queue=queue), add(queue=f"{queue}-2")
        assert look(relay) == 1
        assert (state(waiting), state(other)) == (State.PENDING, State.PUBLISHED)
        pause.delete()
        assert look(relay) == 1

    def test_of_a_paused_task_nothing_is_published_and_nothing_waits_behind_it(
        self, relay: Relay, queue: str, options: OutboxSettings
    ) -> None:
        pause = Pause.objects.create(kind=Pause.Kind.TASK, name=NEW_TASK, by="ada")
        id = add(task=NEW_TASK, queue=queue, priority=9)
        copy(id, options.batch_size * 2)
        fresh = add(queue=queue)
        assert look(relay) == 1
        assert (state(fresh), state(id)) == (State.PUBLISHED, State.PENDING)
        assert (row(id).last_error, row(id).refused_at) == ("", None)
        pause.delete()
        assert look(relay) >= options.batch_size
        assert state(id) == State.PUBLISHED

    def test_what_was_taken_before_the_pause_was_known_is_not_touched(self, relay: Relay, queue: str) -> None:
        id = publish(task=NEW_TASK, queue=queue)
        Pause.objects.create(kind=Pause.Kind.TASK, name=NEW_TASK, by="ada")
        look(relay)
        assert state(id) == State.PUBLISHED


# --- What was passed over is found ------------------------------------------------------------------------------------


@pytest.mark.brokers("redis")
def test_what_becomes_due_before_what_was_taken_is_found_within_seconds(
    profile: BrokerProfile, queue: str, options: OutboxSettings
) -> None:
    one = Lane(queue, profile, options)
    old = publish(queue=queue, countdown=-300)
    assert one.look() == 0
    ledger.release([again(old)], counted=True)
    wait_until(lambda: one.look() == 1, "the message that was released", within_seconds=lane.LAST_BELOW_SECONDS)


@pytest.mark.brokers("redis")
def test_what_could_not_be_published_is_found_at_once(
    broker: EmbeddedBroker, profile: BrokerProfile, queue: str, options: OutboxSettings
) -> None:
    one = Lane(queue, profile, options)
    assert one.look() == 0
    add(queue=queue, countdown=-300)
    one._floor.due.clear()
    with redis_refuses(profile, broker.port, queue), pytest.raises(ConnectionError):
        one.look()
    one._below_at = float("inf")
    assert one.look() == 1


def test_the_relay_reminds_of_what_lasts(options: OutboxSettings, caplog: pytest.LogCaptureFixture) -> None:
    one = Relay(settings.BROKER_PROFILE, [], options)
    one._say("It is away.")
    one._say("It is away.")
    one._said["It is away."] -= relay.REMIND_SECONDS + 1
    one._say("It is away.")
    assert caplog.messages == ["It is away."] * 2
