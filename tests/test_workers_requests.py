"""A claim on its way through a pool of threads, and how the ledger is told what became of it."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from celery import shared_task
from celery.concurrency.thread import TaskPool
from celery.exceptions import TaskRevokedError
from celery.worker import state as celery_state
from django.db import connections
from kombu.message import Message as BrokerMessage

from app.celery import app
from outbox.ledger import Answer, Claim
from outbox.models import Message
from tests.harness.waiting import wait_until
from tests.outbox_rows import WORKER, row, state, take
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
