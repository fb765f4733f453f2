"""Carries what is bound to the log where a message is enqueued to where it is run, in the headers of its row."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from celery.signals import task_postrun
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

from outbox.instruments import Instrument
from outbox.ledger import Claim

#: Header of a row under which the sender's context travels.
HEADER = "log"

#: What is carried; what else is bound belongs to the request alone.
CARRIED = ("request_id", "user_id", "order_id")

#: A request id may come from outside.
LONGEST_VALUE = 100


class LogContext(Instrument):
    """Binds the sender's request, user and order around the task, beside the message's own id."""

    def headers(self, task: str) -> dict[str, Any]:
        bound = get_contextvars()
        context = {name: str(bound[name])[:LONGEST_VALUE] for name in CARRIED if name in bound}
        return {HEADER: context} if context else {}

    def running(self, task: str, claim: Claim, headers: dict[str, Any]) -> AbstractContextManager[None]:
        """Bind until Celery has said how the task ended, which is after it was settled."""
        context = headers.get(HEADER)
        own = {"message_id": str(claim.id), "task": task, "attempt": claim.attempt}
        bind_contextvars(**(context if isinstance(context, dict) else {}), **own)
        return nullcontext()


@task_postrun.connect
def unbind(**_: Any) -> None:
    """The next task of this thread is another story."""
    clear_contextvars()
