"""`app = OutboxCelery("app")`: a Celery app whose tasks are durable, however they are called."""

from typing import Any

from celery import Celery


class OutboxCelery(Celery):
    """Celery with `OutboxTask` for its tasks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"task_cls": "outbox.task:OutboxTask", **kwargs})

    def send_task(  # type: ignore[override]
        self, name: str, args: Any = None, kwargs: Any = None, **options: Any
    ) -> Any:
        """Celery's, but a durable task called by its name is enqueued too: a message without a row runs nothing."""
        if options.get("task_type") is None:
            self.loader.import_default_modules()
            task = self.tasks.get(name)
            if task is not None and getattr(task, "durable", False):
                return task.apply_async(args, kwargs, **options)
        return super().send_task(name, args, kwargs, **options)
