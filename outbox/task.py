"""`OutboxTask`: `.delay()` writes a row; in the worker the row is claimed, run and settled.

    app = Celery("app", task_cls="outbox.task:OutboxTask")

A bare `@shared_task` is durable and retries. `@shared_task(durable=False)` goes straight to the broker, like plain
Celery, with late acknowledgement.
"""

import logging
import traceback
from datetime import datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

from celery.contrib.django.task import DjangoTask
from celery.exceptions import Ignore, MaxRetriesExceededError, Reject, Retry
from django.conf import settings
from django.utils import timezone

from outbox import ledger
from outbox.errors import OptionRefusedError, is_permanent
from outbox.lease import current_keeper
from outbox.sql import HIGHEST_PRIORITY, LOWEST_PRIORITY

logger = logging.getLogger(__name__)

#: Options of `apply_async` that become columns of the row.
KEPT = frozenset({"countdown", "eta", "expires", "headers", "occurrence", "priority", "queue"})

#: Options that say how a message travels, which is the relay's business, or what the ledger does anyway.
MOOT = frozenset(
    {
        "add_to_parent", "compression", "connection", "delivery_mode", "exchange", "ignore_result", "immediate",
        "mandatory", "parent_id", "producer", "publisher", "retry", "retry_policy", "root_id", "route_name",
        "router", "routing_key", "serializer",
    }
)  # fmt: skip

#: What a task that opts out starts from: Celery's own retry defaults, and the settings with which a broker redelivers
#: a message whose worker was killed. Acknowledging late alone would lose it when only the pool's child is killed.
BROKER_KEPT_DEFAULTS = {
    "autoretry_for": (),
    "max_retries": 3,
    "acks_late": True,
    "reject_on_worker_lost": True,
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
        if not cls.durable:
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

    def _enqueue(self, args: Any, kwargs: Any, task_id: str | None, options: dict[str, Any]) -> Any:
        if self.typing:
            self.__header__(*args, **kwargs)
        if self._dump_pydantic_arguments is not None:
            args, kwargs = self._dump_pydantic_arguments(args, kwargs)
        options = {**self._get_exec_options(), **options}
        message_id = ledger.enqueue(
            self.name,
            args,
            kwargs,
            id=message_id_from(task_id),
            queue=self.app.amqp.router.route(options, self.name, args, kwargs)["queue"].name,
            priority=checked_priority(options.get("priority")),
            countdown=options.get("countdown") or 0,
            eta=as_datetime(options.get("eta")),
            expires=as_datetime(options.get("expires")),
            max_attempts=None if self.max_retries is None else self.max_retries + 1,
            headers=options.get("headers"),
            occurrence=options.get("occurrence"),
        )
        return self.AsyncResult(str(message_id))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        request = self.request
        if request.called_directly or request.is_eager:
            return super().__call__(*args, **kwargs)
        if not self.durable or request.get("claim"):
            return self.run(*args, **kwargs)
        return self._run_claimed()

    def _run_claimed(self) -> Any:
        """Run the row that the delivered id stands for; what else the message says is not looked at."""
        try:
            message_id = UUID(self.request.id)
        except ValueError:
            raise Ignore(f"{self.request.id!r} is not the id of a message") from None
        claim = ledger.claim(message_id, self.name, lease_seconds=settings.OUTBOX.lease_seconds)
        if claim is None:
            raise Ignore(f"nothing to run for {message_id}: a duplicate or stale delivery")
        self.request.update(
            claim=claim, args=claim.args, kwargs=claim.kwargs, retries=claim.attempt - 1, headers=claim.headers
        )
        keeper = current_keeper(
            lease_seconds=settings.OUTBOX.lease_seconds, renew_seconds=settings.OUTBOX.renew_seconds
        )
        with keeper.keep(claim):
            return self._run_and_settle(claim)

    def _run_and_settle(self, claim: ledger.Claim) -> Any:
        try:
            result = self.run(*claim.args, **claim.kwargs)
        except Retry as retry:
            when = retry.when or 0
            eta, countdown = (when, 0.0) if isinstance(when, datetime) else (None, float(when))
            ledger.retry(claim, error=describe_error(retry.exc), eta=eta, countdown=countdown)
            raise
        except Reject as reject:
            ledger.bury(claim, error=f"rejected: {reject.reason}")
            raise Ignore(f"rejected: {reject.reason}") from reject
        except Ignore:
            ledger.complete(claim)
            raise
        except Exception as error:
            ledger.bury(claim, error=describe_error(error))
            raise
        if not ledger.complete(claim):
            logger.warning("%s[%s] ended after its lease: another attempt was made", self.name, claim.id)
        return result

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
        limit = claim.max_attempts if max_retries is None else max_retries + 1
        if exc is not None and is_permanent(exc):
            raise exc
        if limit is not None and claim.attempt >= limit:
            self._raise_spent(exc, claim)
        if eta is None and countdown is None:
            countdown = self.default_retry_delay
        retry = Retry(exc=exc, when=eta or countdown)
        if throw:
            raise retry
        return retry

    def _raise_spent(self, exc: BaseException | None, claim: ledger.Claim) -> NoReturn:
        raise exc or MaxRetriesExceededError(f"{self.name}[{claim.id}] is out of attempts ({claim.attempt})")


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


def message_id_from(task_id: str | None) -> UUID | None:
    """The message id that a Celery task id is; a task id of the caller's must be a UUID."""
    try:
        return UUID(task_id) if task_id else None
    except ValueError:
        raise OptionRefusedError(f"task_id={task_id!r} is not a UUID, which the id of a message must be.") from None


def checked_priority(priority: int | None) -> int:
    if priority is None:
        return LOWEST_PRIORITY
    if not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
        raise OptionRefusedError(f"priority={priority} is not between 0 and 9, where 9 goes first.")
    return priority


def as_datetime(when: Any) -> datetime | None:
    """A point in time from what Celery takes: a datetime (naive: in the current time zone), ISO text, or seconds."""
    if when is None:
        return None
    if isinstance(when, (int, float)):
        return timezone.now() + timedelta(seconds=when)
    moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
