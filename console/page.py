"""Everything that the console shows, read at one moment. Each question is bounded, or has an index of its own."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from console import overview
from console.broker import BrokerLook
from console.last_hour.minutes import Minute
from console.panels import render_panels
from console.presentation import unusual_answers
from outbox import heartbeat
from outbox.models import Message, Pause, PoisonMessage

State = Message.State

#: How many dead letters are shown; the admin has the others.
LATEST = 10

#: Processes that have been silent for longer are no longer shown.
FORGET_PROCESS_SECONDS = 3600

#: How many of the messages being run are named.
MOST_RUNNING = 100


def read_page(time: datetime, minutes: Sequence[Minute], broker: BrokerLook) -> dict[str, Any]:
    """The context of the template, but for the charts; `time` is the database's, `minutes` are those up to it."""
    queues = overview.count_unfinished(settings.SERVICE.relayed_queues)
    dead = Message.objects.filter(state=State.DEAD).count()
    processes = describe_processes()
    alerts = find_alerts(queues, processes)
    pauses = overview.describe_pauses()
    return {
        "time": time,
        "broker": broker,
        "broker_title": settings.BROKER_PROFILE.title,
        "queues": queues,
        "pipeline": total(queues),
        "accepted": sum(minute.accepted for minute in minutes),
        "done": sum(minute.done for minute in minutes),
        "dead": dead,
        "max_in_flight": settings.OUTBOX.max_in_flight * len(queues),
        "processes": processes,
        "panels": list(render_panels(time)),
        "dead_letters": latest_dead(),
        "alerts": alerts,
        "pauses": pauses,
        "paused_queues": [each["name"] for each in pauses if each["kind"] == Pause.Kind.QUEUE],
        "level": "warn" if broker.level == "ok" and (alerts or dead or pauses) else broker.level,
    }


def total(queues: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All queues taken together."""
    sums: dict[str, Any] = {name: sum(row[name] for row in queues) for name in [*overview.UNFINISHED, "due"]}
    for lag in overview.LAGS:
        sums[lag] = overview.longest(row[lag] for row in queues)
    return {**sums, "later": max(sums["pending"] - sums["due"], 0)}


def find_alerts(queues: Sequence[dict[str, Any]], processes: Sequence[dict[str, Any]]) -> list[str]:
    """What a person should do something about, the broker, dead letters and pauses aside."""
    alive = [process for process in processes if process["alive"]]
    rows = [{**row, State.DEAD: 0} for row in queues]
    status = {"processes": alive, "queues": rows, "poison": PoisonMessage.objects.count(), "pauses": []}
    silent = [
        f"{process['name']} has been silent for too long: it was killed, or hangs, or cannot reach the database."
        for process in processes
        if not process["alive"]
    ]
    return [*overview.note_what_is_amiss(status), *silent]


def describe_processes() -> list[dict[str, Any]]:
    """The processes that were alive within the last hour, and which messages the workers run."""
    limit_seconds = heartbeat.silence_limit_seconds()
    seen: list[Any] = heartbeat.alive(within_seconds=FORGET_PROCESS_SECONDS)
    tasks = name_tasks([id for each in seen for id in each.details.get("running", [])])
    return [
        {
            "name": each.name,
            "kind": each.kind,
            "where": each.name.partition(":")[2],
            "age_seconds": each.age.total_seconds(),
            "alive": each.age.total_seconds() <= limit_seconds,
            "details": each.details,
            "running": [tasks.get(id, "a task") for id in each.details.get("running", [])],
            "does": list(describe_activity(each.kind, each.details)),
        }
        for each in seen
    ]


def describe_activity(kind: str, details: Mapping[str, Any]) -> Iterator[str]:
    """What a process says of itself, the tasks it runs aside."""
    if kind == "worker" and not details.get("running"):
        yield "idle"
    if "done" in details:
        yield f"{details['done']:,} done"
    if "pool" in details:
        yield str(details["pool"])
    if "broker" in details:
        yield f"on {details['broker']}"
    if details.get("connected") is False:
        yield "not connected"
    for answer, number in unusual_answers(details).items():
        yield f"{number:,} {answer}"


def name_tasks(ids: Sequence[str]) -> dict[str, str]:
    """The names of the tasks that run, as far as the outbox knows them, by id."""
    keys = [UUID(id) for id in ids[:MOST_RUNNING] if re.fullmatch(r"[0-9a-f-]{36}", id)]
    return {str(id): task for id, task in Message.objects.filter(pk__in=keys).values_list("pk", "task")}


def latest_dead() -> list[Any]:
    """The messages that died last, with their errors."""
    dead = Message.objects.filter(state=State.DEAD).order_by("-finished_at")
    return list(overview.shorten(dead)[:LATEST])
