"""What a worker takes from a broker: the id of a row, or a task that is not durable, in Celery's protocol 2.

Whoever can write to a broker can write anything. Celery believes the headers: a time limit that is no number, for one,
ends the worker. Of a message for a durable task we use the id, and nothing else that it says.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from celery.exceptions import InvalidTaskError


def admit(message: Any, tasks: Mapping[str, Any]) -> UUID | None:
    """Return the id of the ledger's message that a kombu message stands for; None for a task that is not durable.

    A task that this worker does not know may be the ledger's: then the row says what it is.
    Raises InvalidTaskError with the reason why the message is not admitted.
    """
    name, id = message.headers.get("task"), message.headers.get("id")
    if not isinstance(name, str):
        raise InvalidTaskError("is no Celery task (it has no header 'task')")
    if not isinstance(id, str):
        raise InvalidTaskError(f"has no id of a task ({id!r})")
    if name in tasks and not getattr(tasks[name], "durable", False):
        _check_body(message)
        _check_limits(message.headers.get("timelimit"))
        return None
    try:
        return UUID(id)
    except ValueError:
        known = "" if name in tasks else f", and is for a task that this worker does not know: {name!r}"
        raise InvalidTaskError(f"has an id that is no message's: {id!r}{known}") from None


def _check_body(message: Any) -> None:
    try:
        parts = message.payload
    except Exception as error:  # each serializer and encoding has its own
        raise InvalidTaskError(f"cannot be decoded: {error}") from error
    if not isinstance(parts, list) or [type(part) for part in parts] != [list, dict, dict]:
        raise InvalidTaskError("has a body that is not [arguments, keyword arguments, options]")


def _check_limits(limits: Any) -> None:
    numbers = limits if isinstance(limits, list | tuple) and len(limits) == 2 else ["?"]
    if limits is not None and not all(each is None or isinstance(each, int | float) for each in numbers):
        raise InvalidTaskError(f"has time limits that are none: {limits!r}")
