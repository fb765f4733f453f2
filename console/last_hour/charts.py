"""The last hour as pictures: where each bar of a chart goes. The server draws them as SVG, so they need no script.

All coordinates are in a box that is one unit wide for each minute and HEIGHT units high, with y downwards.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.timezone import localtime

from console.last_hour.minutes import Minute
from console.presentation import describe_duration

HEIGHT = 100

#: How much of a minute's width its bar takes, and where in it the bar begins.
BAR_WIDTH, BAR_LEFT = 0.72, 0.14

#: No bar is drawn lower than this, or it could not be seen.
LEAST_HEIGHT = 1.5

#: The latency chart reaches down to this many seconds at least.
LOWEST_SECONDS = 0.01


@dataclass(frozen=True)
class Bar:
    kind: str
    y: str
    height: str


@dataclass(frozen=True)
class Column:
    """One minute: its bars, and what it says when pointed at."""

    x: str
    bars: Sequence[Bar]
    title: str


@dataclass(frozen=True)
class Chart:
    columns: Sequence[Column]
    ticks: Sequence[str]
    """Labels of the vertical axis, evenly spaced, from the top."""
    summary: str

    @property
    def grid(self) -> list[str]:
        """Where the lines of the ticks are."""
        return [_number(HEIGHT * position / (len(self.ticks) - 1)) for position in range(len(self.ticks))]


def draw_throughput(minutes: Sequence[Minute]) -> Chart:
    """How many were done in each minute, and above them how many died."""
    top = _round_up(max(each.done + each.dead for each in minutes))
    columns = [
        Column(_x(position), _stack({"done": each.done, "dead": each.dead}, HEIGHT / top), _tell_throughput(each))
        for position, each in enumerate(minutes)
    ]
    done, dead = sum(each.done for each in minutes), sum(each.dead for each in minutes)
    busiest = max(each.done for each in minutes)
    summary = f"{done:,} done and {dead:,} dead in the last hour; at most {busiest:,} done in a minute."
    return Chart(columns, [f"{top:,}", f"{top // 2:,}", "0"], summary)


def draw_latency(minutes: Sequence[Minute]) -> Chart:
    """From the median to the 95th percentile of each minute, on a scale where each line means ten times as long."""
    highest = max((each.p95_seconds or 0 for each in minutes), default=0)
    decades = max(math.ceil(math.log10(max(highest, LOWEST_SECONDS * 100) / LOWEST_SECONDS) - 1e-9), 2)
    columns = []
    for position, each in enumerate(minutes):
        bars = []
        if each.median_seconds is not None and each.p95_seconds is not None:
            low, high = (_on_scale(seconds, decades) for seconds in (each.median_seconds, each.p95_seconds))
            bars = [_bar("spread", low, high - low), _bar("median", low, LEAST_HEIGHT)]
        columns.append(Column(_x(position), bars, _tell_latency(each)))
    ticks = [describe_duration(LOWEST_SECONDS * 10**decade) for decade in range(decades, -1, -1)]
    last = next((each for each in reversed(minutes) if each.median_seconds is not None), None)
    summary = f"Latest, {_tell_latency(last)}." if last else "Nothing was done in the last hour."
    return Chart(columns, ticks, summary)


def _stack(parts: dict[str, int], scale: float) -> list[Bar]:
    bars, below = [], 0.0
    for kind, number in parts.items():
        if number:
            height = max(number * scale, LEAST_HEIGHT)
            bars.append(_bar(kind, below, height))
            below += height
    return bars


def _bar(kind: str, bottom: float, height: float) -> Bar:
    height = max(height, LEAST_HEIGHT)
    return Bar(kind, _number(HEIGHT - bottom - height), _number(height))


def _on_scale(seconds: float, decades: int) -> float:
    """How high `seconds` are."""
    return max(math.log10(max(seconds, LOWEST_SECONDS) / LOWEST_SECONDS), 0) / decades * HEIGHT


def _round_up(number: int) -> int:
    """The next of 4, 6, 8, 10, 20, 40, 60, 80, 100, 200 and so on: even, so that half of it is a number, too."""
    if number <= 10:
        return next(even for even in (4, 6, 8, 10) if even >= number)
    return _round_up(math.ceil(number / 10)) * 10 if number > 100 else math.ceil(number / 20) * 20


def _x(position: int) -> str:
    return _number(position + BAR_LEFT)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _tell_throughput(minute: Minute) -> str:
    return f"{_time_of(minute)}: {minute.accepted:,} accepted, {minute.done:,} done, {minute.dead:,} dead"


def _tell_latency(minute: Minute) -> str:
    if minute.median_seconds is None or minute.p95_seconds is None:
        return f"{_time_of(minute)}: nothing done"
    median, p95 = describe_duration(minute.median_seconds), describe_duration(minute.p95_seconds)
    return f"{_time_of(minute)}: half within {median}, 95 % within {p95}"


def _time_of(minute: Minute) -> str:
    return f"{localtime(minute.start):%H:%M}"
