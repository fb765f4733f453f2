"""What becomes of return values: kept where a result backend is set, and nowhere else."""

# celery-types describes the documented part of a task only.
# mypy: disable-error-code="arg-type, attr-defined, call-arg, comparison-overlap, misc"

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from celery import shared_task, states
from celery.backends.filesystem import FilesystemBackend
from celery.backends.redis import RedisBackend
from celery.exceptions import TaskRevokedError, TimeoutError
from celery.result import AsyncResult

from app.celery import app
from app.first_run.processes import find_free_port
from outbox import ledger, results
from outbox.models import Message
from outbox.results import ResultNotKeptError, TaskDiedError
from tests.outbox_rows import let_pass, take
from tests.worker import deliver

pytestmark = pytest.mark.django_db


@shared_task(ignore_result=False)
def add(a: int, b: int) -> int:
    return a + b


@shared_task(ignore_result=True)
def add_and_forget(a: int, b: int) -> int:
    return a + b


@shared_task(ignore_result=False, max_retries=0)
def fail() -> None:
    raise KeyError("no")


@shared_task(ignore_result=False, max_retries=0)
def return_what_cannot_be_encoded() -> Any:
    return object()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Any]:
    """A real result backend: files in a folder."""
    yield from use(FilesystemBackend(app=app, url=f"file://{tmp_path}"))


def use(backend: Any) -> Iterator[Any]:
    before, app._backend = app.backend, results.ask_ledger_too(backend)
    yield backend
    app._backend = before


def run(result: AsyncResult[Any]) -> str:
    take()
    return deliver(results.message_id(result.id))


# --- with a result backend --------------------------------------------------------------------------------------------


def test_what_a_task_returns_is_kept(kept: Any) -> None:
    result = add.delay(1, 2)
    assert (result.state, run(result)) == (states.PENDING, states.SUCCESS)
    assert AsyncResult(result.id, app=app).get(timeout=5) == 3


@pytest.mark.parametrize("task_id", ["order-17", None])
def test_a_result_has_the_id_that_the_caller_chose(kept: Any, task_id: str | None) -> None:
    result = add.apply_async((1, 2), task_id=task_id)
    run(result)
    assert kept.get_task_meta(result.id)["result"] == 3


@pytest.mark.parametrize(
    ("task", "options", "ignored"),
    [
        (add, {}, False),
        (add, {"ignore_result": True}, True),
        (add_and_forget, {}, True),
        (add_and_forget, {"ignore_result": False}, False),
    ],
    ids=["task keeps", "call does not", "task does not", "call keeps"],
)
def test_ignore_result_of_the_call_goes_before_that_of_the_task(
    kept: Any, task: Any, options: dict[str, Any], ignored: bool
) -> None:
    result = task.apply_async((1, 2), **options)
    run(result)
    assert kept.get_task_meta(result.id)["result"] == (None if ignored else 3)
    assert result.get(timeout=5) == (None if ignored else 3)
    assert Message.objects.get().state == "done"


def test_an_error_is_raised_as_what_it_was(kept: Any) -> None:
    result = fail.delay()
    assert run(result) == states.FAILURE
    with pytest.raises(KeyError, match="no"):
        result.get(timeout=5)


def test_what_cannot_be_encoded_is_a_failure_in_both(kept: Any) -> None:
    result = return_what_cannot_be_encoded.delay()
    assert run(result) == states.FAILURE
    message = Message.objects.get()
    assert (message.state, kept.get_state(result.id)) == ("dead", states.FAILURE)
    assert "EncodeError" in message.last_error


def test_what_the_backend_does_not_know_the_ledger_does(kept: Any) -> None:
    late, revoked, unwanted = add.apply_async((1, 2), expires=10), add.delay(1, 2), add.delay(1, 2)
    revoked.revoke()
    ledger.discard([UUID(unwanted.id)], by="ada")
    let_pass(100)
    assert take() == []
    for result in (late, revoked, unwanted):
        assert (result.state, result.ready()) == (states.REVOKED, True)
        with pytest.raises(TaskRevokedError):
            AsyncResult(result.id, app=app).get(timeout=5)


def test_who_waits_hears_of_what_only_the_ledger_knows(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LOOK_SECONDS", 0.1)
    result = add.delay(1, 2)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.3)
    ledger.discard([UUID(result.id)], by="ada")
    with pytest.raises(TaskRevokedError):
        result.get()


def test_a_value_that_is_kept_no_longer_is_not_waited_for(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "LOOK_SECONDS", 0.1)
    result = add.delay(1, 2)
    run(result)
    kept.forget(result.id)
    again: AsyncResult[int] = AsyncResult(result.id, app=app)
    assert again.state == states.SUCCESS
    with pytest.raises(ResultNotKeptError):
        AsyncResult(result.id, app=app).get()


def test_a_backend_that_is_away_makes_no_task_run_again(caplog: pytest.LogCaptureFixture) -> None:
    backend = RedisBackend(app=app, url=f"redis://:secret@127.0.0.1:{find_free_port()}/0")
    backend.retry_policy = {"max_retries": 1, "interval_start": 0}
    for _ in use(backend):
        began = time.monotonic()
        id = add.delay(1, 2).id
        take()
        assert deliver(UUID(id)) == states.SUCCESS
        assert time.monotonic() - began < 20
    assert Message.objects.get().state == "done"
    [line] = [each.getMessage() for each in caplog.records if "is lost" in each.getMessage()]
    assert id in line
    assert "secret" not in line


# --- without ----------------------------------------------------------------------------------------------------------


def test_without_a_backend_get_says_at_once_that_nobody_keeps_the_value() -> None:
    result = add.delay(1, 2)
    for _ in range(2):
        with pytest.raises(ResultNotKeptError, match="CELERY_RESULT_BACKEND"):
            AsyncResult(result.id, app=app).get()
        run(result)
    result.forget()
    assert (result.state, result.result) == (states.SUCCESS, None)


def test_without_a_backend_get_raises_the_error_which_is_known() -> None:
    result = fail.delay()
    run(result)
    with pytest.raises(TaskDiedError, match="KeyError: 'no'"):
        AsyncResult(result.id, app=app).get()
    assert isinstance(AsyncResult(result.id, app=app).get(propagate=False), TaskDiedError)
