"""Messages for workers that are not ours: complete, at least once, and done when the broker has them."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import shared_task
from celery.app import routes
from celery.app.amqp import Queues
from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from kombu.utils.json import loads

from app.celery import app
from app.doctor import outbox, processes
from app.first_run.embedded import EmbeddedBroker
from brokers import BrokerProfile, load_profile
from brokers.base import MOST_BYTES, ForeignQueue
from brokers.errors import BrokerError, PublishError, QueueError
from brokers.sqs.publishing import SAFE_BYTES
from brokers.wire import CompleteMessage, TaskMessage, is_in_ledger
from console import overview
from outbox import ledger
from outbox.errors import OptionRefusedError
from outbox.ledger import EVERY_TASK
from outbox.models import Heartbeat, Message
from tests.harness.others import RECEIVE, make_queue, others
from tests.outbox_rows import LOST_AFTER_SECONDS, let_pass, row, state
from workers.relaying.foreign import ForeignLane, leave_to_others
from workers.relaying.lane import Lane


@shared_task(durable=False)  # type: ignore[call-overload]
def at_once() -> None:
    """Goes straight to the broker."""


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a foreign queue of this service."""
    name = f"theirs-{uuid4().hex[:8]}"
    monkeypatch.setattr(settings, "SERVICE", settings.SERVICE.model_copy(update={"outbox_foreign_queues": (name,)}))
    app.amqp.queues.add(ForeignQueue(name))
    yield name
    del app.amqp.queues[name]


@pytest.fixture
def profile(broker: EmbeddedBroker) -> BrokerProfile:
    return load_profile(broker.env["BROKER"], environ=broker.env, env_file=Path(os.devnull))


@pytest.fixture
def lane(profile: BrokerProfile, theirs: str) -> ForeignLane:
    make_queue(profile, theirs)
    return ForeignLane(theirs, profile, settings.OUTBOX)


def call(queue: str, *args: Any, **options: Any) -> UUID:
    """Call the others' task by its name."""
    return UUID(app.send_task(RECEIVE, args, {"size": "large"}, queue=queue, **options).id)


def complete(queue: str) -> CompleteMessage:
    """Take the one message that is due, as the relay does."""
    [message] = ledger.complete_messages(ledger.take_due(queue, limit=2, lost_after_seconds=LOST_AFTER_SECONDS))
    return message


# --- what is sent -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_it_is_the_message_that_celery_itself_would_send(theirs: str) -> None:
    at = datetime(2099, 1, 1, tzinfo=UTC)
    given = [1, "two", UUID(int=3)], {"size": "large"}
    id = app.send_task(RECEIVE, *given, queue=theirs, expires=at, priority=7, headers={"tenant": "blue"}).id

    message = complete(theirs)

    celerys = app.amqp.as_task_v2(id, RECEIVE, tuple(given[0]), given[1], expires=at)
    # Absent is what it means when it is None, 0 or empty, and the sender's name is ours.
    assert {**celerys.headers, **message.headers, "origin": ""} == {**celerys.headers, "tenant": "blue", "origin": ""}
    assert loads(message.body.decode()) == [given[0], given[1], celerys.body[2]]
    assert {**celerys.properties, **message.properties}["correlation_id"] == id
    assert message.properties["priority"] == 7
    assert not is_in_ledger(message.headers)


@pytest.mark.django_db
def test_arguments_that_this_process_cannot_decode_are_passed_on_as_they_are(theirs: str) -> None:
    unknown = '[[{"__type__": "money", "__value__": "9 EUR"}], {}]'
    id = call(theirs)
    Message.objects.filter(pk=id).update(arguments=unknown)
    message = complete(theirs)
    assert message.argsrepr == unknown
    assert message.body.startswith(b'[[{"__type__": "money", "__value__": "9 EUR"}], {}, {"callbacks"')


# --- what is enqueued -------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_is_rolled_back_sends_nothing(theirs: str) -> None:
    with transaction.atomic():
        call(theirs, 1)
        transaction.set_rollback(True)
    assert not Message.objects.exists()


@pytest.mark.django_db
def test_routes_lead_to_a_foreign_queue_too(theirs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    router = routes.Router(routes.prepare([{"their.*": {"queue": theirs}}]), app.amqp.queues, app=app)
    monkeypatch.setattr(app.amqp, "router", router)
    assert row(UUID(app.send_task("their.task", [1]).id)).queue == theirs
    assert row(UUID(app.signature("their.task", args=[1]).delay().id)).queue == theirs


@pytest.mark.django_db
@pytest.mark.parametrize("name", [at_once.name, RECEIVE])
def test_what_goes_straight_to_the_broker_cannot_go_to_others(theirs: str, name: str) -> None:
    with pytest.raises(OptionRefusedError, match="only the outbox publishes"):
        app.send_task(name, queue=theirs, durable=False)
    with pytest.raises(OptionRefusedError, match="only the outbox publishes"):
        at_once.apply_async(queue=theirs)


# --- what the relay does ----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.databases("postgresql")
def test_a_plain_worker_runs_it_with_its_arguments_and_it_is_done(
    broker: EmbeddedBroker, profile: BrokerProfile, lane: ForeignLane, theirs: str, tmp_path: Path
) -> None:
    ids = [call(theirs, number) for number in range(60)]
    assert lane.look() == 60
    assert {state(id) for id in ids} == {"done"}
    assert profile.foreign_findings([theirs])[0].level == "ok"
    with others(broker, profile, theirs, tmp_path) as receiver:
        received = dict(receiver.wait_for(60))
    assert received == {str(id): f"(({number},), {{'size': 'large'}})" for number, id in enumerate(ids)}


@pytest.mark.django_db(transaction=True)
@pytest.mark.databases("postgresql")
@pytest.mark.brokers("rabbitmq", "sqs")  # Redis makes every list with its first message
def test_a_queue_that_is_not_there_is_never_created(profile: BrokerProfile, theirs: str) -> None:
    id = call(theirs)
    lane = ForeignLane(theirs, profile, settings.OUTBOX)
    for _ in range(2):
        with pytest.raises(QueueError, match="OUTBOX_FOREIGN_QUEUES"):
            lane.look()
    assert state(id) == "pending"
    [finding] = profile.foreign_findings([theirs])
    assert (finding.level, finding.name) == ("fail", f"foreign queue {theirs}")
    with pytest.raises(BrokerError):
        profile.for_others.depth(theirs)
    make_queue(profile, theirs)
    assert lane.look() == 1


@pytest.mark.django_db(transaction=True)
def test_a_relay_that_ended_before_it_settled_publishes_again(
    theirs: str, lane: ForeignLane, profile: BrokerProfile
) -> None:
    id = call(theirs)
    [message] = ledger.take_due(theirs, limit=1, lost_after_seconds=LOST_AFTER_SECONDS)
    profile.for_others.publish(theirs, ledger.complete_messages([message]))
    assert (lane.look(), state(id)) == (0, "published"), "another relay may be about to settle it"
    let_pass(LOST_AFTER_SECONDS)
    another = ForeignLane(theirs, profile, settings.OUTBOX)
    assert (another.look(), state(id)) == (1, "done")


class Reluctant:
    """A profile that takes all but some messages."""

    def __init__(self, *unwanted: UUID, error: type[BaseException] = PublishError) -> None:
        self.unwanted, self.error = frozenset(unwanted), error
        self.for_others = self

    def prepare(self, queues: list[str]) -> None: ...

    def refuses(self, queue: str, message: TaskMessage) -> str:
        return ""

    def publish(self, queue: str, messages: list[TaskMessage]) -> None:
        if unwanted := self.unwanted & {message.id for message in messages}:
            raise PublishError("no", "cure", unwanted) if self.error is PublishError else self.error("no", "cure")


@pytest.mark.django_db
def test_what_the_broker_did_not_confirm_is_due_again_and_the_rest_is_done(theirs: str) -> None:
    ids = [call(theirs, number) for number in range(120)]
    lane = ForeignLane(theirs, Reluctant(ids[60]), settings.OUTBOX)  # type: ignore[arg-type]
    with pytest.raises(PublishError):
        lane.look()
    states = [state(id) for id in ids]
    assert states == ["done"] * 60 + ["pending"] + ["done"] * 39 + ["pending"] * 20


@pytest.mark.django_db
def test_while_the_broker_is_away_everything_waits(theirs: str) -> None:
    ids = [call(theirs, number) for number in range(3)]
    lane = ForeignLane(theirs, Reluctant(ids[0], error=BrokerError), settings.OUTBOX)  # type: ignore[arg-type]
    with pytest.raises(BrokerError):
        lane.look()
    assert {state(id) for id in ids} == {"pending"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.databases("postgresql")
def test_what_is_too_large_for_the_broker_is_dead_with_the_reason_and_stops_nothing(
    lane: ForeignLane, profile: BrokerProfile, theirs: str
) -> None:
    large = call(theirs, "x" * (MOST_BYTES + 1))
    others_first, others_last = call(theirs, "x" * (SAFE_BYTES // 3)), call(theirs, "x" * (SAFE_BYTES // 3))
    assert lane.look() == 3
    assert (state(others_first), state(others_last)) == ("done", "done")
    assert row(large).state == "dead"
    assert "bytes, and" in row(large).last_error


@pytest.mark.django_db
def test_what_has_expired_is_not_sent(theirs: str) -> None:
    id = call(theirs, expires=10)
    let_pass(100)
    lane = ForeignLane(theirs, Reluctant(), settings.OUTBOX)  # type: ignore[arg-type]
    assert (lane.look(), state(id)) == (0, "dead")


@pytest.mark.django_db
def test_what_was_discarded_before_it_was_sent_is_not_sent(theirs: str) -> None:
    id = call(theirs)
    messages = ledger.take_due(theirs, limit=1, lost_after_seconds=LOST_AFTER_SECONDS)
    ledger.discard([id], by="a test")
    assert ledger.complete_messages(messages) == []


# --- whose it is ------------------------------------------------------------------------------------------------------


def test_our_workers_do_not_consume_it() -> None:
    queues = Queues([ForeignQueue("theirs"), *app.conf.task_queues], create_missing=False)
    leave_to_others(queues)
    assert "theirs" not in queues.consume_from
    assert "default" in queues.consume_from
    assert "theirs" in queues


def test_a_worker_that_is_told_to_consume_it_does_not_start() -> None:
    queues = Queues([ForeignQueue("theirs")], create_missing=False)
    queues.select(["theirs"])
    with pytest.raises(SystemExit, match="its workers are not ours"):
        leave_to_others(queues)


def test_the_relay_has_a_lane_of_each_kind(theirs: str) -> None:
    from workers.relaying.relay import Relay

    relay = Relay(settings.BROKER_PROFILE, ["default", theirs], settings.OUTBOX)
    assert [type(lane) for lane in relay.lanes] == [Lane, ForeignLane]


# --- what people see --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_it_is_shown_beside_our_own_queues_and_nobody_asks_for_a_worker(theirs: str) -> None:
    call(theirs)
    Heartbeat.objects.create(name="worker:here:1", kind="worker", details={"queues": ["default"]})
    status = overview.describe_status()
    assert {row["queue"]: row["due"] for row in status["queues"]} == {"default": 0, theirs: 1}
    assert not [note for note in status["notes"] if theirs in note]
    found = [*processes.examine(), *outbox.examine()]
    assert [each.level for each in found if theirs in each.name] == ["ok"]


@pytest.mark.django_db
def test_a_foreign_queue_that_lags_is_the_relays_business(theirs: str) -> None:
    call(theirs)
    let_pass(1000)
    [found] = [each for each in outbox.examine() if theirs in each.name]
    assert (found.level, found.cure) == ("fail", "Is the relay running? manage.py relay")


@pytest.mark.django_db
def test_it_can_be_paused(theirs: str) -> None:
    call_command("outbox", "pause", theirs)
    id = call(theirs)
    lane = ForeignLane(theirs, Reluctant(), settings.OUTBOX)  # type: ignore[arg-type]
    lane.hear(EVERY_TASK, paused=True)
    assert (lane.look(), state(id)) == (0, "pending")
