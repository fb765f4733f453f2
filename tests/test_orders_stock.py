"""Many customers at once, against the real database: nothing is sold twice, and nobody waits for ever."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connections
from rest_framework.test import APIClient

from orders.models import Order, OrderItem, Product
from tests.orders_shop import add_product, add_user, client_of, place_order, post_order, stock_of, tasks_run_at_once

pytestmark = pytest.mark.django_db(transaction=True)

CLIENTS = 20


@pytest.fixture(autouse=True)
def without_a_broker() -> Iterator[None]:
    with tasks_run_at_once():
        yield


def at_once(action: Callable[[APIClient, int], int], number: int = CLIENTS) -> Counter[int]:
    """Let so many customers do `action(client, n)` at the same moment; count the statuses they were answered."""
    clients = [client_of(add_user(f"customer{n}")) for n in range(number)]
    barrier = Barrier(number)

    def act(n: int) -> int:
        try:
            barrier.wait(timeout=30)
            return action(clients[n], n)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(number) as pool:
        return Counter(pool.map(act, range(number)))


def status_of_order(client: APIClient, *skus: str, quantity: int = 1) -> int:
    return int(post_order(client, dict.fromkeys(skus, quantity)).status_code)


def test_20_clients_and_10_pieces_make_10_orders() -> None:
    add_product("MUG", stock=10)
    statuses = at_once(lambda client, n: status_of_order(client, "MUG"))
    assert statuses == {201: 10, 400: 10}
    assert stock_of("MUG") == 0
    assert Order.objects.count() == OrderItem.objects.count() == 10


# SQLite lets one write at a time: the fiftieth would wait for longer than it may on a busy machine.
@pytest.mark.databases("postgresql")
def test_50_clients_and_10_pieces_make_10_orders() -> None:
    add_product("MUG", stock=10)
    statuses = at_once(lambda client, n: status_of_order(client, "MUG"), 50)
    assert statuses == {201: 10, 400: 40}
    assert stock_of("MUG") == 0


def test_no_deadlock_whatever_the_order_of_the_lines() -> None:
    skus = [f"SKU-{n}" for n in range(8)]
    for sku in skus:
        add_product(sku, stock=1000)

    def post_three(client: APIClient, n: int) -> int:
        rotated = skus[n % 8 :] + skus[: n % 8]
        lines = rotated if n % 2 else rotated[::-1]
        return max(status_of_order(client, *lines) for _ in range(3))

    assert at_once(post_three) == {201: CLIENTS}
    assert {stock_of(sku) for sku in skus} == {1000 - 3 * CLIENTS}


def test_no_deadlock_between_orders_and_cancellations_and_every_piece_is_back_in_the_end() -> None:
    skus = [f"SKU-{n}" for n in range(8)]
    for sku in skus:
        add_product(sku, stock=1000)

    def post_and_cancel(client: APIClient, n: int) -> int:
        lines = skus[n % 8 :] + skus[: n % 8]
        order_id = post_order(client, dict.fromkeys(lines if n % 2 else lines[::-1], 1)).json()["order_id"]
        return int(client.post(f"/orders/{order_id}/cancel/").status_code)

    assert at_once(post_and_cancel) == {200: CLIENTS}
    assert {stock_of(sku) for sku in skus} == {1000}


def test_an_order_that_is_cancelled_many_times_at_once_gives_its_pieces_back_once() -> None:
    add_product("MUG", stock=10)
    ada = add_user("ada")
    url = f"/orders/{place_order(ada, {'MUG': 3}).order_id}/cancel/"
    client = client_of(ada)
    assert at_once(lambda _, n: client.post(url).status_code) == {200: 1, 409: CLIENTS - 1}
    assert stock_of("MUG") == 10


def test_a_product_is_deleted_once_and_stays_deleted_whoever_changes_it_meanwhile() -> None:
    add_product("MUG", stock=1000)
    staff = client_of(add_user("boss", is_staff=True))
    ways: list[Callable[[], Any]] = [
        lambda: staff.delete("/products/MUG/"),
        lambda: staff.patch("/products/MUG/", {"price": "12.00"}, format="json"),
        lambda: staff.post("/products/MUG/stock/", {"change": 1}, format="json"),
    ]
    statuses = at_once(lambda _, n: int(ways[n % len(ways)]().status_code))
    assert set(statuses) <= {200, 204, 404}
    assert statuses[204] == 1
    assert not Product.objects.exists()


def test_a_product_is_either_ordered_or_deleted() -> None:
    """Whoever comes second is told so: neither is answered with an error of ours."""
    add_product("MUG", stock=1000)
    staff = client_of(add_user("boss", is_staff=True))

    def order_or_delete(client: APIClient, n: int) -> int:
        return staff.delete("/products/MUG/").status_code if n % 5 == 0 else status_of_order(client, "MUG")

    statuses = at_once(order_or_delete)
    assert set(statuses) <= {201, 204, 400, 404, 409}
    assert Product.objects.count() == (0 if statuses[204] else 1)
    assert OrderItem.objects.count() == statuses[201]


def test_orders_placed_at_once_have_different_numbers() -> None:
    add_product("MUG", stock=CLIENTS)
    assert at_once(lambda client, n: status_of_order(client, "MUG")) == {201: CLIENTS}
    assert len({order.number for order in Order.objects.all()}) == CLIENTS


def test_a_price_that_changes_meanwhile_never_splits_an_order() -> None:
    """Every order is charged, line by line and in its total, what the product cost at one moment."""
    product = add_product("MUG", price="1.00", stock=1000)

    def buy_or_reprice(client: APIClient, n: int) -> int:
        if n % 4 == 0:
            Product.objects.filter(pk=product.pk).update(price=n + 1)
            return 200
        return status_of_order(client, "MUG", quantity=3)

    repriced = len(range(0, CLIENTS, 4))
    assert at_once(buy_or_reprice) == {200: repriced, 201: CLIENTS - repriced}
    for order in Order.objects.prefetch_related("items"):
        (item,) = order.items.all()
        assert order.total == item.line_total == 3 * item.unit_price
