"""Where the processes of one program (gunicorn's, a worker's pool) put their metrics together."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

#: Read by prometheus_client when it is imported: from then on each process keeps its values in files there.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics() -> None:
    """Make the directory, unless there is one. To be called before prometheus_client is imported, and before a fork."""
    if VARIABLE in os.environ:
        return
    # Files in memory: each observation writes to them.
    memory = Path("/dev/shm")  # noqa: S108
    directory = tempfile.mkdtemp(prefix="anybroker-metrics-", dir=memory if memory.is_dir() else None)
    os.environ[VARIABLE] = directory
    atexit.register(_remove, directory, owner=os.getpid())


def _remove(directory: str, *, owner: int) -> None:
    if os.getpid() == owner:  # and not a process that was forked off
        shutil.rmtree(directory, ignore_errors=True)
