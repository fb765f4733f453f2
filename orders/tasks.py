"""The work that follows the answer to a request. A task about an order looks it up and sends one e-mail.

A task raises its errors and does not handle them: Celery decides whether to try again or to give up.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from celery import Task, shared_task
from celery.app.task import Context
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from celery.signals import task_failure, task_retry
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone

from orders import confirmations
from orders.emails import daily_summary, order_cancellation, order_confirmation
from orders.idempotency import prune_keys
from orders.models import Order, OrderItem

#: Errors that trying again cannot cure. A task is enqueued in the transaction that writes its order, so an order that
#: is missing will never exist.
HOPELESS = (Order.DoesNotExist, ValidationError)


#: The primary key of the order that was confirmed, and when its attempt began.
Sent = tuple[int, datetime]


def record_sent_confirmation(task: Task, sent: Sent | None, task_id: str, args: Any, kwargs: Any) -> None:
    """Celery's `on_success`. What it writes is committed together with the success of the task."""
    if sent:
        order_pk, began_at = sent
        confirmations.record_sent(order_pk, task_id, began_at=began_at)


@shared_task(dont_autoretry_for=HOPELESS, on_success=record_sent_confirmation)  # type: ignore[call-overload]
def send_order_confirmation_email(order_id: UUID, user_email: str) -> Sent | None:
    """E-mail the confirmation of an order to `user_email`. Return None if there was nothing to send any more."""
    task_id = send_order_confirmation_email.request.id
    lines = OrderItem.objects.of_order(order_id)
    order = lines[0].order
    if not confirmations.is_to_be_sent(order, task_id):
        return None
    began_at = timezone.now()
    order_confirmation(order, lines, to=user_email, task_id=task_id).send()
    return order.pk, began_at


@task_retry.connect(sender=send_order_confirmation_email)
def record_retried_confirmation(request: Context, **details: Any) -> None:
    """Record on the order that an attempt to confirm it has failed, and that another one follows."""
    confirmations.record_retry(str(request.id))


@task_failure.connect(sender=send_order_confirmation_email)
def record_failed_confirmation(task_id: str, exception: BaseException, **details: Any) -> None:
    """Record on the order that its confirmation failed for good."""
    # Celery sends this signal, too, when a process was killed; but then another attempt follows.
    if not isinstance(exception, WorkerLostError | TimeLimitExceeded):
        confirmations.record_failed(task_id)


@shared_task(dont_autoretry_for=HOPELESS)
def send_order_cancellation_email(order_id: UUID, user_email: str) -> None:
    """E-mail to `user_email` that the order was cancelled, and why."""
    order = Order.objects.with_lines().get(order_id=order_id)
    order_cancellation(order, to=user_email, task_id=send_order_cancellation_email.request.id).send()


@shared_task
def send_daily_summary() -> None:
    """E-mail the number of yesterday's orders and their totals to `ORDERS_REPORT_EMAIL`, if that is set.

    'Yesterday' is the day before the task was due, even if the mail server was away until after midnight.
    """
    if settings.ORDERS_REPORT_EMAIL:
        request = send_daily_summary.request
        day = timezone.localdate(_due_at(request.headers)) - timedelta(days=1)
        orders = Order.objects.placed_on(day)
        daily_summary(day, orders, to=settings.ORDERS_REPORT_EMAIL, task_id=request.id).send()


def _due_at(headers: dict[str, Any] | None) -> datetime:
    """Return the time for which the schedule enqueued a task; now, if it was called in another way."""
    scheduled_for = (headers or {}).get("scheduled_for")
    return datetime.fromisoformat(scheduled_for) if scheduled_for else timezone.now()


@shared_task
def prune_idempotency_keys() -> int:
    """Delete the kept answers to requests that are older than 24 hours. Return how many."""
    return prune_keys()
