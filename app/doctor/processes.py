"""Relay, workers and beat: which are alive by their heartbeats, and whether a worker consumes each queue."""

from collections.abc import Iterator, Sequence

from django.conf import settings

from brokers.base import Finding, Level
from outbox import heartbeat
from outbox.models import Heartbeat

#: Each kind of process: its level and the consequence if none is alive, and how to start one.
KINDS: list[tuple[str, Level, str, str]] = [
    ("relay", "fail", "nothing is published", "manage.py relay"),
    ("worker", "fail", "nothing is run", "celery -A app worker -l INFO"),
    ("beat", "warn", "nothing periodic happens, the outbox is not pruned", "celery -A app beat -l INFO"),
]


def examine() -> Iterator[Finding]:
    alive = heartbeat.alive()
    for kind, level, otherwise, command in KINDS:
        if names := [each.name.partition(":")[2] for each in alive if each.kind == kind]:
            yield Finding("ok", kind, f"{len(names)} alive: {', '.join(names)}")
        else:
            yield Finding(level, kind, f"None is alive: {otherwise}.", f"Start one: {command}")
    for each in alive:
        yield from _examine_process(each)
    yield from _find_unconsumed([each for each in alive if each.kind == "worker"])


def _examine_process(process: Heartbeat) -> Iterator[Finding]:
    details, broker = process.details, settings.BROKER_PROFILE.name
    if details.get("connected") is False:
        message = f"{process.name} is not connected to the broker."
        yield Finding("warn", process.kind, message, "Its log says why; it reconnects by itself.")
    if details.get("broker", broker) != broker:
        message = f"{process.name} uses {details['broker']}, and BROKER={broker} here."
        yield Finding("warn", process.kind, message, "While brokers are being switched that is fine; else restart it.")


def _find_unconsumed(workers: Sequence[Heartbeat]) -> Iterator[Finding]:
    consumed = {queue for worker in workers for queue in worker.details.get("queues", [])}
    for queue in settings.SERVICE.queues:
        if workers and queue not in consumed:
            cure = f"Start a worker for it: celery -A app worker -Q {queue}"
            yield Finding("fail", f"queue {queue}", "No worker consumes it.", cure)
