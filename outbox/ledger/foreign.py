"""What the relay asks about messages for workers that are not ours: all that they say, and that the broker has them."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from celery.utils.saferepr import saferepr
from kombu.utils.json import loads

from brokers.wire import CompleteMessage, TaskMessage
from outbox.ledger.history import legible
from outbox.models import Message
from outbox.sql import is_among, key, marks, now, run

#: How much of the arguments is shown to people, as Celery does it.
REPR_CHARACTERS = 1024

#: The columns that a complete message is made of.
COLUMNS = ("pk", "task", "arguments", "headers", "expires_at", "priority")


def complete_messages(messages: Sequence[TaskMessage]) -> list[CompleteMessage]:
    """Return what was taken for publishing with its arguments, in the same order.

    Without what has been discarded meanwhile.
    """
    ids = [message.id for message in messages]
    rows = Message.objects.filter(pk__in=ids, state=Message.State.PUBLISHED).values_list(*COLUMNS)
    found = {row[0]: row for row in rows}
    return [_complete(*found[id]) for id in ids if id in found]


def _complete(id: UUID, task: str, arguments: str, headers: str, expires_at: Any, priority: int) -> CompleteMessage:
    argsrepr, kwargsrepr = _shown(arguments)
    expires = expires_at.isoformat() if expires_at else None
    return CompleteMessage(id, task, arguments, argsrepr, kwargsrepr, loads(headers), expires, priority)


def _shown(arguments: str) -> tuple[str, str]:
    try:
        args, kwargs = loads(arguments)
    except Exception:  # a type that nobody registered here; the receiver may know it
        return arguments[:REPR_CHARACTERS], ""
    return saferepr(tuple(args), REPR_CHARACTERS), saferepr(kwargs, REPR_CHARACTERS)


def hand_over(ids: Iterable[UUID]) -> int:
    """Settle: the broker has confirmed these messages, so they are done. Returns how many were not done before.

    Also those that were discarded meanwhile: that the broker has them is the truth.
    """
    keys = [key(id) for id in ids]
    return run(
        f"""UPDATE outbox_message SET state = 'done', finished_at = {now()}, last_error = '', publishes = 0
        WHERE state <> 'done' AND id IN ({marks(keys)})""",
        keys,
    ) if keys else 0  # fmt: skip


def bury(id: UUID, reason: str) -> int:
    """Settle: dead, because the broker will never take the message."""
    return run(
        f"""UPDATE outbox_message SET state = 'dead', finished_at = {now()}, last_error = %s
        WHERE state = 'published' AND id = %s""",
        [legible(reason), key(id)],
    )


def release_unconfirmed(queue: str) -> int:
    """Make due again what a relay has taken and not handed over in time: it ended in between, or the database was away.

    The broker may have it. Then its receiver gets it twice, with the same id.
    """
    overdue = f"SELECT id FROM outbox_message WHERE state = 'published' AND queue = %s AND due_at <= {now()}"
    return run(
        f"""UPDATE outbox_message SET state = 'pending', due_at = wanted_at
        WHERE state = 'published' AND {is_among(overdue)}""",
        [queue],
    )
