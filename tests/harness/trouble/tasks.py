"""A task that gets a worker into trouble, and one that tells the time."""

import os

from celery import shared_task

from tests.harness.errands.tasks import send_email

#: How the kernel's out-of-memory killer ends a process, as an exit status.
KILLED_STATUS = 137


@shared_task(max_retries=2)
def exhaust_memory() -> None:
    """End the process that runs it, in three attempts, as the kernel does when memory runs out."""
    os._exit(KILLED_STATUS)


@shared_task
def tick() -> None:
    """Send an e-mail, as often as beat says."""
    send_email(tick, f"Tick {tick.request.id}")
