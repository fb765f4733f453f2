"""Carries the log context (request, user, order) from the sender to the worker, in the headers of the row."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from celery.signals import task_postrun
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

from outbox.instruments import Instrument
from outbox.ledger import Claim

#: The header of a row that holds the sender's context.
HEADER = "log"

#: The values that are carried. All other bound values belong to the request only.
CARRIED = ("request_id", "user_id", "order_id")

#: The limit in characters: a request id may come from outside.
LONGEST_VALUE = 100


class LogContext(Instrument):
    """Binds the sender's request, user and order while a task runs, with the id of the message."""

    def headers(self, task: str) -> dict[str, Any]:
        bound = get_contextvars()
        context = {name: str(bound[name])[:LONGEST_VALUE] for name in CARRIED if name in bound}
        return {HEADER: context} if context else {}

    def running(self, task: str, claim: Claim, headers: dict[str, Any]) -> AbstractContextManager[None]:
        """Bind the values. `unbind` removes them, after Celery has logged how the task ended."""
        context = headers.get(HEADER)
        own = {"message_id": str(claim.id), "task": task, "attempt": claim.attempt}
        bind_contextvars(**(context if isinstance(context, dict) else {}), **own)
        return nullcontext()


@task_postrun.connect
def unbind(**_: Any) -> None:
    """Remove the values, so that the next task of this thread does not get them."""
    clear_contextvars()
