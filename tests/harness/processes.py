"""Looking at the processes of this machine (Linux): who started whom, and how to signal all of them."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes that `pid` started itself and that still run, e.g. a worker's pool."""
    return [child for child, parent in _parents() if parent == pid]


def descendants(pid: int) -> list[int]:
    """The processes that `pid` started, and those that they started."""
    found = children(pid)
    for child in found:
        found.extend(children(child))
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be collected does not.

    Its first thread may have ended before the others: until the last of them has, its connections are open.
    """
    folder = Path(f"/proc/{pid}")
    try:
        return _state_and_parent(folder)[0] != "Z" or len(list((folder / "task").iterdir())) > 1
    except OSError:
        return False


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            state, parent = _state_and_parent(folder)
            if state != "Z":
                yield int(folder.name), parent


def _state_and_parent(folder: Path) -> tuple[str, int]:
    # `pid (name) state parent ...`; the name may itself hold spaces and parentheses.
    state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
    return state, int(parent)
