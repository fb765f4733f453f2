"""Every message gets an answer: a task that no worker knows, and a queue that refuses, are in nobody's way."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.conformance.conftest import Sites, close_site
from tests.harness.broker_faults import FAULTS as BROKER_FAULTS
from tests.harness.ledger import Ledger, Row
from tests.harness.promise import assert_promise
from tests.harness.site import SHORT_WINDOWS, Site
from tests.harness.versions import NEXT
from tests.harness.waiting import wait_until

#: As many as production's window holds. An emulator alone may take a minute and a half to hand out so many.
WINDOW = MESSAGES = 1000

#: How soon a fresh order has its e-mail, and how many orders in a row.
EMAIL_SECONDS, ORDERS = 2.0, 10

#: As many as a site's window holds.
FEW = int(SHORT_WINDOWS["OUTBOX_MAX_IN_FLIGHT"])

#: How long all of them take once a worker knows their task.
KNOWN_SECONDS = 60.0


@contextmanager
def opened(sites: Sites, **windows: str) -> Iterator[Site]:
    site = sites.open({**SHORT_WINDOWS, **windows})
    try:
        yield site
    finally:
        close_site(site)


def all_are_done(ledger: Ledger, subject: str, number: int, *, within_seconds: float) -> None:
    """Return when so many messages about `subject` are done."""

    def are_done() -> bool:
        return ledger.count(subject, "state = 'done'") == number

    wait_until(are_done, f"all {number} to be done", within_seconds=within_seconds, every_seconds=0.2)


@pytest.fixture
def wide(sites: Sites) -> Iterator[Site]:
    """A site with production's window, unless its broker is too slow with so many."""
    window = FEW if sites.broker.is_slow_when_full else WINDOW
    with opened(sites, OUTBOX_MAX_IN_FLIGHT=str(window), OUTBOX_LOST_AFTER_SECONDS="30") as site:
        yield site


@pytest.mark.pools("prefork")
def test_1000_messages_of_a_task_that_no_worker_knows_delay_no_order(wide: Site) -> None:
    site, ledger, subject = wide, Ledger(wide.database), f"unknown {uuid4()}"
    with site.same_worker():
        original = site.send_by_name(NEXT.name("send"), subject)
        ledger.copy(original, MESSAGES - 1)
        for _ in range(ORDERS):
            order = site.service.shop.order()
            site.mail_server.wait_for(order["number"], within_seconds=EMAIL_SECONDS)
        assert ledger.count(subject, "state = 'done'") == 0

    begun = time.monotonic()
    with site.another_worker(NEXT), site.worker_stopped():
        all_are_done(ledger, subject, MESSAGES, within_seconds=begun + KNOWN_SECONDS - time.monotonic())
    assert len(site.mail_server.about(subject)) == MESSAGES
    assert_promise(site)


@pytest.mark.pools("prefork")
def test_messages_find_the_worker_that_knows_them_beside_one_that_does_not(site: Site) -> None:
    """While a release is rolled out workers of both share a queue."""
    ledger, subject = Ledger(site.database), f"both {uuid4()}"
    with site.same_worker(), site.another_worker(NEXT):
        original = site.send_by_name(NEXT.name("send"), subject)
        ledger.copy(original, FEW - 1)
        all_are_done(ledger, subject, FEW, within_seconds=KNOWN_SECONDS)
        assert_promise(site)
    assert len(site.mail_server.about(subject)) == FEW


@pytest.fixture
def divided(sites: Sites) -> Iterator[Site]:
    """A site with two queues. Orders use the first."""
    names = (f"{each}-{uuid4().hex[:8]}" for each in ("orders", "others"))
    with opened(sites, QUEUES=",".join(names)) as site:
        yield site


def lag_seconds(site: Site, queue: str) -> float:
    status = json.loads(site.service.manage("outbox", "status", "--json"))
    [lag] = [each["lag_seconds"] for each in status["queues"] if each["queue"] == queue]
    return float(lag)


@pytest.mark.pools("prefork")
def test_a_queue_that_refuses_delays_no_other_and_goes_on_when_it_is_mended(divided: Site) -> None:
    site, ledger = divided, Ledger(divided.database)
    refused, other = site.service.env["QUEUES"].split(",")
    with BROKER_FAULTS[site.service.profile.name](site).refusing_queue(refused):
        for process in (site.relay, site.worker):  # whoever starts now finds it so
            site.kill(process)
        site.wait_until_up()
        site.enqueue("send", "first", queue=other)
        site.mail_server.wait_for("first")  # connections were cut to get here

        orders, begun = [site.service.shop.order() for _ in range(ORDERS)], time.monotonic()
        for _ in range(ORDERS):
            subject = f"in time {uuid4()}"
            site.enqueue("send", subject, queue=other)
            site.mail_server.wait_for(subject, within_seconds=EMAIL_SECONDS)
        waited = time.monotonic() - begun
        assert lag_seconds(site, refused) >= waited

        def waiting() -> list[Row]:
            found = [ledger.confirmation_of(order) for order in orders]
            return found if {each["state"] for each in found} == {"pending"} else []

        due = [each["due_at"] for each in wait_until(waiting, "all to wait in the database")]
        assert due == [ledger.confirmation_of(order)["wanted_at"] for order in orders] == sorted(due)
    assert_promise(site)
