"""When a schedule is due: in the hour that comes twice, too, and whatever a schedule of someone's own answers."""

# celery-types does not know what a crontab's methods take and give.
# mypy: disable-error-code="attr-defined, no-untyped-call, no-any-return"

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.schedules import BaseSchedule, crontab, schedule
from celery.utils.time import ffwd as fast_forward

logger = logging.getLogger(__name__)

#: How far back a missed occurrence is looked for, the nearest first: where those found none, the next takes few steps.
LOOK_BACKS = [timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=32)]

#: How long it is looked for: beat has other schedules, too.
SEARCH_SECONDS = 2.0

#: How often a schedule is looked at that is always due, or says that it is to be looked at again at once.
ALWAYS_DUE_SECONDS = 10.0

#: The shortest time between two looks at a schedule.
SHORTEST_SECONDS = 0.02

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


class WrongScheduleError(ValueError):
    """Raised for a schedule that does not tell when it is due."""


_complaints: set[tuple[str, str]] = set()


def complain_once(name: str, wrong: str, error: BaseException | None = None) -> None:
    """Log what is wrong with the schedule `name`, the first time."""
    if (name, wrong) not in _complaints:
        _complaints.add((name, wrong))
        logger.error("The schedule %s %s", name, wrong, exc_info=error)


class ZonedCrontab(crontab):
    """Celery's crontab in a zone whose clocks are changed.

    One that says `*` or `*/5` for its minute or hour goes on through an hour that comes twice, like cron's; one that
    names both happens in the first of the two only. A time in an hour that is skipped comes as much later by the clock.
    """

    @classmethod
    def of(cls, plan: crontab) -> "ZonedCrontab":
        twin = cls.__new__(cls)
        vars(twin).update(vars(plan))
        return twin

    def remaining_estimate(self, last_run_at: datetime, ffwd: Any = fast_forward) -> timedelta:
        start, _, now = self.remaining_delta(last_run_at, ffwd=ffwd)
        following = self._follow_each(start) if self._goes_on else self._follow_named(start)
        return following - now.astimezone(UTC)

    @property
    def _goes_on(self) -> bool:
        return any(str(each).startswith("*") for each in (self._orig_minute, self._orig_hour))

    def _follow_named(self, start: datetime) -> datetime:
        """The next of the times on the wall, each the first time that it comes."""
        following = self._next_on_the_wall(start)
        while utc(following) <= utc(start):
            following = self._next_on_the_wall(following)
        return utc(following)

    def _follow_each(self, start: datetime) -> datetime:
        """The next moment at which the wall shows one of the times."""
        following = self._next_on_the_wall(start)
        if not comes_twice(start):
            return utc(following)
        if start.fold:
            return utc(following.replace(fold=1) if comes_twice(following) else following)
        before = start.replace(tzinfo=None)
        while comes_twice(before.replace(tzinfo=start.tzinfo)):
            before -= MINUTE
        again = self._next_on_the_wall(before.replace(tzinfo=start.tzinfo))
        return min(utc(following), utc(again.replace(fold=1))) if comes_twice(again) else utc(following)

    def _next_on_the_wall(self, start: datetime) -> datetime:
        """Celery's answer, which knows no hour that comes twice."""
        start, delta, _ = self.remaining_delta(start)
        following: datetime = start + delta
        return following.replace(fold=0)


def comes_twice(moment: datetime) -> bool:
    """Whether the wall shows this time once more, or has shown it before, because clocks are put back."""
    first, second = (moment.replace(fold=fold).utcoffset() for fold in (0, 1))
    return first is not None and second is not None and first > second


def utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def bound(name: str, answer: Any) -> tuple[bool, float]:
    """What a schedule's `is_due` answers, such that beat does not spin. Raises TypeError for what is no answer."""
    due, seconds = answer
    seconds = float(seconds)
    if seconds <= 0 or seconds != seconds:
        complain_once(name, f"is to be looked at again at once: it is every {ALWAYS_DUE_SECONDS:g} s.")
        return bool(due), ALWAYS_DUE_SECONDS
    return bool(due), max(seconds, SHORTEST_SECONDS)


def latest_time(plan: BaseSchedule, *, since: datetime) -> datetime:
    """The last time, up to now, that `plan` was due: the same for every beat, whenever each of them looks.

    Raises WrongScheduleError, or what `plan` raises, if it does not tell.
    """
    now = utc(plan.maybe_make_aware(plan.now()))
    if type(plan) is schedule:
        # Every so many seconds: counted from the epoch, so that all beats mean the same seconds.
        period = plan.run_every.total_seconds()
        if period <= 0:
            raise WrongScheduleError(f"It is due every {period:g} s.")
        return datetime.fromtimestamp(now.timestamp() // period * period, UTC)
    earliest = utc(max(since, now - LOOK_BACKS[-1]))
    until = time.monotonic() + SEARCH_SECONDS
    for begin in [max(earliest, now - back) for back in LOOK_BACKS]:
        if latest := _last_time(plan, begin, now, until):
            return latest
    return earliest


def _last_time(plan: BaseSchedule, begin: datetime, now: datetime, until: float) -> datetime | None:
    """The last time after `begin`, up to `now`, that `plan` was due."""
    latest, moment = None, begin
    while True:
        following = following_time(plan, moment)
        if following <= moment:  # to the second it is the same, as with the sun
            following = following_time(plan, moment + SECOND)
        if following <= moment or time.monotonic() > until:
            raise WrongScheduleError(f"It says that {following} follows {moment}, or takes too long to say so.")
        if following > now:
            return latest
        latest = moment = following


def following_time(plan: BaseSchedule, moment: datetime) -> datetime:
    """When `plan` is next due after `moment`, to the second."""
    exact = plan.now() + plan.remaining_estimate(moment)
    return datetime.fromtimestamp(round(exact.timestamp()), UTC)
