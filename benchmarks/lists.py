"""Measures how long pages of a long list take, through all of Django and REST framework, without a web server."""

import json
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from statistics import median

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from rest_framework.test import APIClient

from orders.models import Order, OrderItem, Product

ORDERS, CHUNK = 100_000, 5_000

#: The default size of a page.
PAGE_SIZE = 50


@dataclass(frozen=True)
class Page:
    name: str
    milliseconds: float
    """Median."""


def measure(seconds: float) -> list[Page]:
    user = User.objects.create_user("collector", "collector@example.com")
    add_orders(user)
    # The last page begins after an order and is full, like every other page.
    before_last_page = Order.objects.order_by("created_at", "id")[PAGE_SIZE]
    cursor = f"cursor={cursor_at(before_last_page)}"
    urls = {
        "first page": "/orders/",
        "last page": f"/orders/?{cursor}",
        "first page, of a status that 1 in 10 has": "/orders/?status=fulfilled",
        "first page, by total": "/orders/?ordering=total",
    }
    client = APIClient(headers={"Host": "localhost"})
    client.force_authenticate(user)
    times: dict[str, list[float]] = {name: [] for name in urls}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for name, url in urls.items():  # in turn, so that a noisy neighbour disturbs them all alike
            times[name].append(milliseconds(client, url))
    return [Page(name, median(each)) for name, each in times.items()]


def add_orders(user: User) -> None:
    """Add ORDERS orders with one line each."""
    product = Product.objects.create(sku="A", name="A", price="16.00", stock=0)
    for _ in range(0, ORDERS, CHUNK):
        new = (Order(user=user, currency="EUR", total=product.price) for _ in range(CHUNK))
        items = []
        for order in Order.objects.bulk_create(new):
            items.append(OrderItem.snapshot(product, 1))
            items[-1].order = order
        OrderItem.objects.bulk_create(items)
    Order.objects.alias(digit=F("id") % 10).filter(digit=7).update(status=Order.Status.FULFILLED)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def cursor_at(order: Order) -> str:
    """Return the cursor of the page that begins after `order`."""
    return urlsafe_b64encode(json.dumps([False, str(order.created_at), str(order.pk)]).encode()).decode()


def milliseconds(client: APIClient, url: str) -> float:
    begun = time.perf_counter()
    answer = client.get(url)
    taken = time.perf_counter() - begun
    assert len(answer.json()["results"]) == PAGE_SIZE, answer.content  # noqa: S101
    return taken * 1000
