"""A queue or a task that is paused: what runs ends, and nothing new begins until someone resumes it.

The relay does not publish what is paused, and a worker does not claim it.
"""

import logging
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from outbox.models import Pause
from outbox.sql import WAITS_AGAIN, run

logger = logging.getLogger(__name__)


def pause(kind: str, name: str, *, by: str) -> bool:
    """Let nothing of a queue or task begin; False if it was paused already, and stays so by whoever did it first.

    What a broker was given waits in the ledger again, since when it did before: the broker's copies are worth nothing.
    """
    column = {Pause.Kind.QUEUE: "queue", Pause.Kind.TASK: "task"}[Pause.Kind(kind)]
    with transaction.atomic():
        _, is_new = Pause.objects.get_or_create(kind=kind, name=name, defaults={"by": by[:255]})
        run(
            f"""UPDATE outbox_message SET {WAITS_AGAIN}
            WHERE state = 'published' AND {column} = %s""",
            [name],
        )
    if is_new:
        logger.warning("The %s %s is paused by %s", kind, name, by)
    return is_new


def resume(kind: str, name: str, *, by: str) -> bool:
    """Let a queue or task go on: what has waited is due at once. False if it was not paused."""
    deleted, _ = Pause.objects.filter(kind=kind, name=name).delete()
    if deleted:
        logger.warning("The %s %s is resumed by %s", kind, name, by)
    return bool(deleted)


def pauses() -> list[Any]:
    """What is paused: each with its `age` by the database's clock."""
    return list(Pause.objects.annotate(age=Now() - F("since")).order_by("kind", "name"))
