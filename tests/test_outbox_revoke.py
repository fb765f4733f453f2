"""`revoke()` acts on the ledger, and what it does is what the result says."""

# celery-types describes the documented part of a task only.
# mypy: disable-error-code="call-arg, comparison-overlap"

import logging
from signal import SIGINT, SIGKILL, SIGTERM, Signals
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import shared_task, states
from celery.exceptions import TaskRevokedError

from app.celery import app
from outbox import ledger
from outbox.control import RevokeRefusedError
from outbox.models import Heartbeat
from tests.outbox_rows import LEASE_SECONDS, WORKER, add, again, claim, die, let_pass, publish, row, start, state, take

pytestmark = pytest.mark.django_db


@shared_task
def later() -> None:
    """Never run here."""


@pytest.mark.parametrize("prepare", [add, publish])
def test_what_waits_is_discarded_with_who_and_when(prepare: object) -> None:
    id = prepare()  # type: ignore[operator]
    app.AsyncResult(str(id)).revoke()
    message = row(id)
    assert message.state == "discarded"
    assert "UTC discarded by " in message.history
    assert "(revoke)" in message.history
    result = app.AsyncResult(str(id))
    assert str(result.state) == states.REVOKED
    assert isinstance(result.result, TaskRevokedError)
    assert "(revoke)" in str(result.result)
    assert claim(id) is None, "the broker's copy runs nothing"


def test_several_at_once_and_ids_that_stand_for_nothing() -> None:
    ids = [add(), add()]
    app.control.revoke([*map(str, ids), str(uuid4()), "no-id"])
    assert {state(id) for id in ids} == {"discarded"}


def test_what_runs_goes_on_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    claimed = start()
    with caplog.at_level(logging.WARNING):
        app.control.revoke(str(claimed.id))
    assert state(claimed.id) == "running"
    assert "goes on" in caplog.text
    assert ledger.complete(claimed)


def test_what_was_claimed_and_not_begun_is_discarded_too() -> None:
    id = publish()
    [claimed] = ledger.claim([id], token=uuid4(), worker=WORKER, lease_seconds=LEASE_SECONDS)
    app.control.revoke(str(id))
    assert state(id) == "discarded"
    assert ledger.renew([claimed], lease_seconds=LEASE_SECONDS) == set(), "the worker sees that it is not its own"
    assert ledger.find_terminated([claimed]) == {id: SIGTERM}


def test_what_is_over_stays_as_it_is() -> None:
    dead = die()
    app.control.revoke(str(dead), terminate=True)
    assert state(dead) == "dead"


def worker_with(pool: str) -> None:
    """A worker that has told what pool it has."""
    Heartbeat.objects.create(name="worker:here:1", kind="worker", details={"node": WORKER, "pool": pool})


@pytest.mark.parametrize("pool", ["thread", "solo", "gevent"])
def test_a_pool_that_cannot_end_a_task_refuses_with_the_reason_and_the_cure(pool: str) -> None:
    worker_with(pool)
    claimed, waiting = start(), add()
    with pytest.raises(RevokeRefusedError, match=f"a pool of kind {pool} cannot end one task. It ends by itself or"):
        app.control.revoke([str(claimed.id), str(waiting)], terminate=True)
    assert (state(claimed.id), state(waiting)) == ("running", "discarded")


def test_a_worker_that_has_not_said_what_pool_it_has_is_not_relied_on() -> None:
    claimed = start()
    with pytest.raises(RevokeRefusedError, match="Try again in a few seconds"):
        app.AsyncResult(str(claimed.id)).revoke(terminate=True)
    assert state(claimed.id) == "running"


@pytest.mark.parametrize(("asked", "sent"), [(None, SIGTERM), ("KILL", SIGKILL), ("SIGINT", SIGINT), (9, SIGKILL)])
def test_what_runs_in_a_process_is_discarded_and_its_worker_told_the_signal(asked: Any, sent: Signals) -> None:
    worker_with("prefork")
    claimed, other = start(), start()
    app.AsyncResult(str(claimed.id)).revoke(terminate=True, signal=asked)
    assert state(claimed.id) == "discarded"
    assert "UTC attempt 1 terminated by " in row(claimed.id).history
    assert str(app.AsyncResult(str(claimed.id)).state) == states.REVOKED
    assert not ledger.complete(claimed), "the lease was taken away"
    assert ledger.find_terminated([claimed, other]) == {claimed.id: sent}


def test_a_signal_that_does_not_exist_revokes_nothing() -> None:
    id = add()
    with pytest.raises(AttributeError, match="SIGNONE"):
        app.control.revoke(str(id), terminate=True, signal="NONE")
    assert state(id) == "pending"


@pytest.mark.parametrize(("wanted", "revoked"), [("blue", [0]), (["red", "blue"], [0, 1]), ("green", [])], ids=str)
def test_what_carries_a_stamp_is_revoked(wanted: Any, revoked: list[int]) -> None:
    results = [
        later.apply_async(stamped_headers=["tenant"], tenant="blue"),
        later.apply_async(stamped_headers=["tenant"], tenant=["red", "white"]),
        later.apply_async(stamped_headers=["customer"], customer="green", headers={"tenant": "green"}),
        later.delay(),
    ]
    app.control.revoke_by_stamped_headers({"tenant": wanted})
    assert [number for number, each in enumerate(results) if each.state == states.REVOKED] == revoked


def test_what_expired_before_it_was_run_is_revoked_too() -> None:
    result = later.apply_async(expires=10)
    let_pass(100)
    assert take() == []
    assert state(UUID(result.id)) == "dead"
    assert str(result.state) == states.REVOKED
    assert "expired" in str(result.result)


def test_what_failed_after_its_time_is_a_failure() -> None:
    id = publish(expires=10)
    claimed = again(id)
    let_pass(100)
    assert ledger.fail(claimed, error="Traceback ...\nValueError: no")
    assert app.AsyncResult(str(id)).state == states.FAILURE
