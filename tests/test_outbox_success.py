"""What a task's `on_success` writes, and the message's `done`: one transaction, in the process that runs the task."""

# celery-types does not know the hooks of a task.
# mypy: disable-error-code="call-overload, misc, attr-defined"

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.contrib.auth.models import Group
from django.db import OperationalError, connection

from outbox import ledger, success
from outbox.ledger import Claim
from outbox.models import Message
from outbox.running import Kind
from outbox.task import OutboxTask
from tests.orders_shop import tasks_run_at_once
from tests.outbox_rows import again, row, state, take
from tests.worker import run, run_due_tasks

pytestmark = pytest.mark.django_db(transaction=True)

State = Message.State

#: What the hook of `effect` does besides; tests put their own there.
besides: list[Callable[[], None]] = []


@pytest.fixture(autouse=True)
def nothing_besides() -> Iterator[None]:
    besides.clear()
    yield
    besides.clear()


def write(task: Any, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
    Group.objects.get_or_create(name=f"{retval} {args} {kwargs} {connection.in_atomic_block}")
    for each in besides:
        each()


DEFAULT_GROUPS = ["catalogue", "operator", "support"]


@shared_task(on_success=write)
def effect(number: int) -> int:
    return number


@shared_task(on_success=write, bind=True)
def ask_again(self: Any) -> int:
    self.retry(throw=False, countdown=60)
    return 1


@shared_task(on_success=write, durable=False)
def kept_by_the_broker(number: int) -> int:
    return number


class Base(OutboxTask):
    abstract = True

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        write(self, "base", task_id, args, kwargs)
        assert not Message.objects.filter(state=State.DONE).exists()


class Derived(Base):
    abstract = True

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        super().on_success(retval, task_id, args, kwargs)
        write(self, "derived", task_id, args, kwargs)
        assert not Message.objects.filter(state=State.DONE).exists()


@shared_task(base=Derived)
def inherit() -> None: ...


def claimed(task: Any, *args: Any) -> Claim:
    task.delay(*args)
    (message_id,) = take()
    return again(message_id)


def written() -> list[str]:
    # Three groups come with a migration.
    return sorted(Group.objects.exclude(name__in=DEFAULT_GROUPS).values_list("name", flat=True))


WRITTEN = ["7 [7] {} True"]


def fail(error: Exception, times: int = 1) -> Callable[[], None]:
    errors = iter([error] * times)

    def raise_next() -> None:
        if error := next(errors, None):
            raise error

    return raise_next


def test_it_is_settled_by_the_process_that_runs_it() -> None:
    claim = claimed(effect, 7)
    outcome = run(claim)
    assert (outcome.kind, outcome.settled) == (Kind.DONE, True)
    assert (state(claim.id), row(claim.id).attempts) == (State.DONE, 1)
    assert written() == WRITTEN


def test_nothing_is_written_unless_the_message_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claimed(effect, 7)

    def refuse(*args: Any, **options: Any) -> bool:
        raise ValueError("no")

    monkeypatch.setattr(ledger, "complete", refuse)
    assert run(claim).kind is Kind.DEAD
    assert (state(claim.id), written()) == (State.RUNNING, [])


def test_a_hook_that_fails_makes_the_message_dead_with_the_reason_and_not_run_again() -> None:
    """Its effect has happened: to run it again would repeat that."""
    besides.append(fail(ValueError("the hook is wrong")))
    effect.delay(7)
    assert run_due_tasks() == ["FAILURE"]
    message = Message.objects.get()
    assert message.state == State.DEAD
    assert "the hook is wrong" in message.last_error
    assert written() == []


def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(success, "PAUSE_SECONDS", 0.01)
    besides.append(fail(OperationalError("away"), times=3))
    claim = claimed(effect, 7)
    assert run(claim).settled is True
    assert (state(claim.id), written()) == (State.DONE, WRITTEN)


def test_after_a_database_that_stays_away_another_attempt_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(success, "PATIENCE_SECONDS", 0)
    besides.append(fail(OperationalError("away"), times=2))
    effect.delay(7)
    assert run_due_tasks() == ["RETRY"]
    assert (Message.objects.get().state, written()) == (State.PENDING, [])


def test_after_a_soft_time_limit_another_attempt_is_made() -> None:
    besides.append(fail(SoftTimeLimitExceeded()))
    effect.delay(7)
    assert run_due_tasks() == ["RETRY"]
    assert (Message.objects.get().state, written()) == (State.PENDING, [])


def test_what_is_written_stays_though_the_lease_is_lost() -> None:
    claim = claimed(effect, 7)
    Message.objects.update(lease=uuid4())
    assert run(claim).settled is False
    assert (state(claim.id), written()) == (State.RUNNING, WRITTEN)


def test_a_task_that_has_asked_to_be_run_again_is_not_settled() -> None:
    claim = claimed(ask_again)
    assert run(claim).kind is Kind.RETRY
    assert state(claim.id) == State.RUNNING


def test_the_hook_of_a_derived_class_may_call_that_of_its_base() -> None:
    claim = claimed(inherit)
    assert run(claim).settled is True
    assert state(claim.id) == State.DONE
    assert written() == ["base [] {} True", "derived [] {} True"]


def test_a_task_without_a_row_has_its_hook_as_in_celery() -> None:
    kept_by_the_broker.apply((7,), throw=True)
    with tasks_run_at_once():
        effect.delay(8)
    assert written() == ["7 (7,) {} False", "8 [8] {} False"]
