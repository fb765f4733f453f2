"""What an answer says beside its content: where a thing is, who may keep it, and in which format it is."""

from collections.abc import Iterator

import pytest
from django.test import Client
from rest_framework.test import APIClient

from tests.orders_shop import add_product, add_user, client_of, post_order, tasks_run_at_once

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def without_a_broker() -> Iterator[None]:
    with tasks_run_at_once():
        yield


def test_a_201_says_where_the_new_thing_is() -> None:
    staff = client_of(add_user("boss", email="boss@example.com", is_staff=True))
    made = staff.post("/products/", {"sku": "MUG", "name": "Mug", "price": "1.00", "stock": 5}, format="json")
    assert made["Location"] == "/products/MUG/"
    order = post_order(staff, {"MUG": 1})
    assert order["Location"] == f"/orders/{order.json()['order_id']}/"
    body = {"items": [{"product": "MUG", "quantity": 1}]}
    answers = [staff.post("/orders/", body, format="json", headers={"idempotency-key": "k"}) for _ in range(2)]
    assert answers[1]["Idempotent-Replayed"] == "true"
    assert answers[0]["Location"] == answers[1]["Location"]
    assert staff.get(answers[0]["Location"]).status_code == 200


def test_nobody_keeps_what_is_somebodys() -> None:
    add_product()
    ada = client_of(add_user("ada", password="a password"))
    login = {"username": "ada", "password": "a password"}
    for answer in (
        ada.get("/orders/"),
        ada.get("/orders/nothing/"),
        ada.get("/products/"),
        APIClient().post("/auth/token/", login, format="json"),
        APIClient().post("/auth/jwt/", login, format="json"),
        APIClient().post("/auth/jwt/", login | {"password": "wrong"}, format="json"),
    ):
        assert answer["Cache-Control"] == "no-store"
    assert not APIClient().get("/products/").has_header("Cache-Control")


@pytest.mark.parametrize("address", ["/products/", "/orders/", "/schema/"])
def test_a_format_that_there_is_not_is_a_406(address: str) -> None:
    client = client_of(add_user())
    assert client.get(address, {"format": "xml"}).status_code == 406
    assert client.get(address, {"format": "json"}).status_code == 200


def test_a_login_that_leads_nowhere_leads_to_the_start_page() -> None:
    add_user("ada", password="a password")
    answer = Client().post("/auth/login/", {"username": "ada", "password": "a password"})
    assert answer["Location"] == "/"
