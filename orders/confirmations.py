"""The state of an order's confirmation e-mail: what its task records on the order, and what Celery says of the task.

    queue → pending ─────────────────────────── sent → sent         the order is confirmed
               └ an attempt failed → sending ───┘
                                        └ failed → failed           until it is sent anew
    cancelled before it was sent: withdrawn

An attempt is recorded when it has ended: in the transaction that records how. No transaction is open during the
dialogue with the mail server.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from celery import states
from celery.result import AsyncResult
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from orders.errors import IllegalMoveError
from orders.models import Order, OrderEvent
from orders.models.history import record

State = Order.Confirmation
Kind = OrderEvent.Kind

#: States in which a task neither changes the record nor sends the e-mail.
FINAL = (State.SENT, State.WITHDRAWN)

#: Celery's states of a task as states of a confirmation. PENDING is missing: Celery answers it for a task that it does
#: not know, too, and then the recorded state counts.
STATES_BY_CELERY = {
    states.STARTED: State.SENDING,
    states.RETRY: State.SENDING,
    states.SUCCESS: State.SENT,
    states.FAILURE: State.FAILED,
    states.REVOKED: State.FAILED,
}


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A confirmation as the API shows it."""

    state: State
    attempts: int
    sent_at: datetime | None


def recorded(order: Order) -> Confirmation:
    """Return what the task has recorded. Lists show this, because it costs no query.

    It tells of attempts that have ended, except for those whose process was killed.
    """
    return Confirmation(State(order.confirmation_state), order.confirmation_attempts, order.confirmation_sent_at)


def current(order: Order) -> Confirmation:
    """Return what is recorded if that is final; otherwise what Celery says of the task."""
    known = recorded(order)
    if known.state in FINAL or order.confirmation_task_id is None:
        return known
    result: AsyncResult[None] = AsyncResult(str(order.confirmation_task_id))
    state = STATES_BY_CELERY.get(result.state, known.state)
    return Confirmation(state, known.attempts, result.date_done if state is State.SENT else None)


def record_queued(order: Order, task_id: str, *, by: User) -> None:
    """Record which task sends the confirmation. Call this in the transaction that enqueues the task."""
    Order.objects.filter(pk=order.pk).update(confirmation_task_id=UUID(task_id))
    record(order.pk, Kind.CONFIRMATION_QUEUED, by=by)


@transaction.atomic
def start_anew(order: Order) -> None:
    """Reset the confirmation, so that a new task can send it. Raises IllegalMoveError for a cancelled order.

    A task that has not sent it yet will not send it any more.
    """
    not_cancelled = Order.objects.filter(pk=order.pk).exclude(status=Order.Status.CANCELLED)
    blank = {"confirmation_task_id": None, "confirmation_attempts": 0, "confirmation_sent_at": None}
    if not not_cancelled.update(confirmation_state=State.PENDING, **blank):
        raise IllegalMoveError(f"Order {order.number} is cancelled: there is nothing to confirm.")


def is_to_be_sent(order: Order, task_id: str | None) -> bool:
    """Whether this task has to send the confirmation.

    Not if it has been sent already, if another task has taken this one's place, or if the order was cancelled.
    """
    is_its_task = order.confirmation_task_id is None or str(order.confirmation_task_id) == task_id
    return is_its_task and order.confirmation_state not in FINAL


@transaction.atomic(savepoint=False)
def record_sent(order_pk: int, task_id: str | None, *, began_at: datetime) -> None:
    """Record that the e-mail was sent, by an attempt that began at `began_at`. This confirms an order that is placed.

    Does nothing the second time.
    """
    now = timezone.now()
    placed = When(status=Order.Status.PLACED, then=Value(Order.Status.CONFIRMED))
    unsent = Order.objects.filter(_of_task(task_id), pk=order_pk).exclude(confirmation_state=State.SENT)
    if unsent.update(
        status=Case(placed, default=F("status")),
        confirmation_state=State.SENT,
        confirmation_attempts=F("confirmation_attempts") + 1,
        confirmation_sent_at=now,
        updated_at=now,
    ):
        record(order_pk, Kind.CONFIRMATION_ATTEMPTED, Kind.CONFIRMATION_SENT, began_at=began_at)


def record_retry(task_id: str) -> None:
    """Record that an attempt has failed, and that another one follows."""
    _record_failure(task_id, State.SENDING, Kind.CONFIRMATION_ATTEMPTED)


def record_failed(task_id: str) -> None:
    """Record that the last attempt has failed."""
    _record_failure(task_id, State.FAILED, Kind.CONFIRMATION_ATTEMPTED, Kind.CONFIRMATION_FAILED)


@transaction.atomic
def _record_failure(task_id: str, state: State, *kinds: OrderEvent.Kind) -> None:
    unsent = Order.objects.filter(confirmation_task_id=task_id).exclude(confirmation_state__in=FINAL)
    order_pk = unsent.values_list("pk", flat=True).first()
    attempts = F("confirmation_attempts") + 1
    if order_pk and unsent.update(confirmation_state=state, confirmation_attempts=attempts):
        record(order_pk, *kinds)


def _of_task(task_id: str | None) -> Q:
    """Matches orders whose confirmation this task sends, and orders whose task is not recorded yet."""
    return Q(confirmation_task_id=None) | Q(confirmation_task_id=task_id)
