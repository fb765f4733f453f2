"""The work of the subjects: enqueue, publish with plain Celery, and empty the queues again."""

import time
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.db import transaction

from app.celery import app
from benchmarks import plain, tasks
from brokers.channel import ChannelProfile
from brokers.sqs.profile import SQSProfile
from outbox.models import Message
from workers.relaying.relay import Relay

#: The queue of our side. `plain.QUEUE` is that of plain Celery.
QUEUE: Final[str] = settings.SERVICE.queues[0]

#: How many messages without a priority a window of the queue holds: what one round takes.
ORDINARY_WINDOW: Final[int] = settings.OUTBOX.max_in_flight - settings.OUTBOX.kept_for_urgent

#: The arguments of a task that sends a confirmation.
ORDER: Final = ("8e4c2f0a-6a55-4c1f-9f43-2a8f7d1f4c11", "customer@example.com")

TICK: Final[str] = tasks.tick.name


def delay(path: str = "/dev/null") -> None:
    """Enqueue one message as a view does."""
    app.tasks[TICK].delay(path, *ORDER)


def publish_plainly(path: str = "/dev/null", queue: str = plain.QUEUE) -> None:
    """Publish one message as plain Celery does."""
    plain.app.tasks[TICK].apply_async((path, *ORDER), queue=queue)


def publish_in_a_loop(count: int, path: str = "/dev/null", queue: str = plain.QUEUE) -> None:
    for _ in range(count):
        publish_plainly(path, queue)


def fill_ledger(count: int, path: str = "/dev/null") -> None:
    """Enqueue `count` messages."""
    with transaction.atomic():
        for _ in range(count):
            delay(path)


def empty_ledger() -> None:
    Message.objects.all().delete()


def new_relay() -> Relay:
    return Relay(settings.BROKER_PROFILE, [QUEUE], settings.OUTBOX)


def purge(queue: str) -> None:
    """Take every waiting message out of `queue`."""
    profile = settings.BROKER_PROFILE
    if isinstance(profile, SQSProfile):  # SQS purges once a minute at most
        profile.queues.client.delete_queue(QueueUrl=profile.queue_url(queue))
        profile.prepare([queue])
    elif isinstance(profile, ChannelProfile):
        profile.ask(lambda channel: channel.queue_purge(queue))


def timed(call: Callable[[], object]) -> float:
    """Return how many seconds `call` takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
