"""What people ask the outbox. Nothing here writes; ages are by the database's clock."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Case, Count, F, Max, Model, Q, QuerySet, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Now, Right
from kombu.utils.json import loads

from console.presentation import describe_age
from outbox import heartbeat, ledger
from outbox.models import Message, Pause, PoisonMessage
from outbox.results import last_line

State = Message.State

#: The states of what has still to happen.
UNFINISHED = (State.PENDING, State.PUBLISHED, State.RUNNING)

#: How long the oldest message has waited: for the relay, for a worker, and in all.
LAGS = ("relay_lag_seconds", "worker_lag_seconds", "lag_seconds")

#: From which states a message can be replayed, and from which discarded.
REPLAYABLE = (State.DEAD,)
DISCARDABLE = (State.DEAD, State.PENDING, State.PUBLISHED)

#: Columns that may be megabytes each: a list of messages does not fetch them.
LONG_COLUMNS = ("arguments", "headers", "last_error", "history")

#: How much of the end of `last_error` a list fetches, to show its last line.
ERROR_CHARACTERS = 500

#: How many ids one statement names: databases limit the number of parameters.
IDS_PER_STATEMENT = 1000


def describe_status() -> dict[str, Any]:
    """How much waits where, who is alive, and `notes` on what is amiss with its cure."""
    alive: list[Any] = heartbeat.alive()
    status = {
        "queues": count_queues(settings.SERVICE.relayed_queues),
        "max_in_flight": settings.OUTBOX.max_in_flight,
        "processes": [
            {"name": each.name, "kind": each.kind, "age_seconds": each.age.total_seconds(), "details": each.details}
            for each in alive
        ],
        "poison": PoisonMessage.objects.count(),
        "pauses": describe_pauses(),
    }
    return {**status, "notes": list(note_what_is_amiss(status))}


def note_what_is_amiss(status: dict[str, Any]) -> Iterator[str]:
    """What a person should do something about."""
    alive = {process["kind"] for process in status["processes"]}
    if "relay" not in alive:
        yield "No relay is alive, so nothing is published. Start one: manage.py relay"
    if "worker" not in alive:
        yield "No worker is alive, so nothing is run. Start one: celery -A app worker"
    for process in status["processes"]:
        if process["details"].get("connected") is False:
            yield f"{process['name']} is not connected to the broker."
    for pause in status["pauses"]:
        yield tell_pause(pause)
    for row in status["queues"]:
        if row["queue"] not in settings.SERVICE.relayed_queues and row["pending"] + row["published"]:
            yield f"Nobody serves the queue {row['queue']!r}: add it to QUEUES."
    if refused := sum(row["refused"] for row in status["queues"]):
        yield tell_refused(refused)
    if dead := sum(row["dead"] for row in status["queues"]):
        yield f"{dead} dead: manage.py outbox list --state dead"
    if status["poison"]:
        yield f"{status['poison']} could not be read: manage.py outbox poison"


def describe_pauses() -> list[dict[str, Any]]:
    """What is paused, since when, and who did it; `cure` is the command that resumes it."""
    return [
        {
            **columns_of(each, without=["id"]),
            "age_seconds": each.age.total_seconds(),
            "cure": f"manage.py outbox resume {'--task ' if each.kind == Pause.Kind.TASK else ''}{each.name}",
        }
        for each in ledger.pauses()
    ]


def tell_refused(number: int) -> str:
    """That so many messages wait because workers have refused them, and the cure."""
    are, their = ("is", "its") if number == 1 else ("are", "their")
    see = "manage.py outbox list --refused"
    return f"{number} {are} refused by the workers: {see}. Deploy a worker that knows {their} task."


def tell_pause(pause: dict[str, Any]) -> str:
    """One of `describe_pauses` in a sentence."""
    age = describe_age(pause["age_seconds"])
    return f"The {pause['kind']} {pause['name']} has been paused for {age} by {pause['by']}: {pause['cure']}"


def count_queues(known: Iterable[str]) -> list[dict[str, Any]]:
    """For each queue of `known`, and each other that has messages: how many of each state, how many due, the lag.

    The lags are those of `count_unfinished`.
    """
    nothing = {**dict.fromkeys([*State.values, "due", "refused"], 0), **dict.fromkeys(LAGS)}
    queues = {row["queue"]: {**nothing, **row} for row in count_unfinished(known)}
    finished: Any = Message.objects.filter(finished_at__isnull=False).values_list("queue", "state")
    for queue, state, count in finished.annotate(count=Count("*")):
        queues.setdefault(queue, {"queue": queue, **nothing})[state] = count
    return sorted(queues.values(), key=itemgetter("queue"))


def count_unfinished(known: Iterable[str]) -> list[dict[str, Any]]:
    """For each queue of `known`, and each other that has some: how many are pending, published, running and due.

    `lag_seconds` tells how long the oldest of those that could run has waited since it should have, `relay_lag_seconds`
    the same of those that wait for the relay, `worker_lag_seconds` how long the oldest has waited for a worker since it
    was published last; None if none waits. What is paused is not due, and `refused` have been refused by workers, or
    none of them knows their task. What is unfinished is little and has an index.
    """
    due = Q(state__in=[State.PENDING, State.RUNNING], due_at__lte=Now()) & ~is_paused()
    published = Q(state=State.PUBLISHED)
    # What runs no longer has waited since its lease ended.
    waited = Now() - Case(When(state=State.RUNNING, then=F("due_at")), default=F("wanted_at"))
    counts: dict[str, Any] = {state: Count("pk", filter=Q(state=state)) for state in UNFINISHED}
    counts |= {"due": Count("pk", filter=due), "refused": Count("pk", filter=Q(refused_at__isnull=False))}
    lags: dict[str, Any] = {
        "relay_lag_seconds": Max(waited, filter=due),
        "worker_lag_seconds": Max(Now() - F("published_at"), filter=published),
        "lag_seconds": Max(waited, filter=due | published),
    }
    nothing = {**dict.fromkeys([*UNFINISHED, "due", "refused"], 0), **dict.fromkeys(LAGS)}
    queues: dict[str, dict[str, Any]] = {queue: {"queue": queue, **nothing} for queue in known}
    unfinished: Any = Message.objects.filter(finished_at__isnull=True).values("queue")
    for row in unfinished.annotate(**counts, **lags):
        seconds = {name: row[name].total_seconds() for name in lags if row[name] is not None}
        queues[row["queue"]] = {**row, **seconds}
    return sorted(queues.values(), key=itemgetter("queue"))


def is_paused() -> Q:
    """The condition that a message is of a queue or task that is paused."""
    paused = Pause.objects.values("name")
    queues, tasks = paused.filter(kind=Pause.Kind.QUEUE), paused.filter(kind=Pause.Kind.TASK)
    return Q(queue__in=queues) | Q(task__in=tasks)


def longest(lags: Iterable[float | None]) -> float | None:
    """The longest of the lags there are, None if there are none."""
    return max((lag for lag in lags if lag is not None), default=None)


def select_messages(
    *,
    state: str | None = None,
    task: str | None = None,
    queue: str | None = None,
    since: datetime | Combinable | None = None,
    refused: bool = False,
) -> QuerySet[Message]:
    """Messages, newest first.

    `since` chooses those that ended since then, and those that have not ended and were enqueued since then; `refused`
    those that wait because workers have refused them.
    """
    named = {"state": state, "task": task, "queue": queue}
    chosen = Message.objects.filter(**{name: value for name, value in named.items() if value is not None})
    if refused:
        chosen = chosen.filter(refused_at__isnull=False, finished_at__isnull=True)
    if since is not None:
        chosen = chosen.filter(Q(finished_at__gte=since) | Q(finished_at__isnull=True, created_at__gte=since))
    # By id and not by `created_at`: ids are time-ordered, and the primary key is an index.
    return chosen.order_by("-pk")


def shorten(messages: QuerySet[Message]) -> QuerySet[Message]:
    """`messages` as a list needs them: with `age` and the end of the error, without their long columns."""
    end = Right("last_error", ERROR_CHARACTERS)
    return messages.defer(*LONG_COLUMNS).annotate(age=Now() - F("created_at"), error_end=end)


def describe_message(message: Any, *, fully: bool = False) -> dict[str, Any]:
    """A message that `shorten` prepared as a dictionary; `error` is the last line of its `last_error`."""
    brief = {**columns_of(message, without=LONG_COLUMNS), "age_seconds": message.age.total_seconds()}
    brief["error"] = last_line(message.error_end)
    if not fully:
        return brief
    history = message.history.splitlines()
    long = {"arguments": arguments_of(message), "headers": loads(message.headers), "history": history}
    return {**brief, **describe_present(message), **long, "last_error": message.last_error}


def describe_present(message: Any) -> dict[str, Any]:
    """How long it ran, or has run until now, in seconds; and what keeps it from being run, in words."""
    ran_seconds = running_seconds = refused = paused = None
    if message.begun_at and message.state == State.DONE:
        ran_seconds = (message.finished_at - message.begun_at).total_seconds()
    elif message.begun_at and message.state == State.RUNNING:
        running_seconds = seconds_since(message.begun_at, message)
    if message.refused_at and message.state in UNFINISHED:
        refused = f"for {describe_age(seconds_since(message.refused_at, message))}: {last_line(message.error_end)}"
    if message.state in UNFINISHED:
        named = {Pause.Kind.QUEUE: message.queue, Pause.Kind.TASK: message.task}
        paused = "\n".join(tell_pause(each) for each in describe_pauses() if named[each["kind"]] == each["name"])
    return {"ran_seconds": ran_seconds, "running_seconds": running_seconds, "refused": refused, "paused": paused}


def seconds_since(moment: datetime, message: Any) -> float:
    """How long ago `moment` was by the database's clock, which told the age of `message`."""
    return float((message.age - (moment - message.created_at)).total_seconds())


def arguments_of(message: Message) -> dict[str, Any]:
    """What the task is called with."""
    return dict(zip(("args", "kwargs"), loads(message.arguments), strict=True))


def columns_of(row: Model, *, without: Collection[str] = ()) -> dict[str, Any]:
    """The columns of a row by name."""
    values = {field.name: getattr(row, field.name) for field in row._meta.fields if field.name not in without}
    # PostgreSQL's driver hands out bytes as a view of them.
    return {name: bytes(value) if isinstance(value, memoryview) else value for name, value in values.items()}


def id_starts_with(text: str) -> Q | None:
    """The condition that a message's id begins with `text`, hyphens or not; None if no id can. Uses the primary key."""
    digits = text.replace("-", "").lower()
    if not re.fullmatch("[0-9a-f]{1,32}", digits):
        return None
    return Q(pk__range=(UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))))


def in_chunks(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    """`ids` in parts that the ledger can take in one statement each."""
    for start in range(0, len(ids), IDS_PER_STATEMENT):
        yield ids[start : start + IDS_PER_STATEMENT]
