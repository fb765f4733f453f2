"""`OutboxTask`: `.delay()` writes a row.

A bare `@shared_task` is durable and retries. `@shared_task(durable=False)` goes straight to the broker, like plain
Celery, with late acknowledgement.
"""

# celery-types describes the documented part of a task only.
# mypy: disable-error-code="attr-defined, arg-type"

from typing import Any

from outbox import instruments, ledger
from outbox.options import (
    as_datetime,
    checked_priority,
    checked_queue,
    message_id_from,
    refuse_what_a_row_cannot_keep,
)
from outbox.running import RunningTask

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


class OutboxTask(RunningTask):
    """Base of every task of the app."""

    abstract = True

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
