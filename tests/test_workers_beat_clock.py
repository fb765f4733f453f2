"""Beat and time: clocks that are changed, schedules that are wrong, tables that come later, and what status tells."""

# celery-types and kombu's stubs know plain Celery.
# mypy: disable-error-code="arg-type, assignment, attr-defined, call-overload, misc, override"

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import shared_task
from celery.schedules import BaseSchedule, crontab, schedstate, schedule, solar
from django.core.management import call_command
from django.db import connection

from outbox.heartbeat import Heart
from outbox.models import Heartbeat, Message
from tests.beats import Clock, Plans, empty_plans, occurrences, run, start_beat
from workers import beat, clock
from workers.clock import ZonedCrontab, following_time, latest_time

pytestmark = pytest.mark.django_db(transaction=True)

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

#: The clocks go back at 1:00 UTC on the one day, and forward at the same time on the other.
AUTUMN, SPRING = datetime(2026, 10, 25, tzinfo=UTC), datetime(2027, 3, 28, tzinfo=UTC)


@shared_task
def report() -> None:
    """Write a report."""


@pytest.fixture
def clock_() -> Clock:
    return Clock(NOON)


@pytest.fixture(autouse=True)
def plans(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Celery's `beat_schedule`, empty at first; nothing has been complained about yet."""
    monkeypatch.setattr(clock, "_complaints", set())
    with empty_plans() as plans:
        yield plans


def in_berlin(plan: BaseSchedule) -> BaseSchedule:
    plan.tz = BERLIN
    return plan


# --- clocks that are changed ------------------------------------------------------------------------------------------


def go_through(day: datetime, plans: Plans, clock_: Clock, **crontab_: str) -> list[str]:
    """What two beats enqueue that look every minute from midnight to five o'clock (UTC)."""
    clock_.time = day - timedelta(minutes=1)
    plans["report"] = {"task": report.name, "schedule": in_berlin(crontab(**crontab_, nowfun=clock_))}
    beats = [start_beat(), start_beat()]
    for minute in range(5 * 60):
        clock_.time = day + timedelta(minutes=minute)
        for each in beats:
            run(each)
    return [datetime.fromisoformat(time).strftime("%H:%M") for time in occurrences()]


@pytest.mark.databases("sqlite")
class TestTheHourThatComesTwice:
    def test_it_loses_no_occurrence_of_every_five_minutes_and_none_happens_twice(
        self, plans: Plans, clock_: Clock
    ) -> None:
        assert go_through(AUTUMN, plans, clock_, minute="*/5") == [
            f"{minute // 60:02}:{minute % 60:02}" for minute in range(0, 300, 5)
        ]

    def test_every_hour_is_every_hour(self, plans: Plans, clock_: Clock) -> None:
        assert go_through(AUTUMN, plans, clock_, minute="0") == ["00:00", "01:00", "02:00", "03:00", "04:00"]

    def test_a_time_that_is_named_happens_once_in_the_first_of_the_two(self, plans: Plans, clock_: Clock) -> None:
        assert go_through(AUTUMN, plans, clock_, minute="30", hour="2") == ["00:30"]

    def test_a_beat_that_starts_in_the_second_of_the_two_does_not_repeat_it(self, plans: Plans, clock_: Clock) -> None:
        clock_.time = AUTUMN + timedelta(hours=1, minutes=10)
        plans["report"] = {"task": report.name, "schedule": in_berlin(crontab("30", "2", nowfun=clock_))}
        scheduler = start_beat()
        clock_.pass_by(minutes=50)
        run(scheduler)
        assert occurrences() == []

    def test_what_was_missed_in_it_is_made_up_for(self, plans: Plans, clock_: Clock) -> None:
        plan = in_berlin(ZonedCrontab("*/5", nowfun=clock_))
        clock_.time = AUTUMN + timedelta(hours=1, minutes=58)
        for hours_ago in (0.1, 1, 1.5, 20):
            found = latest_time(plan, since=clock_.time - timedelta(hours=hours_ago))
            assert found == AUTUMN + timedelta(hours=1, minutes=55), hours_ago


@pytest.mark.databases("sqlite")
class TestTheHourThatIsSkipped:
    def test_it_takes_no_occurrence_of_every_five_minutes_with_it(self, plans: Plans, clock_: Clock) -> None:
        assert len(go_through(SPRING, plans, clock_, minute="*/5")) == 60

    def test_a_time_in_it_comes_an_hour_later_by_the_clock(self, plans: Plans, clock_: Clock) -> None:
        assert go_through(SPRING, plans, clock_, minute="30", hour="2") == ["01:30"]
        assert (SPRING + timedelta(hours=1.5)).astimezone(BERLIN).strftime("%H:%M") == "03:30"


#: Days, in UTC, on which the clocks are changed in one of the zones below, and some others.
DAYS_OF_CHANGES = [datetime(2026, month, day, tzinfo=UTC) for month in (3, 4, 10, 11) for day in (1, 3, 4, 8, 25, 29)]


#: On Lord Howe the clocks are changed by half an hour.
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kolkata"]


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("zone", "minute"),
    [*((zone, minute) for zone in ZONES for minute in ("*/5", "*/30", "*")), ("Europe/Berlin", "7")],
)
def test_each_time_follows_the_one_before(zone: str, minute: str) -> None:
    """None of the moments at which the wall shows one of the times is left out, and none is added."""
    plan = ZonedCrontab(minute, nowfun=lambda: NOON)
    plan.tz = ZoneInfo(zone)
    for begin in DAYS_OF_CHANGES:
        moment = begin
        for each in (begin + timedelta(minutes=minutes) for minutes in range(1, 1441)):
            if shows(plan, each):
                moment = following_time(plan, moment)
                assert moment == each


def shows(plan: crontab, moment: datetime) -> bool:
    wall = moment.astimezone(plan.tz)
    return wall.minute in plan.minute and wall.hour in plan.hour


# --- schedules that are wrong -----------------------------------------------------------------------------------------


class Stuck(schedule):
    """What each of these remains of the time until it is due, whenever it is asked."""

    remains = timedelta(0)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        return self.remains


class Late(Stuck):
    remains = timedelta(seconds=-5)


class StuckCrontab(crontab):
    def remaining_estimate(self, last_run_at: datetime, **_: Any) -> timedelta:
        return timedelta(0)


class LateCrontab(crontab):
    def remaining_estimate(self, last_run_at: datetime, **_: Any) -> timedelta:
        return timedelta(hours=-1)


class Broken(crontab):
    def remaining_estimate(self, last_run_at: datetime, **_: Any) -> timedelta:
        raise ZeroDivisionError("whoops")


class Silent(BaseSchedule):
    """Tells that it is due, and not when."""

    def is_due(self, last_run_at: datetime) -> Any:
        return schedstate(True, 5)


class Answers(Silent):
    """`is_due` answers what it was made with."""

    def __init__(self, answer: Any, **options: Any) -> None:
        super().__init__(**options)
        self.answer = answer

    def is_due(self, last_run_at: datetime) -> Any:
        return self.answer


def thirtieth_of_february(clock_: Clock) -> crontab:
    """Celery refuses to make one; a schedule may become one all the same."""
    with pytest.raises(ValueError, match="30"):
        crontab(day_of_month="30", month_of_year="2")
    plan = crontab("0", "6", day_of_month="1", month_of_year="2", nowfun=clock_)
    plan.day_of_month = {30}
    return plan


WRONG: dict[str, Callable[[Clock], Any]] = {
    "interval of nothing": lambda clock_: schedule(timedelta(0), nowfun=clock_),
    "negative interval": lambda clock_: schedule(timedelta(seconds=-5), nowfun=clock_),
    "always due": lambda clock_: Stuck(timedelta(0), nowfun=clock_),
    "always due, at intervals": lambda clock_: Stuck(timedelta(seconds=10), nowfun=clock_),
    "always late": lambda clock_: Late(timedelta(0), nowfun=clock_),
    "always late, at intervals": lambda clock_: Late(timedelta(seconds=10), nowfun=clock_),
    "crontab always due": lambda clock_: StuckCrontab(nowfun=clock_),
    "crontab always late": lambda clock_: LateCrontab(nowfun=clock_),
    "raises": lambda clock_: Broken(nowfun=clock_),
    "30 February": thirtieth_of_february,
    "does not tell when": lambda clock_: Silent(nowfun=clock_),
    "due at once": lambda clock_: Answers(schedstate(True, 0), nowfun=clock_),
    "to be asked at once": lambda clock_: Answers(schedstate(False, 0), nowfun=clock_),
    "to be asked before": lambda clock_: Answers(schedstate(False, -3), nowfun=clock_),
    "to be asked in next to no time": lambda clock_: Answers(schedstate(False, 1e-9), nowfun=clock_),
    "no number": lambda clock_: Answers(schedstate(False, None), nowfun=clock_),
    "not a number": lambda clock_: Answers(schedstate(True, float("nan")), nowfun=clock_),
    "no answer": lambda clock_: Answers(None, nowfun=clock_),
}  # fmt: skip


class TestWrongSchedules:
    @pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
    def test_none_makes_beat_spin_and_the_others_go_on(
        self, plans: Plans, clock_: Clock, make: Callable[[Clock], Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        plans["wrong"] = {"task": report.name, "schedule": make(clock_)}
        plans["report"] = {"task": report.name, "schedule": crontab(minute="*/5", nowfun=clock_)}
        scheduler = start_beat()
        began = time.monotonic()
        for _ in range(120):
            clock_.pass_by(seconds=5)
            run(scheduler)
        assert time.monotonic() - began < 10
        assert len(occurrences()) == 2
        assert Message.objects.filter(occurrence__startswith="wrong@").count() <= 121
        complaints = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
        assert len(complaints) == len(set(complaints)) <= 2, complaints
        assert all(each.startswith("The schedule wrong ") for each in complaints)

    def test_one_that_raises_is_told_of_once_with_its_error(
        self, plans: Plans, clock_: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        plans["wrong"] = {"task": report.name, "schedule": Broken(nowfun=clock_)}
        scheduler = start_beat()
        for _ in range(5):
            clock_.pass_by(minutes=5)
            run(scheduler)
        assert caplog.text.count("The schedule wrong cannot tell when it is due") == 1
        assert caplog.text.count("ZeroDivisionError: whoops") == 1

    def test_one_that_says_that_it_is_due_and_not_when_is_enqueued(self, plans: Plans, clock_: Clock) -> None:
        plans["wrong"] = {"task": report.name, "schedule": Silent(nowfun=clock_)}
        run(start_beat())
        assert len(occurrences("wrong")) == 1

    def test_one_that_takes_long_is_not_waited_for(self, clock_: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        class Slow(crontab):
            def remaining_estimate(self, last_run_at: datetime, **_: Any) -> timedelta:
                time.sleep(0.01)
                return last_run_at + timedelta(seconds=1) - self.now()

        monkeypatch.setattr(clock, "SEARCH_SECONDS", 0.2)
        began = time.monotonic()
        with pytest.raises(clock.WrongScheduleError):
            latest_time(Slow(nowfun=clock_), since=NOON - timedelta(days=1))
        assert time.monotonic() - began < 2


class TestTheSun:
    @pytest.mark.parametrize("event", ["sunrise", "solar_noon", "sunset", "dusk_civil"])
    def test_each_day_has_one_occurrence(self, plans: Plans, clock_: Clock, event: str) -> None:
        plans["report"] = {"task": report.name, "schedule": solar(event, 52.5, 13.4, nowfun=clock_)}
        scheduler = start_beat()
        for _ in range(3 * 24 * 2):
            clock_.pass_by(minutes=30)
            run(scheduler)
        assert [time[:10] for time in occurrences()] in (
            ["2026-11-22", "2026-11-23", "2026-11-24"],
            ["2026-11-23", "2026-11-24", "2026-11-25"],
        )

    def test_two_beats_mean_the_same_second(self, plans: Plans, clock_: Clock) -> None:
        plans["report"] = {"task": report.name, "schedule": solar("sunset", 52.5, 13.4, nowfun=clock_)}
        first = start_beat()
        clock_.pass_by(hours=2)
        second = start_beat()
        clock_.pass_by(hours=4)
        run(first)
        clock_.pass_by(minutes=7)
        run(second)
        assert len(occurrences()) == 1

    def test_where_it_does_not_rise_beat_does_not_wait_for_it(self, plans: Plans, clock_: Clock) -> None:
        plans["polar"] = {"task": report.name, "schedule": solar("sunrise", 80, 15, nowfun=clock_)}
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock_)}
        scheduler = start_beat()
        clock_.pass_by(hours=1)
        run(scheduler)
        assert len(occurrences()) == 1


# --- tables that come later -------------------------------------------------------------------------------------------


@pytest.fixture
def without_tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Calling it takes the outbox's table away for 1 s."""
    monkeypatch.setattr(beat, "RETRY_SECONDS", 0.1)
    timers: list[threading.Timer] = []

    def rename(old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    def bring_back() -> None:
        rename("outbox_away", "outbox_message")
        connection.close()

    def take_away() -> None:
        rename("outbox_message", "outbox_away")
        timers.append(threading.Timer(1, bring_back))
        timers[-1].start()

    yield take_away
    for each in timers:
        each.join()


class TestTablesThatComeLater:
    def test_beat_waits_for_them_and_says_so(
        self, plans: Plans, clock_: Clock, without_tables: Callable[[], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock_)}
        without_tables()
        scheduler = start_beat()
        assert "The tables of the outbox are not there yet: manage.py migrate. Beat waits." in caplog.text
        clock_.pass_by(hours=1)
        run(scheduler)
        assert len(occurrences()) == 1

    def test_an_occurrence_waits_for_them(
        self, plans: Plans, clock_: Clock, without_tables: Callable[[], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock_)}
        scheduler = start_beat()
        clock_.pass_by(hours=1)
        without_tables()
        run(scheduler)
        assert len(occurrences()) == 1
        assert "manage.py migrate. report waits." in caplog.text


# --- what status tells ------------------------------------------------------------------------------------------------


def status(*options: str) -> str:
    out = io.StringIO()
    call_command("outbox", "status", *options, stdout=out, no_color=True)
    return out.getvalue()


class TestStatus:
    def test_it_lists_each_schedule_with_its_last_and_next_time(self, plans: Plans, clock_: Clock) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock_)}
        plans["nightly"] = {"task": report.name, "schedule": crontab(minute="0", hour="3", nowfun=clock_)}
        scheduler = start_beat()
        clock_.pass_by(hours=1)
        run(scheduler)
        scheduler._heart._next = 0.0
        clock_.pass_by(minutes=20)
        run(scheduler)
        nightly, hourly = json.loads(status("--json"))["schedules"]
        assert hourly == {
            "name": "report",
            "task": report.name,
            "last": "2026-11-22T13:00:00+00:00",
            "next": "2026-11-22T14:00:00+00:00",
        }
        assert (nightly["last"], nightly["next"]) == (None, "2026-11-23T03:00:00+00:00")
        said = status()
        assert "2026-11-22 13:00:00 UTC" in said
        assert "schedules=2" in said

    def test_without_a_beat_the_ledger_knows_the_last_times(self, plans: Plans, clock_: Clock) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock_)}
        scheduler = start_beat()
        clock_.pass_by(hours=1)
        run(scheduler)
        scheduler.close()
        assert not Heartbeat.objects.exists()
        [told] = json.loads(status("--json"))["schedules"]
        assert (told["name"], told["last"], told["next"]) == ("report", "2026-11-22T13:00:00+00:00", None)

    def test_of_several_beats_the_latest_and_the_soonest_count(self) -> None:
        for number, (last, following) in enumerate([("12:00", "14:00"), ("13:00", "15:00")]):
            heart = Heart("beat", every_seconds=0)
            heart.name += str(number)
            times = {"last": f"2026-11-22T{last}:00+00:00", "next": f"2026-11-22T{following}:00+00:00"}
            heart.beat(schedules=[{"name": "report", "task": report.name, **times}])
        [told] = json.loads(status("--json"))["schedules"]
        assert (told["last"][11:16], told["next"][11:16]) == ("13:00", "14:00")

    def test_after_a_restart_it_knows_the_last_time_at_once(self, plans: Plans, clock_: Clock) -> None:
        plans["report"] = {"task": report.name, "schedule": crontab(minute="0", nowfun=clock_)}
        scheduler = start_beat()
        clock_.pass_by(hours=1)
        run(scheduler)
        scheduler.close()
        run(start_beat())
        [told] = json.loads(status("--json"))["schedules"]
        assert told["last"] == "2026-11-22T13:00:00+00:00"
