"""What is promised in seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import quantiles

import pytest

from tests.conformance.conftest import Sites, close_site
from tests.harness.promise import assert_promise
from tests.harness.site import SHORT_WINDOWS, Site
from tests.harness.waiting import wait_until

#: How much longer an order may take while the broker is frozen, and how much of that is noise of a busy machine.
SLOWER, NOISE_SECONDS = 1.2, 0.02

#: Orders in a row before broker is frozen or thawed, and orders of each kind per second that a fault lasts.
ORDERS_IN_A_ROW = 30
ORDERS_PER_FAULT_SECOND = 30

#: A few outliers make a p99: it is looked at again with more orders before it counts as too slow.
ROUNDS = 4


def time_orders(site: Site) -> list[float]:
    """How many seconds each of some orders took to be answered."""
    seconds = []
    for _ in range(ORDERS_IN_A_ROW):
        begun = time.perf_counter()
        site.service.shop.order()
        seconds.append(time.perf_counter() - begun)
    return seconds


def p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98]


@pytest.mark.pools("prefork")
def test_an_order_is_answered_as_fast_while_the_broker_is_frozen(
    site: Site, fault_seconds: float, record_property: Callable[[str, object], None]
) -> None:
    up: list[float] = []
    frozen: list[float] = []
    for round_ in range(1, ROUNDS + 1):
        # In turns, for what else the machine has to do changes as well.
        while len(frozen) < round_ * fault_seconds * ORDERS_PER_FAULT_SECOND:
            up += time_orders(site)
            site.broker.freeze()
            frozen += time_orders(site)
            site.broker.thaw()
        if p99(frozen) <= p99(up) * SLOWER + NOISE_SECONDS:
            break

    record_property("p99_up_and_frozen", [round(p99(up), 4), round(p99(frozen), 4)])
    assert p99(frozen) <= p99(up) * SLOWER + NOISE_SECONDS
    assert_promise(site)


#: What is left of the 40 seconds of recovery for the supervisor and the start of a worker.
START_SECONDS = 10.0

#: The longer of lease and patience with messages that nobody claims: production's defaults, and the suite's own.
DEFAULT_WINDOW, SHORT_WINDOW = 30.0, float(SHORT_WINDOWS["OUTBOX_LOST_AFTER_SECONDS"])

#: Longer than the brokers' own patience with a worker that took a message and says no more (120 s).
PATIENT_SECONDS = 200.0

#: Faults of this length are asked for when there is time for windows of production's length, too.
FULL_LENGTH_SECONDS = 20.0


@contextmanager
def site_and_window(sites: Sites, fault_seconds: float) -> Iterator[tuple[Site, float]]:
    """A site, and how long it waits at most before it takes something for lost."""
    if fault_seconds < FULL_LENGTH_SECONDS:
        yield sites.healthy(), SHORT_WINDOW
        return
    site = sites.open(windows={})
    try:
        yield site, DEFAULT_WINDOW
    finally:
        close_site(site)


def test_what_a_killed_worker_had_is_done_within_40_seconds(
    sites: Sites, fault_seconds: float, record_property: Callable[[str, object], None]
) -> None:
    """What it was running and what it had only taken in advance: 40 s are for the default settings."""
    with site_and_window(sites, fault_seconds) as (site, window_seconds):
        site.mail_server.hold()
        with site.customer(every_seconds=0) as customer:
            customer.wait_for(12)
        with site.interrupted():
            site.kill(site.worker)
            killed = time.monotonic()

        wait_until(lambda: not site.record.missing(), "all e-mails", within_seconds=window_seconds + START_SECONDS)

        record_property("recovery_seconds", round(time.monotonic() - killed, 1))
        # Until the broker, too, has given up those that the worker had taken.
        assert_promise(site, within_seconds=PATIENT_SECONDS)
