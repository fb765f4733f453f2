"""What the benchmarks' figures rest on: sides that take turns, medians of pairs, a table that says what was missed."""

from functools import partial

from benchmarks.compare import PLAIN, Aim, Outcome, against_plain, take_turns
from benchmarks.registry import Subject
from benchmarks.table import Line, format_table


def test_sides_take_turns_and_the_first_time_does_not_count() -> None:
    turns: list[str] = []

    def round_of(name: str) -> float:
        turns.append(name)
        return len(turns)

    measured = take_turns({name: partial(round_of, name) for name in ("ours", PLAIN)}, seconds=0)

    assert turns[:6] == ["ours", PLAIN, "ours", PLAIN, PLAIN, "ours"]
    assert measured["ours"] == [3.0, 6.0, 7.0, 10.0, 11.0]
    assert measured[PLAIN] == [4.0, 5.0, 8.0, 9.0, 12.0]


def test_the_ratio_is_the_median_of_the_pairs_not_of_the_sides() -> None:
    # A busy machine slows both sides of a pair.
    load = [1.0, 1.0, 1.0, 10.0, 10.0, 10.0]
    ours, plain = iter([2 * each for each in load]), iter([4 * each for each in load])

    (outcome,) = against_plain({"ours": partial(next, ours), PLAIN: partial(next, plain)}, unit="s", seconds=0)

    assert outcome.ratio == outcome.low == outcome.high == 0.5


def test_the_table_says_what_was_reached() -> None:
    subject = Subject("subject", "A subject", ("sqlite",), {"redis": Aim("≥", 2)})
    good = Outcome.of("one thing", "tasks/s", [30.0] * 5, [10.0] * 5)
    bad = Outcome.of("another", "tasks/s", [10.0] * 5, [10.0] * 5)

    lines = format_table([Line(subject, outcome, "redis", "sqlite") for outcome in (good, bad)]).splitlines()

    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[2].split("|")[4:-1]] == [
        "30 tasks/s",
        "10 tasks/s",
        "3.00 x",
        "3.00 to 3.00 (5)",
        "≥ 2 x",
        "reached",
    ]
    assert lines[3].endswith("missed  |")
