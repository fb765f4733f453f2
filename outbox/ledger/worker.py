"""What a worker asks: claim, begin, renew, release; for many messages in one statement.

Each may run twice: a claim recognises itself by its token, and whoever has lost the lease changes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from kombu.utils.json import loads

from outbox.ledger.held import EXPIRED
from outbox.ledger.history import legible, with_lost_attempt
from outbox.sql import (
    SPENT_ATTEMPTS,
    WAITS_AGAIN,
    between,
    epoch,
    given,
    iso,
    key,
    later,
    marks,
    now,
    query,
    query_prepared,
    uuid,
)

#: How long a refused message waits before it is published again, at first and at most. While workers of two releases
#: share a queue, a message may meet several that do not know its task before it meets one that does.
FIRST_REFUSED_SECONDS, REFUSED_SECONDS = 0.5, 10.0

#: In between it waits for this share of the time for which it has been refused.
REFUSED_SHARE = 0.2

#: What a message must not be to be claimed: paused, as SQL.
PAUSED = (
    "(queue IN (SELECT name FROM outbox_pause WHERE kind = 'queue')"
    " OR task IN (SELECT name FROM outbox_pause WHERE kind = 'task'))"
)


class Answer(StrEnum):
    """What becomes of a message that a worker has taken off a broker."""

    CLAIMED = "claimed"
    """It is ours to run."""
    DUPLICATE = "duplicate"
    """Another worker holds it, it is finished, not due yet, or paused: there is nothing to run."""
    REFUSED = "refused"
    """This worker cannot run it: another one may."""
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    """There is no such message: forged, pruned, or from a producer without an outbox."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt of one message, held by one worker."""

    id: UUID
    lease: UUID
    """The fence: only who holds it may settle."""
    task: str
    queue: str
    attempt: int
    """The number of this attempt, from 1."""
    retries: int
    """How often it was tried before, since it was enqueued or last replayed."""
    max_attempts: int | None
    arguments: str
    headers: str
    options: str = ""
    priority: int = 0
    wanted: str = field(default="", compare=False)
    """Since when it should run, as ISO 8601 writes it, if that was not at once."""
    expires: str = field(default="", compare=False)
    expires_in: float | None = field(default=None, compare=False)
    """Seconds from when it was claimed."""

    @property
    def task_id(self) -> str:
        """What Celery calls it: its id, or what the caller chose."""
        chosen: str = self.said.get("task_id") or str(self.id)
        return chosen

    @property
    def said(self) -> dict[str, Any]:
        """The options that were kept of the call."""
        said: dict[str, Any] = loads(self.options) if self.options else {}
        return said

    @property
    def is_last(self) -> bool:
        """Whether no other attempt follows this one if it is cut short."""
        return self.max_attempts is not None and self.retries + 1 >= self.max_attempts

    def decode(self) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
        """Arguments, keyword arguments and headers. Raises ValueError for a type that nobody registered here."""
        args, kwargs = loads(self.arguments)
        return args, kwargs, loads(self.headers)


def claim(
    ids: Collection[UUID], *, token: UUID, worker: str, lease_seconds: float, counts: bool = False
) -> list[Claim]:
    """Take the leases of those of the messages that can be run, with `token` as their fence.

    To be asked again with the same token when the answer was lost: what it had claimed it claims again, even if it was
    the last attempt, or has expired or been paused since. With `counts` the attempts count from now on: `begin` may
    come too late for a task that ends its worker.
    """
    if not ids:
        return []
    mine = "state = 'running' AND lease = %(token)s"
    counted = f"attempts = attempts + CASE WHEN {mine} THEN 0 ELSE 1 END, begun_at = {now()}"
    params = {f"id{number}": key(id) for number, id in enumerate(ids)}
    rows = query_prepared(
        f"""UPDATE outbox_message SET state = 'running', lease = %(token)s, worker = %(worker)s,
        claimed_at = {now()}, {counted if counts else "begun_at = NULL"}, publishes = 0,
        due_at = {later("%(lease_seconds)s")}, history = {with_lost_attempt(unless=mine)}
        WHERE id IN ({", ".join(f"%({name})s" for name in params)})
        AND (({mine}) OR ((state = 'published' OR (state IN ('pending', 'running') AND due_at <= {now()}))
            AND (max_attempts IS NULL OR NOT {SPENT_ATTEMPTS}) AND (expires_at IS NULL OR expires_at > {now()})
            AND NOT {PAUSED}))
        RETURNING id, task, queue, attempts + {1 - counts}, attempts - replayed_after - {int(counts)}, max_attempts,
        arguments, headers, options, priority, CASE WHEN wanted_at > created_at THEN {iso("wanted_at")} ELSE '' END,
        COALESCE({iso("expires_at")}, ''), {epoch("expires_at")} - {epoch(now())}""",
        {"token": key(token), "worker": worker[:255], "lease_seconds": lease_seconds, **params},
    )
    return [Claim(uuid(id), token, *rest) for id, *rest in rows]


def explain(ids: Collection[UUID]) -> dict[UUID, Answer]:
    """Say why messages could not be claimed; those that have expired are dead from now on, paused ones wait again."""
    if not ids:
        return {}
    keys = [key(id) for id in ids]
    expired = f"expires_at <= {now()} AND state IN ('pending', 'published')"
    query(
        f"""UPDATE outbox_message SET state = 'dead', last_error = %s, finished_at = {now()}, lease = NULL,
        begun_at = NULL WHERE id IN ({marks(keys)}) AND {expired} RETURNING id""",
        [EXPIRED, *keys],
    )
    query(
        f"""UPDATE outbox_message SET {WAITS_AGAIN}
        WHERE id IN ({marks(keys)}) AND state = 'published' AND {PAUSED} RETURNING id""",
        keys,
    )
    rows = query(f"SELECT id, state, last_error = %s FROM outbox_message WHERE id IN ({marks(keys)})", [EXPIRED, *keys])
    known = {uuid(id): Answer.EXPIRED if state == "dead" and late else Answer.DUPLICATE for id, state, late in rows}
    return {id: known.get(id, Answer.UNKNOWN) for id in ids}


def refuse(claims: Sequence[Claim], reasons: Sequence[str], *, worker: str, give_up_days: float) -> None:
    """Give messages back that this worker cannot run: another one may know how.

    They have not used an attempt, and wait for longer each time, up to REFUSED_SECONDS. Those that every worker has
    refused for `give_up_days` are dead.
    """
    spent = f"refused_at <= {later('%s')}"
    so_far = f"COALESCE({epoch(now())} - {epoch('refused_at')}, 0)"
    pause = between(f"{so_far} * {REFUSED_SHARE}", FIRST_REFUSED_SECONDS, REFUSED_SECONDS)
    for each, reason in zip(claims, reasons, strict=True):
        query_prepared(
            f"""UPDATE outbox_message SET last_error = %s, lease = NULL, begun_at = NULL,
            attempts = attempts - CASE WHEN begun_at IS NULL THEN 0 ELSE 1 END,
            refused_at = COALESCE(refused_at, {now()}), due_at = {later(pause)},
            state = CASE WHEN {spent} THEN 'dead' ELSE 'pending' END,
            finished_at = CASE WHEN {spent} THEN {now()} END
            WHERE id = %s AND lease = %s AND state = 'running' RETURNING id""",
            [
                legible(f"Refused by {worker}: {reason}"), *[-give_up_days * 86_400] * 2,
                key(each.id), key(each.lease),
            ],
        )  # fmt: skip


def begin(claims: Sequence[Claim], *, lease_seconds: float) -> None:
    """Record that attempts have begun: from now on they count.

    Their leases begin anew. One that had already been published again is taken back: counted and left to another
    worker, it could be out of attempts where none may be claimed.
    """
    if not claims:
        return
    rows, params = given(ids_and_leases(claims))
    query_prepared(
        f"""UPDATE outbox_message SET attempts = attempts + 1, begun_at = {now()}, refused_at = NULL,
        state = 'running', due_at = {later("%s")} FROM {rows}
        WHERE id = given_id AND lease = given_lease AND state IN ('running', 'published') AND begun_at IS NULL
        RETURNING id""",
        [lease_seconds, *params],
    )


def renew(claims: Sequence[Claim], *, lease_seconds: float) -> set[UUID]:
    """Extend the leases of `claims`; returns the ids of those that are still ours.

    One that had already been published again is taken back. Not to be called for a claim that is being settled.
    """
    if not claims:
        return set()
    rows, params = given(ids_and_leases(claims))
    found = query_prepared(
        f"""UPDATE outbox_message SET state = 'running', due_at = {later("%s")} FROM {rows}
        WHERE id = given_id AND lease = given_lease AND state IN ('running', 'published') RETURNING id""",
        [lease_seconds, *params],
    )
    return {uuid(id) for (id,) in found}


def release(claims: Sequence[Claim], *, counted: bool = False) -> None:
    """Give back what was claimed and not begun: it is due since when it was before, and has not used an attempt.

    `counted`: it was claimed so that it counts, which is taken back.
    """
    if not claims:
        return
    rows, params = given(ids_and_leases(claims))
    query_prepared(
        f"""UPDATE outbox_message SET {WAITS_AGAIN}, lease = NULL
        {", attempts = attempts - 1, begun_at = NULL" if counted else ""} FROM {rows}
        WHERE id = given_id AND lease = given_lease AND state IN ('running', 'published')
        AND begun_at IS {"NOT" if counted else ""} NULL RETURNING id""",
        params,
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


def ids_and_leases(claims: Sequence[Claim]) -> list[tuple[Any, ...]]:
    return [(key(each.id), key(each.lease)) for each in claims]
