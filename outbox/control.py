"""Celery's control, as far as the ledger can do it: there is no remote control (see `brokers/base.py`)."""

import getpass
import logging
import os
import socket
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from celery.app.control import Control

from outbox import ledger
from outbox.models import Message

logger = logging.getLogger(__name__)


class RevokeRefusedError(RuntimeError):
    """Raised when a task that runs is to be terminated; what waits has been discarded all the same."""


class LedgerControl(Control):
    """`app.control` and `AsyncResult.revoke()`."""

    def revoke(  # type: ignore[override]
        self, task_id: str | Iterable[str], destination: Any = None, terminate: bool = False, **_: Any
    ) -> None:
        """Discard messages that wait; who did it and when is in their history, and their results are REVOKED.

        One that runs already runs to its end, which is logged. Raises RevokeRefusedError if it was to be terminated.
        """
        given = [task_id] if isinstance(task_id, str) else list(task_id)
        ids = [id for each in given if (id := _message_id(each))]
        ledger.discard(ids, by=who_asks("revoke"))
        running = Message.objects.filter(pk__in=ids, state=Message.State.RUNNING).values_list("pk", "task", "worker")
        for id, task, worker in running:
            said = f"{task}[{id}] runs on {worker} already: it ends by itself, or at its time limit."
            if terminate:
                raise RevokeRefusedError(f"{said} Workers take no orders from afar: end the process to stop it sooner.")
            logger.warning("Not revoked: %s", said)

    def revoke_by_stamped_headers(self, headers: Any, *_: Any, **__: Any) -> None:
        raise RevokeRefusedError("The ledger keeps no stamps. Revoke by id, or manage.py outbox discard --task NAME.")


def _message_id(task_id: str) -> UUID | None:
    try:
        return UUID(str(task_id))
    except ValueError:
        logger.warning("Not revoked: %r is not the id of a message", task_id)
        return None


def who_asks(how: str) -> str:
    """User and host of this process, and the way that was taken, for a message's history."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # containers run under numbers that have no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()} ({how})"
