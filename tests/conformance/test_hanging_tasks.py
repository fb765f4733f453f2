"""A task that never ends loses its place to nobody: its time limit holds in every pool."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.harness.ledger import Ledger
from tests.harness.promise import assert_promise
from tests.harness.site import PLACES, Site
from tests.harness.waiting import wait_until

#: From the beginning of an attempt that hangs to the end of the next one.
AGAIN_SECONDS = 40.0

every_pool = pytest.mark.pools("prefork", "threads", "solo")


@pytest.fixture(autouse=True)
def fresh_worker(site: Site) -> Iterator[None]:
    """A thread that hangs goes on for ever: no other case may find it."""
    yield
    if site.pool == "threads":
        site.kill(site.worker)
        site.wait_until_up()


def assert_it_is_attempted_again(site: Site, errand: str) -> None:
    ledger, subject = Ledger(site.database), f"hangs at first {uuid4()}"
    id = site.enqueue(errand, subject)
    message = ledger.wait_for(id, "done", within_seconds=AGAIN_SECONDS)
    assert message["attempts"] == 2
    assert "its time limit" in message["history"]
    assert len(site.mail_server.about(subject)) == 1
    assert_promise(site)


@every_pool
def test_a_task_that_hangs_is_attempted_again_elsewhere(site: Site) -> None:
    assert_it_is_attempted_again(site, "hang_at_first")


@pytest.mark.pools("prefork")
def test_a_task_that_hangs_on_after_its_soft_limit_is_attempted_again_elsewhere(site: Site) -> None:
    assert_it_is_attempted_again(site, "hang_on_at_first")


@every_pool
def test_places_that_are_all_taken_by_tasks_that_hang_become_free(site: Site) -> None:
    ledger, places = Ledger(site.database), 1 if site.pool == "solo" else PLACES
    ids = [site.enqueue("hang", "never") for _ in range(places)]
    wait_until(lambda: all(ledger.message(id)["begun_at"] for id in ids), "all to begin")
    order = site.service.shop.order()
    site.mail_server.wait_for(order["number"], within_seconds=AGAIN_SECONDS)
    for id in ids:
        message = ledger.wait_for(id, "dead")
        assert message["attempts"] == 1
        assert "its time limit" in message["last_error"]
    assert_promise(site)
