"""Beat with the ledger for its memory: each occurrence of a schedule is enqueued once, however many beats there are."""

# celery-types and kombu's stubs know plain Celery.
# mypy: disable-error-code="arg-type, assignment, call-overload, misc"

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import shared_task
from celery.schedules import BaseSchedule, crontab, schedule
from django.conf import settings
from django.db import connection
from kombu import Connection

from app.first_run.processes import find_free_port
from outbox.ledger.occurrences import last_occurrence
from outbox.models import Heartbeat, Message
from settings import PROJECT_ROOT
from tests.beats import Clock, Plans, empty_plans, occurrences, run, start_beat
from tests.harness.crowd import at_once
from tests.harness.environment import child_environment
from tests.harness.waiting import wait_until
from workers import beat
from workers.clock import following_time, latest_time

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)


@shared_task
def report(kind: str = "daily") -> None:
    """Write a report."""


@shared_task(durable=False)
def ping() -> None:
    """Not worth a row."""


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture(autouse=True)
def plans() -> Iterator[dict[str, Any]]:
    """Celery's `beat_schedule`, empty at first."""
    with empty_plans() as plans:
        yield plans


def hours(first: int, last: int) -> list[str]:
    return [f"2026-11-22T{hour:02}:00:00+00:00" for hour in range(first, last + 1)]


class TestOneBeat:
    def test_what_is_due_becomes_a_message(self, plans: Plans, clock: Clock) -> None:
        plans["report"] = {
            "task": report.name,
            "schedule": crontab(minute="0", nowfun=clock),
            "args": ("hourly",),
            "options": {"priority": 3, "expires": 600},
        }
        scheduler = start_beat()
        clock.pass_by(hours=1)
        run(scheduler)
        [message] = Message.objects.all()
        assert (message.task, message.arguments, message.priority) == (report.name, '[["hourly"], {}]', 3)
        assert message.occurrence == "report@2026-11-22T13:00:00+00:00"
        assert '"celery_beat_task": true' in message.headers
        assert '"scheduled_for": "2026-11-22T13:00:00+00:00"' in message.headers
        assert message.expires_at is not None

    def test_the_first_start_ever_makes_up_for_nothing(self, plans: Plans, clock: Clock) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock)}
        run(start_beat())
        assert occurrences() == []

    def test_a_schedule_goes_on_for_a_day(self, plans: Plans, clock: Clock) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="*/30", nowfun=clock)}
        scheduler = start_beat()
        for _ in range(24 * 12):
            clock.pass_by(minutes=5)
            run(scheduler)
        assert len(occurrences()) == 48

    def test_an_interval_shorter_than_a_second_has_occurrences_of_its_own(self, plans: Plans, clock: Clock) -> None:
        plans["report"] = {"task": report.name, "schedule": schedule(timedelta(seconds=0.5), nowfun=clock)}
        scheduler = start_beat()
        for _ in range(10):
            clock.pass_by(seconds=0.5)
            run(scheduler)
        assert len(occurrences()) == 10

    def test_a_wrong_entry_does_not_stop_the_others(
        self, plans: Plans, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        every_hour = crontab(minute="0", nowfun=clock)
        plans["wrong"] = {"task": report.name, "schedule": every_hour, "kwargs": {"colour": "red"}}
        plans["report"] = {"task": report.name, "schedule": every_hour}
        scheduler = start_beat()
        clock.pass_by(hours=1)
        run(scheduler)
        assert occurrences() == hours(13, 13)
        assert "wrong cannot be enqueued" in caplog.text

    def test_a_task_that_opted_out_goes_to_the_broker(self, plans: Plans, clock: Clock) -> None:
        plans["ping"] = {"task": ping.name, "schedule": crontab(minute="0", nowfun=clock)}
        with Connection(settings.BROKER_PROFILE.celery_settings(["default"])["broker_url"]) as broker:
            queue = broker.SimpleQueue(settings.BROKER_PROFILE.queue("default"))
            queue.clear()
            scheduler = start_beat()
            clock.pass_by(hours=1)
            run(scheduler)
            message = queue.get(timeout=5)
            message.ack()
        assert message.headers["task"] == ping.name
        assert not Message.objects.exists()

    def test_it_says_that_it_lives_and_when_it_ends(self) -> None:
        scheduler = start_beat()
        run(scheduler)
        assert [each.kind for each in Heartbeat.objects.all()] == ["beat"]
        scheduler.close()
        assert not Heartbeat.objects.exists()


class TestRestart:
    def test_it_goes_on_where_the_ledger_ends(self, plans: Plans, clock: Clock) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock)}
        scheduler = start_beat()
        clock.pass_by(hours=1)
        run(scheduler)
        run(start_beat())
        assert occurrences() == hours(13, 13)
        scheduler = start_beat()
        clock.pass_by(hours=1)
        run(scheduler)
        assert occurrences() == hours(13, 14)

    def test_of_what_was_missed_the_last_is_made_up_for_once(self, plans: Plans, clock: Clock) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock)}
        scheduler = start_beat()
        clock.pass_by(hours=1)
        run(scheduler)
        clock.pass_by(hours=5.5)
        run(start_beat())
        run(start_beat())
        assert occurrences() == hours(13, 13) + hours(18, 18)

    def test_a_missed_interval_is_made_up_for_once(self, plans: Plans, clock: Clock) -> None:
        plans["report"] = {"task": report.name, "schedule": schedule(timedelta(hours=1), nowfun=clock)}
        scheduler = start_beat()
        clock.pass_by(hours=1)
        run(scheduler)
        clock.pass_by(hours=5.5)
        run(start_beat())
        run(start_beat())
        assert occurrences() == hours(13, 13) + hours(18, 18)

    def test_it_is_not_confused_by_schedules_of_similar_names(self, plans: Plans, clock: Clock) -> None:
        for name in ("report", "report-2", "a report"):
            plans[name] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock)}
        scheduler = start_beat()
        clock.pass_by(hours=1)
        run(scheduler)
        assert [last_occurrence(name) for name in plans] == [datetime(2026, 11, 22, 13, tzinfo=UTC)] * 3
        assert last_occurrence("rep") is None


PLANS: dict[str, Callable[[Clock], BaseSchedule]] = {
    "crontab": lambda clock: crontab(minute="*/20", nowfun=clock),
    "interval": lambda clock: schedule(timedelta(minutes=20), nowfun=clock),
}


class TestSeveralBeats:
    @pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
    def test_each_occurrence_is_enqueued_once(
        self, plans: Plans, clock: Clock, plan: Callable[[Clock], BaseSchedule]
    ) -> None:
        """Started at different times, so that their intervals do not begin together, and looking at the same moment."""
        plans["report"] = {"task": report.name, "schedule": plan(clock)}
        first = start_beat()
        clock.pass_by(minutes=7)
        second = start_beat()
        clock.pass_by(minutes=13)
        for _ in range(48):
            at_once([lambda: run(first), lambda: run(second)])
            clock.pass_by(minutes=5)
        made = occurrences()
        assert len(made) == 4 * 3
        assert made == sorted(set(made))
        assert {time[14:16] for time in made} == {"00", "20", "40"}

    def test_one_takes_over_when_another_ends(self, plans: Plans, clock: Clock) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock)}
        first, second = start_beat(), start_beat()
        clock.pass_by(hours=1)
        run(first)
        clock.pass_by(minutes=1)
        run(second)
        clock.pass_by(hours=1)
        run(second)
        assert occurrences() == hours(13, 14)


class TestTimes:
    def test_the_latest_time_is_the_same_whoever_looks(self, clock: Clock) -> None:
        plan = crontab(minute="*/20", nowfun=clock)
        since = [NOON - timedelta(minutes=minutes, seconds=seconds) for minutes in (25, 45, 600) for seconds in (0, 17)]
        assert {latest_time(plan, since=each) for each in since} == {datetime(2026, 11, 22, 12, tzinfo=UTC)}

    def test_a_time_that_was_missed_long_ago_is_found_in_a_moment(self, clock: Clock) -> None:
        plan = crontab(minute="0", hour="6", nowfun=clock)
        assert latest_time(plan, since=NOON - timedelta(days=3650)) == datetime(2026, 11, 22, 6, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("since", "following"),
        [
            ("2026-03-28T06:00:00+01:00", "2026-03-29T06:00:00+02:00"),
            ("2026-10-24T06:00:00+02:00", "2026-10-25T06:00:00+01:00"),
        ],
    )
    def test_six_in_the_morning_is_six_in_the_morning_when_the_clocks_change(self, since: str, following: str) -> None:
        zone = ZoneInfo("Europe/Berlin")
        clock = Clock(NOON)
        clock.time = datetime.fromisoformat(following).astimezone(zone) - timedelta(hours=1)
        plan = crontab(minute="0", hour="6", nowfun=clock)
        plan.tz = zone
        begin = datetime.fromisoformat(since).astimezone(zone)
        assert following_time(plan, begin) == datetime.fromisoformat(following)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Calling it makes the database unreachable for 1 s."""
    monkeypatch.setattr(beat, "RETRY_SECONDS", 0.1)
    options = connection.settings_dict
    port, nowhere = options["PORT"], find_free_port()

    def go_away() -> None:
        connection.close()
        options["PORT"] = nowhere
        threading.Timer(1, options.__setitem__, ("PORT", port)).start()

    return go_away


# SQLite is a file: it does not go away.
@pytest.mark.databases("postgresql")
class TestDatabaseAway:
    def test_an_occurrence_waits_for_it(
        self, plans: Plans, clock: Clock, away: Callable[[], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock)}
        scheduler = start_beat()
        clock.pass_by(hours=1)
        away()
        run(scheduler)
        assert occurrences() == hours(13, 13)
        assert "The database does not answer. report waits." in caplog.text

    def test_beat_does_not_start_without_it_but_waits(
        self, plans: Plans, clock: Clock, away: Callable[[], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock)}
        away()
        start_beat()
        assert "Beat waits." in caplog.text

    def test_what_is_due_next_is_reckoned_anew_after_a_long_wait(
        self, plans: Plans, clock: Clock, away: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock)}
        scheduler = start_beat()
        clock.pass_by(hours=1)
        away()
        threading.Timer(0.5, clock.pass_by, kwargs={"minutes": 50}).start()
        run(scheduler)
        clock.pass_by(minutes=10)
        run(scheduler)
        assert occurrences() == hours(13, 14)


SCRIPT = """
from app.celery import app
app.conf.beat_schedule = {"report": {"task": "outbox.tasks.prune_messages", "schedule": 1.0}}
app.Beat(max_interval=0.2).run()
"""


def test_the_process_needs_no_broker_and_connects_to_none(tmp_path: Path, django_database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        broker.settimeout(0)
        name, port = connection.settings_dict["NAME"], connection.settings_dict["PORT"]
        environment = child_environment(
            tmp_path,
            BROKER="redis",
            REDIS_URL=f"redis://127.0.0.1:{broker.getsockname()[1]}/0",
            DATABASE_URL=f"sqlite:///{name}" if not port else f"postgresql://anybroker@127.0.0.1:{port}/{name}",
        )
        process = subprocess.Popen([sys.executable, "-c", SCRIPT], env=environment, cwd=PROJECT_ROOT)
        try:
            wait_until(lambda: len(occurrences()) >= 2, "two occurrences to be enqueued")
            assert Heartbeat.objects.filter(kind="beat").exists()
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.wait(30)
        with pytest.raises(BlockingIOError):
            broker.accept()
    assert process.returncode == 0
    assert not Heartbeat.objects.exists()
