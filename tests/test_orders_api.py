"""The HTTP API: what a customer, a stranger and staff can do and see."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from orders.models import Order
from orders.pagination import KeysetPages
from tests.orders_shop import add_product, add_user, client_of, place_order, post_order, stock_of, tasks_run_at_once

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def without_a_broker() -> Iterator[None]:
    with tasks_run_at_once():
        yield


def test_an_order_is_answered_with_everything_about_it() -> None:
    add_product("MUG", price="16.00", name="Mug, blue")
    add_product("BEANS", price="24.90", name="Coffee beans")
    answer = post_order(client_of(add_user()), {"MUG": 2, "BEANS": 1}, note="Ring twice.")

    assert answer.status_code == 201
    order = Order.objects.get()
    body = answer.json()
    assert body.pop("created_at")
    assert body.pop("updated_at")
    assert body == {
        "order_id": str(order.order_id),
        "number": f"A-{order.pk:06d}",
        "customer": "ada",
        "status": "placed",
        "currency": "EUR",
        "total": "56.90",
        "note": "Ring twice.",
        "confirmation": {"state": "pending", "attempts": 0, "sent_at": None},
        "items": [
            {
                "product": "MUG",
                "name": "Mug, blue",
                "unit_price": "16.00",
                "quantity": 2,
                "line_total": "32.00",
            },
            {
                "product": "BEANS",
                "name": "Coffee beans",
                "unit_price": "24.90",
                "quantity": 1,
                "line_total": "24.90",
            },
        ],
    }


def test_an_order_takes_its_pieces_from_the_stock() -> None:
    add_product("MUG", stock=10)
    add_product("BEANS", stock=5)
    post_order(client_of(add_user()), {"MUG": 3, "BEANS": 5})
    assert (stock_of("MUG"), stock_of("BEANS")) == (7, 0)


def test_a_client_cannot_set_whose_the_order_is_its_status_or_a_price() -> None:
    add_product("MUG", price="16.00")
    ada, eve = add_user(), add_user("eve", email="eve@example.com")
    whose = {"items": [{"product": "MUG", "quantity": 1}], "user": ada.pk}
    assert client_of(eve).post("/orders/", whose, format="json").status_code == 400
    line = {"product": "MUG", "quantity": 1, "unit_price": "0.01", "line_total": "0.01", "name": "Free"}
    forged = {"status": "fulfilled", "total": "0.01", "currency": "XXX", "number": "A-1"}
    answer = client_of(eve).post("/orders/", {"items": [line], **forged}, format="json")

    assert answer.status_code == 201
    order = Order.objects.get()
    item = order.items.get()
    assert (order.user, order.status, order.currency, order.total) == (eve, "confirmed", "EUR", Decimal("16.00"))
    assert (item.name, item.unit_price) == ("The MUG", Decimal("16.00"))


def test_a_customer_sees_own_orders_only_the_newest_first() -> None:
    add_product()
    ada, eve = add_user(), add_user("eve", email="eve@example.com")
    first, second = place_order(ada), place_order(ada)
    place_order(eve)
    listed = client_of(ada).get("/orders/").json()
    assert [order["number"] for order in listed["results"]] == [second.number, first.number]
    assert listed["next"] is listed["previous"] is None


def test_staff_see_all_orders() -> None:
    add_product()
    orders = [place_order(add_user()), place_order(add_user("eve", email="eve@example.com"))]
    staff = client_of(add_user("boss", is_staff=True))
    listed = staff.get("/orders/").json()["results"]
    assert {order["number"] for order in listed} == {order.number for order in orders}
    assert staff.get(f"/orders/{orders[0].order_id}/").status_code == 200


def test_an_order_can_be_read_by_its_customer_and_does_not_exist_for_others() -> None:
    add_product()
    ada, eve = add_user(), add_user("eve", email="eve@example.com")
    order = place_order(ada)
    url = f"/orders/{order.order_id}/"
    assert client_of(ada).get(url).json()["number"] == order.number
    assert client_of(eve).get(url).status_code == 404
    assert APIClient().get(url).status_code == 401


@pytest.mark.parametrize("name", ["1", "A-000001", "none", "00000000-0000-0000-0000-000000000000"])
def test_an_order_is_found_by_its_uuid_only(name: str) -> None:
    add_product()
    ada = add_user()
    place_order(ada)
    assert client_of(ada).get(f"/orders/{name}/").status_code == 404


def test_without_authentication_there_are_no_orders_but_products() -> None:
    add_product()
    anonymous = APIClient()
    assert anonymous.get("/orders/").status_code == 401
    assert post_order(anonymous, {"MUG": 1}).status_code == 401
    assert anonymous.get("/products/").status_code == 200


def test_products_on_sale_are_listed_with_price_and_stock() -> None:
    add_product("MUG", price="16.00", stock=3, name="Mug", description="Blue.")
    add_product("OLD", active=False)
    assert APIClient().get("/products/").json()["results"] == [
        {
            "sku": "MUG",
            "name": "Mug",
            "description": "Blue.",
            "price": "16.00",
            "currency": "EUR",
            "stock": 3,
            "active": True,
        }
    ]


@pytest.mark.parametrize("is_staff", [False, True])
def test_history_can_be_neither_replaced_nor_deleted(is_staff: bool) -> None:
    add_product()
    ada = add_user(is_staff=is_staff)
    url = f"/orders/{place_order(ada).order_id}/"
    client = client_of(ada)
    for method in (client.put, client.delete):
        assert method(url, {}, format="json").status_code == 405
        assert method("/orders/", {}, format="json").status_code == 405


def test_a_token_is_given_for_name_and_password() -> None:
    add_product()
    add_user("ada", password="a password")
    client = APIClient()
    answer = client.post("/auth/token/", {"username": "ada", "password": "a password"}, format="json")
    client.credentials(HTTP_AUTHORIZATION=f"Token {answer.json()['token']}")
    assert post_order(client, {"MUG": 1}).status_code == 201
    wrong = client.post("/auth/token/", {"username": "ada", "password": "wrong"}, format="json")
    assert wrong.status_code == 401


def test_a_session_will_do_as_well_but_not_without_its_csrf_token() -> None:
    add_product()
    add_user("ada", password="a password")
    client = APIClient(enforce_csrf_checks=True)
    assert client.login(username="ada", password="a password")
    assert client.get("/orders/").status_code == 200
    assert post_order(client, {"MUG": 1}).status_code == 403


def test_the_browsable_pages_work() -> None:
    add_product()
    ada = add_user()
    order = place_order(ada)
    client = APIClient()
    client.force_login(ada)
    for url in ("/orders/", f"/orders/{order.order_id}/", "/products/"):
        page = client.get(url, headers={"accept": "text/html"})
        assert page.status_code == 200
        assert page["content-type"].startswith("text/html")


def test_pages_join_without_a_gap_even_if_orders_share_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeysetPages, "page_size", 2)
    add_product(stock=7)
    ada = add_user()
    orders = [place_order(ada) for _ in range(7)]
    moment = timezone.now()
    Order.objects.filter(pk__in=[order.pk for order in orders[:5]]).update(created_at=moment)
    Order.objects.filter(pk=orders[6].pk).update(created_at=moment + timedelta(days=1))
    expected = [order.number for order in Order.objects.order_by("-created_at", "-id")]

    client, url, seen = client_of(ada), "/orders/", []
    while url:
        page = client.get(url).json()
        assert len(page["results"]) <= 2
        seen += [order["number"] for order in page["results"]]
        url = page["next"]
    assert seen == expected


@pytest.mark.parametrize("url", ["/orders/", "/products/"])
@pytest.mark.parametrize("cursor", ["x", "cD1nYXJiYWdl", "cD0lMDA=", "bz05OTk5OTk5OTk5OTk5OTk5OTk5OTk5"])
def test_a_cursor_that_was_tampered_with_finds_nothing_or_is_refused(url: str, cursor: str) -> None:
    # In turn: no base64; 'p=garbage'; 'p=' and a NUL character; an offset of 24 digits.
    answer = client_of(add_user()).get(url, {"cursor": cursor})
    assert answer.status_code in (200, 404)
