"""A task becomes a row."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from kombu.exceptions import EncodeError
from kombu.utils.json import dumps

from outbox.models import new_message_id
from outbox.sql import key, marks, moment, now, query_prepared, uuid


def enqueue(
    task: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    *,
    queue: str,
    id: UUID | None = None,
    priority: int = 0,
    countdown: float = 0,
    eta: datetime | None = None,
    expires: datetime | float | None = None,
    max_attempts: int | None = None,
    headers: dict[str, Any] | None = None,
    occurrence: str | None = None,
    options: dict[str, Any] | None = None,
) -> UUID:
    """Write one message; it exists when the caller's transaction commits (at once outside of one).

    Returns its id; if `id` or `occurrence` has been enqueued before, the id of that message, and writes none.
    Times are moments, or seconds from now. Raises kombu's `EncodeError` for what Celery's JSON cannot carry.
    """
    due, due_param = moment(eta or countdown)
    expire, expire_param = moment(expires)
    columns = {
        "id": key(id or new_message_id()),
        "task": task,
        "arguments": encode([list(args), kwargs], f"the arguments of {task}"),
        "headers": encode(headers or {}, f"the headers of {task}"),
        "queue": queue,
        "priority": priority,
        "max_attempts": max_attempts,
        "occurrence": occurrence,
        "options": encode(options, f"the options of {task}") if options else "",
    }
    # To look whether it is there already costs a quarter of the statement.
    once = "ON CONFLICT DO NOTHING" if id or occurrence else ""
    written = query_prepared(
        f"""INSERT INTO outbox_message ({", ".join(columns)}, due_at, wanted_at, expires_at, created_at,
        state, attempts, replayed_after, publishes, worker, last_error, history)
        VALUES ({marks(columns)}, {due}, {due}, {expire}, {now()}, 'pending', 0, 0, 0, '', '', '')
        {once} RETURNING id""",
        [*columns.values(), due_param, due_param, expire_param],
    )
    [(message_id,)] = written or query_prepared(
        "SELECT id FROM outbox_message WHERE id = %s OR occurrence = %s", [columns["id"], occurrence]
    )
    return uuid(message_id)


def encode(value: Any, what: str) -> str:
    """`value` in Celery's JSON. Raises kombu's EncodeError for what that cannot carry."""
    try:
        return dumps(value)
    except (TypeError, ValueError) as error:
        raise EncodeError(f"A row of the outbox cannot keep {what}: {error}. Pass an id instead.") from error
