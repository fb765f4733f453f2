"""Messages of the outbox in any state, and time that passes, for the outbox's own tests."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db.models import F
from django.db.models.functions import Now

from outbox import ledger
from outbox.models import Message

QUEUE = "default"
TASK = "tests.task"
WORKER = "celery@tests"
LEASE_SECONDS = 20.0
LOST_AFTER_SECONDS = 30.0

#: An error that nobody looks at.
ERROR = "Traceback ...\nValueError: no"


def add(*args: Any, task: str = TASK, queue: str = QUEUE, **options: Any) -> UUID:
    """Enqueue a message."""
    return ledger.enqueue(task, args, {}, queue=queue, **options)


def take(limit: int = 100, *, queue: str = QUEUE) -> list[UUID]:
    """Take what is due, as a relay does; return the ids in the order of the messages."""
    messages = ledger.take_due(queue, limit=limit, lost_after_seconds=LOST_AFTER_SECONDS)
    return [message.id for message in messages]


def publish(*args: Any, **options: Any) -> UUID:
    """Enqueue a message and take it."""
    message_id = add(*args, **options)
    assert message_id in take(queue=options.get("queue", QUEUE))
    return message_id


def claim(message_id: UUID) -> ledger.Claim | None:
    """Claim a message, as a worker does that it was delivered to, and begin it."""
    claims = ledger.claim([message_id], token=uuid4(), worker=WORKER, lease_seconds=LEASE_SECONDS)
    ledger.begin(claims, lease_seconds=LEASE_SECONDS)
    return claims[0] if claims else None


def start(*args: Any, **options: Any) -> ledger.Claim:
    """Enqueue, take and claim a message."""
    return again(publish(*args, **options))


def again(message_id: UUID) -> ledger.Claim:
    """Claim a message that is there to be claimed."""
    claimed = claim(message_id)
    assert claimed is not None
    return claimed


def die(**options: Any) -> UUID:
    """Make a dead message."""
    claimed = start(**options)
    assert ledger.fail(claimed, error=ERROR)
    return claimed.id


def row(message_id: UUID) -> Message:
    """What the ledger holds of a message now."""
    return Message.objects.get(pk=message_id)


def state(message_id: UUID) -> str:
    return row(message_id).state


def let_pass(seconds: float) -> None:
    """Let time pass for every message: each of its times moves into the past. Nobody has to wait."""
    times = (
        "due_at",
        "wanted_at",
        "expires_at",
        "created_at",
        "published_at",
        "claimed_at",
        "begun_at",
        "refused_at",
        "finished_at",
    )
    Message.objects.update(**{name: F(name) - timedelta(seconds=seconds) for name in times})


def seconds_from_now(message_id: UUID, time: str = "due_at") -> float:
    """How far a time of a message is in the future, by the database's clock."""
    [(then, now)] = Message.objects.filter(pk=message_id).annotate(now=Now()).values_list(time, "now")
    return float((then - now).total_seconds())
