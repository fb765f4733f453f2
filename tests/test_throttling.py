"""Limits by user and by address, kept in the database: every web process sees what the others have counted."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import DatabaseError
from django.test import override_settings
from rest_framework.test import APIClient

from app.api import throttling
from app.models import Throttle
from app.tasks import forget_expired
from orders.models import Order
from tests.harness.crowd import at_once
from tests.orders_shop import add_product, add_user, client_of, post_order, tasks_run_at_once

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def without_a_broker() -> Iterator[None]:
    throttling._unreported.clear()
    with tasks_run_at_once():
        yield


def limits(**chosen: int) -> Any:
    return override_settings(THROTTLES=dict.fromkeys(settings.THROTTLES, 0) | chosen)


def assert_refused(answer: Any) -> None:
    assert answer.status_code == 429
    assert answer["Content-Type"] == "application/problem+json"
    assert 1 <= int(answer["Retry-After"]) <= throttling.PERIOD_SECONDS


def test_a_user_may_post_so_many_orders_in_a_minute_and_read_on() -> None:
    add_product(stock=10)
    ada, eve = client_of(add_user()), client_of(add_user("eve", email="eve@example.com"))
    with limits(orders=2):
        assert [post_order(ada, {"MUG": 1}).status_code for _ in range(2)] == [201, 201]
        assert_refused(post_order(ada, {"MUG": 1}))
        assert ada.get("/orders/").status_code == 200
        assert post_order(eve, {"MUG": 1}).status_code == 201
        Throttle.objects.update(ends_at=time.time())
        assert post_order(ada, {"MUG": 1}).status_code == 201
    assert Order.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_a_refused_order_counts_although_its_transaction_was_undone() -> None:
    ada = client_of(add_user())
    with limits(orders=2):
        assert [post_order(ada, {"NONE": 1}).status_code for _ in range(2)] == [400, 400]
        assert_refused(post_order(ada, {"NONE": 1}))


def test_an_address_may_read_so_often_without_a_login() -> None:
    ada = client_of(add_user())
    with limits(anonymous=3):
        assert [APIClient().get("/products/").status_code for _ in range(3)] == [200] * 3
        assert_refused(APIClient().get("/products/"))
        assert APIClient(REMOTE_ADDR="192.0.2.7").get("/products/").status_code == 200
        assert ada.get("/products/").status_code == 200


def test_a_forged_address_is_not_believed() -> None:
    with limits(anonymous=1):
        assert APIClient().get("/products/").status_code == 200
        assert_refused(APIClient().get("/products/", headers={"x-forwarded-for": "192.0.2.7"}))


def test_a_large_limit_costs_a_write_for_every_tenth_request() -> None:
    add_user()
    with limits(anonymous=throttling.LARGE_LIMIT):
        for _ in range(9):
            APIClient().get("/products/")
        assert not Throttle.objects.exists()
        APIClient().get("/products/")
        assert Throttle.objects.get().hits == throttling.REPORT


@pytest.mark.parametrize("address", ["/auth/token/", "/auth/jwt/"])
@pytest.mark.django_db(transaction=True)
def test_passwords_can_be_tried_so_often_and_no_more(address: str) -> None:
    add_user("ada", password="a password")
    with limits(logins=3):
        for _ in range(3):
            wrong = APIClient().post(address, {"username": "ada", "password": "wrong"}, format="json")
            assert wrong.status_code in (400, 401)
        assert_refused(APIClient().post(address, {"username": "ada", "password": "a password"}, format="json"))


@pytest.mark.parametrize("address", ["/auth/login/", "/admin/login/"])
def test_the_login_pages_share_that_limit(address: str) -> None:
    with limits(logins=1):
        APIClient().post("/auth/jwt/", {"username": "ada", "password": "wrong"}, format="json")
        assert_refused(APIClient().post(address, {"username": "ada", "password": "wrong"}))
        assert APIClient().get(address).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_requests_at_the_same_moment_are_all_counted() -> None:
    totals = at_once(lambda: throttling.count("somebody")[0] for _ in range(10))
    assert sorted(totals) == list(range(1, 11))


def test_an_order_is_answered_even_if_it_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(key: str, limit: int) -> None:
        raise DatabaseError("no")

    monkeypatch.setattr("app.api.limits.report", fail)
    add_product()
    with limits(orders=1):
        assert post_order(client_of(add_user()), {"MUG": 1}).status_code == 201


def test_what_has_run_out_is_forgotten() -> None:
    throttling.count("old")
    Throttle.objects.update(ends_at=time.time() - 1)
    throttling.count("young")
    forget_expired()
    assert [kept.key for kept in Throttle.objects.all()] == ["young"]
