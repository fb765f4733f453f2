"""Beats in the test's own process, and the time that they believe in."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from app.celery import app
from outbox.models import Message
from workers.beat import OutboxScheduler

Plans = dict[str, Any]

#: A beat that spins does not wait between its looks.
MOST_LOOKS = 50


class Clock:
    """What Celery's schedules take for the time."""

    def __init__(self, time: datetime) -> None:
        self.time = time

    def __call__(self) -> datetime:
        return self.time

    def pass_by(self, **duration: float) -> None:
        self.time += timedelta(**duration)


@contextmanager
def empty_plans() -> Iterator[Plans]:
    """Celery's `beat_schedule`, empty at first."""
    before, app.conf.beat_schedule = app.conf.beat_schedule, {}
    yield app.conf.beat_schedule
    app.conf.beat_schedule = before


def start_beat() -> OutboxScheduler:
    return OutboxScheduler(app=app)


def run(scheduler: OutboxScheduler) -> None:
    """Let it do all that is due."""
    for _ in range(MOST_LOOKS):
        if scheduler.tick() > 0:
            return
    raise AssertionError(f"Beat has looked {MOST_LOOKS} times without a pause")


def occurrences(name: str = "report") -> list[str]:
    """The times of what was enqueued for a schedule, in order, a message each."""
    found = Message.objects.filter(occurrence__startswith=f"{name}@").values_list("occurrence", flat=True)
    return sorted(occurrence.rpartition("@")[2] for occurrence in found if occurrence)
