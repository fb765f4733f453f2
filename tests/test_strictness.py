"""Names that we do not know are refused, with the nearest one that we do."""

from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.orders_shop import add_product, add_user, client_of, post_order, tasks_run_at_once

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def without_a_broker() -> Iterator[None]:
    with tasks_run_at_once():
        yield


@pytest.fixture
def staff() -> APIClient:
    add_product(stock=50)
    return client_of(add_user("boss", is_staff=True))


LINE = {"product": "MUG", "quantity": 1}


@pytest.mark.parametrize(
    ("method", "address", "body", "pointer", "hint"),
    [
        ("post", "/orders/", {"items": [LINE], "notes": "x"}, "#/notes", "'note'"),
        ("post", "/orders/", {"items": [LINE | {"quantty": 2}]}, "#/items/0/quantty", "'quantity'"),
        ("patch", "/orders/{order}/", {"note": "x", "Note": "y"}, "#/Note", "'note'"),
        ("post", "/orders/{order}/cancel/", {"raeson": "x"}, "#/raeson", "'reason'"),
        ("post", "/orders/{order}/fulfil/", {"when": "now"}, "#/when", "here"),
        ("patch", "/products/MUG/", {"prize": "1.00"}, "#/prize", "'price'"),
        ("post", "/products/MUG/stock/", {"change": 1, "by": 1}, "#/by", "change"),
    ],
)
def test_an_unknown_field_is_refused(
    staff: APIClient, method: str, address: str, body: Any, pointer: str, hint: str
) -> None:
    order = post_order(staff, {"MUG": 1}).json()["order_id"]
    answer = getattr(staff, method)(address.format(order=order), body, format="json")
    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert hint in error["detail"]


def test_an_order_that_is_sent_back_as_it_was_read_is_no_mistake(staff: APIClient) -> None:
    product = staff.get("/products/MUG/").json()
    for name in ("sku", "stock"):
        product.pop(name)
    assert staff.patch("/products/MUG/", product, format="json").status_code == 200
    assert staff.post("/orders/", {"items": [LINE], "status": "fulfilled"}, format="json").status_code == 201


@pytest.mark.parametrize(
    ("address", "parameter", "hint"),
    [
        ("/orders/?statsu=placed", "statsu", "'status'"),
        ("/products/?serach=mug", "serach", "'search'"),
        ("/products/?page=2", "page", "'page_size'"),
        ("/products/MUG/?search=mug", "search", "format"),
    ],
)
def test_an_unknown_query_parameter_is_refused(staff: APIClient, address: str, parameter: str, hint: str) -> None:
    answer = staff.get(address)
    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    assert error["parameter"] == parameter
    assert hint in error["detail"]


@pytest.mark.parametrize(
    "address",
    ["/orders/?status=placed&page_size=5", "/products/?search=mug&format=json&ordering=price", "/products/?in_stock="],
)
def test_what_is_known_is_taken(staff: APIClient, address: str) -> None:
    assert staff.get(address).status_code == 200
