"""The e-mails, each as plain text and as HTML, built from `templates/orders/email/`.

The address is the only text of a customer's that gets into a header, and it must be one plain address. In the HTML
everything is escaped.
"""

from collections.abc import Iterable
from datetime import date
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.utils import timezone

from orders.models import Order, OrderEvent, OrderItem, OrderQuerySet
from orders.values.addresses import deliverable
from orders.values.money import money


def order_confirmation(
    order: Order, lines: Iterable[OrderItem], *, to: str, task_id: str | None = None
) -> EmailMultiAlternatives:
    """Return the confirmation of `order`, listing its `lines` and the total.

    Raises ValidationError unless `to` is one plain address: a line break in it would begin another header, and a
    comma another recipient.
    """
    subject = f"Your order {order.number} at {settings.SITE_NAME}"
    return _message("confirmation", subject, _shown(order, lines), to, task_id)


def order_cancellation(order: Order, *, to: str, task_id: str | None = None) -> EmailMultiAlternatives:
    """Return the e-mail that `order` was cancelled, by whom and why. Raises ValidationError like a confirmation."""
    event = order.events.get(kind=OrderEvent.Kind.CANCELLED)
    context = {
        **_shown(order, order.items.all()),
        "by_customer": event.by_role == OrderEvent.Role.CUSTOMER,
        "reason": event.detail,
    }
    subject = f"Your order {order.number} is cancelled: {settings.SITE_NAME}"
    return _message("cancellation", subject, context, to, task_id)


def daily_summary(day: date, orders: OrderQuerySet, *, to: str, task_id: str | None = None) -> EmailMultiAlternatives:
    """Return the report on the `orders` of one `day`: how many, and their sum in each currency."""
    totals = [money(total, currency) for currency, total in orders.totals().items()]
    context = {"day": day, "count": orders.count(), "totals": totals, "time_zone": timezone.get_current_timezone_name()}
    return _message("daily_summary", f"Orders of {day.isoformat()} at {settings.SITE_NAME}", context, to, task_id)


def _shown(order: Order, lines: Iterable[OrderItem]) -> dict[str, Any]:
    """Return the details of an order that both e-mails show."""
    return {
        "order": order,
        "customer": order.user.first_name or order.user.get_username(),
        "total": money(order.total, order.currency),
        "lines": [
            {
                "name": item.name,
                "sku": item.sku,
                "quantity": item.quantity,
                "unit_price": money(item.unit_price, order.currency),
                "total": money(item.line_total, order.currency),
            }
            for item in lines
        ],
    }


def _message(
    template: str, subject: str, context: dict[str, Any], to: str, task_id: str | None
) -> EmailMultiAlternatives:
    """Return the message. A message that the same task sends again has the same Message-ID.

    So mail servers and readers can tell a repetition from a second e-mail.
    """
    to = deliverable(to)
    context = {**context, "subject": subject, "site_name": settings.SITE_NAME}
    # Ask automatic responders ('I am on holiday') not to answer: RFC 3834.
    headers = {"Auto-Submitted": "auto-generated"}
    if task_id:
        sender_domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
        headers["Message-ID"] = f"<{task_id}@{sender_domain}>"
    text = render_to_string(f"orders/email/{template}.txt", context)
    message = EmailMultiAlternatives(subject, text, to=[to], headers=headers)
    message.attach_alternative(render_to_string(f"orders/email/{template}.html", context), "text/html")
    return message
