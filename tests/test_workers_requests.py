"""A claim on its way through a pool of threads, and how the ledger is told what became of it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from celery import Task, shared_task, signals
from celery.concurrency.thread import TaskPool
from celery.exceptions import TaskRevokedError
from celery.worker import state as celery_state
from django.db import connections
from kombu.message import Message as BrokerMessage

from app.celery import app
from outbox.ledger import Answer, Claim
from outbox.models import Message
from tests.harness.waiting import wait_until
from tests.outbox_rows import WORKER, let_pass, row, state, take
from workers.bookkeeping.answers import Delivery
from workers.bookkeeping.bookkeeper import Bookkeeper
from workers.requests import LedgerRequest

# celery-types describes the documented part of a worker only.
# mypy: disable-error-code="no-untyped-call, attr-defined"

pytestmark = pytest.mark.django_db(transaction=True)

State = Message.State

seen: list[Any] = []


@shared_task
def note(what: Any) -> None:
    seen.append(what)
    connections.close_all()


@shared_task(max_retries=0)
def fail(what: Any) -> None:
    connections.close_all()
    raise ValueError(what)


class Watched(Task):
    """Says which of its hooks were called, and with which arguments."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        seen.append(("before_start", tuple(args), kwargs))

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        seen.append(("on_success", tuple(args), kwargs))

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        seen.append(("on_failure", tuple(args), kwargs))

    def after_return(self, status: Any, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        if status == "SUCCESS":
            seen.append(("after_return", tuple(args), kwargs))


@shared_task(bind=True, base=Watched, max_retries=1)
def watched(self: Any, *args: Any, **kwargs: Any) -> str:
    connections.close_all()
    return "value"


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    seen.clear()
    pool = TaskPool(2)
    pool.start()
    yield pool
    pool.stop()


@pytest.fixture
def bookkeeper() -> Iterator[Bookkeeper]:
    bookkeeper = Bookkeeper(WORKER, 8, lambda claim: "", lambda deliveries: None)
    bookkeeper.start()
    yield bookkeeper
    bookkeeper.stop(within_seconds=20)


def claim_of(bookkeeper: Bookkeeper, result: Any) -> Claim:
    take()
    delivery = Delivery(BrokerMessage(body=""), UUID(result.id), 1)
    bookkeeper.deliver(delivery)
    wait_until(lambda: delivery.answer is Answer.CLAIMED, "it is claimed")
    # The holds are noted a moment after the answer.
    wait_until(lambda: delivery.claim and bookkeeper._holds.of(delivery.claim), "it is held")
    assert delivery.claim is not None
    return delivery.claim


def request_for(claim: Claim, bookkeeper: Bookkeeper) -> LedgerRequest:
    request = LedgerRequest(
        claim, BrokerMessage(body=""), bookkeeper, app=app, hostname=WORKER, task=app.tasks[claim.task]
    )
    celery_state.task_reserved(request)
    return request


def test_it_runs_with_what_the_row_says_and_is_settled(pool: TaskPool, bookkeeper: Bookkeeper) -> None:
    claim = claim_of(bookkeeper, note.delay("genuine"))
    request_for(claim, bookkeeper).execute_using_pool(pool)
    wait_until(lambda: state(claim.id) == State.DONE, "it is settled")
    assert seen == ["genuine"]
    assert row(claim.id).attempts == 1


def test_a_failure_is_settled_with_its_traceback(pool: TaskPool, bookkeeper: Bookkeeper) -> None:
    claim = claim_of(bookkeeper, fail.delay("ouch"))
    request_for(claim, bookkeeper).execute_using_pool(pool)
    wait_until(lambda: state(claim.id) == State.DEAD, "it is settled")
    assert row(claim.id).last_error.endswith("ValueError: ouch\n")


def test_what_was_given_back_while_it_waited_is_not_run(pool: TaskPool, bookkeeper: Bookkeeper) -> None:
    claim = claim_of(bookkeeper, note.delay("given back"))
    request = request_for(claim, bookkeeper)
    bookkeeper.release_waiting()
    with pytest.raises(TaskRevokedError):
        request.execute_using_pool(pool)
    wait_until(lambda: state(claim.id) == State.PENDING, "another worker may run it")
    pool.on_stop()
    assert seen == []
    assert request.id not in celery_state.requests


@pytest.mark.parametrize("counts", [True, False])
def test_what_expires_while_it_waits_for_a_place_is_not_run(pool: TaskPool, counts: bool) -> None:
    bookkeeper = Bookkeeper(WORKER, 8, lambda claim: "", lambda deliveries: None, counts_at_once=counts)
    bookkeeper.start()
    try:
        result = note.apply_async(("late",), expires=3600)
        claim = claim_of(bookkeeper, result)
        request = request_for(replace(claim, expires_in=0.0), bookkeeper)
        with pytest.raises(TaskRevokedError):
            request.execute_using_pool(pool)
        wait_until(lambda: state(claim.id) == State.DEAD, "it is settled")
    finally:
        bookkeeper.stop(within_seconds=20)
    assert (row(claim.id).attempts, row(claim.id).begun_at, seen) == (0, None, [])
    assert request.id not in celery_state.requests
    assert bookkeeper.counts["expired"] == 1


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_hard_limit_is_a_failure_only_if_it_was_the_last_attempt(bookkeeper: Bookkeeper, attempts: int) -> None:
    result = watched.delay(1, b=2)
    seen.clear()
    for _ in range(attempts):
        let_pass(100)
        request = request_for(claim_of(bookkeeper, result), bookkeeper)
        bookkeeper.begun(request.claim)
        request.on_timeout(soft=False, timeout=5)
        wait_until(lambda: state(UUID(result.id)) != State.RUNNING, "it is settled")
    assert seen == ([("on_failure", (1,), {"b": 2})] if attempts == 2 else [])
    assert state(UUID(result.id)) == (State.DEAD if attempts == 2 else State.PENDING)


def test_hooks_and_signals_are_told_the_arguments_once(pool: TaskPool, bookkeeper: Bookkeeper) -> None:
    def prerun(args: Any, kwargs: Any, **_: Any) -> None:
        seen.append(("task_prerun", tuple(args), kwargs))

    signals.task_prerun.connect(prerun)
    try:
        claim = claim_of(bookkeeper, watched.delay(1, b=2))
        request_for(claim, bookkeeper).execute_using_pool(pool)
        wait_until(lambda: state(claim.id) == State.DONE, "it is settled")
    finally:
        signals.task_prerun.disconnect(prerun)
    hooks = ("task_prerun", "before_start", "on_success", "after_return")
    assert seen == [(hook, (1,), {"b": 2}) for hook in hooks]


@shared_task(soft_time_limit=50)
def limited() -> None:
    """Has a soft limit as all tasks have one by default."""


class Asked:
    """A pool that keeps what it is asked to do."""

    def apply_async(self, run: Any, **options: Any) -> None:
        self.soft, self.hard = options["soft_timeout"], options["timeout"]


@pytest.mark.parametrize(("hard", "soft"), [(60, 50), (50, 50), (5, 5), (None, 50)])
def test_a_soft_limit_is_no_higher_than_the_hard_one(
    monkeypatch: pytest.MonkeyPatch, bookkeeper: Bookkeeper, hard: float | None, soft: float | None
) -> None:
    """Celery's pool would look at the hard one only after the soft one."""
    monkeypatch.setattr(limited, "time_limit", hard)
    pool, claim = Asked(), claim_of(bookkeeper, limited.delay())
    request_for(claim, bookkeeper).execute_using_pool(pool)
    assert (pool.hard, pool.soft) == (hard, soft)
