"""Tasks that end in an e-mail, so that a test can count how often each has happened."""

import time
from collections.abc import Callable
from typing import Any

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.core.mail import EmailMessage

from tests.harness.versions import THIS

#: Longer than any of these takes.
LONG_SECONDS = 600

#: The time limits of those that hang, and in how many attempts they do.
SOFT_SECONDS, HARD_SECONDS, HANGS = 2, 5, 1


def errand(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """A shared task whose name begins as this version of the service has it."""

    def register(run: Callable[..., None]) -> Any:
        name = f"{getattr(settings, 'ERRANDS', THIS.errands)}.{run.__name__}"
        register_as: Any = shared_task(bind=True, name=name, **options)
        return register_as(run)

    return register


def send_email(task: Any, subject: str, text: str = "") -> None:
    """Send an e-mail that carries the id of the message, as those of orders do."""
    headers = {"Message-ID": f"<{task.request.id}@localhost>"}
    EmailMessage(subject, text, to=["somebody@example.com"], headers=headers).send()


@errand()
def send(self: Any, subject: str) -> None:
    """Send an e-mail."""
    send_email(self, subject)


@errand()
def measure(self: Any, subject: str, content: str) -> None:
    """Send an e-mail that says how many characters `content` has."""
    send_email(self, subject, str(len(content)))


@errand(soft_time_limit=LONG_SECONDS, time_limit=LONG_SECONDS)
def send_late(self: Any, subject: str, seconds: float) -> None:
    """Work for `seconds`, then send an e-mail."""
    time.sleep(seconds)
    send_email(self, subject)


@errand(retry_backoff=False, default_retry_delay=0)
def fail_at_first(self: Any, subject: str, failures: int) -> None:
    """Fail `failures` times, then send an e-mail that says so."""
    if self.request.retries < failures:
        raise ConnectionError(f"failure {self.request.retries + 1}")
    send_email(self, subject, f"after {self.request.retries} failures")


@errand(max_retries=HANGS, time_limit=HARD_SECONDS)
def hang_at_first(self: Any, subject: str) -> None:
    """Never end; send an e-mail in the second attempt."""
    while self.request.retries < HANGS:
        time.sleep(1)
    send_email(self, subject)


@errand(max_retries=HANGS, soft_time_limit=SOFT_SECONDS, time_limit=HARD_SECONDS)
def hang_on_at_first(self: Any, subject: str) -> None:
    """The same, whatever the soft time limit says."""
    while self.request.retries < HANGS:
        try:
            time.sleep(1)
        except SoftTimeLimitExceeded:
            continue
    send_email(self, subject)


@errand(max_retries=0, time_limit=HARD_SECONDS)
def hang(self: Any, subject: str) -> None:
    """Never end, in the only attempt."""
    while True:
        time.sleep(1)
