"""What is not to be published now, and when it may be again: tasks that are paused, or that no live worker knows.

Such a message stays pending, with a pause, so that it is neither in the broker's window nor in the way of others.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from outbox.sql import (
    HIGHEST_PRIORITY,
    LOWEST_PRIORITY,
    is_among,
    key,
    later,
    now,
    run,
    skip_locked,
)

#: How long a message that was set aside waits until it is looked at again. It does not wait so long for a worker that
#: knows its task: `make_due` is called as soon as there is one.
SET_ASIDE_SECONDS = 50.0

UNKNOWN = "No live worker of its queue knows the task."
EXPIRED = "It expired before a worker could run it."


@dataclass(frozen=True, slots=True)
class Runnable:
    """Which tasks of a queue may be published."""

    known: frozenset[str] | None = None
    """What its live workers know between them; None if that is not known: then every task may."""
    paused: frozenset[str] = frozenset()

    def __contains__(self, task: str) -> bool:
        return task not in self.paused and (self.known is None or task in self.known)

    def condition(self) -> tuple[str, dict[str, Any]]:
        """That a message's task is one of them, as SQL with named parameters."""
        if self.known is not None:
            return _is_one_of("runnable", self.known - self.paused)
        one_of, params = _is_one_of("paused", self.paused)
        return f"NOT {one_of}", params

    def unknown_condition(self) -> tuple[str, dict[str, Any]]:
        """That nobody knows a message's task, and it is not paused, as SQL with named parameters."""
        if self.known is None:
            return "(1 = 0)", {}
        one_of, params = _is_one_of("known", self.known | self.paused)
        return f"NOT {one_of}", params


EVERY_TASK = Runnable()


def _is_one_of(name: str, tasks: Iterable[str]) -> tuple[str, dict[str, Any]]:
    params = {f"{name}_{number}": task for number, task in enumerate(sorted(tasks))}
    return (f"(task IN ({', '.join(f'%({each})s' for each in params)}))" if params else "(1 = 0)"), params


def set_aside(ids: Iterable[UUID], runnable: Runnable, *, give_up_days: float) -> int:
    """Give up publishing messages that were just taken and are not `runnable`: they wait for SET_ASIDE_SECONDS."""
    keys = {f"id_{number}": key(id) for number, id in enumerate(ids)}
    if not keys:
        return 0
    chosen = f"state = 'published' AND id IN ({', '.join(f'%({name})s' for name in keys)})"
    return _set_aside(chosen, keys, runnable, give_up_days)


def set_due_aside(queue: str, runnable: Runnable, *, limit: int, give_up_days: float) -> int:
    """The same for up to `limit` of those messages of a queue that are due, pending and not `runnable`."""
    condition, names = runnable.condition()
    arms = [
        f"""SELECT id FROM (SELECT id FROM outbox_message WHERE queue = %(queue)s AND priority = {priority}
        AND due_at <= {now()} AND finished_at IS NULL AND state = 'pending' AND NOT {condition}
        ORDER BY due_at LIMIT %(limit)s {skip_locked()}) AS level{priority}"""
        for priority in range(HIGHEST_PRIORITY, LOWEST_PRIORITY - 1, -1)
    ]
    chosen = f"state = 'pending' AND {is_among(' UNION ALL '.join(arms))}"
    return _set_aside(chosen, {"queue": queue, "limit": limit, **names}, runnable, give_up_days)


def _set_aside(chosen: str, params: dict[str, Any], runnable: Runnable, give_up_days: float) -> int:
    """What is paused waits; what nobody knows says so, and is dead when nobody has known it for `give_up_days`."""
    is_unknown, names = runnable.unknown_condition()
    expired = f"expires_at <= {now()}"
    given_up = f"({is_unknown} AND refused_at <= {later('%(give_up)s')})"
    return run(
        f"""UPDATE outbox_message SET publishes = 0, due_at = {later("%(pause)s")},
        refused_at = CASE WHEN {is_unknown} THEN COALESCE(refused_at, {now()}) ELSE refused_at END,
        last_error = CASE WHEN {expired} THEN %(expired)s WHEN {is_unknown} THEN %(unknown)s ELSE last_error END,
        state = CASE WHEN {expired} OR {given_up} THEN 'dead' ELSE 'pending' END,
        finished_at = CASE WHEN {expired} OR {given_up} THEN {now()} END
        WHERE {chosen}""",
        params
        | names
        | {"pause": SET_ASIDE_SECONDS, "give_up": -give_up_days * 86_400, "expired": EXPIRED, "unknown": UNKNOWN},
    )


def make_due(queue: str, runnable: Runnable) -> int:
    """Let those messages of a queue that were set aside, and are `runnable` now, wait no longer.

    What nobody knew is not refused any more. Where workers of two releases share the queue, it may be from now on.
    """
    condition, names = runnable.condition()
    return run(
        f"""UPDATE outbox_message SET due_at = wanted_at,
        refused_at = CASE WHEN last_error = %(unknown)s THEN NULL ELSE refused_at END
        WHERE queue = %(queue)s AND finished_at IS NULL
        AND state = 'pending' AND due_at > {now()} AND wanted_at <= {now()} AND {condition}""",
        {"queue": queue, "unknown": UNKNOWN, **names},
    )
