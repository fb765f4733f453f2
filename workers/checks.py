"""Django system checks: whether what makes `.delay()` durable is in its place. None asks the database or a broker."""

from collections.abc import Iterator
from typing import Any

from celery import current_app
from celery.utils.imports import symbol_by_name
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connection

#: Parts of Celery that must be ours: the check's id, the option, its value, and what happens otherwise.
PARTS = [
    ("E001", "task_cls", "outbox.task:OutboxTask", ".delay() publishes at once, which no rollback undoes"),
    ("E002", "worker_consumer", "workers.consumer:Consumer", "a message that cannot be read ends the worker"),
    ("E003", "beat_scheduler", "workers.beat:OutboxScheduler", "two beats enqueue everything twice"),
]


@register
def check_outbox(**kwargs: Any) -> Iterator[CheckMessage]:
    for number, option, ours, otherwise in PARTS:
        # Celery takes the task class as an argument, the rest from settings.
        found = getattr(current_app, option, None) or current_app.conf[option]
        if found != ours and not issubclass(symbol_by_name(found), symbol_by_name(ours)):
            problem = f"Celery's {option} is {found!r}: {otherwise}."
            yield Error(problem, hint=f"Set {option} to {ours!r}.", id=f"outbox.{number}")
    if connection.vendor not in ("postgresql", "sqlite"):
        yield Error(
            f"The outbox knows no {connection.display_name}.", hint="Use PostgreSQL or SQLite.", id="outbox.E004"
        )
    if not connection.settings_dict["ATOMIC_REQUESTS"]:
        problem = "ATOMIC_REQUESTS is off: a request that fails after .delay() leaves the task behind."
        yield Warning(problem, hint="Switch it on, or enqueue inside of atomic() only.", id="outbox.W005")
    for name in sorted(current_app.tasks):
        if not hasattr(current_app.tasks[name], "durable"):
            problem = (
                f"The task {name} is of a class that knows nothing of the outbox: its calls are published at once."
            )
            yield Warning(problem, hint="Register it with the app: register_task(), or a decorator.", id="outbox.W007")
    options = settings.OUTBOX
    if options.deaf_after_seconds <= options.heartbeat_seconds:
        problem = f"OUTBOX_DEAF_AFTER_SECONDS={options.deaf_after_seconds:g} is over before a worker's next heartbeat."
        hint = f"Make it more than OUTBOX_HEARTBEAT_SECONDS={options.heartbeat_seconds:g}."
        yield Warning(problem, hint=hint, id="outbox.W006")
