"""What the relay has to know of others: which tasks live workers know, and what people have paused."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from outbox import heartbeat
from outbox.ledger import Runnable
from outbox.models import Heartbeat, Pause


@dataclass(frozen=True, slots=True)
class News:
    """What may be published, by queue."""

    runnable: dict[str, Runnable] = field(default_factory=dict)
    paused_queues: frozenset[str] = frozenset()


def read_news(queues: Sequence[str]) -> News:
    """Ask the database. Raises `django.db.Error`."""
    pauses = list(Pause.objects.values_list("kind", "name"))
    paused_tasks = frozenset(name for kind, name in pauses if kind == Pause.Kind.TASK)
    workers = [each for each in heartbeat.alive() if each.kind == "worker"]
    return News(
        {queue: Runnable(known_tasks(queue, workers), paused_tasks) for queue in queues},
        frozenset(name for kind, name in pauses if kind == Pause.Kind.QUEUE),
    )


def known_tasks(queue: str, workers: Iterable[Heartbeat]) -> frozenset[str] | None:
    """The tasks that the workers of a queue know between them.

    None if no worker consumes it, or one does not say what it knows (it is of an older release).
    """
    details = [each.details for each in workers if queue in each.details.get("queues", ())]
    if not details or any("tasks" not in each for each in details):
        return None
    return frozenset(task for each in details for task in each["tasks"])
