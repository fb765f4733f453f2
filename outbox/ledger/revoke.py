"""What `revoke()` decides: a message that waits need not happen, one that runs is to be ended."""

from collections.abc import Iterable, Sequence
from signal import SIGTERM, Signals
from uuid import UUID

from outbox.ledger.history import with_line
from outbox.ledger.worker import Claim
from outbox.sql import key, marks, now, query, run, uuid

#: What `last_error` begins with when a task is to be ended; the name of the signal follows.
TERMINATED_WITH = "Terminated with "


def revoke(ids: Iterable[UUID], *, by: str) -> int:
    """Discard those of the messages that wait, or were claimed and not begun. Returns how many there were."""
    keys = [key(id) for id in ids]
    waits = "(state IN ('pending', 'published') OR (state = 'running' AND begun_at IS NULL))"
    return run(
        f"""UPDATE outbox_message SET state = 'discarded', finished_at = {now()}, lease = NULL,
        history = {with_line("%s")} WHERE {waits} AND id IN ({marks(keys)})""",
        [f"discarded by {by}", *keys],
    ) if keys else 0  # fmt: skip


def terminate(ids: Iterable[UUID], *, by: str, signal: Signals = SIGTERM) -> int:
    """Discard those of the messages that run, and take their leases away; returns how many there were.

    Their workers see it with the next renewal, and end the processes that run them with `signal`.
    """
    keys = [key(id) for id in ids]
    line = with_line("'attempt ' || attempts || ' ' || %s")
    return run(
        f"""UPDATE outbox_message SET state = 'discarded', finished_at = {now()}, lease = NULL, last_error = %s,
        history = {line} WHERE state = 'running' AND id IN ({marks(keys)})""",
        [f"{TERMINATED_WITH}{signal.name}", f"terminated by {by}", *keys],
    ) if keys else 0  # fmt: skip


def find_terminated(claims: Sequence[Claim]) -> dict[UUID, Signals]:
    """Return which of the claims are to be ended, and with which signal: their messages are discarded."""
    if not claims:
        return {}
    keys = [key(claim.id) for claim in claims]
    rows = query(f"SELECT id, last_error FROM outbox_message WHERE state = 'discarded' AND id IN ({marks(keys)})", keys)
    return {uuid(id): _signal_in(last_error) for id, last_error in rows}


def _signal_in(last_error: str) -> Signals:
    name = last_error.removeprefix(TERMINATED_WITH)
    return Signals[name] if name in Signals.__members__ else SIGTERM
