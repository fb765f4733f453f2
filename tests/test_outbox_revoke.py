"""`revoke()` acts on the ledger, and what it does is what the result says."""

import logging
from uuid import UUID, uuid4

import pytest
from celery import shared_task, states
from celery.exceptions import TaskRevokedError

from app.celery import app
from outbox import ledger
from outbox.control import RevokeRefusedError
from tests.outbox_rows import add, again, claim, let_pass, publish, row, start, state, take

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
    assert "ends by itself" in caplog.text
    assert ledger.complete(claimed)


def test_to_terminate_what_runs_is_refused_with_the_reason_and_the_cure() -> None:
    claimed, waiting = start(), add()
    with pytest.raises(RevokeRefusedError, match="end the process to stop it sooner"):
        app.control.revoke([str(claimed.id), str(waiting)], terminate=True)
    assert (state(claimed.id), state(waiting)) == ("running", "discarded")


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
