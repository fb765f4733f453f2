"""The Celery app. `celery -A app worker` and `celery -A app beat` find it here."""

import logging
import os
from typing import Any

from celery.signals import setup_logging

from app.telemetry.logs import write_to
from outbox.app import OutboxCelery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "app.settings")

app = OutboxCelery("app")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_logging(loglevel: int | str | None = None, logfile: str | None = None, **_: Any) -> None:
    """Let Celery log as everything else does; `-l` sets the level, `-f` the file."""
    logging.getLogger().setLevel(loglevel or logging.INFO)
    if isinstance(logfile, str):
        write_to(logfile)
