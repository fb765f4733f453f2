"""`OutboxTask`: `.delay()` writes a row.

A bare `@shared_task` is durable and retries. `@shared_task(durable=False)` goes straight to the broker, like plain
Celery, with late acknowledgement.
"""

# celery-types describes the documented part of a task only.
# mypy: disable-error-code="attr-defined, arg-type"

from functools import cache
from typing import Any

from celery import Task

from outbox.calls.call import Call
from outbox.calls.canvas import followers, refuse_durable_steps
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


@cache
def durable_class(base: type, outbox_task: type) -> type:
    """The class `base` itself, or one that is durable as well, in which what `base` overrides goes first."""
    if issubclass(base, OutboxTask):
        return base
    said: dict[str, Any] = {"abstract": True, "__module__": base.__module__, "__doc__": base.__doc__}
    if getattr(base, "on_success", None) is not Task.on_success:
        said["on_success"] = base.on_success
    if not getattr(base, "durable", True):
        said["durable"] = False
        names = [name for name in BROKER_KEPT_DEFAULTS if getattr(base, name, None) != getattr(Task, name, None)]
        said.update({name: getattr(base, name) for name in names})
    return type(base.__name__, (base, outbox_task), said)


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
        options.update(link=link, link_error=link_error, shadow=shadow)
        if not self.durable:
            refuse_durable_steps("canvas", self.app, followers(options))
            return super().apply_async(args, kwargs, task_id, producer, **options)
        call = Call.of(self, args or (), kwargs or {}, task_id, options)
        if self.app.conf.task_always_eager:
            options.pop("occurrence", None)
            return super().apply_async(args, kwargs, task_id, producer, **options)
        return call.enqueue()

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """`apply_async()` if durable: its row commits with the transaction, where a hook would come after, or never."""
        (self.apply_async if self.durable else super().apply_async_on_commit)(*args, **kwargs)
