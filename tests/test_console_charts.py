"""The last hour, minute by minute, and where the bars of its charts are."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F
from hypothesis import given
from hypothesis import strategies as st

from console.last_hour import minutes as last_hour
from console.last_hour.charts import HEIGHT, draw_latency, draw_throughput
from console.last_hour.minutes import LastHour, Minute, database_time, quantile
from outbox import ledger
from outbox.models import Message
from tests.outbox_rows import add, die, let_pass, start

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def minute(done: int = 0, dead: int = 0, *, seconds: tuple[float, float] | None = None) -> Minute:
    return Minute(NOON, done + dead, done, dead, *(seconds or (None, None)))


def finish(*, after_seconds: float) -> None:
    """A message that is done so many seconds after it was enqueued."""
    claim = start()
    Message.objects.filter(pk=claim.id).update(created_at=F("created_at") - timedelta(seconds=after_seconds))
    ledger.complete(claim)


@pytest.mark.django_db
def test_each_minute_knows_what_ended_in_it_and_how_long_it_took() -> None:
    for seconds in (1, 2, 10):
        finish(after_seconds=seconds)
    die()
    let_pass(600)
    finish(after_seconds=0)
    add()
    minutes = LastHour().read(database_time())
    assert len(minutes) == 60
    by_age = {len(minutes) - position - 1: each for position, each in enumerate(minutes) if each.done}
    [(age, then), (now, last)] = by_age.items()
    assert age - now in (9, 10, 11)
    assert (then.done, then.dead, last.done, last.dead) == (3, 1, 1, 0)
    assert then.median_seconds == pytest.approx(2, abs=0.5)
    assert then.p95_seconds == pytest.approx(10, abs=0.5)
    assert sum(each.accepted for each in minutes) == 6


@pytest.mark.django_db
def test_a_busy_minute_is_counted_in_full_though_its_latency_is_taken_from_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(last_hour, "SAMPLE", 3)
    for _ in range(5):
        finish(after_seconds=1)
    die()
    let_pass(120)
    minutes = LastHour().read(database_time())
    assert (sum(each.done for each in minutes), sum(each.dead for each in minutes)) == (5, 1)


@pytest.mark.django_db
def test_a_minute_that_has_settled_is_not_asked_for_again() -> None:
    hour, time = LastHour(), database_time()
    hour.read(time)
    finish(after_seconds=0)
    Message.objects.update(finished_at=time - timedelta(minutes=10))
    assert sum(each.done for each in hour.read(time)) == 0
    assert sum(each.done for each in LastHour().read(time)) == 1
    Message.objects.update(finished_at=time - timedelta(seconds=50))
    assert sum(each.done for each in hour.read(time)) == 1


@given(st.lists(st.floats(0, 1e6), min_size=1).map(sorted), st.sampled_from([0.5, 0.95]))
def test_a_quantile_is_not_exceeded_by_its_share(values: list[float], share: float) -> None:
    answer = quantile(values, share)
    assert answer in values
    assert sum(value <= answer for value in values) >= share * len(values)


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**4)), min_size=1, max_size=60))
def test_every_bar_of_the_throughput_is_in_the_picture(numbers: list[tuple[int, int]]) -> None:
    chart = draw_throughput([minute(*each) for each in numbers])
    for column in chart.columns:
        for bar in column.bars:
            # A number that is too small to be seen is drawn a little higher than it is.
            assert -2 <= float(bar.y) <= HEIGHT
            assert float(bar.y) + float(bar.height) <= HEIGHT + 0.01
    assert chart.ticks[-1] == "0"
    assert int(chart.ticks[0].replace(",", "")) >= max(done + dead for done, dead in numbers)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=60))
def test_every_bar_of_the_latency_is_in_the_picture(seconds: list[tuple[float, float]]) -> None:
    minutes = [minute(1, seconds=(min(each), max(each))) for each in seconds]
    for column in draw_latency(minutes).columns:
        for bar in column.bars:
            assert -2 <= float(bar.y) <= HEIGHT


def test_charts_say_in_words_what_they_show() -> None:
    minutes = [minute(), minute(12, 1, seconds=(0.12, 1.5))]
    assert draw_throughput(minutes).summary == "12 done and 1 dead in the last hour; at most 12 done in a minute."
    assert draw_latency(minutes).summary == "Latest, 12:00: half within 120 ms, 95 % within 1.5 s."
    assert draw_latency([minute()]).summary == "Nothing was done in the last hour."
    assert draw_throughput([minute()]).ticks == ["4", "2", "0"]
    assert draw_latency(minutes).ticks == ["10 s", "1 s", "100 ms", "10 ms"]
