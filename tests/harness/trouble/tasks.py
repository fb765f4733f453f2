"""Tasks that get a worker into trouble."""

import os
import time

from celery import shared_task

#: How the kernel's out-of-memory killer ends a process, as an exit status.
KILLED_STATUS = 137


@shared_task(max_retries=2)
def exhaust_memory() -> None:
    """End the process that runs it, in three attempts, as the kernel does when memory runs out."""
    os._exit(KILLED_STATUS)


@shared_task
def run_long(seconds: float) -> None:
    """Run for `seconds`."""
    time.sleep(seconds)
