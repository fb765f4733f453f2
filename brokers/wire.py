"""The content of a message: the name of a task and the id of its row. An ordinary Celery worker could read it."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

#: Celery's task protocol 2 with no arguments: they stay in the database.
BODY: Final = b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'

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
    def headers(self) -> dict[str, Any]:
        """Celery's headers and one of ours. `argsrepr` is a text for people; the arguments are in the row."""
        id = str(self.id)
        return {
            "lang": "py",
            "task": self.task,
            "id": id,
            "root_id": id,
            "parent_id": None,
            "group": None,
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": "(in the ledger)",
            "kwargsrepr": "{}",
            "origin": _ORIGIN,
            "ignore_result": True,
            STANDS_FOR: A_ROW,
        }

    @property
    def properties(self) -> dict[str, Any]:
        """Message properties: it is persistent, and its correlation id is the id of the row."""
        return {**CONTENT, "delivery_mode": 2, "correlation_id": str(self.id)}


def is_in_ledger(headers: Mapping[str, Any]) -> bool:
    """Whether a message with these headers stands for a row. If such a message is lost, the row is published again."""
    return headers.get(STANDS_FOR) == A_ROW
