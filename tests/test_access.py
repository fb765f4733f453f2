"""Who may do what: every route and method, tried as nobody, as the order's customer, as another one and as staff."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from orders.models import Order
from settings import PROJECT_ROOT
from tests.orders_shop import add_product, add_user, client_of, place_order, stock_of, tasks_run_at_once

pytestmark = pytest.mark.django_db

ROLES = ("anonymous", "owner", "stranger", "staff")
ORDER = {"items": [{"product": "MUG", "quantity": 1}]}
PRODUCT = {"sku": "NEW", "name": "New", "price": "1.00"}
METHODS = ("get", "post", "put", "patch", "delete")

#: Route, method and body, and what each of ROLES is answered.
MATRIX: dict[tuple[str, str], tuple[Any, tuple[int, int, int, int]]] = {
    ("/orders/", "get"): (None, (401, 200, 200, 200)),
    ("/orders/", "post"): (ORDER, (401, 201, 201, 201)),
    ("/orders/{order_id}/", "get"): (None, (401, 200, 404, 200)),
    ("/orders/{order_id}/", "patch"): ({"note": "Hello"}, (401, 200, 404, 200)),
    ("/orders/{order_id}/cancel/", "post"): ({}, (401, 200, 404, 200)),
    ("/orders/{order_id}/events/", "get"): (None, (401, 200, 404, 200)),
    ("/orders/{order_id}/fulfil/", "post"): (None, (401, 403, 403, 200)),
    ("/orders/{order_id}/resend-confirmation/", "post"): (None, (401, 403, 403, 202)),
    ("/products/", "get"): (None, (200, 200, 200, 200)),
    ("/products/", "post"): (PRODUCT, (401, 403, 403, 201)),
    ("/products/{sku}/", "get"): (None, (200, 200, 200, 200)),
    ("/products/{sku}/", "patch"): ({"name": "Other"}, (401, 403, 403, 200)),
    ("/products/{sku}/", "delete"): (None, (401, 403, 403, 409)),  # it was ordered
    ("/products/{sku}/stock/", "post"): ({"change": 5}, (401, 403, 403, 200)),
}

CASES = [
    pytest.param(route, method, body, role, status, id=f"{method.upper()} {route} {role}")
    for (route, method), (body, statuses) in MATRIX.items()
    for role, status in zip(ROLES, statuses, strict=True)
]


@pytest.fixture(autouse=True)
def without_a_broker() -> Iterator[None]:
    with tasks_run_at_once():
        yield


@pytest.fixture
def order() -> Order:
    add_product(stock=10)
    order = place_order(add_user())
    Order.objects.update(status=Order.Status.PLACED)
    return order


def client_in(role: str) -> APIClient:
    match role:
        case "anonymous":
            return APIClient()
        case "owner":
            return client_of(User.objects.get(username="ada"))
        case "stranger":
            return client_of(add_user("eve", email="eve@example.com"))
    return client_of(add_user("boss", email="boss@example.com", is_staff=True))


def documented_routes() -> dict[str, set[str]]:
    paths = yaml.safe_load((PROJECT_ROOT / "docs" / "openapi.yaml").read_text())["paths"]
    return {path: set(methods) for path, methods in paths.items() if not path.startswith("/auth/")}


def test_the_matrix_has_every_route_and_method_of_the_shop() -> None:
    expected = {(path, method) for path, methods in documented_routes().items() for method in methods}
    assert set(MATRIX) == expected


@pytest.mark.parametrize(("route", "method", "body", "role", "status"), CASES)
def test_each_may_do_what_is_theirs(order: Order, route: str, method: str, body: Any, role: str, status: int) -> None:
    if route.endswith("/fulfil/"):
        Order.objects.update(status=Order.Status.CONFIRMED)
    stock = stock_of("MUG")
    address = route.format(order_id=order.order_id, sku="MUG")
    content = "" if body is None else json.dumps(body)
    answer = client_in(role).generic(method.upper(), address, content, "application/json")
    assert answer.status_code == status, answer.content
    if status in (401, 403, 404):
        assert stock_of("MUG") == stock
        assert Order.objects.get().updated_at == order.updated_at


@pytest.mark.parametrize("role", ROLES)
def test_no_other_method_is_let_in(order: Order, role: str) -> None:
    client = client_in(role)
    for route, known in documented_routes().items():
        address = route.format(order_id=order.order_id, sku="MUG")
        for method in set(METHODS) - known:
            answer = client.generic(method.upper(), address, "{}", "application/json")
            assert answer.status_code in ({405} if role == "staff" else {401, 403, 405}), f"{method} {address}"


def test_a_customer_cannot_tell_another_ones_order_from_none(order: Order) -> None:
    client = client_in("stranger")
    theirs = client.get(f"/orders/{order.order_id}/")
    nobodys = client.get("/orders/00000000-0000-4000-8000-000000000000/")
    assert theirs.content == nobodys.content
    assert client.get("/orders/").json()["results"] == []
