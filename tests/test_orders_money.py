"""Whatever is ordered at whatever prices: totals add up, nothing is sold that is not there, cancelling undoes it."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from orders.errors import IllegalMoveError, OrderRefusedError
from orders.models import Order, Product
from orders.models.orders import MAX_QUANTITY
from tests.orders_shop import add_product, add_user, stock_of

pytestmark = pytest.mark.django_db

SKUS = ["A", "B", "C", "D"]

prices = st.decimals(min_value=0, max_value=Decimal("99999999.99"), places=2)
products = st.fixed_dictionaries(
    {"price": prices, "stock": st.integers(0, 2 * MAX_QUANTITY), "currency": st.sampled_from(["EUR", "EUR", "USD"])}
)
catalogues = st.fixed_dictionaries(dict.fromkeys(SKUS, products))
orders = st.dictionaries(st.sampled_from([*SKUS, "NONE"]), st.integers(1, MAX_QUANTITY), min_size=1)


def place(user: User, wanted: dict[str, int]) -> Order | OrderRefusedError:
    try:
        return Order.objects.place(user=user, quantities=wanted)
    except OrderRefusedError as refusal:
        return refusal


def assert_adds_up(order: Order, wanted: dict[str, int], catalogue: dict[str, Any]) -> None:
    order.refresh_from_db()
    items = list(order.items.all())
    assert {item.sku: item.quantity for item in items} == wanted
    assert [item.unit_price for item in items] == [catalogue[sku]["price"] for sku in wanted]
    assert order.total == sum(item.line_total for item in items)
    assert order.total == sum(Decimal(catalogue[sku]["price"]) * quantity for sku, quantity in wanted.items())
    assert {catalogue[sku]["currency"] for sku in wanted} == {order.currency}


def reasons_expected(wanted: dict[str, int], stock: dict[str, int], catalogue: dict[str, Any]) -> set[str]:
    """The SKUs at fault: unknown, not there, or not in the currency of the first line that is known."""
    currency = next((catalogue[sku]["currency"] for sku in wanted if sku in catalogue), "")
    return {
        sku
        for sku, quantity in wanted.items()
        if sku not in catalogue or stock[sku] < quantity or catalogue[sku]["currency"] != currency
    }


@given(catalogue=catalogues, posted=st.lists(orders, max_size=6), data=st.data())
@settings(max_examples=60, deadline=None)
def test_totals_and_stocks_add_up_whatever_is_ordered_and_cancelled(
    catalogue: dict[str, Any], posted: list[dict[str, int]], data: st.DataObject
) -> None:
    with transaction.atomic():
        user = add_user()
        for sku, fields in catalogue.items():
            add_product(sku, **fields)
        stock = {sku: fields["stock"] for sku, fields in catalogue.items()}
        for wanted in posted:
            outcome = place(user, wanted)
            at_fault = reasons_expected(wanted, stock, catalogue)
            if isinstance(outcome, OrderRefusedError):
                assert set(outcome.reasons) == at_fault != set()
                continue
            assert not at_fault
            assert_adds_up(outcome, wanted, catalogue)
            if data.draw(st.booleans(), label="cancel"):
                outcome.cancel(by=user)
                with pytest.raises(IllegalMoveError):
                    outcome.cancel(by=user)
            else:
                stock = {sku: stock[sku] - wanted.get(sku, 0) for sku in stock}
        assert {sku: stock_of(sku) for sku in SKUS} == stock
        assert all(product.stock >= 0 for product in Product.objects.all())
        transaction.set_rollback(True)
