"""What the shop adds to the console."""

from datetime import datetime
from typing import Any, ClassVar

from orders.models import Order
from outbox.models import Message

#: How many orders are shown; the admin has the others.
LATEST = 10


class LatestOrders:
    """The latest orders: each with its age, the message that sends its confirmation, and how far that is."""

    name: ClassVar[str] = "orders"
    title: ClassVar[str] = "Latest orders"
    template: ClassVar[str] = "app/latest_orders.html"

    def context(self, time: datetime) -> dict[str, Any]:
        orders = list(Order.objects.select_related("user").order_by("-created_at", "-pk")[:LATEST])
        ids = [order.confirmation_task_id for order in orders if order.confirmation_task_id]
        mails = Message.objects.only("state", "attempts").in_bulk(ids)
        shown = []
        for order in orders:
            mail = mails.get(order.confirmation_task_id)
            # Once the task has ended, what it recorded on the order says more: it may have been withdrawn.
            ended = mail is None or mail.state == Message.State.DONE
            state = order.confirmation_state if mail is None or ended else mail.state
            age_seconds = (time - order.created_at).total_seconds()
            shown.append({"order": order, "age_seconds": age_seconds, "mail": mail, "state": state})
        return {"orders": shown}
