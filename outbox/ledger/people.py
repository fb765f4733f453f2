"""What people decide, and what is forgotten."""

from collections.abc import Iterable
from uuid import UUID

from outbox.ledger.history import with_line
from outbox.sql import key, later, marks, now, run


def replay(ids: Iterable[UUID], *, by: str) -> int:
    """Give dead messages a new set of attempts, now; returns how many there were. `by` is recorded in `history`."""
    keys = [key(id) for id in ids]
    return run(
        f"""UPDATE outbox_message SET state = 'pending', due_at = {now()}, wanted_at = {now()},
        finished_at = NULL, expires_at = NULL, lease = NULL, begun_at = NULL, refused_at = NULL,
        publishes = 0, replayed_after = attempts, history = {with_line("%s")}
        WHERE state = 'dead' AND id IN ({marks(keys)})""",
        [f"replayed by {by}", *keys],
    ) if keys else 0  # fmt: skip


def discard(ids: Iterable[UUID], *, by: str) -> int:
    """Decide that messages need not happen: dead ones, and those no worker has begun. Returns how many there were."""
    keys = [key(id) for id in ids]
    return run(
        f"""UPDATE outbox_message SET state = 'discarded', finished_at = {now()}, lease = NULL,
        history = {with_line("%s")} WHERE state IN ('dead', 'pending', 'published') AND id IN ({marks(keys)})""",
        [f"discarded by {by}", *keys],
    ) if keys else 0  # fmt: skip


def republish(*, by: str) -> int:
    """Make everything that a broker was given due now: that broker is gone, or came back empty."""
    return run(
        f"""UPDATE outbox_message SET state = 'pending', due_at = wanted_at, publishes = 0,
        history = {with_line("%s")} WHERE state = 'published'""",
        [f"republished by {by}"],
    )


def prune(*, keep_days: float, limit: int) -> int:
    """Delete up to `limit` messages that were done or discarded more than `keep_days` ago. Dead ones stay."""
    return run(
        f"""DELETE FROM outbox_message WHERE id IN (SELECT id FROM outbox_message
        WHERE finished_at < {later("%s")} AND state IN ('done', 'discarded') LIMIT %s)""",
        [-keep_days * 86_400, limit],
    )
