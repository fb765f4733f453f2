"""Measures how long `.delay()` takes: it writes one row into the ledger, or one message with plain Celery."""

import time
from collections.abc import Callable
from statistics import median

from django.db import connection, transaction

from benchmarks import plain, work
from benchmarks.compare import PLAIN, Outcome, against_plain

#: Seconds of a round of one side.
ROUND_SECONDS = 0.1

MICROSECONDS = 1e6


def measure(seconds: float) -> list[Outcome]:
    sides = {
        "in the request's transaction": lambda: time_calls(delay_in_a_request),
        "in autocommit": lambda: time_calls(delay_alone),
        PLAIN: lambda: purged(time_calls(publish)),
    }
    return against_plain(sides, unit="µs", seconds=seconds)


def time_calls(call: Callable[[], float]) -> float:
    """Repeat `call`, which returns its seconds, for a round. Return the median in microseconds."""
    seconds, deadline = [], time.monotonic() + ROUND_SECONDS
    while time.monotonic() < deadline:
        seconds.append(call())
    return median(seconds) * MICROSECONDS


def delay_in_a_request() -> float:
    """Enqueue in an open transaction. BEGIN and COMMIT are not counted: the request has them in any case."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")  # the order; PostgreSQL's BEGIN travels with the first statement
        return work.timed(work.delay)


def delay_alone() -> float:
    """Enqueue in a transaction of its own, which is flushed to the disk before `.delay()` returns."""
    return work.timed(work.delay)


def publish() -> float:
    return work.timed(work.publish_plainly)


def purged(value: float) -> float:
    work.purge(plain.QUEUE)
    return value
