"""What a worker asks: claim, renew, settle.

Its statements are repeated on a new connection when the database goes away for a while: the fencing number makes
repeating safe.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from kombu.utils.json import loads

from outbox.sql import SPENT_ATTEMPTS, key, later, moment, now, persist, query, uuid

#: How long workers that wait for the database let those go first that have finished something meanwhile. Longer than
#: their pauses: a message whose lease has ended while its worker was cut off would otherwise be run again.
SETTLING_SECONDS = 2.0

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
    due, due_param = moment(eta or countdown)
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


def fail(claim: Claim, *, error: str) -> bool:
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


def waits_unclaimed(queue: str, *, seconds: float) -> bool:
    """Whether a message of `queue` was published at least so long ago and nobody has claimed it."""
    return bool(
        query(
            f"""SELECT 1 FROM outbox_message WHERE state = 'published' AND queue = %s
            AND published_at <= {later("%s")} LIMIT 1""",
            [queue, -seconds],
        )
    )
