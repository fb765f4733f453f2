"""Ten thousand messages and no worker: they wait in the database, most urgent first, and the broker holds a few."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.conformance.conftest import Sites, close_site
from tests.harness.ledger import Ledger
from tests.harness.promise import assert_promise
from tests.harness.site import PLACES, SHORT_WINDOWS, Site
from tests.harness.waiting import wait_until

#: How many messages the broker may hold: every broker of the tests is quick with so many.
MAX_IN_FLIGHT = 100

#: Nothing counts as lost during the test: what is published again would come on top.
WINDOWS = {**SHORT_WINDOWS, "OUTBOX_MAX_IN_FLIGHT": str(MAX_IN_FLIGHT), "OUTBOX_LOST_AFTER_SECONDS": "60"}

MESSAGES = 10_000

#: How many of them a worker runs before we have seen enough.
ENOUGH = 250

#: How often we look at the broker meanwhile.
LOOKS = 20


@pytest.fixture
def site(sites: Sites) -> Iterator[Site]:
    """A site with another window."""
    site = sites.open(WINDOWS)
    yield site
    close_site(site)


@pytest.mark.pools("prefork")
def test_a_backlog_waits_in_the_database_and_leaves_it_by_priority(site: Site) -> None:
    ledger, subject = Ledger(site.database), f"backlog {uuid4()}"
    with site.worker_stopped():
        original = site.enqueue("send", subject, countdown=3600)
        ledger.copy(original, MESSAGES)

        wait_until(lambda: site.service.depth() == MAX_IN_FLIGHT, "a full window")
        assert max(site.service.depth() for _ in range(LOOKS)) == MAX_IN_FLIGHT
        assert ledger.count(subject, "state = 'published' AND priority = 8") == MAX_IN_FLIGHT
        urgent = site.enqueue("send", f"urgent {subject}", priority=9)

    depths: list[int] = []

    def enough() -> bool:
        depths.append(site.service.depth())
        return ledger.count(subject, "state = 'done'") >= ENOUGH

    wait_until(enough, "enough of them", within_seconds=90, every_seconds=0.2)
    # What a worker has claimed and not yet acknowledged comes on top.
    taken = PLACES * site.service.profile.celery_settings([site.service.queue])["worker_prefetch_multiplier"]
    assert max(depths) <= MAX_IN_FLIGHT + taken
    assert ledger.count(subject, "state = 'done' AND priority < 8") == 0
    # It waited for those that the broker had been given before, and for nobody else.
    assert ledger.message(urgent)["state"] == "done"
    ledger.execute("DELETE FROM outbox_message WHERE arguments LIKE %s AND state = 'pending'", f"%{subject}%")
    site.service.shop.order()
    assert_promise(site)
