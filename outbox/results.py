"""A read-only Celery result backend: `AsyncResult(id)` is answered from the ledger.

It tells states, errors and times, not return values. Set CELERY_RESULT_BACKEND to store results elsewhere instead.
"""

# celery-types describes the documented part of a result only.
# mypy: disable-error-code="attr-defined, misc"

import logging
import time
from functools import cache
from math import inf
from typing import Any

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import TaskRevokedError, TimeoutError
from django.core.exceptions import ObjectDoesNotExist
from kombu.exceptions import EncodeError

from outbox.calls.options import message_id
from outbox.models import Message

#: How often someone who waits for a result looks whether the ledger knows more than the result backend.
LOOK_SECONDS = 2.0

logger = logging.getLogger(__name__)

State = Message.State

#: What a message's state is called in Celery.
CELERY_STATES = {
    State.PENDING: states.PENDING,
    State.PUBLISHED: states.PENDING,
    State.RUNNING: states.STARTED,
    State.DONE: states.SUCCESS,
    State.DEAD: states.FAILURE,
    State.DISCARDED: states.REVOKED,
}


class TaskDiedError(Exception):
    """What `AsyncResult.result` is for a dead message: the last line of its `last_error`."""


class ResultNotKeptError(NotImplementedError):
    """Raised by `AsyncResult.get()` where nobody keeps what tasks return, at once, as Celery's without a backend."""


class LedgerBackend(BaseBackend):
    """Celery's `result_backend` of this service."""

    keeps_values = False

    #: Pruning is the outbox's own periodic task; Celery need not add one.
    supports_autoexpire = True

    def store_result(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        """Keep nothing: the ledger knows."""
        return result

    def as_uri(self, include_password: bool = True) -> str:
        return "the outbox"

    def wait_for_pending(self, result: Any, *_: Any, propagate: bool = True, **__: Any) -> Any:
        """Raise the error of a task that has failed, which is known, or ResultNotKeptError; never wait."""
        if result.state in states.PROPAGATE_STATES:
            return result.maybe_throw(propagate=propagate)
        raise ResultNotKeptError(
            f"Nobody keeps what {result.id} returns: the ledger knows how a task ended. Look at .state, or set "
            "CELERY_RESULT_BACKEND."
        )

    def forget(self, task_id: str) -> None:
        """Nothing is kept that could be forgotten: the row stays, until it is pruned."""

    def process_cleanup(self) -> None:
        """Nothing is held between tasks."""

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        # Celery's own answer for an id that nobody knows.
        return meta_of(task_id) or {"task_id": task_id, "status": states.PENDING, "result": None}


def meta_of(task_id: str) -> dict[str, Any] | None:
    """What the ledger knows of a task, as Celery's result backends tell it; None if it knows nothing."""
    try:
        message = Message.objects.defer("arguments").get(pk=message_id(task_id))
    except ObjectDoesNotExist:
        return None
    state = states.REVOKED if message.has_expired else CELERY_STATES[State(message.state)]
    if state == states.PENDING and message.attempts:
        state = states.RETRY
    failed = state in states.EXCEPTION_STATES
    why = last_line(message.last_error if message.state == State.DEAD else message.history)
    return {
        "task_id": task_id,
        "status": state,
        "result": (TaskRevokedError if state == states.REVOKED else TaskDiedError)(why) if failed else None,
        "traceback": message.last_error or None,
        "retries": max(message.attempts - message.replayed_after - 1, 0),
        "date_done": message.finished_at,
        "name": message.task,
        "children": [],
        "from_ledger": True,
    }


class LedgerAware:
    """A result backend that asks the ledger about what it does not know: mixed into the one that the settings name.

    No worker tells it of a message that expired, was revoked, or whose last attempt was killed.
    """

    def get_task_meta(self: Any, task_id: str, cache: bool = True) -> Any:
        meta = super().get_task_meta(task_id, cache=cache)
        if meta["status"] in states.READY_STATES:
            return meta
        told = meta_of(task_id)
        if told is None or told["status"] not in states.READY_STATES:
            return meta
        # What has ended was stored before that was settled: it may be there by now.
        meta = super().get_task_meta(task_id, cache=cache)
        return meta if meta["status"] in states.READY_STATES else told

    def wait_for_pending(self: Any, result: Any, timeout: float | None = None, **options: Any) -> Any:
        """Celery's. Raises ResultNotKeptError for a value that is not kept, or not any more."""
        deadline = inf if timeout is None else time.monotonic() + timeout
        while True:
            left = max(min(LOOK_SECONDS, deadline - time.monotonic()), 0)
            try:
                value = super().wait_for_pending(result, timeout=left, **options)
            except TimeoutError:
                if result.ready():
                    value = result.maybe_throw(propagate=options.get("propagate", True))
                elif time.monotonic() >= deadline:
                    raise
                else:
                    continue
            if result._cache and result._cache.get("from_ledger") and result._cache["status"] == states.SUCCESS:
                raise ResultNotKeptError(f"{result.id} is done, and what it returned is kept no longer.")
            return value

    def store_result(self: Any, task_id: str, *args: Any, request: Any = None, **options: Any) -> Any:
        """Celery's; that the backend is away is no reason to run a message of the ledger again.

        What cannot be encoded is the task's own failure, and is raised.
        """
        try:
            return super().store_result(task_id, *args, request=request, **options)
        except Exception as error:  # each backend has errors of its own
            if isinstance(error, EncodeError) or getattr(request, "claim", None) is None:
                raise
            logger.error("The result of %s is lost, the result backend is away: %s", task_id, type(error).__name__)
            return None


def ask_ledger_too(backend: Any) -> Any:
    """The result backend, made aware of the ledger; it is changed in place."""
    if not isinstance(backend, LedgerBackend | LedgerAware):
        kind: Any = type(backend)
        backend.__class__ = _aware(kind)
    return backend


@cache
def _aware(kind: Any) -> Any:
    return type(kind.__name__, (LedgerAware, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})


def last_line(text: str) -> str:
    """What a traceback ends with, which is the error itself."""
    return text.strip().rpartition("\n")[2]
