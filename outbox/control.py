"""Celery's control, as far as the ledger can do it: workers listen to nothing (see `brokers/base.py`)."""

import getpass
import logging
import os
import signal as signals
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from celery import platforms, states
from celery.app.control import Control
from celery.utils.functional import maybe_list
from kombu.utils.json import loads

from outbox import ledger
from outbox.calls.options import message_id
from outbox.inspection import ControlRefusedError, ask
from outbox.models import Heartbeat, Message

logger = logging.getLogger(__name__)

#: The pool whose processes can be ended one by one.
CAN_TERMINATE = "prefork"


class RevokeRefusedError(RuntimeError):
    """Raised when a task that runs cannot be terminated; everything else that was asked for has been done."""


class LedgerControl(Control):
    """`app.control`, `celery inspect`, `celery status` and `AsyncResult.revoke()`."""

    def broadcast(  # type: ignore[override]
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Any = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Callable[[Any], Any] | None = None,
        **extra: Any,
    ) -> list[dict[str, Any]]:
        """Answer for all workers that are alive. Raises ControlRefusedError, with the cure, for what they cannot do."""
        given = {name: value for name, value in extra.items() if name not in {"channel", "matcher", "pattern"}}
        replies = ask(self.app, command, {**(arguments or {}), **given}, destination)[:limit]
        if callback:
            for each in replies:
                callback(each)
        return replies

    def purge(self, connection: Any = None) -> int:
        """Celery's, for what was published straight to the broker.

        Raises ControlRefusedError if the broker holds messages of the ledger: they would be published again.
        """
        if not Message.objects.filter(state=Message.State.PUBLISHED).exists():
            return int(super().purge(connection))
        raise ControlRefusedError(
            "Messages of the ledger would be published again. To stop a queue: manage.py outbox pause QUEUE; "
            "what need not happen: manage.py outbox discard ID, or revoke()."
        )

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        reply: bool = False,
        **_: Any,
    ) -> Any:
        """Discard messages that wait; who did it and when is in their history, and their results are REVOKED.

        One that runs goes on, which is logged. With `terminate` it is discarded too, and its worker ends the process
        that runs it with `signal` (TERM) within OUTBOX_RENEW_SECONDS. Raises RevokeRefusedError, once all others are
        revoked, if a pool cannot do that.
        """
        number = signals.Signals(platforms.signals.signum(signal or "TERM"))
        given = [task_id] if isinstance(task_id, str | UUID) else list(task_id)
        ids = {message_id(str(each)): str(each) for each in given}
        by = who_asks("revoke")
        ledger.revoke(ids, by=by)
        running = list(Message.objects.filter(pk__in=ids, state=Message.State.RUNNING).only("task", "worker"))
        if terminate:
            _terminate(running, by=by, signal=number)
        else:
            for each in running:
                told = "Not revoked: %s[%s] runs on %s already and goes on. terminate=True ends it."
                logger.warning(told, each.task, each.pk, each.worker)
        self._tell_result_backend(ids)
        return self._replies(f"tasks {', '.join(ids.values())} flagged as revoked", destination) if reply else None

    def _tell_result_backend(self, ids: Mapping[UUID, str]) -> None:
        """Those that are discarded, or that nobody has heard of, are REVOKED there too."""
        backend = self.app.backend
        if not getattr(backend, "keeps_values", True):
            return
        states_found = dict(Message.objects.filter(pk__in=ids).values_list("pk", "state"))
        for id, task_id in ids.items():
            state = states_found.get(id)
            if state == Message.State.DISCARDED or (state is None and backend.get_state(task_id) == states.PENDING):
                backend.mark_as_revoked(task_id, "revoked")

    def _replies(self, ok: str, destination: Any) -> list[dict[str, Any]]:
        return [{node: {"ok": ok} for node in each} for each in ask(self.app, "ping", {}, destination)]

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        reply: bool = False,
        **_: Any,
    ) -> Any:
        """`revoke()` what carries one of these stamps, each of which may have several values."""
        wanted = {name: set(map(str, maybe_list(values) or ())) for name, values in headers.items()}
        ids = [str(id) for name, values in wanted.items() for id in _stamped(name, values)]
        self.revoke(ids, destination, terminate, signal)
        told = f"headers {headers} flagged as revoked, {'and' if terminate and ids else 'but not'} terminated"
        return self._replies(told, destination) if reply else None


def _stamped(name: str, values: set[str]) -> Iterator[UUID]:
    """The unfinished messages that have one of these values as the stamp `name`."""
    told = Message.objects.filter(finished_at=None, options__contains=f'"{name}"').values_list("pk", "options")
    for id, options in told:
        if values & set(map(str, maybe_list(loads(options).get("stamps", {}).get(name)) or ())):
            yield id


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


def who_asks(how: str) -> str:
    """User and host of this process, and the way that was taken, for a message's history."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # containers run under numbers that have no name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()} ({how})"
