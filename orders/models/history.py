"""The timeline of an order: what happened, when, and who did it. Entries are only added."""

from datetime import datetime

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.utils import timezone

from orders.models.inserting import insert


class OrderEvent(models.Model):
    """One entry of an order's timeline. It is written in the same transaction as the change that it records."""

    class Kind(models.TextChoices):
        PLACED = "placed"
        NOTE_CHANGED = "note_changed"
        CONFIRMATION_QUEUED = "confirmation_queued"
        CONFIRMATION_ATTEMPTED = "confirmation_attempted"
        CONFIRMATION_SENT = "confirmation_sent"
        CONFIRMATION_FAILED = "confirmation_failed"
        FULFILLED = "fulfilled"
        CANCELLED = "cancelled"

    class Role(models.TextChoices):
        CUSTOMER = "customer"
        STAFF = "staff"
        SERVICE = "service"

    # The index of the foreign key serves every reading: the timeline of one order is short.
    order = models.ForeignKey("orders.Order", on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=30, choices=Kind)
    at = models.DateTimeField(default=timezone.now)
    # No index: nothing looks up the entries of one user, and an index would cost time with each entry.
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", db_index=False
    )
    """The user who did it; null if it was the service itself."""
    detail = models.CharField(max_length=500, blank=True, default="")
    """The customer's or the staff's own words, such as the reason of a cancellation."""

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:%Y-%m-%d %H:%M:%S}"

    @property
    def by_role(self) -> Role:
        """The role of the user for this order: staff who order for themselves are its customer."""
        if self.by_id is None:
            return self.Role.SERVICE
        return self.Role.CUSTOMER if self.by_id == self.order.user_id else self.Role.STAFF


def record(
    order_id: int, *kinds: OrderEvent.Kind, by: User | None = None, detail: str = "", began_at: datetime | None = None
) -> None:
    """Add entries, in this order and by one statement, to the timeline of the order with this primary key.

    The first of them happened at `began_at`, if that is given, and the others now.
    """
    now = timezone.now()
    entries = [OrderEvent(order_id=order_id, kind=kind, by=by, detail=detail, at=now) for kind in kinds]
    entries[0].at = began_at or now
    insert(entries)
