"""What `celery inspect`, `status` and `app.control` ask of the workers, answered from the ledger and its heartbeats.

So they answer at once, on every broker, and also for a worker that is too busy to answer.
"""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.db.models.functions import Now
from kombu import Queue
from kombu.utils.json import loads

from outbox.calls.options import message_id
from outbox.heartbeat import alive
from outbox.models import Heartbeat, Message

#: How many of its messages one worker is asked about.
MOST_MESSAGES = 1000

RUNNING = Message.State.RUNNING


class ControlRefusedError(RuntimeError):
    """Raised for a command that the ledger cannot carry out. The message says how it is done instead."""


def ask(app: Any, command: str, arguments: Mapping[str, Any], destination: Any = None) -> list[dict[str, Any]]:
    """Return the answer of each worker that is alive, or of those in `destination`, by node name.

    Raises ControlRefusedError for a command that nobody can answer from the ledger.
    """
    answer = ANSWERS.get(command)
    if answer is None:
        cure = CURES.get(command, "Look at the worker's log, or at manage.py outbox status.")
        raise ControlRefusedError(f"Workers take no command {command!r} from afar: they listen to nothing. {cure}")
    wanted = [destination] if isinstance(destination, str) else destination
    workers = [each for each in alive() if each.kind == "worker" and (not wanted or each.details.get("node") in wanted)]
    return [{each.details.get("node", each.name): answer(app, each, arguments)} for each in workers]


def _ping(app: Any, worker: Heartbeat, arguments: Mapping[str, Any]) -> Any:
    return {"ok": "pong"}


def _active(app: Any, worker: Heartbeat, arguments: Mapping[str, Any]) -> Any:
    return [_told(each) for each in _held(worker, begun_at__isnull=False)]


def _reserved(app: Any, worker: Heartbeat, arguments: Mapping[str, Any]) -> Any:
    return [_told(each) for each in _held(worker, begun_at__isnull=True)]


def _scheduled(app: Any, worker: Heartbeat, arguments: Mapping[str, Any]) -> Any:
    """What waits in the ledger for its time, soonest first: any worker that has its queue may get it."""
    waiting = Message.objects.filter(finished_at=None, state=Message.State.PENDING, due_at__gt=Now())
    waiting = waiting.filter(queue__in=worker.details.get("queues", ())).order_by("due_at")[:MOST_MESSAGES]
    return [_scheduled_told(each, worker.details.get("node", "")) for each in waiting]


def _scheduled_told(message: Message, node: str) -> dict[str, Any]:
    request = {**_told(message), "hostname": node, "acknowledged": False, "time_start": None}
    return {"eta": message.due_at.isoformat(), "priority": 6, "request": request}


def _registered(app: Any, worker: Heartbeat, arguments: Mapping[str, Any]) -> Any:
    """Also with the attributes that are asked for, as this process knows them."""
    names = sorted({*worker.details.get("tasks", ()), *worker.details.get("direct_tasks", ())})
    fields = list(arguments.get("taskinfoitems") or ())

    def described(name: str) -> str:
        task = app.tasks.get(name)
        told = [f"{field}={getattr(task, field)}" for field in fields if getattr(task, field, None) is not None]
        return f"{name} [{' '.join(told)}]" if told else name

    return [described(name) for name in names if not name.startswith("celery.")]


def _active_queues(app: Any, worker: Heartbeat, arguments: Mapping[str, Any]) -> Any:
    known = app.amqp.queues
    return [_queue(known.get(name) or Queue(name)) for name in worker.details.get("queues", ())]


def _queue(queue: Queue) -> dict[str, Any]:
    told = queue.as_dict(recurse=True)
    return {name: value for name, value in told.items() if isinstance(value, str | int | list | dict | None)}


def _stats(app: Any, worker: Heartbeat, arguments: Mapping[str, Any]) -> Any:
    details = worker.details
    return {
        "pid": details.get("pid"),
        "uptime": round((worker.seen_at - worker.started_at).total_seconds()),
        "total": details.get("total", {}),
        "clock": str(app.clock),
        "broker": {"transport": details.get("broker"), "connected": details.get("connected")},
        "pool": {
            "implementation": details.get("pool"),
            "max-concurrency": details.get("concurrency"),
            "processes": details.get("processes", []),
        },
    }


def _revoked(app: Any, worker: Heartbeat, arguments: Mapping[str, Any]) -> Any:
    """The newest that were discarded, by whomever: no worker runs them."""
    found = Message.objects.filter(state=Message.State.DISCARDED).order_by("-finished_at").only("id", "options")
    return [_task_id(each) for each in found[:MOST_MESSAGES]]


def _query_task(app: Any, worker: Heartbeat, arguments: Mapping[str, Any]) -> Any:
    ids: dict[UUID, str] = {message_id(str(each)): str(each) for each in arguments.get("ids") or ()}
    found = Message.objects.filter(pk__in=ids, state=RUNNING, worker=worker.details.get("node", ""))
    return {ids[each.pk]: ["active" if each.begun_at else "reserved", _told(each)] for each in found}


def _held(worker: Heartbeat, **state: Any) -> list[Message]:
    held = Message.objects.filter(finished_at=None, state=RUNNING, worker=worker.details.get("node", ""), **state)
    return list(held.order_by("claimed_at")[:MOST_MESSAGES])


def _task_id(message: Message) -> str:
    said: dict[str, Any] = loads(message.options) if message.options else {}
    return said.get("task_id") or str(message.pk)


def _told(message: Message) -> dict[str, Any]:
    """A message as Celery tells a request."""
    try:
        args, kwargs = loads(message.arguments)
    except Exception:  # a type that nobody registered here
        args, kwargs = [], {}
    return {
        "id": _task_id(message),
        "name": message.task,
        "args": args,
        "kwargs": kwargs,
        "type": message.task,
        "hostname": message.worker,
        "time_start": message.begun_at.timestamp() if message.begun_at else None,
        "acknowledged": True,
        "delivery_info": {
            "exchange": "", "routing_key": message.queue, "priority": message.priority, "redelivered": False,
        },
        "worker_pid": None,
    }  # fmt: skip


#: What each command is answered with.
ANSWERS: Mapping[str, Callable[[Any, Heartbeat, Mapping[str, Any]], Any]] = {
    "ping": _ping,
    "active": _active,
    "reserved": _reserved,
    "scheduled": _scheduled,
    "registered": _registered,
    "active_queues": _active_queues,
    "stats": _stats,
    "revoked": _revoked,
    "query_task": _query_task,
    "report": lambda app, worker, arguments: {"ok": app.bugreport()},
}

QUEUES_CURE = "Start the worker with the queues that it shall have: -Q."
POOL_CURE = "Start the worker with another --concurrency, or more workers."
RESTART_CURE = "Send it SIGTERM: it ends what runs, and its supervisor starts it anew."
EVENTS_CURE = "Metrics and `manage.py outbox status` say what happens; the ledger needs no events."

#: What to do instead of a command.
CURES: Mapping[str, str] = {
    "add_consumer": QUEUES_CURE,
    "autoscale": POOL_CURE,
    "cancel_consumer": f"{QUEUES_CURE} To let nothing of a queue begin anywhere: manage.py outbox pause QUEUE.",
    "clock": "There are no events that a clock would put in order.",
    "conf": "manage.py config shows the settings.",
    "disable_events": EVENTS_CURE,
    "election": "Let the database decide: a row that two want is claimed by one.",
    "enable_events": EVENTS_CURE,
    "heartbeat": "The heartbeats are in the database: manage.py outbox status.",
    "hello": "Workers know of each other by their heartbeats: manage.py outbox status.",
    "pool_grow": POOL_CURE,
    "pool_restart": RESTART_CURE,
    "pool_shrink": POOL_CURE,
    "rate_limit": "Declare it: @shared_task(rate_limit='...').",
    "shutdown": RESTART_CURE,
    "time_limit": "Declare it, @shared_task(time_limit=...), or say it with the call: apply_async(time_limit=...).",
}
