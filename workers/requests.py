"""A claim on its way through Celery's worker: the pool runs it, and its outcome goes to the ledger."""

# celery-types describes the documented part of a worker only.
# mypy: disable-error-code="attr-defined, override, no-untyped-call"

import logging
import time
from math import inf
from typing import Any
from weakref import ref

from celery import current_app, signals
from celery.app import trace
from celery.exceptions import Retry, TaskRevokedError, Terminated, TimeLimitExceeded
from celery.worker.request import Request
from celery.worker.state import task_ready, task_reserved
from kombu.message import Message as BrokerMessage

from outbox.ledger import Claim
from outbox.running import Kind, Outcome, Result, headers_of, run_claim
from workers.bookkeeping.bookkeeper import Bookkeeper

#: The name under which Celery says that it has received a task.
logger = logging.getLogger("celery.worker.strategy")

#: What a killed process took with it is looked for so long.
LOST_AFTER_SECONDS = 0.5


def run_in_pool(claim: Claim, request: dict[str, Any]) -> Result:
    """What a place of the pool is told to do."""
    return run_claim(current_app._get_current_object(), claim, request)


class LedgerRequest(Request):
    """Celery's request, for a claim: the broker's copy has been acknowledged, and the ledger is told what happens."""

    def __init__(self, claim: Claim, message: BrokerMessage, bookkeeper: Bookkeeper, **options: Any) -> None:
        self.claim, self.bookkeeper, self.over = claim, bookkeeper, False
        self.acknowledged = True  # the broker's copy, that is
        self.expires_at = time.monotonic() + (inf if claim.expires_in is None else claim.expires_in)
        super().__init__(
            message, headers=headers_of(claim, options["task"]), body=([], {}, {}), decoded=True, **options
        )
        self.request_dict.update(
            reply_to=claim.said.get("reply_to"),
            properties={**self.request_dict["properties"], "app_id": claim.said.get("app_id")},
        )
        self.request_dict["delivery_info"].update(
            exchange="", routing_key=claim.queue, priority=claim.priority, redelivered=claim.retries > 0
        )

    @property
    def args(self) -> Any:
        """The arguments, for whoever is told of a failure that the task itself could not report."""
        return self._arguments()[0]

    @property
    def kwargs(self) -> Any:
        return self._arguments()[1]

    def _arguments(self) -> tuple[Any, Any]:
        try:
            args, kwargs, _ = self.claim.decode()
        except Exception:  # then the task was not run either
            return [], {}
        return args, kwargs

    def execute_using_pool(self, pool: Any, **_: Any) -> Any:
        if time.monotonic() >= self.expires_at:
            self.end(Outcome(Kind.EXPIRED))
            logger.info("%s[%s] has expired before there was a place for it", self.name, self.id)
            task_ready(self)
            raise TaskRevokedError(self.id)
        if not self.bookkeeper.handed(self.claim):
            # It has been given back, or its lease was lost while it waited: another attempt may run by now.
            task_ready(self)
            raise TaskRevokedError(self.id)
        hard, soft = self.time_limits
        result = pool.apply_async(
            run_in_pool,
            args=(self.claim, self.request_dict),
            accept_callback=self.on_accepted,
            timeout_callback=self.on_timeout,
            callback=self.on_success,
            error_callback=self.on_failure,
            soft_timeout=soft,
            timeout=hard,
            lost_worker_timeout=LOST_AFTER_SECONDS,
            correlation_id=self.id,
        )
        if result is None:  # the pool is being closed
            self.bookkeeper.release(self.claim)
        else:
            self._apply_result = ref(result)
        return result

    def on_accepted(self, pid: Any, time_accepted: float) -> None:
        self.bookkeeper.begun(self.claim)
        super().on_accepted(pid, time_accepted)

    def on_success(self, result: Any, **options: Any) -> None:
        if isinstance(result, tuple):
            *celerys, outcome = result
            self.end(outcome)
            super().on_success(tuple(celerys), **options)
        else:  # a thread that was told to end the worker
            self.on_failure(result)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        if not soft:
            reason = f"It was stopped after {timeout:g} s, its time limit."
            self.end(Outcome(Kind.CUT_SHORT, timeout, reason))
            if not self.claim.is_last:
                self.goes_on(TimeLimitExceeded(timeout), reason)
                return
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        if not self.over:
            error = getattr(exc_info.exception, "exc", exc_info.exception)
            reason = describe_end(error)
            self.end(Outcome(Kind.CUT_SHORT, error=reason))
            if not self.claim.is_last:
                self.goes_on(error, reason)
                return
        super().on_failure(exc_info, send_failed_event, return_ok)

    def goes_on(self, error: Any, reason: str) -> None:
        """Tell those who watch that another attempt follows: no failure hook is called for what may still succeed."""
        task_ready(self)
        logger.error("%s[%s]: %s It will be attempted again.", self.name, self.id, reason)
        retry = Retry(message=reason, exc=error)
        self.task.backend.mark_as_retry(self.id, retry, request=self._context)
        signals.task_retry.send(sender=self.task, request=self._context, reason=retry, einfo=None)
        self.send_event("task-retried", exception=reason, traceback="")

    def end(self, outcome: Outcome) -> None:
        """Tell the ledger how this attempt ended; the first word counts."""
        if not self.over:
            self.over = True
            self.bookkeeper.settle(self.claim, outcome)


def describe_end(error: BaseException) -> str:
    if isinstance(error, Terminated):
        return "Its process was told to end."
    if isinstance(error, TimeLimitExceeded):
        return f"It was stopped at its time limit ({error})."
    return f"Its process was killed: {error}"


def start(claim: Claim, message: BrokerMessage, consumer: Any) -> None:
    """Let the pool run a claim: what Celery's default strategy does with a message, without the message."""
    task = consumer.app.tasks[claim.task]
    request = LedgerRequest(
        claim,
        message,
        consumer.bookkeeper,
        app=consumer.app,
        hostname=consumer.hostname,
        eventer=consumer.event_dispatcher,
        task=task,
        connection_errors=consumer.connection_errors,
    )
    if logger.isEnabledFor(logging.INFO):
        context = {"id": request.id, "name": request.name, "args": "", "kwargs": "", "eta": None}
        logger.info(trace.LOG_RECEIVED, context, extra={"data": context})
    if request.revoked():
        consumer.bookkeeper.settle(claim, Outcome(Kind.DEAD, error="It was revoked."))
        return
    signals.task_received.send(sender=consumer, request=request)
    request.send_event("task-received", name=request.name, retries=claim.retries)
    bucket = None if consumer.disable_rate_limits else consumer.task_buckets[claim.task]
    if bucket:
        consumer._limit_task(request, bucket, 1)
    else:
        task_reserved(request)
        for callback in consumer.on_task_message:
            callback(request)
        consumer.on_task_request(request)
