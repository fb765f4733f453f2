"""A Celery Beat scheduler that several beats may run at once: each occurrence of a schedule is enqueued once.

    celery -A app beat          (beat_scheduler is set to OutboxScheduler)

What makes it so is the ledger: an occurrence, named by its schedule and its time, can be enqueued only once. It keeps
no file; after a restart it goes on from the ledger's last occurrence, so that one that was missed is made up for.
"""

# celery-types takes every attribute of an entry for one that may be None.
# mypy: disable-error-code="arg-type, assignment, attr-defined, type-var, union-attr"

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.beat import ScheduleEntry, Scheduler, SchedulingError
from celery.schedules import BaseSchedule, schedule
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from outbox import instruments
from outbox.heartbeat import Heart
from outbox.models import Message

logger = logging.getLogger(__name__)

#: How far back a missed occurrence is looked for.
LOOK_BACK = timedelta(days=32)

#: The header that tells a task for when the schedule meant it, in ISO 8601.
SCHEDULED_FOR = "scheduled_for"

#: How long beat waits before it tries a database again that is away.
RETRY_SECONDS = 1.0


class OutboxScheduler(Scheduler):
    """Celery's scheduler, with the ledger for its memory."""

    #: Beat never talks to a broker: it must not need one to be up.
    producer = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._heart = Heart("beat", every_seconds=settings.OUTBOX.heartbeat_seconds)
        instruments.started("beat")
        super().__init__(*args, **kwargs)
        self.max_interval = min(self.max_interval, settings.OUTBOX.heartbeat_seconds)

    def setup_schedule(self) -> None:
        super().setup_schedule()
        while not self._remember():
            self._heart.touch()
            time.sleep(RETRY_SECONDS)

    def _remember(self) -> bool:
        """Go on from the ledger's last occurrences; False if the database is away."""
        try:
            for entry in self.schedule.values():
                entry.last_run_at = last_occurrence(entry.name) or entry.last_run_at
        except (OperationalError, InterfaceError) as error:
            logger.warning("The database does not answer: %s Beat waits.", str(error).strip())
            connection.close()
            return False
        return True

    def tick(self, *args: Any, **kwargs: Any) -> float:
        try:
            self._heart.beat(schedules=len(self.schedule))
        except (OperationalError, InterfaceError):
            connection.close()
        return super().tick(*args, **kwargs)

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Enqueue the occurrence that is due; while the database is away, wait for it."""
        task = self.app.tasks.get(entry.task)
        options = dict(entry.options)
        if getattr(task, "durable", False):
            moment = latest_time(entry.schedule, since=entry.last_run_at)
            options["occurrence"] = f"{entry.name}@{moment.isoformat()}"
            # What the task is about may depend on when it was due, however late it is run.
            options["headers"] = {**options.get("headers", {}), SCHEDULED_FOR: moment.isoformat()}
        due = self.Entry(**{**vars(entry), "options": options})
        while not self._enqueue(due):
            self._heart.touch()
            self._heap = None  # what is due next was reckoned before the wait
            time.sleep(RETRY_SECONDS)

    def _enqueue(self, entry: ScheduleEntry) -> bool:
        """Whether `entry` is settled: enqueued, or wrong beyond waiting."""
        try:
            self.apply_async(entry, advance=False)
        except SchedulingError as error:
            if isinstance(error.__context__, (OperationalError, InterfaceError)):
                logger.warning("The database does not answer. %s waits.", entry.name)
                connection.close()
                return False
            logger.exception("%s cannot be enqueued", entry.name)
        else:
            logger.info("Enqueued %s (%s)", entry.name, entry.options.get("occurrence", "not durable"))
        return True

    def close(self) -> None:
        self._heart.stop()
        super().close()


def last_occurrence(name: str) -> datetime | None:
    """When the schedule `name` was last due, as far as the ledger remembers."""
    made = Message.objects.filter(occurrence__startswith=f"{name}@").order_by("-created_at")
    occurrence = made.values_list("occurrence", flat=True).first()
    return datetime.fromisoformat(occurrence.rpartition("@")[2]) if occurrence else None


def latest_time(plan: BaseSchedule, *, since: datetime) -> datetime:
    """The last time, up to now, that `plan` was due: the same for every beat, whenever each of them looks."""
    now = plan.maybe_make_aware(plan.now())
    if type(plan) is schedule:
        # Every so many seconds: counted from the epoch, so that all beats mean the same seconds.
        period = plan.run_every.total_seconds()
        return datetime.fromtimestamp(now.timestamp() // period * period, UTC)
    latest = max(since, now - LOOK_BACK)
    while (following := following_time(plan, latest)) <= now:
        latest = following
    return latest.astimezone(UTC)


def following_time(plan: BaseSchedule, moment: datetime) -> datetime:
    """When `plan` is next due after `moment`, to the second."""
    exact = plan.now() + plan.remaining_estimate(moment)
    return datetime.fromtimestamp(round(exact.timestamp()), UTC)
