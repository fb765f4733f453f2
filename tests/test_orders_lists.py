"""Lists: narrowed down, ordered, and read page by page without a gap or a repetition."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from orders.models import Order, OrderItem, Product
from orders.pagination import KeysetPages
from tests.orders_shop import add_product, add_user, client_of, place_order

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return add_user()


def add_orders(user: User, number: int) -> list[Order]:
    """Add so many orders without lines, all of one moment and, but for the last two, one total."""
    now = timezone.now()
    orders = Order.objects.bulk_create(
        Order(user=user, currency="EUR", total="16.00" if n < number - 2 else n) for n in range(number)
    )
    Order.objects.update(created_at=now)
    return orders


def pages(client: APIClient, url: str, link: str = "next") -> Iterator[list[dict[str, Any]]]:
    """Every page from `url` on, as a client that follows its links sees them."""
    following: str | None = url
    while following:
        answer = client.get(following)
        assert answer.status_code == 200
        body = answer.json()
        yield body["results"]
        following = body[link]


@pytest.mark.parametrize("ordering", ["", "created_at", "-created_at", "total", "-total"])
def test_pages_join_without_a_gap_in_every_ordering_although_rows_are_alike(ada: User, ordering: str) -> None:
    add_orders(ada, 11)
    client = client_of(ada)
    url = f"/orders/?page_size=3&ordering={ordering}" if ordering else "/orders/?page_size=3"
    seen = [order["number"] for page in pages(client, url) for order in page]
    assert len(seen) == len(set(seen)) == 11
    totals = [float(order["total"]) for page in pages(client, url) for order in page]
    if "total" in ordering:
        assert totals == sorted(totals, reverse=ordering == "-total")


def test_the_way_back_is_the_way_there(ada: User) -> None:
    add_orders(ada, 10)
    client = client_of(ada)
    forward = list(pages(client, "/orders/?page_size=3"))
    url = "/orders/?page_size=3"
    while following := client.get(url).json()["next"]:
        url = following
    backward = list(pages(client, url, "previous"))
    assert [len(page) for page in forward] == [3, 3, 3, 1]
    assert backward == forward[::-1]


def test_more_rows_alike_than_rest_frameworks_own_cursor_could_pass(ada: User) -> None:
    add_orders(ada, 2105)
    seen = [
        order["number"] for page in pages(client_of(ada), "/orders/?page_size=100&ordering=total") for order in page
    ]
    assert len(seen) == len(set(seen)) == 2105


def test_what_is_placed_while_somebody_reads_on_is_not_in_the_way(ada: User) -> None:
    add_product(stock=100)
    before = [place_order(ada).number for _ in range(4)]
    reading = pages(client_of(ada), "/orders/?page_size=2")
    seen = [order["number"] for order in next(reading)]
    place_order(ada)
    seen += [order["number"] for order in next(reading)]
    assert seen == before[::-1]


def encoded(*parts: Any) -> str:
    return urlsafe_b64encode(json.dumps(parts).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "x", "%", "\N{SNOWMAN}", "", encoded(), encoded(False, "now", "1"),
        encoded(False, "2026-11-22T00:00:00+00:00", "x"),
        encoded(False, "2026-11-22T00:00:00+00:00"), encoded(False, 1, 2), encoded(False, "\0", "1"),
        encoded(False, "2026-11-22T00:00:00+00:00", "9" * 40), encoded(False, "0001-01-01T00:00:00+14:00", "1"),
        encoded(False, "9999-12-31T23:59:59-14:00", "1"), encoded({"a": 1}), urlsafe_b64encode(b"[" * 9999).decode(),
        urlsafe_b64encode(b"5").decode(), urlsafe_b64encode(b'{"a": 1}').decode(),
    ],
)  # fmt: skip
def test_a_cursor_that_is_none_is_refused(ada: User, cursor: str) -> None:
    add_orders(ada, 3)
    answer = client_of(ada).get("/orders/", {"cursor": cursor})
    assert answer.status_code in (200, 404)
    assert client_of(ada).get("/orders/", {"cursor": cursor, "ordering": "total"}).status_code in (200, 404)


def test_a_cursor_shows_nobody_the_orders_of_others(ada: User) -> None:
    add_orders(ada, 5)
    link = client_of(ada).get("/orders/?page_size=2").json()["next"]
    eve = client_of(add_user("eve", email="eve@example.com"))
    assert eve.get(link).json()["results"] == []


@pytest.mark.parametrize("size", ["0", "101", "1000", "-1", "x", "", "1" * 1000])
def test_a_page_of_another_size_than_1_to_100_is_refused(ada: User, size: str) -> None:
    answer = client_of(ada).get("/orders/", {"page_size": size})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == "page_size"


@pytest.mark.parametrize(("size", "expected"), [("1", 1), ("100", 60)])
def test_a_page_is_as_long_as_asked_for_within_bounds(ada: User, size: str, expected: int) -> None:
    add_orders(ada, 60)
    assert len(client_of(ada).get("/orders/", {"page_size": size}).json()["results"]) == expected
    assert KeysetPages.max_page_size == 100


def test_orders_are_found_by_status_and_time(ada: User) -> None:
    orders = add_orders(ada, 4)
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    for n, order in enumerate(orders):
        status = ["placed", "confirmed", "fulfilled", "cancelled"][n]
        Order.objects.filter(pk=order.pk).update(status=status, created_at=noon + timedelta(hours=n))

    def found(**parameters: Any) -> list[str]:
        return [order["status"] for order in client_of(ada).get("/orders/", parameters).json()["results"]]

    assert found(status="placed") == ["placed"]
    assert found(status=["placed", "cancelled"]) == ["cancelled", "placed"]
    assert found(created_after="2026-11-22T14:00:00Z") == ["cancelled", "fulfilled"]
    assert found(created_before="2026-11-22T14:00:00Z") == ["confirmed", "placed"]
    assert found(created_after="2026-11-22T14:00:00+01:00", created_before="2026-11-22T15:00:00+01:00") == ["confirmed"]
    assert found(created_after="2026-11-22T12:00:00Z", status="placed", ordering="created_at") == ["placed"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"status": "lost"}, {"confirmation": "x"}, {"created_after": "yesterday"}, {"created_after": "2026-02-30"},
        {"created_before": "0001-01-01T00:00:00+14:00"}, {"created_before": "9999-12-31T23:59:59-14:00"},
        {"ordering": "user"}, {"ordering": "password"}, {"created_after": "\0"},
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused(ada: User, parameters: dict[str, str]) -> None:
    assert client_of(ada).get("/orders/", parameters).status_code == 400


@pytest.mark.parametrize("parameters", [{}, {"ordering": "created_at"}, {"status": ["placed", "confirmed"]}])
def test_any_page_of_my_orders_comes_from_an_index_without_sorting(ada: User, parameters: dict[str, Any]) -> None:
    """So the last page costs what the first one does."""
    for number in range(50):
        add_orders(add_user(f"other-{number}"), 30)
    add_orders(ada, 30)
    client = client_of(ada)
    with CaptureQueriesContext(connection) as captured:
        first = client.get("/orders/", {**parameters, "page_size": 10}).json()
        client.get(first["next"])
    of_first, of_second = [query["sql"] for query in captured if 'FROM "orders_order"' in query["sql"]]
    for statement in (of_first, of_second):
        plan = plan_of(statement)
        assert "order_of_user_newest" in plan
        assert "sort" not in plan.lower()
        assert "temp b-tree" not in plan.lower()
    index_condition = plan.partition("Index Cond")[2] if connection.vendor == "postgresql" else plan
    assert "created_at" in index_condition, "a page has to begin where the last one ended"


def plan_of(statement: str) -> str:
    """How the database would run the statement on tables larger than a test's."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        if connection.vendor == "postgresql":
            # With few rows reading and sorting all is cheaper. The question is whether there is a way without.
            for way in ("sort", "incremental_sort", "seqscan", "bitmapscan"):
                cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute(("EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN ") + statement)
        return "\n".join(str(row) for row in cursor.fetchall())


@pytest.mark.parametrize(
    "path", ["/orders/", "/orders/{order_id}/", "/orders/{order_id}/events/", "/products/", "/products/MUG/"]
)
@pytest.mark.parametrize("is_staff", [False, True])
def test_no_route_takes_more_queries_for_more_rows(path: str, is_staff: bool) -> None:
    user = add_user(is_staff=is_staff)
    client = client_of(user)
    add_product("MUG", stock=1000)
    order = place_order(user, {"MUG": 1})
    url = path.format(order_id=order.order_id)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url).status_code == 200
        return sum(query["sql"].startswith("SELECT") for query in captured)

    before = queries()
    for n in range(10):
        product = add_product(f"SKU-{n}", stock=1000)
        OrderItem.objects.create(order=order, product=product, sku=product.sku, name="", unit_price=1, quantity=1)
        order.events.create(kind="note_changed", by=user)
        place_order(add_user(f"customer{n}"), {"MUG": 1, f"SKU-{n}": 1})
        place_order(user, {"MUG": 1, f"SKU-{n}": 1})
    assert queries() == before
    assert Product.objects.count() == 11
