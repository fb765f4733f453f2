"""What may become of an order, who may see to it, and what it does to the stock."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from rest_framework.test import APIClient

from orders.errors import IllegalMoveError
from orders.models import Order, Product
from outbox.models import Message
from tests.orders_shop import add_product, add_user, client_of, place_order, stock_of
from tests.worker import run_due_tasks

pytestmark = pytest.mark.django_db

Status = Order.Status


@pytest.fixture
def ada() -> User:
    add_product("MUG", stock=10)
    add_product("BEANS", stock=5)
    return add_user()


@pytest.fixture
def staff() -> User:
    return add_user("boss", email="boss@example.com", is_staff=True)


def order_in(status: str, user: User) -> Order:
    order = place_order(user, {"MUG": 2, "BEANS": 5})
    Order.objects.filter(pk=order.pk).update(status=status)
    order.refresh_from_db()
    return order


def post(user: User, order: Order, action: str, **body: Any) -> Any:
    return client_of(user).post(f"/orders/{order.order_id}/{action}/", body, format="json")


def test_the_whole_table_of_moves(ada: User) -> None:
    allowed = {
        (Status.CONFIRMED, Status.FULFILLED),
        (Status.PLACED, Status.CANCELLED),
        (Status.CONFIRMED, Status.CANCELLED),
    }
    moves: dict[Status, Callable[[Order], None]] = {
        Status.FULFILLED: lambda order: order.fulfil(by=ada),
        Status.CANCELLED: lambda order: order.cancel(by=ada),
    }
    Product.objects.update(stock=1000)
    for before in Status:
        for after, move in moves.items():
            order = order_in(before, ada)
            if (before, after) in allowed:
                move(order)
                expected = after
            else:
                with pytest.raises(IllegalMoveError, match=f"is {before}"):
                    move(order)
                expected = before
            order.refresh_from_db()
            assert order.status == expected


def test_what_is_decided_upon_is_what_the_database_holds_and_not_what_was_read_before(ada: User) -> None:
    order = order_in(Status.CONFIRMED, ada)
    stale = Order.objects.get(pk=order.pk)
    order.fulfil(by=ada)
    with pytest.raises(IllegalMoveError):
        stale.cancel(by=ada)
    assert stock_of("MUG") == 8


def test_a_customer_cancels_with_a_reason_and_the_pieces_go_back(ada: User) -> None:
    order = order_in(Status.PLACED, ada)
    Product.objects.filter(sku="BEANS").update(active=False)
    answer = post(ada, order, "cancel", reason="Too many mugs.")
    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    assert answer.json()["confirmation"]["state"] == "withdrawn"
    assert (stock_of("MUG"), stock_of("BEANS")) == (10, 5)
    run_due_tasks()
    (told,) = mail.outbox
    assert told.to == ["ada@example.com"]
    assert told.subject.startswith(f"Your order {order.number} is cancelled")
    assert "as you asked" in told.body
    assert "Too many mugs." in told.body


def test_staff_cancel_and_the_customer_is_told(ada: User, staff: User) -> None:
    order = order_in(Status.CONFIRMED, ada)
    assert post(staff, order, "cancel").status_code == 200
    run_due_tasks()
    (told,) = mail.outbox
    assert told.to == ["ada@example.com"]
    assert "we have had to cancel" in told.body
    assert "Reason" not in told.body


def test_what_cannot_be_is_a_409_that_says_why_and_changes_nothing(ada: User) -> None:
    order = order_in(Status.CANCELLED, ada)
    answer = post(ada, order, "cancel")
    assert answer.status_code == 409
    assert answer.json()["detail"] == f"Order {order.number} is cancelled, so it cannot be cancelled now."
    assert stock_of("MUG") == 8
    assert not Message.objects.exists()


def test_a_reason_is_a_short_text(ada: User) -> None:
    order = order_in(Status.PLACED, ada)
    reasons: list[Any] = ["x" * 501, "a\0b", [], None]
    for reason in reasons:
        assert post(ada, order, "cancel", reason=reason).status_code == 400
    order.refresh_from_db()
    assert order.status == "placed"


def test_staff_fulfil_what_is_confirmed(ada: User, staff: User) -> None:
    order = order_in(Status.PLACED, ada)
    assert post(staff, order, "fulfil").status_code == 409
    Order.objects.update(status=Status.CONFIRMED)
    assert post(staff, order, "fulfil").json()["status"] == "fulfilled"
    assert post(ada, order, "cancel").status_code == 409


@pytest.mark.parametrize("action", ["fulfil", "resend-confirmation"])
def test_customers_cannot_do_what_staff_do(ada: User, action: str) -> None:
    order = order_in(Status.CONFIRMED, ada)
    assert post(ada, order, action).status_code == 403
    assert APIClient().post(f"/orders/{order.order_id}/{action}/").status_code == 401


@pytest.mark.parametrize("path", ["", "events/", "cancel/"])
def test_an_order_of_somebody_else_does_not_exist(ada: User, path: str) -> None:
    order = order_in(Status.PLACED, ada)
    eve = client_of(add_user("eve", email="eve@example.com"))
    method = eve.post if path == "cancel/" else eve.get
    assert method(f"/orders/{order.order_id}/{path}").status_code == 404
    order.refresh_from_db()
    assert order.status == "placed"


def test_the_note_is_all_that_can_be_changed_and_only_while_placed(ada: User) -> None:
    order = order_in(Status.PLACED, ada)
    client = client_of(ada)
    url = f"/orders/{order.order_id}/"
    more = client.patch(url, {"note": "Ring twice.", "status": "fulfilled", "total": "0.01"}, format="json")
    assert more.status_code == 400
    answer = client.patch(url, {"note": "Ring twice."}, format="json")
    assert answer.status_code == 200
    assert (answer.json()["note"], answer.json()["status"], answer.json()["total"]) == (
        "Ring twice.",
        "placed",
        "112.00",
    )
    assert client.patch(url, {"status": "fulfilled"}, format="json").status_code == 400
    Order.objects.update(status=Status.CONFIRMED)
    assert client.patch(url, {"note": "Too late."}, format="json").status_code == 409
    order.refresh_from_db()
    assert order.note == "Ring twice."
