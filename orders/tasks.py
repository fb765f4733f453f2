"""What happens after the answer. Each task looks up what it needs and sends one e-mail.

An error is raised, not handled: trying again, and giving up, is the business of whoever runs the tasks.
"""

from datetime import timedelta
from uuid import UUID

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from orders.emails import daily_summary, order_confirmation
from orders.idempotency import prune_keys
from orders.models import Order


@shared_task
def send_order_confirmation_email(order_id: UUID, user_email: str) -> None:
    """E-mail the confirmation of an order to `user_email`."""
    order = Order.objects.select_related("user").prefetch_related("items").get(order_id=order_id)
    order_confirmation(order, to=user_email, task_id=send_order_confirmation_email.request.id).send()


@shared_task
def send_daily_summary() -> None:
    """E-mail how many orders yesterday had, and their totals, to `ORDERS_REPORT_EMAIL`; nothing if unset."""
    if settings.ORDERS_REPORT_EMAIL:
        yesterday = timezone.localdate() - timedelta(days=1)
        orders = Order.objects.placed_on(yesterday)
        daily_summary(yesterday, orders, to=settings.ORDERS_REPORT_EMAIL, task_id=send_daily_summary.request.id).send()


@shared_task
def prune_idempotency_keys() -> int:
    """Delete the answers that were kept for long enough; return how many."""
    return prune_keys()
