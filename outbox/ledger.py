"""The only writer of `Message`: every change of a message's state is one statement of this file.

The clock is the database's, because hosts may disagree about the hour. Statements that a worker settles with are
repeated on a new connection when the database goes away for a while: the fencing number makes repeating safe.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from kombu.utils.json import dumps, loads

from brokers.wire import TaskMessage
from outbox.models import new_message_id
from outbox.sql import key, later, marks, most_urgent, now, persist, query, run, skip_locked, timestamp, uuid

#: A message that is not claimed is published again after 30, 60, 120 s and so on, with defaults up to 32 min.
MOST_DOUBLINGS = 6

SPENT = "The process that ran it was killed (out of memory, time limit, power) in its last attempt."
EXPIRED = "It expired before a worker could run it."


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt of one message, held by the process that runs it."""

    id: UUID
    attempt: int
    max_attempts: int | None
    args: list[Any]
    kwargs: dict[str, Any]
    headers: dict[str, Any]


@dataclass(frozen=True, slots=True)
class InFlight:
    """How many messages of a queue the broker has been given, and how many of those should have been claimed by now."""

    published: int
    overdue: int


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
    expires: datetime | None = None,
    max_attempts: int | None = None,
    headers: dict[str, Any] | None = None,
    occurrence: str | None = None,
) -> UUID:
    """Write one message; it exists when the caller's transaction commits (at once outside of one).

    Returns its id; if `occurrence` has been enqueued before, the id of that message, and writes none.
    Raises kombu's `EncodeError` for arguments that Celery's JSON cannot carry.
    """
    due, due_param = ("%s", timestamp(eta)) if eta else (later("%s"), countdown)
    columns = {
        "id": key(id or new_message_id()),
        "task": task,
        "arguments": dumps([list(args), kwargs]),
        "headers": dumps(headers or {}),
        "queue": queue,
        "priority": priority,
        "expires_at": timestamp(expires),
        "max_attempts": max_attempts,
        "occurrence": occurrence,
    }
    [(message_id,)] = query(
        f"""INSERT INTO outbox_message ({", ".join(columns)}, due_at, created_at,
        state, attempts, publishes, last_error, history)
        VALUES ({marks(columns)}, {due}, {now()}, 'pending', 0, 0, '', '')
        ON CONFLICT (occurrence) DO UPDATE SET occurrence = excluded.occurrence RETURNING id""",
        [*columns.values(), due_param],
    )
    return uuid(message_id)


# --- The relay --------------------------------------------------------------------------------------------------------


def take_due(queue: str, *, limit: int, lost_after_seconds: float) -> list[TaskMessage]:
    """Mark up to `limit` due messages of `queue` as published and return them, most urgent first.

    Due are pending messages whose time has come, and running ones whose lease has ended. Those of them that are out of
    attempts or have expired become dead instead. Rows another relay holds are skipped, not waited for.
    """
    due = most_urgent(
        f"""SELECT id FROM outbox_message WHERE queue = %(queue)s AND priority = {{priority}}
        AND due_at <= {now()} AND finished_at IS NULL AND state <> 'published'
        ORDER BY due_at LIMIT %(limit)s {skip_locked()}"""
    )
    spent = "state = 'running' AND attempts >= max_attempts"
    expired = f"expires_at <= {now()}"
    rows = query(
        # Materialized, or PostgreSQL may choose to look for what is due, and lock it, once for every row.
        f"""WITH due AS MATERIALIZED ({due})
        UPDATE outbox_message SET
        state = CASE WHEN {spent} OR {expired} THEN 'dead' ELSE 'published' END,
        last_error = CASE WHEN {spent} THEN %(spent)s WHEN {expired} THEN %(expired)s ELSE last_error END,
        finished_at = CASE WHEN {spent} OR {expired} THEN {now()} END,
        due_at = {later("%(lost_after)s * (1 << publishes)")},
        publishes = CASE WHEN publishes < {MOST_DOUBLINGS} THEN publishes + 1 ELSE publishes END,
        published_at = {now()}
        WHERE id IN (SELECT id FROM due) RETURNING id, task, state, priority, created_at""",
        {"queue": queue, "limit": limit, "lost_after": lost_after_seconds, "spent": SPENT, "expired": EXPIRED},
    )
    rows.sort(key=lambda row: (-row[3], row[4]))
    return [TaskMessage(uuid(id), task) for id, task, state, _, _ in rows if state == "published"]


def put_back(ids: Iterable[UUID]) -> None:
    """Make messages that could not be published due again."""
    keys = [key(id) for id in ids]
    if keys:
        run(
            f"""UPDATE outbox_message SET state = 'pending', due_at = {now()}, publishes = 0
            WHERE state = 'published' AND id IN ({marks(keys)})""",
            keys,
        )


def count_in_flight(queue: str) -> InFlight:
    [(published, overdue)] = query(
        f"""SELECT count(*), count(*) FILTER (WHERE due_at <= {now()})
            FROM outbox_message WHERE state = 'published' AND queue = %s""",
        [queue],
    )
    return InFlight(published, overdue)


def release_lost(queue: str, *, limit: int) -> int:
    """Make the `limit` longest published of the overdue messages due again: the broker no longer has them."""
    return run(
        f"""UPDATE outbox_message SET state = 'pending', due_at = {now()} WHERE state = 'published' AND id IN (
        SELECT id FROM outbox_message WHERE state = 'published' AND queue = %s AND due_at <= {now()}
        ORDER BY published_at LIMIT %s)""",
        [queue, limit],
    )


def postpone_overdue(queue: str, *, seconds: float) -> int:
    """Give overdue messages more time: the broker still holds them all, its queue is just long."""
    return run(
        f"""UPDATE outbox_message SET due_at = {later("%s")}
        WHERE state = 'published' AND queue = %s AND due_at <= {now()}""",
        [seconds, queue],
    )


def extend_leases(seconds: float) -> int:
    """Let every running message run on: while the database was away no lease could be renewed."""
    return run(
        f"UPDATE outbox_message SET due_at = {later('%s')} WHERE state = 'running' AND due_at < {later('%s')}",
        [seconds, seconds],
    )


# --- The worker -------------------------------------------------------------------------------------------------------


def claim(id: UUID, task: str, *, lease_seconds: float) -> Claim | None:
    """Take the lease of a message, or None if there is nothing to run.

    None is what a duplicate, forged or stale delivery gets: the message is done, held by someone else, not due yet,
    of another task, or was never there.
    """
    rows = persist(
        f"""UPDATE outbox_message SET state = 'running', attempts = attempts + 1, due_at = {later("%s")}
        WHERE id = %s AND task = %s AND finished_at IS NULL AND (state = 'published' OR due_at <= {now()})
        AND (max_attempts IS NULL OR attempts < max_attempts) AND (expires_at IS NULL OR expires_at > {now()})
        RETURNING attempts, max_attempts, arguments, headers""",
        [lease_seconds, key(id), task],
    )
    if not rows:
        return None
    attempt, max_attempts, arguments, headers = rows[0]
    args, kwargs = loads(arguments)
    return Claim(id, attempt, max_attempts, args, kwargs, loads(headers))


def renew(claims: Sequence[Claim], *, lease_seconds: float) -> set[UUID]:
    """Extend the leases of `claims`; returns the ids of those that are still ours."""
    values = ", ".join(["(%s, %s)"] * len(claims))
    rows = persist(
        f"""UPDATE outbox_message SET state = 'running', due_at = {later("%s")}
        WHERE state IN ('running', 'published') AND (id, attempts) IN (VALUES {values}) RETURNING id""",
        [lease_seconds, *(param for claim in claims for param in (key(claim.id), claim.attempt))],
    )
    return {uuid(id) for (id,) in rows}


def complete(claim: Claim) -> bool:
    """Settle: it is done. False if another attempt has been made meanwhile."""
    return bool(
        persist(
            f"""UPDATE outbox_message SET state = 'done', finished_at = {now()}, last_error = ''
            WHERE id = %s AND attempts = %s AND state <> 'dead' RETURNING id""",
            [key(claim.id), claim.attempt],
        )
    )


def retry(claim: Claim, *, error: str, countdown: float = 0, eta: datetime | None = None) -> bool:
    """Settle: try again later, or dead if that was the last attempt. False if another attempt has been made."""
    due, due_param = ("%s", timestamp(eta)) if eta else (later("%s"), countdown)
    return bool(
        persist(
            f"""UPDATE outbox_message SET last_error = %s, publishes = 0, due_at = {due},
            state = CASE WHEN attempts >= max_attempts THEN 'dead' ELSE 'pending' END,
            finished_at = CASE WHEN attempts >= max_attempts THEN {now()} END
            WHERE id = %s AND attempts = %s AND finished_at IS NULL RETURNING id""",
            [error, due_param, key(claim.id), claim.attempt],
        )
    )


def bury(claim: Claim, *, error: str) -> bool:
    """Settle: dead, for a reason that trying again would not change. False if another attempt has been made."""
    return bool(
        persist(
            f"""UPDATE outbox_message SET state = 'dead', last_error = %s, finished_at = {now()}
            WHERE id = %s AND attempts = %s AND finished_at IS NULL RETURNING id""",
            [error, key(claim.id), claim.attempt],
        )
    )


# --- People -----------------------------------------------------------------------------------------------------------


def replay(ids: Iterable[UUID], *, by: str) -> int:
    """Give dead messages a new set of attempts, now; returns how many there were. `by` is recorded in `history`."""
    keys = [key(id) for id in ids]
    return run(
        f"""UPDATE outbox_message SET state = 'pending', due_at = {now()}, finished_at = NULL, expires_at = NULL,
        publishes = 0, max_attempts = attempts + max_attempts, history = history || %s
        WHERE state = 'dead' AND id IN ({marks(keys)})""",
        [_note("replayed", by), *keys],
    ) if keys else 0  # fmt: skip


def discard(ids: Iterable[UUID], *, by: str) -> int:
    """Decide that messages need not happen: dead ones, and those no worker has begun. Returns how many there were."""
    keys = [key(id) for id in ids]
    return run(
        f"""UPDATE outbox_message SET state = 'discarded', finished_at = {now()}, history = history || %s
        WHERE state IN ('dead', 'pending', 'published') AND id IN ({marks(keys)})""",
        [_note("discarded", by), *keys],
    ) if keys else 0  # fmt: skip


def republish() -> int:
    """Make everything that a broker was given due now: that broker is gone, or came back empty."""
    return run(
        f"UPDATE outbox_message SET state = 'pending', due_at = {now()}, publishes = 0 WHERE state = 'published'",
        [],
    )


def prune(*, keep_days: float, limit: int) -> int:
    """Delete up to `limit` messages that were done or discarded more than `keep_days` ago. Dead ones stay."""
    return run(
        f"""DELETE FROM outbox_message WHERE id IN (SELECT id FROM outbox_message
        WHERE finished_at < {later("%s")} AND state IN ('done', 'discarded') LIMIT %s)""",
        [-keep_days * 86_400, limit],
    )


def waits_unclaimed(queue: str, *, seconds: float) -> bool:
    """Whether a message of `queue` was published at least so long ago and nobody has claimed it."""
    return bool(
        query(
            f"""SELECT 1 FROM outbox_message WHERE state = 'published' AND queue = %s
            AND published_at <= {later("%s")} LIMIT 1""",
            [queue, -seconds],
        )
    )


def count_by_state() -> dict[tuple[str, str], int]:
    """How many messages there are of each (queue, state)."""
    rows = query("SELECT queue, state, count(*) FROM outbox_message GROUP BY queue, state", [])
    return {(queue, state): count for queue, state, count in rows}


def _note(action: str, by: str) -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC {action} by {by}\n"
