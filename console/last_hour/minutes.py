"""The last hour minute by minute: how much was accepted and finished, and how long it took.

Each question is bounded by an index: what finished in a minute has `outbox_finished`, what was accepted in it has the
primary key, for ids are time-ordered. A minute that has settled is asked for once per process.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from outbox.models import Message
from outbox.sql import now, query

MINUTE = timedelta(minutes=1)
MINUTES = 60

#: A transaction that began in a minute may commit after its end; then the minute is asked for again.
SETTLED_AFTER = timedelta(minutes=1)

#: How many messages the latency of a minute is taken from: the first that finished in it.
SAMPLE = 200

State = Message.State


@dataclass(frozen=True)
class Minute:
    start: datetime
    accepted: int
    done: int
    dead: int
    median_seconds: float | None
    """From accepted to done, waits and retries included; None if nothing was done."""
    p95_seconds: float | None


class LastHour:
    """Remembers the minutes that have settled."""

    def __init__(self) -> None:
        self._settled: dict[datetime, Minute] = {}

    def read(self, time: datetime) -> list[Minute]:
        """The 60 minutes up to `time`, by the database's clock; the last one is not over yet."""
        current = time.replace(second=0, microsecond=0)
        minutes = [self._read_minute(current - MINUTE * back, time) for back in reversed(range(MINUTES))]
        self._settled = {each.start: each for each in minutes if _has_settled(each.start, time)}
        return minutes

    def _read_minute(self, start: datetime, time: datetime) -> Minute:
        return self._settled.get(start) or read_minute(start)


def _has_settled(start: datetime, time: datetime) -> bool:
    return start + MINUTE + SETTLED_AFTER <= time


def read_minute(start: datetime) -> Minute:
    """Ask the database about one minute."""
    end = start + MINUTE
    ended = Message.objects.filter(finished_at__gte=start, finished_at__lt=end)
    # As the indexes have them: `outbox_finished` the ones, `outbox_dead` the others.
    finished, dead = ended.filter(state__in=[State.DONE, State.DISCARDED]), ended.filter(state=State.DEAD).count()
    sample = list(finished.values_list("state", "created_at", "finished_at")[: SAMPLE + 1])
    times = [(until - since).total_seconds() for state, since, until in sample if until and state == State.DONE]
    done = finished.filter(state=State.DONE).count() if len(sample) > SAMPLE else len(times)
    seconds = sorted(times)
    accepted = Message.objects.filter(pk__gte=first_id_of(start), pk__lt=first_id_of(end)).count()
    return Minute(start, accepted, done, dead, quantile(seconds, 0.5), quantile(seconds, 0.95))


def quantile(values: list[float], share: float) -> float | None:
    """The smallest of the sorted `values` that `share` of them do not exceed."""
    return values[math.ceil(share * len(values)) - 1] if values else None


def first_id_of(moment: datetime) -> UUID:
    """The lowest id that a message enqueued at `moment` can have (UUID version 7 begins with milliseconds)."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def database_time() -> datetime:
    """What the database's clock says."""
    [(time,)] = query(f"SELECT {now()}", [])
    return time if isinstance(time, datetime) else datetime.fromisoformat(time).replace(tzinfo=UTC)
