"""The catalogue over HTTP: read by everybody, written by staff, and true to what orders do meanwhile."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from orders.models import Product
from orders.models.products import MAX_STOCK
from tests.orders_shop import add_product, add_user, client_of, place_order, stock_of

pytestmark = pytest.mark.django_db

MUG = {"sku": "MUG", "name": "Mug, blue", "price": "16.00", "currency": "EUR", "stock": 3}


@pytest.fixture
def staff() -> APIClient:
    return client_of(add_user("boss", email="boss@example.com", is_staff=True))


def found(client: APIClient, **parameters: Any) -> list[str]:
    """The SKUs that the list answers."""
    answer = client.get("/products/", parameters)
    assert answer.status_code == 200, answer.content
    return [product["sku"] for product in answer.json()["results"]]


def test_staff_create_a_product(staff: APIClient) -> None:
    answer = staff.post("/products/", MUG, format="json")
    assert answer.status_code == 201
    assert answer.json() == {**MUG, "description": "", "active": True}
    assert APIClient().get("/products/MUG/").json() == answer.json()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sku", "a b"), ("sku", "-a"), ("sku", ""), ("sku", "x" * 41), ("name", ""), ("name", "a\0b"),
        ("price", "-0.01"), ("price", "1.999"), ("price", "NaN"), ("price", "1e30"), ("price", "100000000.00"),
        ("currency", "euro"), ("currency", ""), ("stock", -1), ("stock", MAX_STOCK + 1), ("stock", 1.5),
        ("active", "perhaps"),
    ],
)  # fmt: skip
def test_an_impossible_product_is_refused(staff: APIClient, field: str, value: Any) -> None:
    answer = staff.post("/products/", {**MUG, field: value}, format="json")
    assert answer.status_code == 400
    assert {error["pointer"] for error in answer.json()["errors"]} == {f"#/{field}"}
    assert not Product.objects.exists()


def test_a_sku_is_given_once(staff: APIClient) -> None:
    add_product("MUG")
    assert staff.post("/products/", MUG, format="json").status_code == 400


def test_customers_and_strangers_only_read() -> None:
    add_product("MUG")
    for client, status in ((client_of(add_user()), 403), (APIClient(), 401)):
        assert client.post("/products/", {**MUG, "sku": "CUP"}, format="json").status_code == status
        assert client.patch("/products/MUG/", {"price": "0.01"}, format="json").status_code == status
        assert client.delete("/products/MUG/").status_code == status
        assert client.post("/products/MUG/stock/", {"change": -1}, format="json").status_code == status
        assert client.get("/products/MUG/").status_code == 200


def test_staff_change_a_product_but_neither_its_sku_nor_its_stock(staff: APIClient) -> None:
    add_product("MUG", stock=3)
    assert staff.patch("/products/MUG/", {"price": "17.50"}, format="json").json()["price"] == "17.50"
    answer = staff.patch("/products/MUG/", {"sku": "CUP", "stock": 5, "price": "1.00"}, format="json")
    assert answer.status_code == 400
    assert {error["pointer"] for error in answer.json()["errors"]} == {"#/sku", "#/stock"}
    assert staff.put("/products/MUG/", MUG, format="json").status_code == 405
    assert (stock_of("MUG"), str(Product.objects.get().price)) == (3, "17.50")


def test_the_stock_is_changed_by_so_many_pieces(staff: APIClient) -> None:
    add_product("MUG", stock=3)
    url = "/products/MUG/stock/"
    assert staff.post(url, {"change": 5}, format="json").json()["stock"] == 8
    assert staff.post(url, {"change": -8}, format="json").json()["stock"] == 0
    for change in (-1, MAX_STOCK + 1):
        assert staff.post(url, {"change": change}, format="json").status_code in (400, 409)
    assert staff.post(url, {"change": MAX_STOCK}, format="json").status_code == 200
    assert staff.post(url, {"change": 1}, format="json").status_code == 409
    assert stock_of("MUG") == MAX_STOCK


def test_what_is_archived_is_shown_to_staff_only_and_cannot_be_ordered(staff: APIClient) -> None:
    add_product("MUG")
    assert staff.patch("/products/MUG/", {"active": False}, format="json").status_code == 200
    customer = client_of(add_user())
    for client in (customer, APIClient()):
        assert found(client) == found(client, active="false") == []
        assert client.get("/products/MUG/").status_code == 404
    assert found(staff) == found(staff, active="false") == ["MUG"]
    order = {"items": [{"product": "MUG", "quantity": 1}]}
    assert customer.post("/orders/", order, format="json").status_code == 400


def test_what_was_never_ordered_is_deleted_and_what_was_is_kept(staff: APIClient) -> None:
    add_product("MUG")
    add_product("CUP")
    place_order(add_user(), {"MUG": 1})
    assert staff.delete("/products/CUP/").status_code == 204
    answer = staff.delete("/products/MUG/")
    assert answer.status_code == 409
    assert "Archive it instead" in answer.json()["detail"]
    assert Product.objects.get().sku == "MUG"


def test_products_are_found_by_words_price_stock_and_currency() -> None:
    add_product("MUG-BLUE", name="Mug, blue", price="16.00", description="Thrown by hand.")
    add_product("MUG-RED", name="Mug, red", price="18.00", stock=0)
    add_product("VOUCHER", name="Gift voucher", price="25.00", currency="USD")
    client = APIClient()
    for parameters, expected in (
        ({"search": "mug"}, ["MUG-BLUE", "MUG-RED"]),
        ({"search": "HAND mug"}, ["MUG-BLUE"]),
        ({"search": "100%"}, []),
        ({"price_min": "18"}, ["MUG-RED", "VOUCHER"]),
        ({"price_min": "16.01", "price_max": "18.00"}, ["MUG-RED"]),
        ({"in_stock": "true"}, ["MUG-BLUE", "VOUCHER"]),
        ({"in_stock": "false"}, ["MUG-RED"]),
        ({"currency": "USD"}, ["VOUCHER"]),
        ({"ordering": "-price"}, ["VOUCHER", "MUG-RED", "MUG-BLUE"]),
        ({"ordering": "name"}, ["VOUCHER", "MUG-BLUE", "MUG-RED"]),
        ({"search": "mug", "in_stock": "true", "ordering": "-price"}, ["MUG-BLUE"]),
    ):
        assert found(client, **parameters) == expected, parameters


@pytest.mark.parametrize(
    "parameters",
    [
        {"price_min": "cheap"}, {"price_min": "-1"}, {"price_max": "1e999999"}, {"price_max": "NaN"},
        {"ordering": "stock"}, {"ordering": ",,"}, {"in_stock": "maybe"}, {"active": "1"}, {"page_size": "0"},
        {"search": "a\0b"}, {"search": "x" * 201}, {"cursor": "x"}, {"currency": "\0"},
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused(parameters: dict[str, str]) -> None:
    assert APIClient().get("/products/", parameters).status_code in (400, 404)
