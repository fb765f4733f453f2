"""How attempts end: done, tried again or dead. Whoever has lost the lease settles nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from outbox.ledger.held import EXPIRED
from outbox.ledger.history import legible, with_line
from outbox.ledger.relay import SPENT
from outbox.ledger.worker import Claim, ids_and_leases
from outbox.sql import given, key, later, moment, now, query_prepared, uuid

#: How much of it a line of `history` tells.
HISTORY_ERROR_CHARACTERS = 200

#: A first attempt that was cut short is followed by another one at once; a later one after up to so many seconds.
LONGEST_PAUSE_SECONDS = 60

#: What `self.retry()` may change of a message.
CHANGEABLE = frozenset({"arguments", "expires_at", "headers", "options", "priority", "queue"})

#: An attempt that was over before `begin` counted it is counted by what settles it. (What is finished as expired has no
#: `begun_at`, but had been counted.)
COUNT_ATTEMPT = (
    "attempts = attempts + CASE WHEN begun_at IS NULL AND finished_at IS NULL THEN 1 ELSE 0 END,"
    " begun_at = COALESCE(begun_at, {began})"
)


def complete(claim: Claim, *, seconds: float = 0) -> bool:
    """Settle: it is done. False if the lease was lost. See `complete_all`."""
    return bool(complete_all([claim], [seconds]))


def complete_all(claims: Sequence[Claim], seconds: Sequence[float]) -> set[UUID]:
    """Settle: they are done, after running for so many `seconds` each. Returns the ids of those that were still ours.

    Also one that counts as dead by now: that it was done is the truth.
    """
    if not claims:
        return set()
    rows, params = given([(*pair, ran) for pair, ran in zip(ids_and_leases(claims), seconds, strict=True)])
    found = query_prepared(
        f"""UPDATE outbox_message SET state = 'done', finished_at = {now()}, last_error = '', refused_at = NULL,
        {COUNT_ATTEMPT.format(began=later("-given_seconds"))} FROM {rows}
        WHERE id = given_id AND lease = given_lease RETURNING id""",
        params,
    )
    return {uuid(id) for (id,) in found}


def retry(
    claim: Claim, *, error: str, countdown: float = 0, eta: datetime | None = None, max_attempts: int = 0,
    seconds: float = 0, changes: Mapping[str, Any] | None = None,
) -> bool:  # fmt: skip
    """Settle: try again later, or dead if that was the last attempt. False if there is nothing to settle any more.

    `max_attempts` raises the message's own limit if it is higher. `changes`: what of CHANGEABLE is other from now on.
    """
    due, due_param = moment(eta or countdown)
    made = "attempts + CASE WHEN begun_at IS NULL THEN 1 ELSE 0 END - replayed_after"
    spent = f"{made} >= max_attempts AND {made} >= %s"
    others, other_params = _changed(changes or {})
    return _settle_one(
        claim,
        f"""{others} max_attempts = CASE WHEN max_attempts < %s THEN %s ELSE max_attempts END, publishes = 0,
        due_at = {due}, wanted_at = {due}, lease = NULL, state = CASE WHEN {spent} THEN 'dead' ELSE 'pending' END,
        finished_at = CASE WHEN {spent} THEN {now()} END""",
        [*other_params, max_attempts, max_attempts, due_param, due_param, max_attempts, max_attempts],
        error=error,
        seconds=seconds,
    )


def _changed(changes: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Assignments, as SQL, and their parameters."""
    assignments, params = "", []
    for column in CHANGEABLE & changes.keys():
        value, param = moment(changes[column]) if column == "expires_at" else ("%s", changes[column])
        assignments += f"{column} = {value}, "
        params.append(param)
    return assignments, params


def fail(claim: Claim, *, error: str, seconds: float = 0) -> bool:
    """Settle: dead, for a reason that trying again would not change. False if there is nothing to settle any more."""
    return _settle_one(claim, f"state = 'dead', finished_at = {now()}", [], error=error, seconds=seconds)


def expire(claim: Claim) -> bool:
    """Settle: dead, because its time was over before it began; not an attempt. False if the lease was lost."""
    return bool(
        query_prepared(
            f"""UPDATE outbox_message SET state = 'dead', finished_at = {now()}, last_error = %s, lease = NULL,
            attempts = attempts - CASE WHEN begun_at IS NULL THEN 0 ELSE 1 END, begun_at = NULL
            WHERE id = %s AND lease = %s AND state IN ('running', 'published') RETURNING id""",
            [EXPIRED, key(claim.id), key(claim.lease)],
        )
    )


def cut_short(claim: Claim, *, error: str, seconds: float = 0) -> bool:
    """Settle an attempt whose process was killed, or which hangs: it is made again, if one is left.

    At once after the first attempt, later after each further one.
    """
    pause = min(2 ** min(claim.retries, 10), LONGEST_PAUSE_SECONDS) if claim.retries else 0
    return retry(claim, error=f"{error} {SPENT if claim.is_last else ''}".strip(), countdown=pause, seconds=seconds)


def _settle_one(claim: Claim, changes: str, params: list[Any], *, error: str, seconds: float) -> bool:
    ended = with_line("'attempt ' || CAST(%s AS text) || ' failed after ' || CAST(%s AS text) || ' s: ' || %s")
    last_line = legible(error.strip().rpartition("\n")[2][-HISTORY_ERROR_CHARACTERS:])
    return bool(
        query_prepared(
            f"""UPDATE outbox_message SET {changes}, last_error = %s, refused_at = NULL, history = {ended},
            {COUNT_ATTEMPT.format(began=later("%s"))}
            WHERE id = %s AND lease = %s AND state IN ('pending', 'published', 'running') RETURNING id""",
            [
                *params, legible(error), str(claim.attempt), f"{seconds:.1f}", last_line, -seconds,
                key(claim.id), key(claim.lease),
            ],
        )
    )  # fmt: skip
