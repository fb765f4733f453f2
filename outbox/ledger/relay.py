"""What the relay asks: what is due, how much is in flight, and what the broker has lost."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from brokers.wire import TaskMessage
from outbox.sql import SPENT_ATTEMPTS, key, later, marks, most_urgent, now, query, run, skip_locked, uuid

#: A message that is not claimed is published again after 30, 60, 120 s and so on, with defaults up to 32 min.
MOST_DOUBLINGS = 6

SPENT = "The process that ran it was killed (out of memory, time limit, power) in its last attempt."
EXPIRED = "It expired before a worker could run it."


@dataclass(frozen=True, slots=True)
class InFlight:
    """How many messages of a queue the broker has been given, and how many of those should have been claimed by now."""

    published: int
    overdue: int


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
    lost = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC attempt "
    rows = query(
        # Materialized, or PostgreSQL may choose to look for what is due, and lock it, once for every row.
        f"""WITH due AS MATERIALIZED ({due})
        UPDATE outbox_message SET
        state = CASE WHEN {spent} OR {expired} THEN 'dead' ELSE 'published' END,
        last_error = CASE WHEN {spent} THEN %(spent)s WHEN {expired} THEN %(expired)s ELSE last_error END,
        finished_at = CASE WHEN {spent} OR {expired} THEN {now()} END,
        begun_at = CASE WHEN {expired} AND NOT ({spent}) THEN NULL ELSE begun_at END,
        history = CASE WHEN state = 'running' AND begun_at IS NOT NULL
            THEN history || %(lost)s || attempts || ' lost: the lease of ' || worker || ' ended' || %(newline)s
            ELSE history END,
        due_at = {later("%(lost_after)s * (1 << publishes)")},
        publishes = CASE WHEN publishes < {MOST_DOUBLINGS} THEN publishes + 1 ELSE publishes END,
        published_at = {now()}
        WHERE id IN (SELECT id FROM due) RETURNING id, task, state, priority, created_at""",
        {
            "queue": queue,
            "limit": limit,
            "lost_after": lost_after_seconds,
            "spent": SPENT,
            "expired": EXPIRED,
            "lost": lost,
            "newline": "\n",
        },
    )
    rows.sort(key=lambda row: (-row[3], row[4]))
    return [TaskMessage(uuid(id), task) for id, task, state, _, _ in rows if state == "published"]


def put_back(ids: Iterable[UUID]) -> None:
    """Make messages that could not be published due again, since when they were before."""
    keys = [key(id) for id in ids]
    if keys:
        run(
            f"""UPDATE outbox_message SET state = 'pending', due_at = wanted_at, publishes = 0
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
        f"""UPDATE outbox_message SET state = 'pending', due_at = wanted_at WHERE state = 'published' AND id IN (
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
