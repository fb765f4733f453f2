"""The outbox: how long due messages have waited, and which messages wait for a person."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings

from brokers import Finding
from console.overview import count_queues, describe_pauses, tell_refused
from console.presentation import describe_age
from outbox.models import PoisonMessage

#: A due message usually runs within about 1 s. This limit leaves time to workers that are only busy.
LAG_LIMIT_SECONDS = 60


def examine() -> Iterator[Finding]:
    for pause in describe_pauses():
        message = f"It has been paused for {describe_age(pause['age_seconds'])} by {pause['by']}: nothing new begins."
        yield Finding("warn", f"{pause['kind']} {pause['name']}", message, pause["cure"])
    for row in count_queues(settings.SERVICE.relayed_queues):
        yield from _examine_queue(row)
    if poison := PoisonMessage.objects.count():
        yield Finding("warn", "poison", f"{poison} could not be read.", "See them: manage.py outbox poison")


def _examine_queue(row: dict[str, Any]) -> Iterator[Finding]:
    queue, lag_seconds = f"queue {row['queue']}", row["lag_seconds"]
    waiting = row["pending"] + row["published"]
    window = settings.OUTBOX.max_in_flight - settings.OUTBOX.kept_for_urgent
    if row["queue"] not in settings.SERVICE.relayed_queues and waiting:
        message = f"{waiting} messages wait in it, and nobody relays it."
        yield Finding("fail", queue, message, f"Add {row['queue']} to QUEUES, or manage.py outbox discard.")
    elif lag_seconds and lag_seconds > LAG_LIMIT_SECONDS:
        message = f"The oldest message has waited {describe_age(lag_seconds)} (limit {LAG_LIMIT_SECONDS} s)."
        relay, worker = "Is the relay running? manage.py relay", "Do workers keep up? celery -A app worker"
        is_foreign = row["queue"] in settings.SERVICE.outbox_foreign_queues
        yield Finding("fail", queue, message, relay if row["due"] or is_foreign else worker)
    else:
        yield Finding("ok", queue, f"{row['pending']} pending, {row['published']} published, {row['running']} running.")
    if row["published"] >= window:
        message = f"The broker holds {row['published']} messages, all it may (OUTBOX_MAX_IN_FLIGHT)."
        yield Finding("warn", queue, message, "The rest waits in the database; start more workers.")
    if row["refused"]:
        message, cure = tell_refused(row["refused"]).split(": ", 1)
        yield Finding("warn", queue, f"{message}.", cure)
    if row["dead"]:
        message = f"{row['dead']} are dead and wait for a decision."
        yield Finding("warn", queue, message, "manage.py outbox list --state dead, then outbox replay or discard")
