"""`app = OutboxCelery("app")`: a Celery app whose tasks are durable, however they are called."""

from functools import lru_cache
from typing import Any

from celery import Celery
from kombu.utils.imports import symbol_by_name

from brokers.base import ForeignQueue
from outbox.errors import OptionRefusedError

#: Celery's own tasks, which are parts of its canvas.
CELERYS_OWN = "celery."


class OutboxCelery(Celery):
    """Celery with `OutboxTask` for its tasks, and a control that acts on the ledger."""

    control_cls = "outbox.control:LedgerControl"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"task_cls": "outbox.task:OutboxTask", **kwargs})

    def send_task(  # type: ignore[override]
        self, name: str, args: Any = None, kwargs: Any = None, *, durable: bool = True, **options: Any
    ) -> Any:
        """Celery's, but a task called by its name is enqueued too: a message without a row runs nothing.

        What this process has imported does not matter: a task that it does not know is durable, with the retries of
        `OutboxTask`. One that is declared `durable=False` and not imported here is called with `durable=False`.
        """
        if not durable or options.get("task_type") is not None or name.startswith(CELERYS_OWN):
            return self._send_now(name, args, kwargs, options)
        self.loader.import_default_modules()
        task = self.tasks.get(name)
        if task is None and not self.conf.task_always_eager:
            task = task_called(name)
            task.bind(self)
        if task is not None and getattr(task, "durable", False):
            return task.apply_async(args, kwargs, **options)
        return self._send_now(name, args, kwargs, options)

    def _send_now(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Publish straight to the broker. Raises OptionRefusedError for a foreign queue, which only the relay knows."""
        wanted = {"queue": options["queue"]} if options.get("queue") else {}
        queue = self.amqp.router.route(wanted, name, args, kwargs, options.get("task_type")).get("queue")
        if isinstance(queue, ForeignQueue):
            raise OptionRefusedError(
                f"{name} is called with durable=False, and {queue.name} is one of OUTBOX_FOREIGN_QUEUES, to which only "
                "the outbox publishes. Call it without durable=False."
            )
        return super().send_task(name, args, kwargs, **options)


@lru_cache(maxsize=1000)
def task_called(name: str) -> Any:
    """A stand-in for a task that only workers know. It is not registered: nobody can run it here."""
    base: Any = symbol_by_name("outbox.task:OutboxTask")  # not above: it needs Django's settings
    return type("TaskCalledByName", (base,), {"name": name, "typing": False, "__module__": __name__})()
