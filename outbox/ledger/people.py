"""What people decide, and what is forgotten."""

from collections.abc import Iterable
from uuid import UUID

from outbox.ledger.history import with_line
from outbox.sql import WAITS_AGAIN, is_among, key, later, marks, now, run


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
        f"""UPDATE outbox_message SET {WAITS_AGAIN},
        history = {with_line("%s")} WHERE state = 'published'""",
        [f"republished by {by}"],
    )


def prune(*, keep_days: float, limit: int) -> int:
    """Delete up to `limit` messages that were done or discarded more than `keep_days` ago. Dead ones stay."""
    return _prune("state IN ('done', 'discarded')", keep_days, limit)


def prune_dead(*, keep_days: float, limit: int) -> int:
    """Delete up to `limit` messages that died more than `keep_days` ago."""
    return _prune("state = 'dead'", keep_days, limit)


def _prune(states: str, keep_days: float, limit: int) -> int:
    old = f"SELECT id FROM outbox_message WHERE {states} AND finished_at < {later('%s')} ORDER BY finished_at LIMIT %s"
    return run(f"DELETE FROM outbox_message WHERE {is_among(old)}", [-keep_days * 86_400, limit])


def prune_poison(*, keep_days: float, limit: int) -> int:
    """Delete up to `limit` messages that nobody could read, the last of which came more than `keep_days` ago."""
    old = f"SELECT key FROM outbox_poisonmessage WHERE last_seen_at < {later('%s')} LIMIT %s"
    return run(f"DELETE FROM outbox_poisonmessage WHERE key IN ({old})", [-keep_days * 86_400, limit])
