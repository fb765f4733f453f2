"""Tasks that end in an e-mail, so that a test can count how often each has happened."""

import time
from typing import Any

from celery import shared_task
from django.core.mail import EmailMessage

#: Longer than any of these takes.
LONG_SECONDS = 600


def send_email(task: Any, subject: str, text: str = "") -> None:
    """Send an e-mail that carries the id of the message, as those of orders do."""
    headers = {"Message-ID": f"<{task.request.id}@localhost>"}
    EmailMessage(subject, text, to=["somebody@example.com"], headers=headers).send()


@shared_task(bind=True)
def send(self: Any, subject: str) -> None:
    """Send an e-mail."""
    send_email(self, subject)


@shared_task(bind=True)
def measure(self: Any, subject: str, content: str) -> None:
    """Send an e-mail that says how many characters `content` has."""
    send_email(self, subject, str(len(content)))


@shared_task(bind=True, soft_time_limit=LONG_SECONDS, time_limit=LONG_SECONDS)
def send_late(self: Any, subject: str, seconds: float) -> None:
    """Work for `seconds`, then send an e-mail."""
    time.sleep(seconds)
    send_email(self, subject)


@shared_task(bind=True, retry_backoff=False, default_retry_delay=0)
def fail_at_first(self: Any, subject: str, failures: int) -> None:
    """Fail `failures` times, then send an e-mail that says so."""
    if self.request.retries < failures:
        raise ConnectionError(f"failure {self.request.retries + 1}")
    send_email(self, subject, f"after {self.request.retries} failures")
