"""The back office, used through its pages."""

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from orders.models import Order, Product
from tests.orders_shop import add_product, add_user, place_order, stock_of
from tests.worker import run_due_tasks

pytestmark = pytest.mark.django_db

PRODUCTS, ORDERS = "/admin/orders/product/", "/admin/orders/order/"


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(add_user("boss", email="boss@example.com", is_staff=True, is_superuser=True))
    return client


def form_of(product: Product, **changes: object) -> dict[str, object]:
    """Return what the browser sends for the product's form."""
    fields = {"name": product.name, "description": "", "price": product.price, "currency": product.currency}
    return {**fields, "active": "on", "change_stock_by": "", **changes}


def test_a_product_is_added_with_a_stock(admin: Client) -> None:
    added = {"sku": "MUG", "name": "Mug", "price": "16.00", "currency": "EUR", "active": "on", "stock": "5"}
    assert admin.post(f"{PRODUCTS}add/", added).status_code == 302
    assert stock_of("MUG") == 5


@pytest.mark.parametrize(("field", "value"), [("stock", "-1"), ("price", "-1"), ("sku", "A B"), ("currency", "euro")])
def test_an_impossible_product_is_refused_in_the_form(admin: Client, field: str, value: str) -> None:
    added = {"sku": "MUG", "name": "Mug", "price": "16.00", "currency": "EUR", "stock": "5", field: value}
    assert admin.post(f"{PRODUCTS}add/", added).status_code == 200
    assert not Product.objects.exists()


def test_editing_a_product_leaves_alone_what_orders_take_meanwhile(admin: Client) -> None:
    product = add_product(stock=10)
    page = f"{PRODUCTS}{product.pk}/change/"
    admin.get(page)
    place_order(add_user(), {"MUG": 4})
    assert admin.post(page, form_of(product, name="Cup")).status_code == 302
    assert Product.objects.get().name == "Cup"
    assert stock_of("MUG") == 6


@pytest.mark.parametrize(("change", "left"), [("5", 15), ("-10", 0), ("0", 10), ("", 10)])
def test_stock_is_added_to_or_taken_from(admin: Client, change: str, left: int) -> None:
    product = add_product(stock=10)
    answer = admin.post(f"{PRODUCTS}{product.pk}/change/", form_of(product, change_stock_by=change))
    assert answer.status_code == 302
    assert stock_of("MUG") == left


def test_more_than_there_is_cannot_be_taken(admin: Client) -> None:
    product = add_product(stock=10)
    answer = admin.post(f"{PRODUCTS}{product.pk}/change/", form_of(product, change_stock_by="-11"))
    assert "There are only 10 pieces to take from." in answer.content.decode()
    assert stock_of("MUG") == 10


def test_an_order_can_be_looked_at_and_not_changed(admin: Client) -> None:
    add_product(name="Mug, blue", price="16.00")
    order = place_order(add_user(), note="Ring twice.")
    page = f"{ORDERS}{order.pk}/change/"
    shown = admin.get(page).content.decode()
    for part in (order.number, str(order.order_id), "Mug, blue", "16.00 EUR", "Ring twice."):
        assert part in shown
    assert 'name="_save"' not in shown
    assert admin.post(page, {"note": "forged"}).status_code == 403
    assert admin.get(f"{ORDERS}add/").status_code == 403
    assert admin.post(f"{ORDERS}{order.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Order.objects.get().note == "Ring twice."


def test_the_timeline_of_an_order_is_shown_with_who_did_what(admin: Client) -> None:
    add_product()
    ada = add_user()
    order = place_order(ada)
    order.cancel(by=ada, reason="Too many mugs.")
    shown = admin.get(f"{ORDERS}{order.pk}/change/").content.decode()
    for part in ("Timeline", "Placed", "Cancelled", "ada (customer)", "Too many mugs."):
        assert part in shown


def act(admin: Client, action: str, *orders: Order) -> str:
    chosen = {"action": action, "_selected_action": [order.pk for order in orders]}
    return admin.post(ORDERS, chosen, follow=True).content.decode()


def test_orders_are_fulfilled_where_their_status_allows(admin: Client) -> None:
    add_product()
    ada = add_user()
    placed, confirmed = place_order(ada), place_order(ada)
    Order.objects.filter(pk=confirmed.pk).update(status="confirmed")
    told = act(admin, "fulfil", placed, confirmed)
    assert f"{confirmed.number}: fulfilled." in told
    assert f"Order {placed.number} is placed, so it cannot be fulfilled now." in told
    assert set(Order.objects.values_list("pk", "status")) == {(placed.pk, "placed"), (confirmed.pk, "fulfilled")}


def test_confirmations_are_sent_again_but_not_of_cancelled_orders(admin: Client) -> None:
    add_product(stock=10)
    ada = add_user()
    first, second, cancelled = place_order(ada), place_order(ada), place_order(ada)
    cancelled.cancel(by=ada)
    told = act(admin, "send_confirmation_again", second, cancelled, first)
    assert f"{first.number}, {second.number}: queued." in told
    assert f"Order {cancelled.number} is cancelled: there is nothing to confirm." in told
    run_due_tasks()
    assert [message.subject for message in mail.outbox] == [
        f"Your order {order.number} at {settings.SITE_NAME}" for order in (first, second)
    ]


def test_who_may_only_look_can_only_look(client: Client) -> None:
    add_product()
    order = place_order(add_user())
    viewer = add_user("viewer", is_staff=True, rights="")
    viewer.user_permissions.add(Permission.objects.get(codename="view_order"))
    client.force_login(viewer)
    assert order.number in client.get(ORDERS).content.decode()
    Order.objects.update(status="confirmed")
    act(client, "fulfil", order)
    assert Order.objects.get().status == "confirmed"


def test_orders_are_found_by_number_id_customer_and_sku(admin: Client) -> None:
    add_product("MUG")
    add_product("BEANS")
    wanted = place_order(add_user("ada"), {"MUG": 1})
    other = place_order(add_user("bob", email="bob@example.com"), {"BEANS": 1})
    for term in (wanted.number, wanted.number.lower(), f" {wanted.order_id} ", "ada", "ada@example", "MUG"):
        page = admin.get(ORDERS, {"q": term}).content.decode()
        assert f">{wanted.number}<" in page, term
        assert f">{other.number}<" not in page, term
    for term in ("A-999999", "A-999999999999999999999", "00000000-0000-0000-0000-000000000000", "\0"):
        assert admin.get(ORDERS, {"q": term}).status_code == 200


def test_the_list_of_orders_takes_as_many_queries_for_many_as_for_one(admin: Client) -> None:
    add_product(stock=100)
    place_order(add_user("first"))

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(ORDERS).status_code == 200
        return len(captured)

    queries()  # warms the caches of content types
    before = queries()
    for n in range(5):
        place_order(add_user(f"customer{n}"))
    assert queries() == before


def test_the_page_of_an_order_takes_as_many_queries_for_many_lines_and_events_as_for_one(admin: Client) -> None:
    skus = [f"SKU-{n}" for n in range(5)]
    for sku in skus:
        add_product(sku)
    ada = add_user()
    short, long = place_order(ada, {"SKU-0": 1}), place_order(ada, dict.fromkeys(skus, 1))
    for n in range(5):
        long.change_note(f"{n}", by=ada)

    def queries(order: Order) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(f"{ORDERS}{order.pk}/change/").status_code == 200
        return len(captured)

    queries(short)  # warms the caches of content types
    assert queries(short) == queries(long)
