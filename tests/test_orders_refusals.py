"""Orders that cannot be: each is a 400 that says what is wrong, and leaves nothing behind."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.urls import path
from rest_framework.exceptions import ValidationError
from rest_framework.serializers import BaseSerializer

from orders.models import Order, Product
from orders.models.orders import MAX_LINES, MAX_QUANTITY
from orders.views import OrderViewSet
from tests.orders_shop import (
    add_product,
    add_user,
    client_of,
    post_order,
    reasons_by_pointer,
    stock_of,
    tasks_run_at_once,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def without_a_broker() -> Iterator[None]:
    with tasks_run_at_once():
        yield


def refusal_of(body: Any) -> dict[str, list[str]]:
    """Post `body` to a shop with 10 mugs, 2 beans and a voucher in another currency; return the 400's reasons."""
    add_product("MUG", stock=10)
    add_product("BEANS", stock=2)
    add_product("VOUCHER", currency="USD")
    add_product("OLD", active=False)
    answer = client_of(add_user()).post("/orders/", body, format="json")
    assert answer.status_code == 400, answer.content
    assert not Order.objects.exists()
    assert sum(Product.objects.values_list("stock", flat=True)) == 10 + 2 + 10 + 10
    assert not mail.outbox
    return reasons_by_pointer(answer)


def lines(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"items": [{"product": sku, "quantity": quantity} for sku, quantity in pairs]}


@pytest.mark.parametrize("sku", ["NONE", "OLD", "mug"])
def test_an_unknown_or_retired_product_is_named(sku: str) -> None:
    refusal = refusal_of(lines(("MUG", 1), (sku, 1)))
    assert refusal == {"#/items/1/product": [f"No product '{sku}' is on sale."]}


def test_every_line_that_asks_for_too_much_is_told_what_is_left() -> None:
    refusal = refusal_of(lines(("MUG", 11), ("BEANS", 3)))
    assert refusal == {
        "#/items/0/product": ["Only 10 of 'MUG' left, 11 asked for."],
        "#/items/1/product": ["Only 2 of 'BEANS' left, 3 asked for."],
    }


def test_a_product_named_twice_is_refused_rather_than_added_up() -> None:
    refusal = refusal_of(lines(("MUG", 1), ("BEANS", 1), ("MUG", 2)))
    message = "'MUG' is named 2 times: name it once, with the quantity you want."
    assert refusal == {"#/items/0/product": [message], "#/items/2/product": [message]}


def test_an_order_has_one_currency() -> None:
    message = refusal_of(lines(("MUG", 1), ("VOUCHER", 1)))["#/items/1/product"][0]
    assert message.startswith("'VOUCHER' is sold in USD and this order is in EUR")


def test_half_a_character_is_refused_too() -> None:
    add_product()
    body = b'{"items": [{"product": "\\ud800", "quantity": 1}], "note": "\\udfff"}'
    answer = client_of(add_user()).post("/orders/", body, content_type="application/json")
    assert answer.status_code == 400
    assert set(reasons_by_pointer(answer)) == {"#/items/0/product", "#/note"}


@pytest.mark.parametrize("quantity", [0, -1, MAX_QUANTITY + 1, 10**18, 1.5, "two", None, True, [], {}])
def test_a_quantity_is_a_whole_number_within_bounds(quantity: Any) -> None:
    assert refusal_of(lines(("MUG", quantity)))["#/items/0/quantity"]


@pytest.mark.parametrize("sku", ["", " ", None, 5.5, [], {}, "x" * 41, "MUG\0"])
def test_a_sku_is_a_short_text(sku: Any) -> None:
    assert refusal_of(lines((sku, 1)))["#/items/0/product"]


@pytest.mark.parametrize("items", [None, [], {}, "MUG", [None], ["MUG"], [{}], [[]]])
def test_items_are_a_list_of_lines(items: Any) -> None:
    assert all(pointer.startswith("#/items") for pointer in refusal_of({"items": items}))


@pytest.mark.parametrize("body", [{}, {"note": "no items"}, [], "text", None])
def test_a_body_without_items_is_refused(body: Any) -> None:
    assert refusal_of(body)


def test_the_number_of_lines_is_bounded() -> None:
    refusal = refusal_of(lines(*((f"SKU-{n}", 1) for n in range(MAX_LINES + 1))))
    assert str(MAX_LINES) in str(refusal["#/items"])


@pytest.mark.parametrize("note", ["x" * 501, "a\0b", ["a"], {}])
def test_a_note_is_a_short_text(note: Any) -> None:
    assert refusal_of({**lines(("MUG", 1)), "note": note})["#/note"]


@pytest.mark.parametrize("address", ["", "nobody", "a@example.com, b@example.com", "a@example.com\nBcc: b@example.com"])
def test_an_order_that_could_not_be_confirmed_is_refused_with_the_cure(address: str) -> None:
    add_product()
    ada = add_user()
    type(ada).objects.filter(pk=ada.pk).update(email=address)
    answer = post_order(client_of(ada), {"MUG": 1})
    assert answer.status_code == 400
    assert reasons_by_pointer(answer)["#"][0].startswith("Your account has no valid e-mail address")
    assert stock_of("MUG") == 10


class ChangesItsMind(OrderViewSet):
    """Refuses an order after it has been written."""

    def perform_create(self, serializer: BaseSerializer[Order]) -> None:
        serializer.save(user=self.request.user)
        assert (Order.objects.count(), stock_of("MUG")) == (1, 9)
        raise ValidationError("No.")


urlpatterns = [path("orders/", ChangesItsMind.as_view({"post": "create"}))]


@pytest.mark.django_db(transaction=True)
@pytest.mark.urls(__name__)
def test_a_400_undoes_what_the_request_has_written() -> None:
    add_product(stock=10)
    assert post_order(client_of(add_user()), {"MUG": 1}).status_code == 400
    assert (Order.objects.count(), stock_of("MUG")) == (0, 10)
