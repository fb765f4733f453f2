"""A plain Celery app that has nothing of this project in it: `celery -A tests.harness.stock_worker worker`.

STOCK_SETTINGS holds its Celery settings and STOCK_QUEUE its only queue, which exists already; both in JSON.
"""

import json
import os
from typing import Any

from celery import Celery
from kombu import Queue

app = Celery("stock")
app.conf.update(json.loads(os.environ["STOCK_SETTINGS"]))
app.conf.task_queues = [Queue(**json.loads(os.environ["STOCK_QUEUE"]), no_declare=True)]


@app.task(name="tests.receive")
def receive(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Celery logs what it was called with: that is its result."""
    return args, kwargs


@app.task(name="tests.note")
def note() -> None:
    """Celery logs that it ran, and its id."""
