"""What the relay asks: what is due, how much is in flight, and what the broker has lost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from brokers.wire import TaskMessage
from outbox.ledger.held import EVERY_TASK, EXPIRED, Runnable
from outbox.ledger.history import with_lost_attempt
from outbox.sql import (
    HIGHEST_PRIORITY,
    LOWEST_PRIORITY,
    SPENT_ATTEMPTS,
    WAITS_AGAIN,
    Rows,
    at_epoch,
    epoch,
    is_among,
    is_postgresql,
    key,
    later,
    marks,
    now,
    query,
    run,
    skip_locked,
    uuid,
)
from settings.outbox import URGENT_PRIORITY

#: A message that is not claimed is published again after 30, 60, 120 s and so on, with defaults up to 32 min.
MOST_DOUBLINGS = 6

SPENT = "The process that ran it was killed (out of memory, time limit, power) in its last attempt."

#: So long a wait counts as much as one level of priority, unless the settings say otherwise.
AGEING_SECONDS = 60.0

#: A transaction that enqueues may commit so long after the moment that its message is due. If it takes longer, its
#: message is found by the next look without a floor.
COMMIT_SECONDS = 0.2

#: How far a moment may be off that went through a floating-point number.
ROUNDING_SECONDS = 0.001


@dataclass(slots=True)
class Floor:
    """How far down nothing is left of a queue: what is due, for each priority, and what is published. Seconds of 1970.

    PostgreSQL keeps an entry in the index for every message that has passed, until no transaction that is open could
    still see it. Whoever begins to read at the floor does not read them. What becomes due below the floor (it was
    released, put back or replayed) is found by a look without one.
    """

    due: dict[int, float] = field(default_factory=dict)
    published: float = 0.0
    clock: float = 0.0
    """The database's clock when it was last asked."""

    def rise(self, levels: Iterable[int], rows: Rows, *, is_all: bool) -> None:
        """Note what was taken: all that was due in `levels`, or the first of it."""
        settled = self.clock - COMMIT_SECONDS
        if is_all:
            self.due.update(dict.fromkeys(levels, settled))
            return
        for _, _, _, priority, wanted_at in rows:
            taken_up_to = min(settled, wanted_at - ROUNDING_SECONDS)
            self.due[priority] = max(self.due.get(priority, 0.0), taken_up_to)


@dataclass(frozen=True, slots=True)
class InFlight:
    """How many messages of a queue the broker has been given, how many of those should have been claimed by now, and
    how many are urgent."""

    published: int
    overdue: int
    urgent: int = 0


def take_due(
    queue: str,
    *,
    limit: int,
    lost_after_seconds: float,
    ageing_seconds: float = AGEING_SECONDS,
    least_priority: int = LOWEST_PRIORITY,
    runnable: Runnable = EVERY_TASK,
    floor: Floor | None = None,
) -> list[TaskMessage]:
    """Mark up to `limit` due messages of `queue` as published and return them, most urgent first.

    Due are pending messages whose time has come, and running ones whose lease has ended. Those of them that are out of
    attempts or have expired become dead instead. Rows another relay holds are skipped, not waited for.
    Each level of priority counts as `ageing_seconds` of waiting.
    """
    levels = range(HIGHEST_PRIORITY, least_priority - 1, -1)
    floor = floor or Floor()
    condition, names = runnable.condition()
    params = {f"since_{level}": floor.due.get(level, 0.0) for level in levels} | names
    params |= {"queue": queue, "limit": limit, "lost_after": lost_after_seconds, "ageing": ageing_seconds}
    due = _due_in_postgresql(levels, condition) if is_postgresql() else _due_in_sqlite(levels, condition)
    rows = query(f"{due} {_mark_published()}", params | {"spent": SPENT, "expired": EXPIRED})
    floor.rise(levels, rows, is_all=len(rows) < limit)
    rows.sort(key=lambda row: (row[4] - row[3] * ageing_seconds, row[0]))
    return [TaskMessage(uuid(id), task) for id, task, state, _, _ in rows if state == "published"]


def _mark_published() -> str:
    """What becomes of the messages in the table `due`; returns id, task, state, priority and since when it waits."""
    spent = f"state = 'running' AND {SPENT_ATTEMPTS}"
    expired = f"expires_at <= {now()}"
    return f"""UPDATE outbox_message SET
        state = CASE WHEN {spent} OR {expired} THEN 'dead' ELSE 'published' END,
        last_error = CASE WHEN {spent} THEN %(spent)s WHEN {expired} THEN %(expired)s ELSE last_error END,
        finished_at = CASE WHEN {spent} OR {expired} THEN {now()} END,
        begun_at = CASE WHEN {expired} AND ({spent}) IS NOT TRUE THEN NULL ELSE begun_at END,
        history = {with_lost_attempt()},
        wanted_at = CASE WHEN state = 'running' AND begun_at IS NOT NULL THEN due_at ELSE wanted_at END,
        due_at = {later("%(lost_after)s * (1 << publishes)")},
        publishes = CASE WHEN publishes < {MOST_DOUBLINGS} THEN publishes + 1 ELSE publishes END,
        published_at = {now()}
        WHERE {is_among("SELECT id FROM due")} RETURNING id, task, state, priority, {epoch("wanted_at")}"""


def _of_level(level: str, since: str, condition: str) -> str:
    """What is due of one priority, in due order: read from `outbox_due`, no more of it than is taken."""
    return f"""FROM outbox_message WHERE queue = %(queue)s AND priority = {level} AND due_at <= {now()}
        AND due_at >= {since} AND finished_at IS NULL AND state <> 'published'
        AND (state <> 'pending' OR {condition}) ORDER BY due_at"""


def _due_in_postgresql(levels: Sequence[int], condition: str) -> str:
    """The ids in a table `due`, locked: how many of each level are among the most urgent, then so many of each."""
    since = ", ".join(f"({level}, {at_epoch(f'%(since_{level})s')})" for level in levels)
    each = _of_level("level", "since", condition)
    return f"""WITH levels (level, since) AS (VALUES {since}),
        heads AS (SELECT level, {epoch("due_at")} - level * %(ageing)s AS urgency
            FROM levels, LATERAL (SELECT due_at {each} LIMIT %(limit)s) AS head),
        shares AS (SELECT level, since, count(*) AS share
            FROM (SELECT level FROM heads ORDER BY urgency LIMIT %(limit)s) AS first JOIN levels USING (level)
            GROUP BY level, since),
        due AS MATERIALIZED (SELECT id FROM shares, LATERAL (SELECT id {each} LIMIT share {skip_locked()}) AS own)"""


def _due_in_sqlite(levels: Sequence[int], condition: str) -> str:
    arms = [
        f"SELECT * FROM (SELECT id, {epoch('due_at')} - {level} * %(ageing)s AS urgency "
        f"{_of_level(str(level), at_epoch(f'%(since_{level})s'), condition)} LIMIT %(limit)s)"
        for level in levels
    ]
    return f"WITH due AS (SELECT id FROM ({' UNION ALL '.join(arms)}) ORDER BY urgency, id LIMIT %(limit)s)"


def put_back(ids: Iterable[UUID]) -> None:
    """Make messages that could not be published due again, since when they were before."""
    keys = [key(id) for id in ids]
    if keys:
        run(
            f"""UPDATE outbox_message SET {WAITS_AGAIN}
            WHERE state = 'published' AND id IN ({marks(keys)})""",
            keys,
        )


def count_in_flight(queue: str, floor: Floor | None = None) -> InFlight:
    floor = floor or Floor()
    [(published, overdue, urgent, oldest, clock)] = query(
        f"""SELECT count(*), count(*) FILTER (WHERE due_at <= {now()}),
            count(*) FILTER (WHERE priority >= {URGENT_PRIORITY}), {epoch("min(published_at)")}, {epoch(now())}
            FROM outbox_message WHERE state = 'published' AND queue = %s AND published_at >= {at_epoch("%s")}""",
        [queue, floor.published],
    )
    floor.clock = clock
    floor.published = min(oldest or clock, clock - COMMIT_SECONDS) - ROUNDING_SECONDS
    return InFlight(published, overdue, urgent)


def release_lost(queue: str, *, limit: int) -> int:
    """Make the `limit` longest published of the overdue messages due again: the broker no longer has them."""
    lost = f"""SELECT id FROM outbox_message WHERE state = 'published' AND queue = %s AND due_at <= {now()}
        ORDER BY published_at LIMIT %s"""
    return run(
        f"""UPDATE outbox_message SET state = 'pending', due_at = wanted_at
        WHERE state = 'published' AND {is_among(lost)}""",
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
        f"""UPDATE outbox_message SET due_at = {later("%s")}
        WHERE state = 'running' AND finished_at IS NULL AND due_at < {later("%s")}""",
        [seconds, seconds],
    )
