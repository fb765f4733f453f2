"""Which messages, queues and tasks the words of a command line mean, and who asks.

Each raises CommandError, with the cure, for words that mean nothing here.
"""

import re
from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from typing import Any, cast

from celery import current_app
from django.conf import settings
from django.core.management.base import CommandError
from django.db.models import QuerySet
from django.db.models.expressions import Combinable
from django.db.models.functions import Now

from console import overview
from outbox import ledger
from outbox.calls.options import as_datetime
from outbox.control import who_asks
from outbox.models import Message, Pause
from settings.errors import choose_from

#: What to do instead about messages that cannot be replayed or discarded, by state.
CURES = {
    "pending": "It is on its way already.",
    "published": "It is on its way already; if the broker has lost it: manage.py outbox republish.",
    "running": "A worker has begun it: wait for it to end.",
}


def moment(text: str) -> datetime | Combinable:
    """A time (naive: in TIME_ZONE), or an age by the database's clock."""
    if age := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return Now() - timedelta(seconds=int(age[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[age[2]])
    try:
        return cast(datetime, as_datetime(text))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is neither an age like 2h nor a time like 2026-11-22T14:00") from None


def filters_of(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("task", "queue", "since") if options[name] is not None}


def choose_messages(options: dict[str, Any], states: tuple[str, ...]) -> list[Message]:
    """The messages that the options mean. Raises CommandError for none, and for one that is not in one of `states`."""
    verb, filters = options["action"], filters_of(options)
    if bool(options["ids"]) == bool(filters or options["all"]):
        raise CommandError(f"Say what to {verb}: either IDs, or --task, --queue or --since, or --all.")
    if not options["ids"]:
        found = list(overview.select_messages(state="dead", **filters).only("task"))
        if not found:
            raise CommandError(f"No dead message matches: nothing to {verb}.")
        return found
    named = {message.pk: message for message in map(find_message, options["ids"])}
    for message in named.values():
        if message.state not in states:
            cure = CURES.get(message.state, "To have it happen again, enqueue a new one.")
            raise CommandError(f"{message.pk} is {message.state}: it cannot be {verb}ed. {cure}")
    return list(named.values())


def find_message(text: str) -> Message:
    matching = overview.id_starts_with(text)
    found = Message.objects.filter(matching).only("task", "state") if matching else Message.objects.none()
    days = settings.OUTBOX.keep_days
    message: Message = only(found, text, f"IDs: manage.py outbox list. What is done is forgotten after {days:g} days.")
    return message


def only(found: QuerySet, text: str, cure: str) -> Any:
    """The one that was found. Raises CommandError if it is none, or one of several."""
    rows = list(found[:2])
    if not rows:
        raise CommandError(f"There is no message {text!r}. {cure}")
    if len(rows) > 1:
        raise CommandError(f"{text!r} is the beginning of several: {rows[0].pk}, {rows[1].pk} ... Give more of it.")
    return rows[0]


def choose_pausable(queue: str | None, task: str | None) -> tuple[str, str]:
    """Whether a queue or a task is meant, and its name."""
    if bool(queue) == bool(task):
        raise CommandError("Say what: either a queue, or --task NAME.")
    kind, name = (Pause.Kind.QUEUE, queue) if queue else (Pause.Kind.TASK, task)
    known = settings.SERVICE.relayed_queues if queue else durable_tasks()
    if name in known or any((each.kind, each.name) == (kind, name) for each in ledger.pauses()):
        return kind.value, str(name)
    # A task of another release is not known here, and yet its messages wait.
    if task and Message.objects.filter(task=task, finished_at__isnull=True).exists():
        return kind.value, task
    raise CommandError(f"{name!r} is not a {kind} of this service: {choose_from(str(name), known)}")


def durable_tasks() -> list[str]:
    """The names of the tasks that this service keeps in its outbox."""
    current_app.loader.import_default_modules()
    return sorted(name for name, task in current_app.tasks.items() if getattr(task, "durable", False))


def whoever_asks() -> str:
    return who_asks("command line")
