"""What a worker takes from a broker: a task that it knows, in the shape of Celery's protocol 2.

Whoever can write to a broker can write anything. Celery believes the headers: a time limit that is no number, for one,
ends the worker. Of a message for a durable task we use the name and the id, and nothing else that it says.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from celery.exceptions import InvalidTaskError

from brokers.wire import BODY, CONTENT, TaskMessage


def admit(message: Any, tasks: Mapping[str, Any]) -> None:
    """Turn a kombu message for a durable task into exactly what the relay publishes; check one for any other task.

    Raises InvalidTaskError with the reason why it is not admitted.
    """
    name, id = message.headers.get("task"), message.headers.get("id")
    if not isinstance(name, str):
        raise InvalidTaskError("is no Celery task (it has no header 'task')")
    if name not in tasks:
        raise InvalidTaskError(f"is for a task that this worker does not know: {name!r}")
    if not isinstance(id, str):
        raise InvalidTaskError(f"has no id of a task ({id!r})")
    if message.body != BODY or message.content_type != CONTENT["content_type"]:
        _check_body(message)
    if getattr(tasks[name], "durable", False):
        _reduce(message, name, id)
    else:
        _check_limits(message.headers.get("timelimit"))


def _check_body(message: Any) -> None:
    try:
        parts = message.payload
    except Exception as error:  # each serializer and encoding has its own
        raise InvalidTaskError(f"cannot be decoded: {error}") from error
    if not isinstance(parts, list) or [type(part) for part in parts] != [list, dict, dict]:
        raise InvalidTaskError("has a body that is not [arguments, keyword arguments, options]")


def _reduce(message: Any, name: str, id: str) -> None:
    try:
        known = TaskMessage(UUID(id), name)
    except ValueError:
        raise InvalidTaskError(f"has an id that is no message's: {id!r}") from None
    message.headers, message.body = known.headers, BODY
    message.content_type, message.content_encoding = CONTENT["content_type"], CONTENT["content_encoding"]
    message._decoded_cache = None


def _check_limits(limits: Any) -> None:
    numbers = limits if isinstance(limits, list | tuple) and len(limits) == 2 else ["?"]
    if limits is not None and not all(each is None or isinstance(each, int | float) for each in numbers):
        raise InvalidTaskError(f"has time limits that are none: {limits!r}")
