"""Idempotency-Key: an order that is sent twice is placed once, whatever happened to the first answer."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.db import connection
from django.urls import include, path
from django.utils import timezone
from rest_framework.serializers import BaseSerializer
from rest_framework.test import APIClient

from orders.idempotency import KEEP
from orders.models import IdempotencyKey, Order
from orders.tasks import prune_idempotency_keys
from orders.views import OrderViewSet
from tests.harness.crowd import at_once
from tests.orders_shop import add_product, add_user, client_of, stock_of, tasks_run_at_once

pytestmark = pytest.mark.django_db

MUG = {"items": [{"product": "MUG", "quantity": 1}]}
TWO_MUGS = {"items": [{"product": "MUG", "quantity": 2}]}


@pytest.fixture(autouse=True)
def without_a_broker() -> Iterator[None]:
    with tasks_run_at_once():
        yield


@pytest.fixture
def ada(db: None) -> User:
    add_product("MUG", stock=10)
    return add_user()


def post(client: APIClient, key: str, body: Any = MUG) -> Any:
    return client.post("/orders/", body, format="json", headers={"Idempotency-Key": key})


def grow_old(age: timedelta) -> None:
    IdempotencyKey.objects.update(created_at=timezone.now() - age)


def test_the_same_request_gets_the_first_answer_and_has_no_second_effect(ada: User) -> None:
    client = client_of(ada)
    first, second = post(client, "a-key"), post(client, "a-key")
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert "Idempotent-Replayed" not in first
    assert second["Idempotent-Replayed"] == "true"
    assert (Order.objects.count(), stock_of("MUG"), len(mail.outbox)) == (1, 9, 1)


def test_the_same_json_in_another_order_is_the_same_request(ada: User) -> None:
    client = client_of(ada)
    post(client, "a-key")
    other = b'{"items":  [{"quantity": 1, "product": "MUG"}]}'
    answer = client.post("/orders/", other, content_type="application/json", headers={"Idempotency-Key": "a-key"})
    assert answer["Idempotent-Replayed"] == "true"


def test_another_request_with_the_same_key_is_a_422(ada: User) -> None:
    client = client_of(ada)
    post(client, "a-key")
    answer = post(client, "a-key", TWO_MUGS)
    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reused"
    assert Order.objects.count() == 1


def test_a_key_is_the_users_own(ada: User) -> None:
    eve = add_user("eve", email="eve@example.com")
    first, second = post(client_of(ada), "a-key"), post(client_of(eve), "a-key")
    assert first.json()["order_id"] != second.json()["order_id"]
    assert {order.user for order in Order.objects.all()} == {ada, eve}


def test_without_a_key_or_with_another_one_it_is_another_order(ada: User) -> None:
    client = client_of(ada)
    for key in ("one", "two"):
        assert post(client, key).status_code == 201
    for _ in range(2):
        assert client.post("/orders/", MUG, format="json").status_code == 201
    assert Order.objects.count() == 4


def test_a_refusal_is_not_kept(ada: User) -> None:
    client = client_of(ada)
    missing = {"items": [{"product": "BEANS", "quantity": 1}]}
    assert post(client, "a-key", missing).status_code == 400
    assert not IdempotencyKey.objects.exists()
    add_product("BEANS")
    answer = post(client, "a-key", missing)
    assert answer.status_code == 201
    assert "Idempotent-Replayed" not in answer


@pytest.mark.parametrize("key", ["", "x" * 256, "ä", "tab\tin it"])
def test_a_key_has_1_to_255_printable_characters(ada: User, key: str) -> None:
    answer = post(client_of(ada), key)
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()["detail"]
    assert post(client_of(ada), "x" * 255).status_code == 201


def test_a_key_is_forgotten_after_24_hours(ada: User) -> None:
    client = client_of(ada)
    first = post(client, "a-key")
    grow_old(KEEP - timedelta(minutes=1))
    assert post(client, "a-key").json() == first.json()
    grow_old(KEEP)
    assert post(client, "a-key").json()["order_id"] != first.json()["order_id"]


def test_old_keys_are_pruned_in_chunks_and_young_ones_are_kept(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orders.idempotency.PRUNE_CHUNK", 2)
    client = client_of(ada)
    for key in ("1", "2", "3"):
        post(client, key)
    grow_old(KEEP)
    post(client, "young")
    assert prune_idempotency_keys() == 3
    assert [kept.key for kept in IdempotencyKey.objects.all()] == ["young"]


@pytest.mark.django_db(transaction=True)
def test_ten_simultaneous_posts_with_one_key_make_one_order(ada: User) -> None:
    clients = [client_of(ada) for _ in range(10)]
    answers = at_once(partial(post, client, "a-key") for client in clients)
    assert {answer.status_code for answer in answers} <= {201, 409}
    placed = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.json()["order_id"] for answer in placed}) == 1
    assert sum("Idempotent-Replayed" not in answer for answer in placed) == 1
    assert (Order.objects.count(), stock_of("MUG"), len(mail.outbox)) == (1, 9, 1)
    assert post(clients[0], "a-key")["Idempotent-Replayed"] == "true"


class SlowOrders(OrderViewSet):
    """Stays in the middle of an order until it is told to go on."""

    reached, go_on = threading.Event(), threading.Event()

    def perform_create(self, serializer: BaseSerializer[Order]) -> None:
        super().perform_create(serializer)
        self.reached.set()
        assert self.go_on.wait(30)


urlpatterns = [path("slow/", SlowOrders.as_view({"post": "create"})), path("", include("app.urls"))]


@pytest.mark.django_db(transaction=True)
@pytest.mark.databases("postgresql")  # on SQLite the second one waits its turn
@pytest.mark.urls(__name__)
def test_while_the_first_request_runs_the_second_is_told_to_come_back(ada: User) -> None:
    client, first = client_of(ada), {}

    def post_slowly() -> None:
        first["answer"] = client.post("/slow/", MUG, format="json", headers={"Idempotency-Key": "a-key"})
        connection.close()

    thread = threading.Thread(target=post_slowly)
    thread.start()
    try:
        assert SlowOrders.reached.wait(30)
        early = post(client_of(ada), "a-key")
    finally:
        SlowOrders.go_on.set()
        thread.join(30)
    assert (early.status_code, early["Retry-After"]) == (409, "1")
    assert first["answer"].status_code == 201
    assert Order.objects.count() == 1
