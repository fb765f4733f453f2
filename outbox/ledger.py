"""The only writer of `Message`: every change of a message's state is one statement of this file.

The clock is the database's, because hosts may disagree about the hour. Statements that a worker settles with are
repeated on a new connection when the database goes away for a while: the fencing number makes repeating safe.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from kombu.exceptions import EncodeError
from kombu.utils.json import dumps, loads

from brokers.wire import TaskMessage
from outbox.models import new_message_id
from outbox.sql import (
    key,
    later,
    marks,
    most_urgent,
    now,
    persist,
    query,
    query_prepared,
    run,
    skip_locked,
    timestamp,
    uuid,
)

#: A message that is not claimed is published again after 30, 60, 120 s and so on, with defaults up to 32 min.
MOST_DOUBLINGS = 6

SPENT = "The process that ran it was killed (out of memory, time limit, power) in its last attempt."
EXPIRED = "It expired before a worker could run it."

#: How long workers that wait for the database let those go first that have finished something meanwhile. Longer than
#: their pauses: a message whose lease has ended while its worker was cut off would otherwise be run again.
SETTLING_SECONDS = 2.0

#: Whether no attempt is left, as SQL; what was tried before a replay does not count.
SPENT_ATTEMPTS = "attempts - replayed_after >= max_attempts"

#: How much of an error is kept, from its end, where a traceback names it.
ERROR_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt of one message, held by the process that runs it."""

    id: UUID
    attempt: int
    """The fencing number."""
    retries: int
    """How often it was tried before, since it was enqueued or last replayed."""
    max_attempts: int | None
    arguments: str
    headers: str

    def decode(self) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
        """Arguments, keyword arguments and headers. Raises ValueError for a type that nobody registered here."""
        args, kwargs = loads(self.arguments)
        return args, kwargs, loads(self.headers)


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
    expires: datetime | float | None = None,
    max_attempts: int | None = None,
    headers: dict[str, Any] | None = None,
    occurrence: str | None = None,
) -> UUID:
    """Write one message; it exists when the caller's transaction commits (at once outside of one).

    Returns its id; if `occurrence` has been enqueued before, the id of that message, and writes none.
    Times are moments, or seconds from now. Raises kombu's `EncodeError` for what Celery's JSON cannot carry.
    """
    due, due_param = _time(eta or countdown)
    expire, expire_param = _time(expires)
    columns = {
        "id": key(id or new_message_id()),
        "task": task,
        "arguments": _encode([list(args), kwargs], f"the arguments of {task}"),
        "headers": _encode(headers or {}, f"the headers of {task}"),
        "queue": queue,
        "priority": priority,
        "max_attempts": max_attempts,
        "occurrence": occurrence,
    }
    [(message_id,)] = query_prepared(
        f"""INSERT INTO outbox_message ({", ".join(columns)}, due_at, expires_at, created_at,
        state, attempts, replayed_after, publishes, last_error, history)
        VALUES ({marks(columns)}, {due}, {expire}, {now()}, 'pending', 0, 0, 0, '', '')
        ON CONFLICT (occurrence) DO UPDATE SET occurrence = excluded.occurrence RETURNING id""",
        [*columns.values(), due_param, expire_param],
    )
    return uuid(message_id)


def _encode(value: Any, what: str) -> str:
    try:
        return dumps(value)
    except (TypeError, ValueError) as error:
        raise EncodeError(f"A row of the outbox cannot keep {what}: {error}. Pass an id instead.") from error


def _time(when: datetime | float | None) -> tuple[str, Any]:
    """A moment, or one so many seconds from now by the database's clock, as SQL and its parameter."""
    return (later("%s"), when) if isinstance(when, int | float) else ("%s", timestamp(when))


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
    spent = f"state = 'running' AND {SPENT_ATTEMPTS}"
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
        f"""UPDATE outbox_message SET state = 'running', attempts = attempts + 1, publishes = 0,
        due_at = {later("%s")} WHERE id = %s AND task = %s
        AND finished_at IS NULL AND (state = 'published' OR due_at <= {now()})
        AND (max_attempts IS NULL OR NOT {SPENT_ATTEMPTS}) AND (expires_at IS NULL OR expires_at > {now()})
        RETURNING attempts, attempts - replayed_after - 1, max_attempts, arguments, headers""",
        [lease_seconds, key(id), task],
        head_start_seconds=SETTLING_SECONDS,
    )
    return Claim(id, *rows[0]) if rows else None


def renew(claims: Sequence[Claim], *, lease_seconds: float) -> set[UUID]:
    """Extend the leases of `claims`; returns the ids of those that are still ours.

    One that had already been published again is taken back. Not to be called for a claim that is being settled.
    """
    values = ", ".join(["(%s, %s)"] * len(claims))
    rows = persist(
        f"""UPDATE outbox_message SET state = 'running', due_at = {later("%s")}
        WHERE state IN ('running', 'published') AND (id, attempts) IN (VALUES {values}) RETURNING id""",
        [lease_seconds, *(param for claim in claims for param in (key(claim.id), claim.attempt))],
    )
    return {uuid(id) for (id,) in rows}


def complete(claim: Claim) -> bool:
    """Settle: it is done. False if another attempt has been made meanwhile.

    Also if it counts as dead or was discarded in the meantime: that it was done is the truth.
    """
    return bool(
        persist(
            f"""UPDATE outbox_message SET state = 'done', finished_at = {now()}, last_error = ''
            WHERE id = %s AND attempts = %s RETURNING id""",
            [key(claim.id), claim.attempt],
        )
    )


def retry(
    claim: Claim, *, error: str, countdown: float = 0, eta: datetime | None = None, max_attempts: int = 0
) -> bool:
    """Settle: try again later, or dead if that was the last attempt. False if there is nothing to settle any more.

    `max_attempts` raises the message's own limit if it is higher.
    """
    due, due_param = _time(eta or countdown)
    spent = f"{SPENT_ATTEMPTS} AND attempts - replayed_after >= %s"
    rows = persist(
        f"""UPDATE outbox_message SET last_error = %s, publishes = 0, due_at = {due},
        max_attempts = CASE WHEN max_attempts < %s THEN %s ELSE max_attempts END,
        state = CASE WHEN {spent} THEN 'dead' ELSE 'pending' END,
        finished_at = CASE WHEN {spent} THEN {now()} END
        WHERE id = %s AND attempts = %s AND finished_at IS NULL RETURNING id""",
        [legible(error), due_param, *[max_attempts] * 4, key(claim.id), claim.attempt],
    )
    return bool(rows)


def bury(claim: Claim, *, error: str) -> bool:
    """Settle: dead, for a reason that trying again would not change. False if there is nothing to settle any more."""
    return bool(
        persist(
            f"""UPDATE outbox_message SET state = 'dead', last_error = %s, finished_at = {now()}
            WHERE id = %s AND attempts = %s AND finished_at IS NULL RETURNING id""",
            [legible(error), key(claim.id), claim.attempt],
        )
    )


def legible(error: str) -> str:
    """The end of `error` as every database can store it: an error may quote what the other side sent."""
    return error[-ERROR_CHARACTERS:].encode(errors="backslashreplace").decode().replace("\0", "\\x00")


# --- People -----------------------------------------------------------------------------------------------------------


def replay(ids: Iterable[UUID], *, by: str) -> int:
    """Give dead messages a new set of attempts, now; returns how many there were. `by` is recorded in `history`."""
    keys = [key(id) for id in ids]
    return run(
        f"""UPDATE outbox_message SET state = 'pending', due_at = {now()}, finished_at = NULL, expires_at = NULL,
        publishes = 0, replayed_after = attempts, history = history || %s
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


def republish(*, by: str) -> int:
    """Make everything that a broker was given due now: that broker is gone, or came back empty."""
    return run(
        f"""UPDATE outbox_message SET state = 'pending', due_at = {now()}, publishes = 0, history = history || %s
        WHERE state = 'published'""",
        [_note("republished", by)],
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


def _note(action: str, by: str) -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC {action} by {by}\n"
