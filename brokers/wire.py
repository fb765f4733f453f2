"""What travels over a broker: the name of a task and the id of its row. A stock Celery worker could read it."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

#: Celery's task protocol 2 with no arguments: they stay in the database.
BODY: Final = b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'

CONTENT: Final[Mapping[str, Any]] = {"content_type": "application/json", "content_encoding": "utf-8"}

_IN_LEDGER: Final = "(in the ledger)"
_ORIGIN: Final = f"relay@{socket.gethostname()}"


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """One message for a worker: run the row `id`, which is for `task`."""

    id: UUID
    task: str

    @property
    def headers(self) -> dict[str, Any]:
        """Celery's headers. What a worker needs of `argsrepr` and so on it reads from the row."""
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
            "argsrepr": _IN_LEDGER,
            "kwargsrepr": "{}",
            "origin": _ORIGIN,
            "ignore_result": True,
        }

    @property
    def properties(self) -> dict[str, Any]:
        """Message properties: persistent, and known by the id of the row."""
        return {**CONTENT, "delivery_mode": 2, "correlation_id": str(self.id)}


def is_in_ledger(headers: Mapping[str, Any]) -> bool:
    """Whether a message with these headers stands for a row, which is handed out again if the message is lost."""
    return headers.get("argsrepr") == _IN_LEDGER
