"""A Celery Beat scheduler that several beats may run at once: each occurrence of a schedule is enqueued once.

    celery -A app beat          (beat_scheduler is set to OutboxScheduler)

What makes it so is the ledger: an occurrence, named by its schedule and its time, can be enqueued only once. It keeps
no file; after a restart it goes on from the ledger's last occurrence, so that one that was missed is made up for.
"""

# celery-types takes every attribute of an entry for one that may be None.
# mypy: disable-error-code="arg-type, assignment, attr-defined, index, type-var, union-attr"

import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

from celery.beat import ScheduleEntry, Scheduler, SchedulingError
from celery.schedules import crontab
from django.conf import settings
from django.db import InterfaceError, OperationalError, ProgrammingError, connection

from outbox import instruments
from outbox.heartbeat import Heart
from outbox.ledger.occurrences import last_occurrence, name_occurrence
from workers.clock import ZonedCrontab, bound, complain_once, latest_time

logger = logging.getLogger(__name__)

#: The header that tells a task for when the schedule meant it, in ISO 8601.
SCHEDULED_FOR = "scheduled_for"

#: How long beat waits before it tries a database again that is away.
RETRY_SECONDS = 1.0

#: How many schedules a heartbeat tells of.
MOST_TOLD = 100

#: What a database says without the outbox's tables or columns: SQLSTATE of PostgreSQL, words of SQLite.
NOT_MIGRATED = ("42P01", "42703", "no such table", "no such column")


class Entry(ScheduleEntry):
    """Celery's entry, whose schedule can neither make beat spin nor lose an hour that comes twice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if type(self.schedule) is crontab:
            self.schedule = ZonedCrontab.of(self.schedule)

    def is_due(self) -> tuple[bool, float]:
        return bound(self.name, super().is_due())


class OutboxScheduler(Scheduler):
    """Celery's scheduler, with the ledger for its memory."""

    Entry = Entry

    #: Beat never talks to a broker: it must not need one to be up.
    producer = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._heart = Heart("beat", every_seconds=settings.OUTBOX.heartbeat_seconds)
        self._last: dict[str, datetime] = {}
        instruments.started("beat")
        super().__init__(*args, **kwargs)
        self.max_interval = min(self.max_interval, settings.OUTBOX.heartbeat_seconds)

    def setup_schedule(self) -> None:
        super().setup_schedule()
        while not self._remember():
            self._heart.touch()
            time.sleep(RETRY_SECONDS)

    def _remember(self) -> bool:
        """Go on from the ledger's last occurrences; False if the database is away, or has no tables yet."""
        try:
            for entry in self.schedule.values():
                if last := last_occurrence(entry.name):
                    entry.last_run_at = self._last[entry.name] = last
        except (OperationalError, InterfaceError, ProgrammingError) as error:
            if not (reason := waits_for(error)):
                raise
            logger.warning("%s Beat waits. (%s)", reason, str(error).strip().partition("\n")[0])
            connection.close()
            return False
        return True

    def tick(self, *args: Any, **kwargs: Any) -> float:
        try:
            return super().tick(*args, **kwargs)
        finally:
            self._beat()

    def _beat(self) -> None:
        """Say that this process lives, and when each schedule was last due and is looked at next."""
        upcoming = {event[2].name: datetime.fromtimestamp(round(event[0]), UTC) for event in self._events()}
        told = [
            {
                "name": entry.name,
                "task": entry.task,
                "last": self._last[entry.name].isoformat() if entry.name in self._last else None,
                "next": upcoming[entry.name].isoformat() if entry.name in upcoming else None,
            }
            for entry in list(self.schedule.values())[:MOST_TOLD]
        ]
        try:
            self._heart.beat(schedules=told)
        except (OperationalError, InterfaceError, ProgrammingError):
            connection.close()

    def _events(self) -> list[Any]:
        """Celery's heap: when, and which schedule, third."""
        return self._heap or []

    def _is_due_failed(self, entry: ScheduleEntry) -> tuple[bool, float | None]:
        """Called while the error of a schedule is handled."""
        wrong = f"cannot tell when it is due: it is asked again every {self.max_interval:g} s."
        complain_once(entry.name, wrong, sys.exc_info()[1])
        return False, self.max_interval

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Enqueue the occurrence that is due; while the database is away, wait for it."""
        task = self.app.tasks.get(entry.task)
        options = dict(entry.options)
        moment = self._last[entry.name] = latest_time_of(entry)
        if getattr(task, "durable", False):
            options["occurrence"] = name_occurrence(entry.name, moment)
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
            if reason := waits_for(error.__context__):
                logger.warning("%s %s waits.", reason, entry.name)
                connection.close()
                return False
            logger.exception("%s cannot be enqueued", entry.name)
        else:
            logger.info("Enqueued %s (%s)", entry.name, entry.options.get("occurrence", "not durable"))
        return True

    def close(self) -> None:
        self._heart.stop()
        super().close()


def latest_time_of(entry: ScheduleEntry) -> datetime:
    """The time for which an entry is due now; this second, if its schedule does not tell."""
    try:
        return latest_time(entry.schedule, since=entry.last_run_at)
    except Exception as error:  # of a schedule that someone has written
        complain_once(entry.name, "does not tell when it was due: of several beats each may enqueue it.", error)
        return datetime.now(UTC).replace(microsecond=0)


def waits_for(error: BaseException | None) -> str | None:
    """What beat has to wait for after an error of the database, in a sentence; None if waiting is of no use."""
    said = (getattr(getattr(error, "__cause__", None), "sqlstate", None), str(error))
    if isinstance(error, (OperationalError, ProgrammingError)) and any(
        each == said[0] or each in said[1] for each in NOT_MIGRATED
    ):
        return "The tables of the outbox are not there yet: manage.py migrate."
    return "The database does not answer." if isinstance(error, (OperationalError, InterfaceError)) else None
