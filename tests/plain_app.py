"""A Celery app that is configured by a broker's profile and nothing else, for workers in tests."""

import os
from pathlib import Path

from celery import Celery

from brokers import load_profile

app = Celery("plain")
app.conf.update(load_profile(os.environ["BROKER"]).celery_settings(os.environ["QUEUES"].split(",")))


@app.task(name="plain.touch")
def touch(path: str) -> None:
    """Leave a file that shows the task ran."""
    Path(path).touch()
