"""A small shop for the tests of `orders`: products, customers, API clients and orders."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from celery import current_app
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from app.api.lasting_tokens import give_token
from orders.models import Order, Product


def add_product(sku: str = "MUG", *, price: str = "16.00", stock: int = 10, **fields: Any) -> Product:
    fields = {"name": f"The {sku}", "currency": "EUR", **fields}
    return Product.objects.create(sku=sku, price=Decimal(price), stock=stock, **fields)


def add_user(
    username: str = "ada", *, email: str = "ada@example.com", rights: str | None = None, **fields: Any
) -> User:
    """Add a user; without a password, for hashing one takes long.

    Staff have all rights in the shop and may view messages, or only those of `rights`: "orders.view_order ...".
    """
    user = User.objects.create_user(username, email, **fields)
    if fields.get("is_staff"):
        named = Permission.objects.select_related("content_type")
        wanted = None if rights is None else rights.split()
        user.user_permissions.set(each for each in named if _is_wanted(each, wanted))
    return user


def _is_wanted(permission: Permission, wanted: list[str] | None) -> bool:
    name = f"{permission.content_type.app_label}.{permission.codename}"
    return name in wanted if wanted is not None else name.startswith("orders.") or name == "outbox.view_message"


def client_of(user: User) -> APIClient:
    """Return a client that authenticates with the user's token, as a real one does."""
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Token {give_token(user)}")
    return client


def post_order(client: APIClient, quantities: Mapping[str, int], **fields: Any) -> Any:
    items = [{"product": sku, "quantity": quantity} for sku, quantity in quantities.items()]
    return client.post("/orders/", {"items": items, **fields}, format="json")


def reasons_by_pointer(answer: Any) -> dict[str, list[str]]:
    """Return what a 400 says is wrong, by the place in the body that it points to."""
    reasons: dict[str, list[str]] = {}
    for error in answer.json()["errors"]:
        reasons.setdefault(error["pointer"], []).append(error["detail"])
    return reasons


def place_order(user: User, quantities: Mapping[str, int] | None = None, note: str = "") -> Order:
    """Place an order without HTTP; by default for one mug."""
    return Order.objects.place(user=user, quantities=quantities or {"MUG": 1}, note=note)


def stock_of(sku: str) -> int:
    return Product.objects.get(sku=sku).stock


@contextmanager
def tasks_run_at_once() -> Iterator[None]:
    """Run every task inside its `.delay()`, by Celery's own option: these tests need no broker."""
    options = {"task_always_eager": True, "task_eager_propagates": True}
    before = {name: current_app.conf[name] for name in options}
    current_app.conf.update(options)
    try:
        yield
    finally:
        current_app.conf.update(before)
