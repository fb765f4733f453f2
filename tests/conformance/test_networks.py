"""The network between the broker and the relay, or the worker, fails in the ways that networks do."""

import time

import pytest

from tests.harness.promise import assert_promise
from tests.harness.proxy import TcpProxy
from tests.harness.site import Site

#: Short cuts in a row: clients have been seen to lose a little with each of them.
CUTS = 25
CUT_EVERY_SECONDS = 0.2

#: How long a worker or relay may take to notice that its connection is mute, and to work again.
HALF_OPEN_SECONDS = 30.0

both_sides = pytest.mark.parametrize("side", ["relay", "worker"])


def network_of(site: Site, side: str) -> TcpProxy:
    return {"relay": site.relay_network, "worker": site.worker_network}[side]


@both_sides
def test_many_short_cuts_lose_nothing(site: Site, side: str) -> None:
    network = network_of(site, side)
    with site.same_worker():
        with site.customer(every_seconds=0.1) as customer:
            customer.wait_for(3)
            for _ in range(CUTS):
                network.cut()
                time.sleep(CUT_EVERY_SECONDS)

        customer.assert_untroubled()
        assert_promise(site)


@both_sides
def test_a_network_that_swallows_everything_delays_emails_only(site: Site, side: str, fault_seconds: float) -> None:
    """What was sent into it is lost, and the connections of before stay mute when it is well again (half-open)."""
    network = network_of(site, side)
    with site.same_worker(unless_deaf=True):
        with site.customer() as customer:
            customer.wait_for(3)
            network.swallow()
            time.sleep(fault_seconds)
            network.heal()
            customer.wait_for(customer.accepted + 3)

        customer.assert_untroubled()
        assert_promise(site, within_seconds=HALF_OPEN_SECONDS)


@both_sides
def test_a_network_that_lets_nobody_in_delays_emails_only(site: Site, side: str, fault_seconds: float) -> None:
    network = network_of(site, side)
    with site.same_worker():
        with site.customer() as customer:
            customer.wait_for(3)
            network.refuse()
            time.sleep(fault_seconds)
            network.heal()
            customer.wait_for(customer.accepted + 3)

        customer.assert_untroubled()
        assert_promise(site)
