"""Celery's prefork pool, mended so that a worker outlives the end of one of its processes and a lost connection."""

from typing import Any

from celery.concurrency import prefork
from celery.concurrency.asynpool import AsynPool


class RewatchingPool(AsynPool):
    """Watches a process again that it has stopped watching.

    A process that is killed closes its pipe a moment before it can be waited for. Celery stops watching it at the first
    (asynpool.py, `_event_process_exit`), and has it in the pool for up to 5 s more because of the second. When a lost
    connection makes it watch the whole pool anew within that time, it takes the descriptor that it has just set to None
    (`_track_child_process`), and the worker ends, or hangs.
    """

    def _track_child_process(self, proc: Any, hub: Any) -> None:
        if getattr(proc, "_sentinel_poll", ...) is None:
            del proc._sentinel_poll
        super()._track_child_process(proc, hub)  # type: ignore[misc]


def install() -> None:
    """Make Celery use the class above. Call before the worker starts its pool."""
    prefork.TaskPool.Pool = RewatchingPool
