"""Processes are told to stop in each of the ways that people and supervisors have, in the middle of their work."""

import os
import signal
import time

import pytest

from tests.harness.ledger import Ledger
from tests.harness.promise import assert_promise
from tests.harness.site import Site
from tests.harness.waiting import wait_until

#: A cold shutdown (SIGQUIT) waits for nobody.
COLD_SECONDS = 20.0

#: A relay waits for no answer longer than this.
RELAY_SECONDS = 15.0

EVERYBODY = ("web", "relay", "worker")


def wait_for_ends(site: Site, number: int, *names: str, within_seconds: float = 60.0) -> None:
    """Return when the supervisor has seen so many ends of processes of these names."""
    wait_until(lambda: count_ends(site, *names) >= number, f"{number} ends", within_seconds=within_seconds)


def count_ends(site: Site, *names: str) -> int:
    return sum(end.name in names for end in site.supervisor.ends)


def test_everything_is_told_to_stop_under_load_and_started_again(site: Site) -> None:
    ends = len(site.supervisor.ends)
    with site.customer(every_seconds=0.1) as customer:
        for _ in range(2):
            customer.wait_for(customer.accepted + 20)
            expected = count_ends(site, *EVERYBODY) + len(EVERYBODY)
            for process in site.service.processes:
                os.kill(process.pid, signal.SIGTERM)
            wait_for_ends(site, expected, *EVERYBODY)
            site.wait_until_up()
        customer.wait_for(customer.accepted + 20)

    assert {end.status for end in site.supervisor.ends[ends:]} == {0}
    assert_promise(site)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_lets_the_email_that_is_being_sent_end(site: Site, number: signal.Signals) -> None:
    """honcho, terminals and some supervisors signal a process together with all that it has started."""
    ledger = Ledger(site.database)
    order = site.order_being_sent()
    ends, first = count_ends(site, *EVERYBODY), len(site.supervisor.ends)

    for process in site.service.processes:
        os.killpg(process.pid, number)

    wait_for_ends(site, ends + 2, *EVERYBODY)
    time.sleep(0.5)  # whatever else the signal ends would end now
    assert site.mail_server.held
    site.mail_server.accept()
    wait_for_ends(site, ends + 3, *EVERYBODY)
    site.wait_until_up()
    # Celery's worker ends with 1 after Ctrl-C.
    assert {end.status for end in site.supervisor.ends[first:]} <= ({0} if number is signal.SIGTERM else {0, 1})
    assert_promise(site)
    assert ledger.confirmation_of(order)["attempts"] == 1


def test_a_worker_that_has_to_stop_at_once_leaves_its_work_to_the_next_one(site: Site) -> None:
    with site.customer(every_seconds=0.1) as customer:
        customer.wait_for(10)
        with site.interrupted():
            ends = count_ends(site, "worker")
            os.kill(site.worker.pid, signal.SIGQUIT)
            wait_for_ends(site, ends + 1, "worker", within_seconds=COLD_SECONDS)

    customer.assert_untroubled()
    site.wait_until_up()
    assert_promise(site)


def test_a_worker_that_has_to_stop_at_once_does_not_wait_for_a_frozen_broker(site: Site) -> None:
    with site.customer(every_seconds=0.1) as customer:
        customer.wait_for(10)
        with site.interrupted():
            ends = count_ends(site, "worker")
            site.broker.freeze()
            os.kill(site.worker.pid, signal.SIGQUIT)
            wait_for_ends(site, ends + 1, "worker", within_seconds=COLD_SECONDS)
            site.heal()

    customer.assert_untroubled()
    site.wait_until_up()
    assert_promise(site)


def test_a_worker_that_is_stopped_while_its_broker_is_away_ends_all_the_same(site: Site) -> None:
    ends = count_ends(site, "worker")
    with site.customer() as customer:
        customer.wait_for(5)
        site.broker.stop()
        os.kill(site.worker.pid, signal.SIGTERM)
        wait_for_ends(site, ends + 1, "worker")
        site.heal()
        customer.wait_for(customer.accepted + 5)

    customer.assert_untroubled()
    assert_promise(site)


@pytest.mark.pools("prefork")
def test_a_relay_that_is_stopped_while_its_broker_is_frozen_ends_within_seconds(site: Site) -> None:
    ends = count_ends(site, "relay")
    site.service.shop.order()
    site.broker.freeze()
    site.service.shop.order()
    os.kill(site.relay.pid, signal.SIGTERM)
    wait_for_ends(site, ends + 1, "relay", within_seconds=RELAY_SECONDS)
    site.heal()
    assert_promise(site)
