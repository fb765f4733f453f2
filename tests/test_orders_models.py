"""What the models promise, whoever uses them."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import IntegrityError, connection, transaction
from django.db.models import Model, ProtectedError
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from orders.errors import OrderRefusedError
from orders.models import Order, OrderItem, Product
from orders.models.orders import MAX_LINES, MAX_QUANTITY
from tests.orders_shop import add_product, add_user, client_of, place_order, post_order, stock_of, tasks_run_at_once

pytestmark = pytest.mark.django_db


def test_an_order_keeps_name_sku_and_price_as_they_were() -> None:
    product = add_product("MUG", price="16.00", name="Mug, blue")
    order = place_order(add_user(), {"MUG": 2})
    Product.objects.filter(pk=product.pk).update(sku="CUP", name="Cup", price="99.00")
    item = order.items.get()
    assert (item.sku, item.name, item.unit_price, item.line_total) == (
        "MUG", "Mug, blue", Decimal("16.00"), Decimal("32.00"),
    )  # fmt: skip


def test_the_lines_keep_the_order_in_which_they_were_named() -> None:
    for sku in ("A", "B", "C"):
        add_product(sku)
    order = place_order(add_user(), {"B": 1, "C": 1, "A": 1})
    assert [item.sku for item in order.items.all()] == ["B", "C", "A"]


def test_a_refused_order_takes_nothing_and_the_transaction_around_it_goes_on() -> None:
    add_product("MUG", stock=1)
    add_product("BEANS", stock=5)
    with pytest.raises(OrderRefusedError) as refusal:
        place_order(add_user(), {"BEANS": 1, "MUG": 2, "NONE": 1})
    assert refusal.value.reasons == {
        "MUG": "Only 1 of 'MUG' left, 2 asked for.",
        "NONE": "No product 'NONE' is on sale.",
    }
    assert (stock_of("MUG"), stock_of("BEANS"), Order.objects.count()) == (1, 5, 0)


def test_the_dearest_possible_order_fits() -> None:
    for n in range(MAX_LINES):
        add_product(f"SKU-{n}", price="99999999.99", stock=MAX_QUANTITY)
    order = place_order(add_user(), {f"SKU-{n}": MAX_QUANTITY for n in range(MAX_LINES)})
    order.full_clean()
    order.refresh_from_db()
    assert order.total == Decimal("99999999.99") * MAX_LINES * MAX_QUANTITY


def test_neither_customer_nor_product_can_be_deleted_from_under_an_order() -> None:
    product, user = add_product(), add_user()
    place_order(user)
    for row in (product, user):
        with pytest.raises(ProtectedError):
            row.delete()


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        (Product, "stock", -1),
        (Product, "price", "-0.01"),
        (OrderItem, "quantity", 0),
        (OrderItem, "unit_price", "-0.01"),
        (Order, "total", "-0.01"),
    ],
)
def test_the_database_itself_refuses_what_cannot_be(model: type[Model], field: str, value: object) -> None:
    add_product()
    place_order(add_user())
    with pytest.raises(IntegrityError), transaction.atomic():
        model._default_manager.update(**{field: value})


def test_nobody_is_not_the_customer_of_any_order() -> None:
    add_product()
    place_order(add_user())
    assert not Order.objects.visible_to(AnonymousUser()).exists()


@pytest.mark.parametrize("is_staff", [False, True])
def test_the_number_of_queries_does_not_grow_with_orders_and_lines(is_staff: bool) -> None:
    skus = [f"SKU-{n}" for n in range(5)]
    for sku in skus:
        add_product(sku, stock=1000)
    ada = add_user(is_staff=is_staff)
    client = client_of(ada)

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert client.get("/orders/").status_code == 200
        return sum(query["sql"].startswith("SELECT") for query in captured)

    place_order(ada, {"SKU-0": 1})
    before = queries()
    for _ in range(10):
        place_order(ada, dict.fromkeys(skus, 1))
    # The token with its user, the page of orders, their items; of staff, the rights of the user and of the groups.
    assert queries() == before == (5 if is_staff else 3)


def test_placing_an_order_takes_as_many_queries_for_one_line_as_for_twenty() -> None:
    skus = [f"SKU-{n}" for n in range(20)]
    for sku in skus:
        add_product(sku)
    client = client_of(add_user())

    def queries(quantities: dict[str, int]) -> int:
        with CaptureQueriesContext(connection) as captured, tasks_run_at_once():
            assert post_order(client, quantities).status_code == 201
        return len(captured)

    assert queries({"SKU-0": 1}) == queries(dict.fromkeys(skus, 1))


def test_products_are_one_query() -> None:
    add_product("A")
    add_product("B")
    with CaptureQueriesContext(connection) as captured:
        assert len(APIClient().get("/products/").json()["results"]) == 2
    assert sum(query["sql"].startswith("SELECT") for query in captured) == 1
