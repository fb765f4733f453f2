"""Orders and their lines: placed, confirmed, fulfilled or cancelled."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import ClassVar, Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, models, transaction
from django.db.models import Q, Sum
from django.utils import timezone

from orders.errors import IllegalMoveError
from orders.models.history import OrderEvent, record
from orders.models.inserting import insert
from orders.models.products import Product, validate_currency
from orders.models.rights import may_view

#: Limits of one order. They keep a request, its locks and its e-mail small; `Order.total` has room for the largest one.
MAX_LINES = 50
MAX_QUANTITY = 1000


class OrderQuerySet(models.QuerySet["Order"]):
    def visible_to(self, user: User | AnonymousUser) -> Self:
        """Return the orders that this user may see: their own; all, if staff with the right."""
        return self if may_view(user, "order") else self.filter(user_id=user.pk)

    def with_lines(self) -> Self:
        """Return the orders with their customers and lines, in two queries whatever the number of orders."""
        return self.select_related("user").prefetch_related("items")

    def placed_on(self, day: date) -> Self:
        """Return the orders placed on `day` in the current time zone, without the cancelled ones."""
        # From midnight to midnight, not midnight plus 24 hours: a day may have 23 or 25 hours.
        return self.filter(created_at__gte=_midnight(day), created_at__lt=_midnight(day + timedelta(days=1))).exclude(
            status=Order.Status.CANCELLED
        )

    def totals(self) -> dict[str, Decimal]:
        """Return the sum of the orders' totals for each currency."""
        sums = self.order_by("currency").values_list("currency").annotate(Sum("total"))
        return dict(sums)


class OrderManager(models.Manager["Order"]):
    def place(
        self,
        *,
        user: User,
        quantities: Mapping[str, int],
        note: str = "",
        confirmation_task_id: uuid.UUID | None = None,
    ) -> "Order":
        """Place an order for `quantities` (sku → pieces, line by line) and take them from the stock.

        All or nothing. Raises OrderRefusedError, naming every sku that cannot be delivered, before it writes anything.
        `confirmation_task_id` is the task that the same transaction enqueues to confirm the order.
        """
        # A savepoint would be of no use: a refusal has nothing to undo, and after any other error nothing goes on.
        with nullcontext() if connection.in_atomic_block else transaction.atomic():
            return self._place(user, quantities, note, confirmation_task_id)

    def _place(self, user: User, quantities: Mapping[str, int], note: str, task_id: uuid.UUID | None) -> "Order":
        products = Product.objects.take_stock(quantities)
        lines = [OrderItem.snapshot(products[sku], quantity) for sku, quantity in quantities.items()]
        currency = products[lines[0].sku].currency
        order = self.create(
            user=user, currency=currency, total=sum_of_lines(lines), note=note, confirmation_task_id=task_id
        )
        for line in lines:
            line.order = order
        insert(lines)
        order.placed_lines = lines
        queued = [OrderEvent.Kind.CONFIRMATION_QUEUED] if task_id else []
        record(order.pk, OrderEvent.Kind.PLACED, *queued, by=user)
        return order


def sum_of_lines(items: Iterable["OrderItem"]) -> Decimal:
    return sum((item.line_total for item in items), Decimal("0.00"))


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


class Order(models.Model):
    """An order of a customer. Only `Order.objects.place()` creates one; `MOVES` says how its status may change.

    `id` is used inside the database only, `order_id` is the public id, and `number` is for people.
    """

    class Status(models.TextChoices):
        PLACED = "placed", "Placed"
        CONFIRMED = "confirmed", "Confirmed"
        FULFILLED = "fulfilled", "Fulfilled"
        CANCELLED = "cancelled", "Cancelled"

    #: The statuses that may follow each status. The task that sends the confirmation e-mail confirms an order, staff
    #: fulfil it, and its customer or staff may cancel it until then.
    MOVES: ClassVar[dict[Status, set[Status]]] = {
        Status.PLACED: {Status.CONFIRMED, Status.CANCELLED},
        Status.CONFIRMED: {Status.FULFILLED, Status.CANCELLED},
        Status.FULFILLED: set(),
        Status.CANCELLED: set(),
    }

    class Confirmation(models.TextChoices):
        """The state of the confirmation e-mail."""

        PENDING = "pending"
        SENDING = "sending"
        SENT = "sent"
        FAILED = "failed"
        WITHDRAWN = "withdrawn"

    order_id = models.UUIDField("order id", unique=True, default=uuid.uuid4, editable=False)
    # No index of its own: the one below begins with the user.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="orders", db_index=False)
    status = models.CharField(max_length=20, choices=Status, default=Status.PLACED)
    currency = models.CharField(max_length=3, validators=[validate_currency])
    total = models.DecimalField(max_digits=16, decimal_places=2)
    note = models.TextField(max_length=500, blank=True, default="")
    # Written by `orders/confirmations.py` only.
    confirmation_state = models.CharField(max_length=10, choices=Confirmation, default=Confirmation.PENDING)
    confirmation_attempts = models.PositiveIntegerField(default=0)
    confirmation_sent_at = models.DateTimeField(null=True, blank=True)
    confirmation_task_id = models.UUIDField(unique=True, null=True, blank=True, editable=False)
    """The Celery task that sends the confirmation."""
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = OrderManager.from_queryset(OrderQuerySet)()

    placed_lines: "Sequence[OrderItem] | None" = None
    """The lines of an order that has just been placed; None if it was read."""

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

        It is made from the primary key, so it is unique without a counter that orders would have to wait for. A number
        may be missing: a rolled-back order uses one up.
        """
        return f"A-{self.pk:06d}" if self.pk else ""

    @property
    def lines(self) -> "Iterable[OrderItem]":
        """Its lines. What has just been written is not read again."""
        return self.items.all() if self.placed_lines is None else self.placed_lines

    @transaction.atomic
    def change_note(self, note: str, *, by: User) -> None:
        """Change the customer's note. Raises IllegalMoveError unless the order is still placed."""
        self._lock()
        if self.status != self.Status.PLACED:
            raise IllegalMoveError(f"Order {self.number} is {self.status}: its note cannot be changed any more.")
        self.note = note
        self.save(update_fields=["note", "updated_at"])
        record(self.pk, OrderEvent.Kind.NOTE_CHANGED, by=by)

    @transaction.atomic
    def fulfil(self, *, by: User) -> None:
        """Note that the goods have left. Raises IllegalMoveError unless the order is confirmed."""
        self._begin_move_to(self.Status.FULFILLED)
        self.save(update_fields=["status", "updated_at"])
        record(self.pk, OrderEvent.Kind.FULFILLED, by=by)

    @transaction.atomic
    def cancel(self, *, by: User, reason: str = "") -> None:
        """Cancel it and put its pieces back into the stock. Raises IllegalMoveError if it was fulfilled or cancelled.

        A confirmation that has not been sent is withdrawn.
        """
        self._begin_move_to(self.Status.CANCELLED)
        if self.confirmation_state != self.Confirmation.SENT:
            self.confirmation_state = self.Confirmation.WITHDRAWN
        self.save(update_fields=["status", "confirmation_state", "updated_at"])
        Product.objects.put_back({item.product_id: item.quantity for item in self.items.all()})
        record(self.pk, OrderEvent.Kind.CANCELLED, by=by, detail=reason)

    def _begin_move_to(self, status: Status) -> None:
        """Set the status if `MOVES` allows it for the status that is in the database now."""
        self._lock()
        if status not in self.MOVES[self.Status(self.status)]:
            raise IllegalMoveError(f"Order {self.number} is {self.status}, so it cannot be {status} now.")
        self.status = status

    def _lock(self) -> None:
        """Lock the order until the transaction ends, and read again the fields that decisions depend on."""
        self.refresh_from_db(
            fields=["status", "note", "confirmation_state"],
            from_queryset=Order.objects.select_for_update(no_key=True),
        )


class OrderItemManager(models.Manager["OrderItem"]):
    def of_order(self, order_id: uuid.UUID) -> "list[OrderItem]":
        """Return the lines of an order, in one query with the order and its customer. Raises Order.DoesNotExist."""
        lines = list(self.filter(order__order_id=order_id).select_related("order__user"))
        if not lines:
            raise Order.DoesNotExist(f"There is no order {order_id}.")
        return lines


class OrderItem(models.Model):
    """One line of an order, with the product's name, SKU and price as they were when it was placed."""

    # No index of its own: the unique constraint begins with the order.
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="items", db_index=False)
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="+")
    sku = models.CharField("SKU", max_length=40)
    name = models.CharField(max_length=200)
    unit_price = models.DecimalField(max_digits=10, decimal_places=2)
    quantity = models.IntegerField()

    objects = OrderItemManager()

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
