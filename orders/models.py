"""Products, and the orders placed for them.

An order is history: it keeps its own copy of each product's name, SKU and price, and neither its customer nor its
products can be deleted from under it.
"""

import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models import F, Q, Sum
from django.utils import timezone

from orders.errors import OrderRefusedError

#: Bounds of one order: they keep a request, its locks and its e-mail small. `Order.total` has room for the most.
MAX_LINES = 50
MAX_QUANTITY = 1000

validate_sku = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z", "A SKU is made of letters, digits, dots, dashes and underscores."
)
validate_currency = RegexValidator(r"\A[A-Z]{3}\Z", "A currency is a three-letter ISO 4217 code such as EUR.")


class ProductQuerySet(models.QuerySet["Product"]):
    def on_sale(self) -> Self:
        return self.filter(active=True)

    def take_stock(self, quantities: Mapping[str, int]) -> dict[str, "Product"]:
        """Take `quantities` (sku → pieces) from the stock, all or none, and return the products by sku.

        Call inside a transaction: the rows stay locked until it ends, so nobody else can take the same pieces,
        and the names and prices are those of that moment. Raises OrderRefusedError, naming every sku at fault.
        """
        # Always locked in the order of their sku: two orders for the same products never wait for each other in
        # a circle. SQLite has no row locks and needs none, for it lets only one transaction write.
        rows = self.on_sale().filter(sku__in=list(quantities)).order_by("sku").select_for_update(no_key=True)
        products: dict[str, Product] = {product.sku: product for product in rows}
        if reasons := _reasons_to_refuse(products, quantities):
            raise OrderRefusedError(reasons)
        for sku, product in products.items():
            product.stock = F("stock") - quantities[sku]
        Product.objects.bulk_update(products.values(), ["stock"])
        return products


def _reasons_to_refuse(products: Mapping[str, "Product"], quantities: Mapping[str, int]) -> dict[str, str]:
    """Return what is wrong with each sku that cannot be delivered. The first line sets the order's currency."""
    currency = next((products[sku].currency for sku in quantities if sku in products), "")
    reasons = {}
    for sku, quantity in quantities.items():
        product = products.get(sku)
        if product is None:
            reasons[sku] = f"No product '{sku}' is on sale."
        elif product.stock < quantity:
            reasons[sku] = f"Only {product.stock} of '{sku}' left, {quantity} asked for."
        elif product.currency != currency:
            reasons[sku] = (
                f"'{sku}' is sold in {product.currency} and this order is in {currency}: "
                "an order has one currency. Place a second order for it."
            )
    return reasons


class Product(models.Model):
    """Something on sale. What is sold no longer is made inactive, not deleted: past orders refer to it."""

    sku = models.CharField("SKU", max_length=40, unique=True, validators=[validate_sku])
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    currency = models.CharField(max_length=3, validators=[validate_currency], default="EUR")
    stock = models.IntegerField(default=0, help_text="Pieces that can be sold.")
    active = models.BooleanField(default=True, help_text="Inactive products are neither shown nor sold.")

    objects = ProductQuerySet.as_manager()

    class Meta:
        ordering = ["sku"]
        constraints = [
            models.CheckConstraint(
                condition=Q(price__gte=0),
                name="product_price_not_negative",
                violation_error_message="A price cannot be negative.",
            ),
            models.CheckConstraint(
                condition=Q(stock__gte=0),
                name="product_stock_not_negative",
                violation_error_message="A stock cannot be negative.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"


class OrderQuerySet(models.QuerySet["Order"]):
    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Return the orders this user may see: one's own; all of them for staff."""
        return self if user.is_staff else self.filter(user_id=user.pk)

    def placed_on(self, day: date) -> Self:
        """Return the orders placed on `day` of the current time zone, the cancelled ones left out."""
        # Two midnights, rather than one midnight and 24 hours: a day may have 23 or 25 hours.
        return self.filter(created_at__gte=_midnight(day), created_at__lt=_midnight(day + timedelta(days=1))).exclude(
            status=Order.Status.CANCELLED
        )

    def totals(self) -> dict[str, Decimal]:
        """Return the sum of the orders' totals for each currency."""
        sums = self.order_by("currency").values_list("currency").annotate(Sum("total"))
        return dict(sums)


class OrderManager(models.Manager["Order"]):
    @transaction.atomic
    def place(self, *, user: User, quantities: Mapping[str, int], note: str = "") -> "Order":
        """Place an order for `quantities` (sku → pieces, line by line) and take them from the stock.

        All or nothing. Raises OrderRefusedError, naming every sku that cannot be delivered.
        """
        products = Product.objects.take_stock(quantities)
        items = [OrderItem.snapshot(products[sku], quantity) for sku, quantity in quantities.items()]
        order = self.create(
            user=user,
            currency=products[items[0].sku].currency,
            total=sum_of_lines(items),
            note=note,
        )
        for item in items:
            item.order = order
        OrderItem.objects.bulk_create(items)
        return order


def sum_of_lines(items: Iterable["OrderItem"]) -> Decimal:
    return sum((item.line_total for item in items), Decimal("0.00"))


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


class Order(models.Model):
    """What a customer bought. Created by `Order.objects.place()` only.

    `id` stays inside the database, `order_id` is the public name, `number` the one that people say aloud.
    """

    class Status(models.TextChoices):
        PLACED = "placed", "Placed"
        CONFIRMED = "confirmed", "Confirmed"
        FULFILLED = "fulfilled", "Fulfilled"
        CANCELLED = "cancelled", "Cancelled"

    order_id = models.UUIDField("order id", unique=True, default=uuid.uuid4, editable=False)
    # No index of its own: the one below begins with the user.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="orders", db_index=False)
    status = models.CharField(max_length=20, choices=Status, default=Status.PLACED)
    currency = models.CharField(max_length=3, validators=[validate_currency])
    total = models.DecimalField(max_digits=16, decimal_places=2)
    note = models.TextField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = OrderManager.from_queryset(OrderQuerySet)()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["user", "-created_at", "-id"], name="order_of_user_newest"),
            models.Index(fields=["-created_at", "-id"], name="order_newest"),
        ]
        constraints = [models.CheckConstraint(condition=Q(total__gte=0), name="order_total_not_negative")]

    def __str__(self) -> str:
        return self.number

    @property
    def number(self) -> str:
        """The order's number, such as A-000123.

        Written from the primary key: unique however many orders are placed at once, without a counter that they
        would have to wait for. A number may be missing (a rolled-back order has used it up).
        """
        return f"A-{self.pk:06d}" if self.pk else ""


class OrderItem(models.Model):
    """One line of an order, with the product's name, SKU and price as they were when it was placed."""

    # No index of its own: the unique constraint begins with the order.
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="items", db_index=False)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="+")
    sku = models.CharField("SKU", max_length=40)
    name = models.CharField(max_length=200)
    unit_price = models.DecimalField(max_digits=10, decimal_places=2)
    quantity = models.IntegerField()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["order", "product"], name="orderitem_one_line_per_product"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="orderitem_quantity_positive"),
            models.CheckConstraint(condition=Q(unit_price__gte=0), name="orderitem_price_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.sku}: {self.quantity}"

    @classmethod
    def snapshot(cls, product: Product, quantity: int) -> Self:
        """Return an unsaved line for `product` as it is now."""
        return cls(product=product, sku=product.sku, name=product.name, unit_price=product.price, quantity=quantity)

    @property
    def line_total(self) -> Decimal:
        return self.unit_price * self.quantity


class IdempotencyKey(models.Model):
    """The answer to a request that carried an Idempotency-Key, written in the transaction of what it did."""

    # No index of its own: the unique constraint begins with the user.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    answer = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotencykey_once_per_user")]

    def __str__(self) -> str:
        return self.key
