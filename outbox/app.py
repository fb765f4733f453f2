"""`app = OutboxCelery("app")`: a Celery app whose tasks are durable, however they are called."""

from functools import lru_cache
from typing import Any

from celery import Celery
from kombu.utils.imports import symbol_by_name

from brokers.base import ForeignQueue
from outbox.calls.canvas import CELERYS_OWN
from outbox.errors import OptionRefusedError


class OutboxCelery(Celery):
    """Celery with `OutboxTask` for its tasks, and a control that acts on the ledger."""

    control_cls = "outbox.control:LedgerControl"
    keeps_a_ledger = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"task_cls": "outbox.task:OutboxTask", **kwargs})

    def _get_backend(self) -> Any:
        ask_ledger_too: Any = symbol_by_name("outbox.results:ask_ledger_too")  # not above: it needs Django's settings
        return ask_ledger_too(super()._get_backend())  # type: ignore[misc]

    def _task_from_fun(  # type: ignore[override]
        self, fun: Any, name: Any = None, base: Any = None, bind: bool = False, **options: Any
    ) -> Any:
        """A task of Celery's own opts out, for it is a part of the canvas; any other class of tasks becomes durable."""
        if str(name).startswith(CELERYS_OWN):
            options.setdefault("durable", False)
        return super()._task_from_fun(fun, name, base and self._durable_class(base), bind, **options)

    def register_task(self, task: Any, **options: Any) -> Any:
        """Celery's; a task whose class knows nothing of the outbox becomes durable, too."""
        task = task() if isinstance(task, type) else task
        task.__class__ = self._durable_class(type(task))
        return super().register_task(task, **options)

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

    def _durable_class(self, base: type) -> Any:
        durable_class: Any = symbol_by_name("outbox.task:durable_class")  # not above: it needs Django's settings
        return durable_class(base, symbol_by_name(self.task_cls or ""))

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
