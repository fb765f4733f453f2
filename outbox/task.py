"""`OutboxTask`: `.delay()` writes a row; in the worker the row is claimed, run and settled.

A bare `@shared_task` is durable and retries. `@shared_task(durable=False)` goes straight to the broker, like plain
Celery, with late acknowledgement.
"""

# celery-types describes the documented part of a task only.
# mypy: disable-error-code="attr-defined, arg-type"

import logging
import time
import traceback
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from celery.contrib.django.task import DjangoTask
from celery.exceptions import Ignore, MaxRetriesExceededError, Reject, Retry
from django.conf import settings
from django.utils import timezone

from outbox import instruments, ledger
from outbox.errors import OptionRefusedError, is_permanent
from outbox.lease import current_keeper
from outbox.sql import HIGHEST_PRIORITY, LOWEST_PRIORITY

logger = logging.getLogger(__name__)

#: Options of `apply_async` that become columns of the row.
KEPT = frozenset({"countdown", "eta", "expires", "headers", "occurrence", "priority", "queue"})

#: Options that say how a message travels, which is the relay's business, or what the ledger does anyway.
MOOT = frozenset(
    {
        "add_to_parent", "compression", "connection", "delivery_mode", "ignore_result", "immediate", "mandatory",
        "parent_id", "producer", "publisher", "retry", "retry_policy", "root_id", "route_name", "router", "serializer",
    }
)  # fmt: skip

#: What a task that opts out starts from: Celery's own retry defaults, and the settings with which a broker redelivers
#: a message whose worker was killed. Acknowledging late alone would lose it when only the pool's child is killed.
BROKER_KEPT_DEFAULTS = {
    "autoretry_for": (),
    "max_retries": 3,
    "retry_backoff": False,
    "retry_backoff_max": 600,
    "acks_late": True,
    "reject_on_worker_lost": True,
    "retry_on_worker_lost": True,
}


class OutboxTask(DjangoTask):
    """Base of every task of the app."""

    abstract = True
    durable = True
    """False: straight to the broker, like plain Celery."""

    # A task that says nothing retries after about 5, 10, 20 s ... up to 15 min on average (half of the bound:
    # the delay is drawn at random so that tasks that failed together do not come back together), for about
    # 13 hours in all: a mail server that is away for a night loses no e-mail.
    autoretry_for: tuple[type[Exception], ...] = (Exception,)
    retry_backoff = 10
    retry_backoff_max = 1800
    retry_jitter = True
    max_retries = 60

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Only the class that opts out: one derived from it inherits what it chose.
        if not cls.__dict__.get("durable", True):
            for name, value in BROKER_KEPT_DEFAULTS.items():
                if name not in cls.__dict__:
                    setattr(cls, name, value)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> Any:
        """Write the task into the ledger, in the transaction that is open, if any; return its `AsyncResult`.

        The result's id is the message's. `occurrence="..."` makes the call idempotent: of all calls with one text the
        first enqueues, the others return its result. Raises OptionRefusedError for what a row cannot keep, TypeError
        for arguments that the task does not take.
        """
        if not self.durable or self.app.conf.task_always_eager:
            return super().apply_async(args, kwargs, task_id, producer, link, link_error, shadow, **options)
        refuse_what_a_row_cannot_keep(self.name, link=link, link_error=link_error, shadow=shadow, **options)
        return self._enqueue(args or (), kwargs or {}, task_id, options)

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """`apply_async()` if durable: its row commits with the transaction, where a hook would come after, or never."""
        (self.apply_async if self.durable else super().apply_async_on_commit)(*args, **kwargs)

    def _enqueue(self, args: Any, kwargs: Any, task_id: str | None, options: dict[str, Any]) -> Any:
        if self.typing:
            self.__header__(*args, **kwargs)
        if self._dump_pydantic_arguments is not None:
            args, kwargs = self._dump_pydantic_arguments(args, kwargs)
        checked_queue(options.get("queue"), self.app.amqp.queues)
        options = self.app.amqp.router.route({**self._get_exec_options(), **options}, self.name, args, kwargs)
        max_retries = getattr(self, "retry_kwargs", {}).get("max_retries", self.max_retries)
        message_id = ledger.enqueue(
            self.name,
            args,
            kwargs,
            id=message_id_from(task_id),
            queue=options["queue"].name if options.get("queue") else self.app.conf.task_default_queue,
            priority=checked_priority(options.get("priority")),
            countdown=options.get("countdown") or 0,
            eta=as_datetime(options.get("eta")),
            expires=as_datetime(options.get("expires")),
            max_attempts=None if max_retries is None else max_retries + 1,
            headers=instruments.add_headers(self.name, options.get("headers")),
            occurrence=options.get("occurrence"),
        )
        return self.AsyncResult(str(message_id))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        request = self.request
        if request.called_directly or request._protected:
            return super().__call__(*args, **kwargs)
        request._protected = 1  # Celery's own mark: from now on a call is one that the task makes to itself
        return self._run_claimed() if self.durable and not request.is_eager else self.run(*args, **kwargs)

    def _run_claimed(self) -> Any:
        """Run the row that the delivered id stands for; what else the message says is not looked at."""
        try:
            message_id = UUID(str(self.request.id))
        except ValueError:
            raise Ignore(f"{self.request.id!r} is not the id of a message") from None
        began = time.perf_counter()
        claim = ledger.claim(message_id, self.name, lease_seconds=settings.OUTBOX.lease_seconds)
        instruments.timed("claim", began)
        if claim is None:
            raise Ignore(f"nothing to run for {message_id}: a duplicate or stale delivery")
        with instruments.running(self.name, claim):
            return self._run_and_settle(claim)

    def _run_and_settle(self, claim: ledger.Claim) -> Any:
        try:
            result = self._run_leased(claim)
        except Retry as retry:
            self._settle_retry(claim, retry)
            raise
        except Reject as reject:
            self._settle(ledger.bury, claim, error=f"rejected: {reject.reason}")
            raise Ignore(f"rejected: {reject.reason}") from reject
        except Ignore:
            self._settle(ledger.complete, claim)
            raise
        except Exception as error:
            self._settle(ledger.bury, claim, error=describe_error(error))
            raise
        if not self._settle(ledger.complete, claim):
            logger.warning("%s[%s] ended after its lease: another attempt was made", self.name, claim.id)
        return result

    def _run_leased(self, claim: ledger.Claim) -> Any:
        keeper = current_keeper(
            lease_seconds=settings.OUTBOX.lease_seconds, renew_seconds=settings.OUTBOX.renew_seconds
        )
        with keeper.keep(claim):
            args, kwargs, headers = claim.decode()
            self.request.update(claim=claim, args=args, kwargs=kwargs, retries=claim.retries, headers=headers)
            result = self.run(*args, **kwargs)
            if asked := self.request.get("asked"):
                raise asked
            return result

    def _settle(self, settle: Callable[..., bool], claim: ledger.Claim, **options: Any) -> bool:
        began = time.perf_counter()
        settled = settle(claim, **options)
        instruments.timed("settle", began, task=self.name, outcome=settle.__name__)
        return settled

    def _settle_retry(self, claim: ledger.Claim, retry: Retry) -> None:
        when = retry.when or 0
        self._settle(
            ledger.retry,
            claim,
            # Celery may have exchanged `retry.exc` for something that can be pickled.
            error=describe_error(self.request.get("cause") or retry.exc),
            eta=as_datetime(when) if isinstance(when, datetime) else None,
            countdown=0 if isinstance(when, datetime) else when,
            max_attempts=self.request.get("max_attempts", 0),
        )

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
        if args is not None or kwargs is not None or options:
            raise OptionRefusedError(
                f"{self.name}.retry() cannot change arguments or options: the row keeps the first ones. "
                "Enqueue a new task instead."
            )
        self._raise_what_is_final(exc, claim, claim.max_attempts if max_retries is None else max_retries + 1)
        self.request.update(cause=exc, max_attempts=0 if max_retries is None else max_retries + 1)
        if eta is None and countdown is None:
            countdown = self.default_retry_delay
        retry = Retry(exc=exc, when=eta or countdown)
        if throw:
            raise retry
        self.request.update(asked=retry)
        return retry

    def _raise_what_is_final(self, exc: BaseException | None, claim: ledger.Claim, limit: int | None) -> None:
        """Raise `exc` if it is permanent or the last attempt has been made."""
        spent = self.request.get("spent") or (limit is not None and claim.retries + 1 >= limit)
        # Autoretry catches what is raised here, and asks again with a limit of its own.
        self.request.update(spent=spent)
        if exc is not None and (spent or is_permanent(exc)):
            raise exc
        if spent:
            raise MaxRetriesExceededError(f"{self.name}[{claim.id}] is out of attempts ({claim.retries + 1})")


def describe_error(error: BaseException | None) -> str:
    """The traceback of `error`, as `last_error` keeps it."""
    return "".join(traceback.format_exception(error)) if error else "The task asked to be run again."


def refuse_what_a_row_cannot_keep(task: str, **options: Any) -> None:
    """Raise OptionRefusedError if the ledger would have to drop one of `options`."""
    refused = sorted(name for name, value in options.items() if value and name not in KEPT | MOOT)
    if options.get("serializer") not in (None, "json"):
        refused.append("serializer")
    if refused:
        raise OptionRefusedError(
            f"{task} is durable, and a row of the outbox cannot keep {', '.join(refused)}. Enqueue what follows from "
            "inside the task, or declare it @shared_task(durable=False) to use Celery's canvas without the guarantee."
        )


def message_id_from(task_id: Any) -> UUID | None:
    """The message id that a Celery task id is; a task id of the caller's must be a UUID."""
    try:
        return UUID(str(task_id)) if task_id else None
    except ValueError:
        raise OptionRefusedError(f"task_id={task_id!r} is not a UUID, which the id of a message must be.") from None


def checked_queue(queue: Any, known: Collection[str]) -> None:
    name = getattr(queue, "name", queue)
    if name and name not in known:
        raise OptionRefusedError(f"queue={name!r} is not one of QUEUES ({', '.join(known)}): nobody would relay it.")


def checked_priority(priority: int | None) -> int:
    if priority is None:
        return LOWEST_PRIORITY
    if not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
        raise OptionRefusedError(f"priority={priority} is not between 0 and 9, where 9 goes first.")
    return priority


def as_datetime(when: Any) -> Any:
    """A moment from a datetime (naive: in the current time zone) or its ISO text; seconds from now as they are."""
    moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    naive = isinstance(moment, datetime) and timezone.is_naive(moment)
    return timezone.make_aware(moment) if naive else moment
