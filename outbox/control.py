"""Celery's control, as far as the ledger can do it: there is no remote control (see `brokers/base.py`)."""

import getpass
import logging
import os
import signal as signals
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from celery import platforms
from celery.app.control import Control

from outbox import ledger
from outbox.models import Heartbeat, Message

logger = logging.getLogger(__name__)

#: The pool whose processes can be ended one by one.
CAN_TERMINATE = "prefork"


class RevokeRefusedError(RuntimeError):
    """Raised when a task that runs cannot be terminated; everything else that was asked for has been done."""


class LedgerControl(Control):
    """`app.control` and `AsyncResult.revoke()`."""

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        **_: Any,
    ) -> None:
        """Discard messages that wait; who did it and when is in their history, and their results are REVOKED.

        One that runs goes on, which is logged. With `terminate` it is discarded too, and its worker ends the process
        that runs it with `signal` (TERM) within OUTBOX_RENEW_SECONDS. Raises RevokeRefusedError, once all others are
        revoked, if a pool cannot do that.
        """
        number = signals.Signals(platforms.signals.signum(signal or "TERM"))
        given = [task_id] if isinstance(task_id, str | UUID) else list(task_id)
        ids = [id for each in given if (id := _message_id(each))]
        by = who_asks("revoke")
        ledger.revoke(ids, by=by)
        running = list(Message.objects.filter(pk__in=ids, state=Message.State.RUNNING).only("task", "worker"))
        if terminate:
            _terminate(running, by=by, signal=number)
            return
        for each in running:
            told = "Not revoked: %s[%s] runs on %s already and goes on. terminate=True ends it."
            logger.warning(told, each.task, each.pk, each.worker)

    def revoke_by_stamped_headers(self, headers: Any, *_: Any, **__: Any) -> None:
        raise RevokeRefusedError("The ledger keeps no stamps. Revoke by id, or manage.py outbox discard --task NAME.")


def _terminate(running: Sequence[Message], *, by: str, signal: signals.Signals) -> None:
    problems = {message.pk: problem for message, problem in _what_keeps(running) if problem}
    ledger.terminate([each.pk for each in running if each.pk not in problems], by=by, signal=signal)
    if problems:
        raise RevokeRefusedError("\n".join(problems.values()))


def _what_keeps(running: Iterable[Message]) -> Iterator[tuple[Message, str]]:
    """For each message, why it cannot be terminated; an empty text if it can."""
    workers = Heartbeat.objects.filter(kind="worker").order_by("seen_at")
    pools = {each.details.get("node"): each.details.get("pool") for each in workers}
    for message in running:
        pool = pools.get(message.worker)
        problem = f"{message.task}[{message.pk}] cannot be terminated: it runs on {message.worker}, "
        if pool is None:
            yield message, f"{problem}which has not said yet what pool it has. Try again in a few seconds."
        elif pool != CAN_TERMINATE:
            cure = "It ends by itself or at its time limit; to stop it sooner, end that worker."
            yield message, f"{problem}and a pool of kind {pool} cannot end one task. {cure}"
        else:
            yield message, ""


def _message_id(task_id: Any) -> UUID | None:
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
