"""Three quarters of a minute of `make chaos` on each broker, never twice the same."""

import time

import pytest

from tests.conformance.chaos import Chaos
from tests.harness.site import Site

SECONDS = 45


@pytest.mark.timeout(480)
def test_whatever_goes_wrong_no_order_is_lost_and_none_is_confirmed_twice(site: Site) -> None:
    chaos = Chaos(site, seed=time.time_ns() % 10_000, say=print)
    try:
        chaos.run(seconds=SECONDS)
    except AssertionError as error:
        raise AssertionError(f"make chaos SEED={chaos.seed}: {error}\n{chaos.report()}") from error
