"""Changes of an order that also send an e-mail: both are in one transaction, so both happen or neither."""

from django.contrib.auth.models import User
from django.db import transaction

from orders import confirmations
from orders.models import Order
from orders.tasks import send_order_cancellation_email, send_order_confirmation_email


@transaction.atomic
def cancel_order(order: Order, *, by: User, reason: str = "") -> None:
    """Cancel `order` and tell its customer. Raises IllegalMoveError if it was fulfilled or cancelled."""
    order.cancel(by=by, reason=reason)
    send_order_cancellation_email.delay(order.order_id, order.user.email)


@transaction.atomic
def resend_confirmation(order: Order, *, by: User) -> None:
    """Send the confirmation once more, to the address that the customer has now.

    A confirmation that has not been sent yet is not sent any more. Raises IllegalMoveError for a cancelled order.
    """
    confirmations.start_anew(order)
    sending = send_order_confirmation_email.delay(order.order_id, order.user.email)
    confirmations.record_queued(order, sending.id, by=by)
