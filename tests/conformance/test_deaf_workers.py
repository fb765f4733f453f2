"""The watchdog ends a worker that no longer hears its broker, and no other."""

import os
import time

from tests.harness.promise import assert_promise
from tests.harness.site import PLACES, SHORT_WINDOWS, Site
from tests.harness.trouble.apps import DEAFENING_SIGNAL
from tests.harness.waiting import wait_until
from workers.exits import BROKEN_EXIT_STATUS

#: Longer than the watchdog waits.
LONG_SECONDS = float(SHORT_WINDOWS["OUTBOX_DEAF_AFTER_SECONDS"]) + 3


def test_a_deaf_worker_ends_and_is_started_again(site: Site) -> None:
    ends_before = site.supervisor.ends_of(site.worker)
    os.kill(site.worker.pid, DEAFENING_SIGNAL)

    with site.customer(every_seconds=0.5) as customer:
        wait_until(lambda: site.supervisor.ends_of(site.worker) != ends_before, "the end of the deaf worker")

    customer.assert_untroubled()
    assert site.supervisor.ends_of(site.worker) == [*ends_before, BROKEN_EXIT_STATUS]
    site.heal()
    assert_promise(site)


def test_a_worker_that_has_nothing_to_do_is_left_alone(site: Site) -> None:
    with site.same_worker():
        time.sleep(LONG_SECONDS)
        site.service.shop.order()
        assert_promise(site)


def test_a_worker_that_has_too_much_to_do_is_left_alone(site: Site) -> None:
    with site.same_worker():
        for _ in range(PLACES):
            site.enqueue("send_late", "after long work", LONG_SECONDS)
        with site.customer(every_seconds=0) as customer:
            customer.wait_for(30)
        assert_promise(site)
