"""What a row of the outbox can keep of the options of a call."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from outbox.errors import OptionRefusedError
from outbox.sql import HIGHEST_PRIORITY, LOWEST_PRIORITY

#: Options of `apply_async` that become columns of the row.
KEPT = frozenset({"countdown", "eta", "expires", "headers", "occurrence", "priority", "queue"})

#: Options that say how a message travels, which is the relay's business, or what the ledger does anyway.
MOOT = frozenset(
    {
        "add_to_parent", "compression", "connection", "delivery_mode", "ignore_result", "immediate", "mandatory",
        "parent_id", "producer", "publisher", "retry", "retry_policy", "root_id", "route_name", "router", "serializer",
    }
)  # fmt: skip


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
        names = ", ".join(known)
        raise OptionRefusedError(
            f"queue={name!r} is not one of QUEUES ({names}): nobody would relay it. A queue whose workers are not ours "
            "belongs into OUTBOX_FOREIGN_QUEUES."
        )


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
