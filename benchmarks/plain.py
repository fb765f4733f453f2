"""Plain Celery with the same broker settings, for comparison.

It uses Celery's own task class and consumer, and kombu's own transports instead of the mended ones.
"""

import os
from typing import Any

from celery import Celery
from django.conf import settings
from kombu.utils.imports import symbol_by_name

from brokers.urls import scheme_of

#: Queues of their own, so that no side gets messages of another: of a worker that acknowledges early, as Celery does by
#: default, and of one that acknowledges late.
QUEUE, LATE_QUEUE = "bench-plain", "bench-plain-late"

#: The variable that makes a worker acknowledge late.
LATE = "BENCH_ACKS_LATE"


def plain_settings() -> dict[str, Any]:
    profile = settings.BROKER_PROFILE
    chosen: dict[str, Any] = profile.celery_settings([QUEUE, LATE_QUEUE])
    if mended := profile.transports.get(scheme_of(chosen["broker_url"])):
        (original,) = symbol_by_name(mended).__bases__
        chosen["broker_transport"] = f"{original.__module__}:{original.__qualname__}"
    chosen["task_acks_late"] = LATE in os.environ
    return {**chosen, "include": ["benchmarks.tasks"], "timezone": settings.TIME_ZONE}


app = Celery("plain", set_as_current=False)
app.conf.update(plain_settings())
