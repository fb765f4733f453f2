"""The state of an order's confirmation e-mail: what its task records on the order, and what Celery says of the task.

    queue → pending ─ attempt → sending ─ sent → sent         the order is confirmed
                                  └────── failed → failed     until it is sent anew
    cancelled before it was sent: withdrawn

Nothing here keeps a transaction open during the dialogue with the mail server.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from celery import states
from celery.result import AsyncResult
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from orders.errors import IllegalMoveError
from orders.models import Order, OrderEvent
from orders.models.history import record

State = Order.Confirmation

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

#: How long a task that has sent an e-mail waits for a database that is away, in all and between two tries.
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A confirmation as the API shows it."""

    state: State
    attempts: int
    sent_at: datetime | None


def recorded(order: Order) -> Confirmation:
    """Return what the task has recorded. Lists show this, because it costs no query.

    If the task's process was killed in its last attempt, the state stays `sending`.
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
    record(order.pk, OrderEvent.Kind.CONFIRMATION_QUEUED, by=by)


@transaction.atomic
def start_anew(order: Order) -> None:
    """Reset the confirmation, so that a new task can send it. Raises IllegalMoveError for a cancelled order.

    A task that has not sent it yet will not send it any more.
    """
    not_cancelled = Order.objects.filter(pk=order.pk).exclude(status=Order.Status.CANCELLED)
    blank = {"confirmation_task_id": None, "confirmation_attempts": 0, "confirmation_sent_at": None}
    if not not_cancelled.update(confirmation_state=State.PENDING, **blank):
        raise IllegalMoveError(f"Order {order.number} is cancelled: there is nothing to confirm.")


@transaction.atomic
def record_attempt(order: Order, task_id: str | None) -> bool:
    """Record that the task begins to send. Returns False if it must not send.

    That is so if it has sent the e-mail already (and its process was killed before that was settled), if another task
    has taken its place, or if the order was cancelled.
    """
    wanted = Order.objects.filter(_of_task(task_id), pk=order.pk).exclude(confirmation_state__in=FINAL)
    if not wanted.update(confirmation_state=State.SENDING, confirmation_attempts=F("confirmation_attempts") + 1):
        return False
    record(order.pk, OrderEvent.Kind.CONFIRMATION_ATTEMPTED)
    return True


def record_sent(order: Order, task_id: str | None) -> None:
    """Record that the e-mail was sent. This confirms the order if it is still placed.

    If this failed, the task would be run again and the e-mail sent again. So it waits for a database that is away.
    """
    _persist(lambda: _record_sent(order, task_id))


@transaction.atomic
def _record_sent(order: Order, task_id: str | None) -> None:
    now = timezone.now()
    placed = When(status=Order.Status.PLACED, then=Value(Order.Status.CONFIRMED))
    # Matches nothing if this is the second try of a commit whose answer was lost.
    unsent = Order.objects.filter(_of_task(task_id), pk=order.pk).exclude(confirmation_state=State.SENT)
    if unsent.update(
        status=Case(placed, default=F("status")),
        confirmation_state=State.SENT,
        confirmation_sent_at=now,
        updated_at=now,
    ):
        record(order.pk, OrderEvent.Kind.CONFIRMATION_SENT)


@transaction.atomic
def record_failed(task_id: str) -> None:
    """Record that the task will not try again."""
    unsent = Order.objects.filter(confirmation_task_id=task_id).exclude(confirmation_state__in=FINAL)
    order_pk = unsent.values_list("pk", flat=True).first()
    if order_pk and unsent.update(confirmation_state=State.FAILED):
        record(order_pk, OrderEvent.Kind.CONFIRMATION_FAILED)


def _of_task(task_id: str | None) -> Q:
    """Matches orders whose confirmation this task sends, and orders whose task is not recorded yet."""
    return Q(confirmation_task_id=None) | Q(confirmation_task_id=task_id)


def _persist(write: Callable[[], None]) -> None:
    """Call `write`. While the database is away, try again on a new connection for up to PATIENCE_SECONDS.

    Inside a transaction it is called once: a lost connection loses the whole transaction.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return write()
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or time.monotonic() > deadline:
                raise
            connection.close()
        time.sleep(PAUSE_SECONDS)
