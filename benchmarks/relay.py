"""Measures how many messages a second reach the broker, by the relay and by `apply_async` in a loop.

A round of the relay fills what the window of a queue (OUTBOX_MAX_IN_FLIGHT) has for ordinary messages, in batches of
the default size. It includes counting the messages in flight, marking due messages as published, and waiting for the
broker's confirmation.
"""

from django.conf import settings

from benchmarks import plain, work
from benchmarks.compare import PLAIN, Outcome, against_plain
from workers.relaying.relay import Relay, drain

#: The part of a window that plain Celery publishes in a round, so that its rounds take about as long as the relay's.
PLAIN_SHARE = 0.25


def measure(seconds: float) -> list[Outcome]:
    relay = work.new_relay()
    sides = {"relay": lambda: fill_window(relay), PLAIN: publish_one_by_one}
    return against_plain(sides, unit="messages/s", seconds=seconds)


def fill_window(relay: Relay) -> float:
    work.fill_ledger(work.ORDINARY_WINDOW)
    seconds = work.timed(lambda: drain(relay))
    work.purge(work.QUEUE)
    work.empty_ledger()
    return work.ORDINARY_WINDOW / seconds


def publish_one_by_one() -> float:
    count = round(settings.OUTBOX.max_in_flight * PLAIN_SHARE)
    seconds = work.timed(lambda: work.publish_in_a_loop(count))
    work.purge(plain.QUEUE)
    return count / seconds
