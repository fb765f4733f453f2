"""A read-only Celery result backend: `AsyncResult(id)` is answered from the ledger.

It tells states, not return values: `.get()` is None once a task is done. Set CELERY_RESULT_BACKEND to store results
elsewhere instead.
"""

from typing import Any
from uuid import UUID

from celery import states
from celery.backends.base import BaseBackend
from celery.exceptions import TaskRevokedError
from django.core.exceptions import ObjectDoesNotExist

from outbox.models import Message

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


class LedgerBackend(BaseBackend):
    """Celery's `result_backend` of this service."""

    #: Pruning is the outbox's own periodic task; Celery need not add one.
    supports_autoexpire = True

    def store_result(self, task_id: str, result: Any, state: str, *args: Any, **kwargs: Any) -> Any:
        """Keep nothing: the ledger knows."""
        return result

    def as_uri(self, include_password: bool = True) -> str:
        return "the outbox"

    def process_cleanup(self) -> None:
        """Nothing is held between tasks."""

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        try:
            message = Message.objects.defer("arguments").get(pk=UUID(task_id))
        except (ValueError, ObjectDoesNotExist):
            # Celery's own answer for an id that nobody knows.
            return {"task_id": task_id, "status": states.PENDING, "result": None}
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
        }


def last_line(text: str) -> str:
    """What a traceback ends with, which is the error itself."""
    return text.strip().rpartition("\n")[2]
