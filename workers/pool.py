"""Celery's prefork pool, mended so that a worker outlives the end of one of its processes and a lost connection."""

from typing import Any

from celery.concurrency import prefork
from celery.concurrency.asynpool import AsynPool
from kombu.asynchronous import get_event_loop

#: When to look at a process again that has closed its pipe. On a busy machine its end may take a while.
LOOKS_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0)


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

    def _event_process_exit(self, hub: Any, proc: Any) -> None:
        """Look again soon at a process that could not be waited for yet. Celery's next look is up to 5 s later."""
        super()._event_process_exit(hub, proc)  # type: ignore[misc]
        if proc in self._pool:  # type: ignore[attr-defined]
            for seconds in LOOKS_SECONDS:
                hub.call_later(seconds, self.maintain_pool)

    def on_job_process_lost(self, job: Any, pid: int, exitcode: int) -> None:
        """Say soon that a job's process is gone. Celery looks again after 5 s, and believes it after 10 s.

        What the process had answered has been read by then (`process_flush_queues`).
        """
        super().on_job_process_lost(job, pid, exitcode)
        if hub := get_event_loop():
            hub.call_later(job._lost_worker_timeout + 0.1, self.maintain_pool)

    def flush(self) -> None:
        """Keep what the pool was given although the connection to the broker is lost.

        Celery drops it, since the broker hands it out again: not so what has been claimed. A task with durable=False
        may then run twice, as whatever is acknowledged late.
        """


def install() -> None:
    """Make Celery use the class above. Call before the worker starts its pool."""
    prefork.TaskPool.Pool = RewatchingPool
