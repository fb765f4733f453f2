"""Measures two or more ways of doing the same in turns, so that a busy machine disturbs all alike."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal, Self

#: The least number of pairs: fewer say little, however long they take.
FEWEST_PAIRS = 5

Round = Callable[[], float]
"""Does the work once and returns the measured value, e.g. messages per second."""

#: The name of the plain side of a comparison.
PLAIN = "plain"


@dataclass(frozen=True)
class Aim:
    """Where the ratio of ours to plain should be."""

    relation: Literal["≤", "≥"]
    ratio: float

    def __str__(self) -> str:
        return f"{self.relation} {self.ratio:g}"

    def is_met(self, ratio: float) -> bool:
        return ratio <= self.ratio if self.relation == "≤" else ratio >= self.ratio


@dataclass(frozen=True)
class Outcome:
    """Ours against plain Celery: the medians of both sides, and of the ratios of the pairs."""

    what: str
    unit: str
    ours: float
    plain: float
    ratio: float
    low: float
    high: float
    """Half of the pairs have a ratio between `low` and `high`."""
    pairs: int

    @classmethod
    def of(cls, what: str, unit: str, ours: list[float], plain: list[float]) -> Self:
        ratios = [one / other for one, other in zip(ours, plain, strict=True)]
        low, _, high = quantiles(ratios, n=4)
        return cls(what, unit, median(ours), median(plain), median(ratios), low, high, len(ratios))


def take_turns(sides: Mapping[str, Round], *, seconds: float) -> dict[str, list[float]]:
    """Run all sides again and again for `seconds`. Return the measured values of each.

    The first turn warms up and does not count. Then every second turn goes backwards, so that no side always follows
    the same other side.
    """
    order = list(sides)
    measured: dict[str, list[float]] = {name: [] for name in order}
    for name in order:
        sides[name]()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or len(measured[order[0]]) < FEWEST_PAIRS:
        for name in order:
            measured[name].append(sides[name]())
        order.reverse()
    return measured


def against_plain(sides: Mapping[str, Round], *, unit: str, seconds: float) -> list[Outcome]:
    """Compare every other side with the one called `PLAIN`."""
    measured = take_turns(sides, seconds=seconds)
    plain = measured.pop(PLAIN)
    return [Outcome.of(what, unit, ours, plain) for what, ours in measured.items()]
