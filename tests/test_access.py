"""Who may do what: every route and method, tried as nobody, as the order's customer, as another one and as staff.

Staff have Django's permissions of the models, or none.
"""

import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import yaml
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from rest_framework.test import APIClient

from orders.models import Order
from settings import PROJECT_ROOT
from tests.orders_shop import add_product, add_user, client_of, place_order, stock_of, tasks_run_at_once

pytestmark = pytest.mark.django_db

ROLES = ("anonymous", "owner", "stranger", "staff", "bare staff")
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
    # Staff without a right are strangers.
    for role, status in zip(ROLES, (*statuses, statuses[2]), strict=True)
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
    rights = "" if role == "bare staff" else None
    return client_of(add_user("boss", email="boss@example.com", is_staff=True, rights=rights))


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


#: A right, and what staff who hold nothing else may do with it.
RIGHTS = [
    ("orders.view_order", "get", "/orders/{order_id}/", 200),
    ("orders.view_order", "post", "/orders/{order_id}/cancel/", 403),
    ("orders.view_order", "patch", "/orders/{order_id}/", 403),
    ("orders.view_order", "post", "/orders/{order_id}/fulfil/", 403),
    ("orders.change_order", "post", "/orders/{order_id}/cancel/", 200),
    ("orders.change_order", "post", "/products/{sku}/stock/", 403),
    ("orders.view_product", "patch", "/products/{sku}/", 403),
    ("orders.add_product", "post", "/products/", 201),
    ("orders.add_product", "patch", "/products/{sku}/", 403),
    ("orders.change_product", "patch", "/products/{sku}/", 200),
    ("orders.change_product", "post", "/products/{sku}/stock/", 200),
    ("orders.change_product", "delete", "/products/{sku}/", 403),
    ("orders.delete_product", "delete", "/products/{sku}/", 409),
    ("orders.delete_product", "post", "/products/", 403),
]


@pytest.mark.parametrize(("right", "method", "route", "status"), RIGHTS)
def test_a_right_is_for_what_it_says(order: Order, right: str, method: str, route: str, status: int) -> None:
    client = client_of(add_user("boss", email="boss@example.com", is_staff=True, rights=right))
    address, body = route.format(order_id=order.order_id, sku="MUG"), MATRIX[route, method][0]
    answer = client.generic(method.upper(), address, "" if body is None else json.dumps(body), "application/json")
    assert answer.status_code == status, answer.content


def test_a_right_without_being_staff_is_none(order: Order) -> None:
    eve = add_user("eve", email="eve@example.com")
    eve.user_permissions.set(Permission.objects.all())
    assert client_of(eve).get(f"/orders/{order.order_id}/").status_code == 404
    assert client_of(eve).patch("/products/MUG/", {"price": "0.01"}, format="json").status_code == 403


def test_staff_without_a_right_see_neither_archived_products_nor_the_console() -> None:
    add_product("OLD", active=False)
    bare = add_user("boss", is_staff=True, rights="")
    assert client_of(bare).get("/products/").json()["results"] == []
    browser = Client()
    browser.force_login(bare)
    assert [browser.get(f"/console/{page}").status_code for page in ("", "updates/")] == [403, 401]


def test_the_groups_that_come_with_the_service_have_rights_of_their_own() -> None:
    Group.objects.all().delete()
    import_module("app.migrations.0004_groups").make_groups(apps, None)
    rights = {group.name: set(group.permissions.values_list("codename", flat=True)) for group in Group.objects.all()}
    assert set(rights) == {"support", "catalogue", "operator"}
    assert "change_order" in rights["support"]
    assert "change_product" not in rights["support"]
    assert rights["catalogue"] == {"view_product", "add_product", "change_product", "delete_product"}
    assert "change_message" in rights["operator"]
    assert not any("order" in right for right in rights["operator"])
