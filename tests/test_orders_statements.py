"""How many statements an order costs: each is a round trip, and work for the one database that all processes share."""

import re
from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from orders.models import Order, OrderEvent, OrderItem
from tests.orders_shop import add_product, add_user, client_of, post_order
from tests.outbox_rows import again, take
from tests.worker import run

pytestmark = pytest.mark.django_db

PLACING = [
    "SELECT app_apitoken",
    "SELECT app_throttle",
    "SELECT orders_product",
    "UPDATE orders_product",
    "INSERT orders_order",
    "INSERT orders_orderitem",
    "INSERT orders_orderevent",
    "INSERT outbox_message",
]
WITH_A_KEY = [*PLACING[:2], "SELECT orders_idempotencykey", *PLACING[2:], "INSERT orders_idempotencykey"]
SENDING = ["SELECT orders_orderitem", "UPDATE orders_order", "INSERT orders_orderevent", "UPDATE outbox_message"]


def statements_of(work: Callable[[], object]) -> list[str]:
    """What is asked of the database, without the beginnings and ends of transactions, and locks by number."""
    with CaptureQueriesContext(connection) as captured:
        work()
    texts = [each["sql"].replace('"', "") for each in captured.captured_queries]
    found = [
        re.match(r"(SELECT|UPDATE|INSERT|DELETE)\b.*?\b((?:auth|orders|outbox|app)\w*_\w+)", text, re.DOTALL)
        for text in texts
        if not re.match(r"BEGIN|COMMIT|SAVEPOINT|RELEASE|SELECT pg_try", text)
    ]
    return [f"{each[1]} {each[2]}" if each else "something else" for each in found]


@pytest.mark.parametrize("lines", [1, 20])
@pytest.mark.parametrize(("headers", "expected"), [({}, PLACING), ({"Idempotency-Key": "1"}, WITH_A_KEY)])
def test_placing_an_order_takes_as_many_for_one_line_as_for_twenty(
    settings: Settings, lines: int, headers: dict[str, str], expected: list[str]
) -> None:
    settings.THROTTLES = dict.fromkeys(settings.THROTTLES, 1000)
    quantities = {add_product(f"SKU-{number}").sku: 1 for number in range(lines)}
    items = [{"product": sku, "quantity": quantity} for sku, quantity in quantities.items()]
    client = client_of(add_user())

    def post() -> None:
        assert client.post("/orders/", {"items": items}, format="json", headers=headers).status_code == 201

    assert statements_of(post) == expected
    assert OrderItem.objects.count() == lines


@pytest.mark.parametrize("lines", [1, 20])
def test_sending_a_confirmation_takes_as_many_for_one_line_as_for_twenty(lines: int) -> None:
    post_order(client_of(add_user()), {add_product(f"SKU-{number}").sku: 1 for number in range(lines)})
    (message_id,) = take()
    claim = again(message_id)
    assert statements_of(lambda: run(claim)) == SENDING


def test_what_was_written_is_what_is_answered() -> None:
    """The answer is made of what was written, and not read again."""
    add_product("MUG", price="16.00")
    add_product("BEANS", price="24.90")
    client = client_of(add_user())
    answer = post_order(client, {"MUG": 2, "BEANS": 1}, note="Ring twice.").json()
    assert client.get(f"/orders/{answer['order_id']}/").json() == answer
    order = Order.objects.get()
    assert str(order.confirmation_task_id) == str(take()[0])
    kinds = OrderEvent.objects.filter(order=order).values_list("kind", "by__username")
    assert list(kinds) == [("placed", "ada"), ("confirmation_queued", "ada")]
