"""Asking what may hang, without hanging."""

import threading
import time
from itertools import count

from console.latest import Latest
from tests.harness.waiting import wait_until


def test_an_answer_is_given_again_until_it_is_too_old() -> None:
    latest = Latest(count(1).__next__, every_seconds=0.2, stale_seconds=60)

    assert [latest.get(within_seconds=5) for _ in range(3)] == [1, 1, 1]
    time.sleep(0.25)
    assert latest.get(within_seconds=5) == 2


def test_what_hangs_is_asked_once_and_nobody_waits_longer_than_he_wants() -> None:
    released, asked = threading.Event(), count(1)
    latest = Latest(lambda: (next(asked), released.wait(30)), every_seconds=60, stale_seconds=60)

    began = time.monotonic()
    assert [latest.get(within_seconds=0.1) for _ in range(3)] == [None, None, None]
    assert time.monotonic() - began < 5
    released.set()
    assert wait_until(lambda: latest.get(within_seconds=0.1), "the answer") == (1, True)


def test_the_last_answer_stands_in_for_one_that_does_not_come_until_it_is_stale() -> None:
    answers = iter(["first"])
    hangs = threading.Event()
    latest = Latest(lambda: next(answers, None) or hangs.wait(30), every_seconds=0.01, stale_seconds=0.5)

    assert latest.get(within_seconds=5) == "first"
    time.sleep(0.02)
    assert latest.get(within_seconds=0.05) == "first"
    time.sleep(0.6)
    assert latest.get(within_seconds=0.05) is None
    hangs.set()
