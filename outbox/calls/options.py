"""What a call says beyond its arguments: which of it a row keeps, and where."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from django.utils import timezone

from outbox.errors import OptionRefusedError
from outbox.sql import HIGHEST_PRIORITY, LOWEST_PRIORITY

#: Options of `apply_async` that have a column of their own.
COLUMNS = frozenset({"countdown", "eta", "expires", "headers", "occurrence", "priority", "queue"})

#: Options that the column `options` keeps, as they are.
KEPT = frozenset(
    {
        "app_id", "argsrepr", "ignore_result", "kwargsrepr", "parent_id", "replaced_task_nesting", "reply_to",
        "root_id", "shadow", "soft_time_limit", "stamped_headers", "time_limit",
    }
)  # fmt: skip

#: Options that say how a message travels, which is the relay's business, or what the ledger does anyway.
MOOT = frozenset(
    {
        "add_to_parent", "compression", "connection", "delivery_mode", "immediate", "mandatory", "origin", "producer",
        "publisher", "result_cls", "retries", "retry", "retry_policy", "route_name", "router", "task_type",
    }
)  # fmt: skip

CANVAS_CURE = "Enqueue what follows from inside of the task, or declare each task of the canvas durable=False."
QUEUE_CURE = "Name one of QUEUES instead: queue='...'."
SERIALIZER_CURE = "Pass what JSON can carry, ids for one, or declare the task durable=False."

#: What to do about an option that a row cannot keep.
CURES: Mapping[str, str] = {
    **dict.fromkeys(("chain", "chord", "group_id", "group_index", "link", "link_error"), CANVAS_CURE),
    **dict.fromkeys(("exchange", "exchange_type", "routing_key"), QUEUE_CURE),
    "serializer": SERIALIZER_CURE,
}

#: The ids of messages whose task ids are no UUIDs are made from those, in this namespace.
TASK_IDS = UUID("5b1b3c5e-6d0e-5d27-9d0c-6a1f2c8f7c11")


def keep(task: str, options: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a call's `options` that the column `options` keeps.

    Raises OptionRefusedError if one of the others would have to be dropped; also one that the task itself has declared.
    """
    stamps = {name: options[name] for name in options.get("stamped_headers") or () if name in options}
    known = COLUMNS | KEPT | MOOT | stamps.keys()
    for name, value in {**declared, **options}.items():
        if value and name not in known and (name, value) != ("serializer", "json"):
            cure = CURES.get(name, "The outbox knows no such option.")
            raise OptionRefusedError(f"{task} is durable, and a row of the outbox cannot keep {name}. {cure}")
    for said in (options, declared):
        hard, soft = said.get("time_limit"), said.get("soft_time_limit")
        if hard and soft and soft > hard:
            raise ValueError(f"{task}: soft_time_limit must be less than or equal to time_limit ({soft} > {hard}).")
    kept = {name: options[name] for name in KEPT if options.get(name) is not None}
    return {**kept, "stamps": stamps} if stamps else kept


def message_id(task_id: str) -> UUID:
    """The id of the message with this task id, which may be any text: of a UUID itself, of others one of their own."""
    try:
        id = UUID(task_id)
    except ValueError:
        return uuid5(TASK_IDS, task_id)
    return id if str(id) == task_id else uuid5(TASK_IDS, task_id)


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


def checked_route(task: str, route: Mapping[str, Any], default: str) -> str:
    """The name of the queue that a route leads to. Raises OptionRefusedError for one that leads elsewhere."""
    queue = route.get("queue")
    name: str = queue.name if queue else default
    exchange = getattr(route.get("exchange"), "name", route.get("exchange"))
    if exchange or route.get("routing_key") not in (None, "", name):
        raise OptionRefusedError(
            f"task_routes sends {task} to an exchange or by a routing key, and a row of the outbox keeps only the name "
            f"of a queue. Write {{'queue': '...'}} for it."
        )
    return name


def as_datetime(when: Any) -> Any:
    """A moment from a datetime (naive: in the current time zone) or its ISO text; seconds from now as they are."""
    moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    naive = isinstance(moment, datetime) and timezone.is_naive(moment)
    return timezone.make_aware(moment) if naive else moment
