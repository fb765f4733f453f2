"""A worker runs a message: claim, run, and the outcome."""

# celery-types describes the documented part of a task only.
# mypy: disable-error-code="attr-defined, arg-type"

import logging
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from celery.contrib.django.task import DjangoTask
from celery.exceptions import Ignore, MaxRetriesExceededError, Reject, Retry
from django.conf import settings

from outbox import instruments, ledger
from outbox.errors import OptionRefusedError, is_final
from outbox.lease import current_keeper
from outbox.options import as_datetime

logger = logging.getLogger(__name__)


class RunningTask(DjangoTask):
    """The worker's side of a durable task: whatever delivered the id, the row is what runs."""

    abstract = True
    durable = True
    """False: straight to the broker, like plain Celery."""

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
            self._settle(ledger.fail, claim, error=f"rejected: {reject.reason}")
            raise Ignore(f"rejected: {reject.reason}") from reject
        except Ignore:
            self._settle(ledger.complete, claim)
            raise
        except Exception as error:
            self._settle(ledger.fail, claim, error=describe_error(error))
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
        if exc is not None and (spent or is_final(exc)):
            raise exc
        if spent:
            raise MaxRetriesExceededError(f"{self.name}[{claim.id}] is out of attempts ({claim.retries + 1})")


def describe_error(error: BaseException | None) -> str:
    """The traceback of `error`, as `last_error` keeps it."""
    return "".join(traceback.format_exception(error)) if error else "The task asked to be run again."
