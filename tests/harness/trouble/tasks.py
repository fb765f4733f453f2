"""Tasks that get a worker into trouble, and some that send an e-mail in a way that orders do not."""

import os
import time

from celery import Task, shared_task
from django.core.mail import send_mail

#: How the kernel's out-of-memory killer ends a process, as an exit status.
KILLED_STATUS = 137

RECIPIENT = "clock@example.com"


@shared_task(max_retries=2)
def exhaust_memory() -> None:
    """End the process that runs it, in three attempts, as the kernel does when memory runs out."""
    os._exit(KILLED_STATUS)


@shared_task
def tick() -> None:
    """Send an e-mail, as often as beat says."""
    send_mail(f"Tick {tick.request.id}", "Tick.", None, [RECIPIENT])


@shared_task(retry_backoff=1)
def send(subject: str) -> None:
    """Send an e-mail."""
    send_mail(subject, "Sent.", None, [RECIPIENT])


@shared_task
def send_late(subject: str, seconds: float) -> None:
    """Send an e-mail after `seconds` of work."""
    time.sleep(seconds)
    send_mail(subject, f"after {seconds:g} s", None, [RECIPIENT])


@shared_task
def measure(subject: str, text: str) -> None:
    """Send an e-mail that says how long `text` is."""
    send_mail(subject, str(len(text)), None, [RECIPIENT])


@shared_task(bind=True, retry_backoff=False, default_retry_delay=0.2)
def fail_at_first(self: Task, subject: str, failures: int) -> None:
    """Fail so many times, then send an e-mail."""
    if self.request.retries < failures:
        raise RuntimeError(f"failure {self.request.retries + 1}")
    send_mail(subject, f"after {failures} failures", None, [RECIPIENT])
