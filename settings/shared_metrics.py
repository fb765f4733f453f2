"""The directory in which the processes of one program (gunicorn's, a worker's pool) share their metrics."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

#: Read by prometheus_client when it is imported: from then on each process keeps its values in files there.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

PREFIX = "anybroker-metrics-"


def share_metrics() -> None:
    """Make the directory, unless there is one. Call this before prometheus_client is imported, and before a fork."""
    if VARIABLE in os.environ:
        return
    # Files in memory: each observation writes to them.
    memory = Path("/dev/shm")  # noqa: S108
    home = memory if memory.is_dir() else Path(tempfile.gettempdir())
    _remove_those_of_the_dead(home)
    directory = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=home)
    os.environ[VARIABLE] = directory
    atexit.register(_remove, directory, owner=os.getpid())


def _remove_those_of_the_dead(home: Path) -> None:
    """Remove the directories of programs that were killed."""
    for directory in home.glob(f"{PREFIX}*-*"):
        try:
            os.kill(int(directory.name.removeprefix(PREFIX).partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(directory, ignore_errors=True)
        except (PermissionError, ValueError):  # somebody else's
            continue


def _remove(directory: str, *, owner: int) -> None:
    if os.getpid() == owner:  # not in a process that was forked off
        shutil.rmtree(directory, ignore_errors=True)
