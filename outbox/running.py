"""A worker runs a claim: its arguments, the task, and the outcome that is settled in the ledger.

What a task class overrides (`__call__`, `run`, hooks) runs once and with the row's arguments: nothing here is inside of
the task. What the worker's processes do with it is in `workers/`.
"""

# celery-types describes the documented part of a task only.
# mypy: disable-error-code="attr-defined, arg-type"

import asyncio
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import Celery, states
from celery.app.trace import trace_task
from celery.contrib.django.task import DjangoTask
from celery.exceptions import MaxRetriesExceededError, Retry
from django.conf import settings

from brokers.wire import TaskMessage
from outbox import instruments, ledger
from outbox.calls.call import columns_of
from outbox.calls.canvas import refuse_durable_steps
from outbox.calls.options import CANVAS_CURE, as_datetime
from outbox.errors import OptionRefusedError, is_final
from outbox.lease import current_keeper
from outbox.success import PASSING, commit_with_done


class Kind(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    RETRY = "retry"
    DEAD = "dead"
    CUT_SHORT = "cut short"
    """Its process was killed, or it hangs."""
    REFUSED = "refused"
    """It was not run: this worker cannot decode its arguments."""
    EXPIRED = "expired"
    """It was not run: its time was over while it waited for a place."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the ledger has to know of an attempt that is over."""

    kind: Kind
    seconds: float = 0
    """How long it ran."""
    error: str = ""
    countdown: float = 0
    eta: datetime | None = None
    max_attempts: int = 0
    """The limit that the task has asked for; 0 if it has not."""
    changes: Mapping[str, Any] | None = None
    """What `self.retry()` wants to be other the next time."""
    settled: bool | None = None
    """Not None: it is settled already, with what `on_success` wrote. False: the lease was lost."""


#: What a pool hands back for a claim: whether it failed, the return value or the error, how long it ran, and the
#: outcome. The first three are what Celery's own requests are told.
Result = tuple[int, Any, float, Outcome]


def headers_of(claim: ledger.Claim, task: Any) -> dict[str, Any]:
    """The headers that Celery would have sent with this call."""
    said = claim.said
    headers = {**TaskMessage(claim.id, claim.task).headers, **said}
    id = claim.task_id
    # What the task or the app declares holds where the call says nothing.
    hard, soft = (said.get(name) or getattr(task, name) for name in ("time_limit", "soft_time_limit"))
    # A pool looks at the hard limit only after the soft one, and takes the app's if there is none (asynpool.py,
    # `on_timeout_set`).
    limits = [hard, min(hard, soft) if hard and soft else soft]
    headers.update(id=id, retries=claim.retries, timelimit=limits, root_id=said.get("root_id") or id)
    headers["ignore_result"] = said.get("ignore_result")
    return headers


def run_claim(app: Celery, claim: ledger.Claim, request: dict[str, Any]) -> Result:
    """Run a claim in this process, and keep its lease meanwhile; `request` is what becomes `self.request`."""
    task = app.tasks[claim.task]
    try:
        args, kwargs, headers = claim.decode()
    except Exception as error:  # each type that Celery's JSON knows may raise errors of its own
        reason = f"cannot decode the arguments: {type(error).__name__}: {error}"
        return 0, None, 0.0, Outcome(Kind.REFUSED, error=reason)
    began = time.monotonic()
    # Not in the worker's own request: whether it is due and has not expired is the database's to say, and it has.
    moments = {"eta": claim.wanted or None, "expires": claim.expires or None}
    ours = {"claim": claim, "asked": {"began": began}}
    request.update(moments, args=args, kwargs=kwargs, headers=headers, is_eager=False, **ours)
    keeper = current_keeper(lease_seconds=settings.OUTBOX.lease_seconds, renew_seconds=settings.OUTBOX.renew_seconds)
    try:
        with keeper.keep(claim, limit_seconds=request["timelimit"][0]):
            retval, info, _, shown = _trace(app, task, claim, request)
    except asyncio.CancelledError as error:  # no Exception, and no wish to end the process either
        seconds = time.monotonic() - began
        return 1, ExceptionInfo(), seconds, Outcome(Kind.CUT_SHORT, seconds, describe_error(error))
    seconds = time.monotonic() - began
    outcome = _outcome_of(request, info, seconds)
    return (1, retval, seconds, outcome) if info else (0, shown, seconds, outcome)


def _trace(app: Celery, task: Any, claim: ledger.Claim, request: dict[str, Any]) -> Any:
    """Celery's tracer, with the instruments around it: they see the error that the tracer keeps to itself."""
    traced: Any = None
    try:
        with instruments.running(claim.task, claim):
            traced = trace_task(task, request["id"], request["args"], request["kwargs"], request, app=app)
            if traced[1] is not None and isinstance(traced[1].retval, Exception):
                raise traced[1].retval
    except Exception as error:
        if traced is None or traced[1] is None or error is not traced[1].retval:
            raise
    return traced


def _outcome_of(request: dict[str, Any], info: Any, seconds: float) -> Outcome:
    """What Celery's tracer found, in the words of the ledger."""
    asked = request["asked"]
    if info is None and "retry" in asked:
        # `retry(throw=False)`: the task went on after it had asked to be run again.
        return _retry(asked["retry"], asked, seconds)
    if info is None and "unrecorded" in asked:
        error = asked["unrecorded"]
        return Outcome(Kind.CUT_SHORT if isinstance(error, PASSING) else Kind.DEAD, seconds, describe_error(error))
    if info is None:
        return Outcome(Kind.DONE, seconds, settled=asked.get("settled"))
    error = info.retval
    if info.state == states.RETRY:
        return _retry(error, asked, seconds)
    if info.state == states.REJECTED:
        # With `requeue` a broker would deliver it again.
        return Outcome(Kind.CUT_SHORT if error.requeue else Kind.DEAD, seconds, f"rejected: {error.reason}")
    if info.state == states.IGNORED:
        return Outcome(Kind.DONE, seconds)
    return Outcome(Kind.DEAD, seconds, describe_error(error))


def _retry(retry: Retry, asked: dict[str, Any], seconds: float) -> Outcome:
    when = retry.when or 0
    return Outcome(
        Kind.RETRY,
        seconds,
        # Celery may have exchanged `retry.exc` for something that can be pickled.
        describe_error(asked.get("cause") or retry.exc),
        countdown=0 if isinstance(when, datetime) else when,
        eta=as_datetime(when) if isinstance(when, datetime) else None,
        max_attempts=asked.get("max_attempts", 0),
        changes=asked.get("changes"),
    )


def describe_error(error: BaseException | None) -> str:
    """The traceback of `error`, as `last_error` keeps it."""
    return "".join(traceback.format_exception(error)) if error else "The task asked to be run again."


def settle(claim: ledger.Claim, outcome: Outcome, *, worker: str) -> bool:
    """Write one outcome into the ledger; False if the lease was lost."""
    error, seconds = outcome.error, outcome.seconds
    match outcome.kind:
        case Kind.DONE:
            return ledger.complete(claim, seconds=seconds) if outcome.settled is None else outcome.settled
        case Kind.RETRY:
            when = {"countdown": outcome.countdown, "eta": outcome.eta}
            asked = {"max_attempts": outcome.max_attempts, "changes": outcome.changes}
            return ledger.retry(claim, error=error, seconds=seconds, **when, **asked)
        case Kind.DEAD:
            return ledger.fail(claim, error=error, seconds=seconds)
        case Kind.CUT_SHORT:
            return ledger.cut_short(claim, error=error, seconds=seconds)
        case Kind.EXPIRED:
            return ledger.expire(claim)
        case Kind.REFUSED:
            ledger.refuse([claim], [error], worker=worker, give_up_days=settings.OUTBOX.refused_days)
            return True


class RunningTask(DjangoTask):
    """The worker's side of a durable task: what `self.retry()` means."""

    abstract = True
    durable = True
    """False: straight to the broker, like plain Celery."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hook := cls.__dict__.get("on_success"):
            cls.on_success = commit_with_done(hook)  # type: ignore[method-assign]

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Like Celery's, but the delay is in the row. What cannot be helped by trying again is raised as it is."""
        claim: ledger.Claim | None = self.request.get("claim")
        if claim is None:
            return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)
        asked: dict[str, Any] = self.request.get("asked")
        self._raise_what_is_final(exc, claim, claim.max_attempts if max_retries is None else max_retries + 1)
        asked.update(cause=exc, max_attempts=0 if max_retries is None else max_retries + 1)
        if args is not None or kwargs is not None or options:
            asked["changes"] = self._changes(claim, args, kwargs, options)
        if eta is None and countdown is None:
            countdown = self.default_retry_delay
        retry = Retry(exc=exc, when=eta or countdown)
        if throw:
            raise retry
        asked["retry"] = retry
        return retry

    def _changes(self, claim: ledger.Claim, args: Any, kwargs: Any, options: dict[str, Any]) -> dict[str, Any]:
        """Columns of the row that a retry with other arguments or options changes. Raises OptionRefusedError."""
        changed = columns_of(self, options, claim.said)
        if args is not None or kwargs is not None:
            self.request.is_eager = True
            try:  # Celery knows what becomes of arguments that were given by name; eagerly it sends nothing
                again = super().retry(args, kwargs, throw=False, countdown=0, max_retries=claim.retries + 1).sig
            finally:
                self.request.is_eager = False
                self.__dict__.pop("override_max_retries", None)
            changed["arguments"] = ledger.encode([list(again.args), again.kwargs], f"the arguments of {self.name}")
        return changed

    def replace(self, sig: Any) -> Any:
        """Celery's. Raises OptionRefusedError if this task is durable, or what is to take its place."""
        self._refuse_canvas("replace", [sig])
        return super().replace(sig)

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Celery's. Raises OptionRefusedError if this task is durable, or what is to be added."""
        self._refuse_canvas("add_to_chord", [sig])
        return super().add_to_chord(sig, lazy)  # type: ignore[call-overload]

    def _refuse_canvas(self, what: str, steps: list[Any]) -> None:
        if self.request.get("claim") is not None:
            raise OptionRefusedError(f"{self.name} is durable and cannot {what}(). {CANVAS_CURE}")
        refuse_durable_steps(what, self.app, steps)

    def _raise_what_is_final(self, exc: BaseException | None, claim: ledger.Claim, limit: int | None) -> None:
        """Raise `exc` if it is permanent or the last attempt has been made."""
        asked = self.request.get("asked")
        spent = asked.get("spent") or (limit is not None and claim.retries + 1 >= limit)
        # Autoretry catches what is raised here, and asks again with a limit of its own.
        asked["spent"] = spent
        if exc is not None and (spent or is_final(exc)):
            raise exc
        if spent:
            raise MaxRetriesExceededError(f"{self.name}[{claim.id}] is out of attempts ({claim.retries + 1})")
