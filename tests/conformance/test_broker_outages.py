"""The broker goes away, comes back, comes back empty, or says no. Customers notice nothing of it."""

import time

from tests.harness.broker_faults import FAULTS
from tests.harness.promise import assert_promise
from tests.harness.site import Site
from tests.harness.waiting import wait_until

#: Orders that are on the broker when it loses everything.
IN_FLIGHT = 10


def test_a_stopped_broker_delays_emails_only(site: Site, fault_seconds: float) -> None:
    with site.same_worker():
        with site.customer() as customer:
            customer.wait_for(3)
            site.broker.stop()
            time.sleep(fault_seconds)
            site.heal()
            customer.wait_for(customer.accepted + 3)

        customer.assert_untroubled()
        assert_promise(site)


def test_a_broker_that_is_restarted_under_load_loses_nothing(site: Site) -> None:
    with site.same_worker():
        with site.customer(every_seconds=0.1) as customer:
            customer.wait_for(10)
            site.broker.restart()
            customer.wait_for(customer.accepted + 10)

        customer.assert_untroubled()
        assert_promise(site)


def test_a_broker_that_crashes_under_load_loses_nothing(site: Site) -> None:
    with site.same_worker():
        with site.customer(every_seconds=0.1) as customer:
            customer.wait_for(10)
            site.broker.kill()
            site.heal()
            customer.wait_for(customer.accepted + 10)

        customer.assert_untroubled()
        assert_promise(site)


def test_a_frozen_broker_delays_emails_only(site: Site, fault_seconds: float) -> None:
    with site.same_worker():
        with site.customer() as customer:
            customer.wait_for(3)
            site.broker.freeze()
            time.sleep(fault_seconds)
            site.broker.thaw()
            customer.wait_for(customer.accepted + 3)

        customer.assert_untroubled()
        assert_promise(site)


def test_a_broker_that_loses_its_memory_is_given_everything_again(site: Site) -> None:
    faults = FAULTS[site.service.profile.name](site)
    with site.same_worker():
        with site.customer() as customer:
            site.freeze(site.worker)
            customer.wait_for(IN_FLIGHT)
            wait_until(lambda: site.service.depth() >= IN_FLIGHT, "messages in flight")
            faults.wipe()
            site.heal()
            customer.wait_for(customer.accepted + 3)

        customer.assert_untroubled()
        assert_promise(site)


def test_a_broker_that_refuses_delays_emails_only(site: Site, fault_seconds: float) -> None:
    faults = FAULTS[site.service.profile.name](site)
    with site.same_worker():
        with site.customer() as customer:
            customer.wait_for(3)
            for refusal in faults.refusals:
                with faults.refusing(refusal):
                    time.sleep(fault_seconds)
                customer.wait_for(customer.accepted + 3)

        customer.assert_untroubled()
        assert_promise(site)
