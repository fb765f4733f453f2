"""The content of a message, as Celery writes it (task protocol 2).

For our own workers it is the name of a task and the id of its row: a `TaskMessage`. For workers that are not ours it is
all that Celery would send: a `CompleteMessage`. An ordinary Celery worker can read both.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

#: What is called when a task ends: nothing, the ledger sees to that.
_NO_CALLBACKS: Final = b'{"callbacks": null, "errbacks": null, "chain": null, "chord": null}'

#: The body of a message whose arguments stay in the database.
BODY: Final = b"[[], {}, " + _NO_CALLBACKS + b"]"

CONTENT: Final[Mapping[str, Any]] = {"content_type": "application/json", "content_encoding": "utf-8"}

#: The header that says what a message stands for, and what it says of one that stands for a row of the ledger. It only
#: spares Redis a record of who has the message: one without it, of another release, is recorded, and runs all the same.
STANDS_FOR: Final = "anybroker"
A_ROW: Final = "ledger"

_ORIGIN: Final = f"relay@{socket.gethostname()}"


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """One message for a worker: run the row `id`, which is for `task`."""

    id: UUID
    task: str

    @property
    def body(self) -> bytes:
        return BODY

    @property
    def headers(self) -> dict[str, Any]:
        """Celery's headers and one of ours. `argsrepr` is a text for people; the arguments are in the row."""
        told = {"argsrepr": "(in the ledger)", "kwargsrepr": "{}", "ignore_result": True, STANDS_FOR: A_ROW}
        return {**_headers(self.id, self.task), **told}

    @property
    def properties(self) -> dict[str, Any]:
        """Message properties: it is persistent, and its correlation id is the id of the row."""
        return {**CONTENT, "delivery_mode": 2, "correlation_id": str(self.id)}


@dataclass(frozen=True, slots=True)
class CompleteMessage(TaskMessage):
    """One message for a worker that is not ours and has no ledger: its arguments are inside."""

    arguments: str
    """`[args, kwargs]` in Celery's JSON."""
    argsrepr: str
    kwargsrepr: str
    sent_headers: Mapping[str, Any]
    """What the caller put into the headers."""
    expires: str | None
    """The moment as ISO 8601 writes it."""
    priority: int

    @property
    def body(self) -> bytes:
        return self.arguments.rstrip().removesuffix("]").encode() + b", " + _NO_CALLBACKS + b"]"

    @property
    def headers(self) -> dict[str, Any]:
        """Celery's headers, and the caller's beside them, as Celery sends those."""
        told = {"argsrepr": self.argsrepr, "kwargsrepr": self.kwargsrepr, "ignore_result": False}
        return {**self.sent_headers, **_headers(self.id, self.task), **told, "expires": self.expires}

    @property
    def properties(self) -> dict[str, Any]:
        return {**CONTENT, "delivery_mode": 2, "correlation_id": str(self.id), "priority": self.priority}


def _headers(id: UUID, task: str) -> dict[str, Any]:
    """What both kinds tell. A message is published when it is due, so it has no `eta`."""
    return {
        "lang": "py",
        "task": task,
        "id": str(id),
        "root_id": str(id),
        "parent_id": None,
        "group": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "origin": _ORIGIN,
    }


def is_in_ledger(headers: Mapping[str, Any]) -> bool:
    """Whether a message with these headers stands for a row. If such a message is lost, the row is published again."""
    return headers.get(STANDS_FOR) == A_ROW
