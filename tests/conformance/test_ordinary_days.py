"""Nothing goes wrong: what the other cases are measured against."""

from tests.harness.promise import assert_promise
from tests.harness.site import Site


def test_without_a_fault_each_order_has_one_email(site: Site) -> None:
    with site.customer() as customer:
        customer.wait_for(10)

    customer.assert_untroubled()
    assert_promise(site)
