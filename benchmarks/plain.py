"""Plain Celery with the same broker settings, for comparison.

It uses Celery's own task class and consumer, and kombu's own transports instead of the mended ones.
"""

from typing import Any

from celery import Celery
from django.conf import settings
from kombu.utils.imports import symbol_by_name

from brokers.urls import scheme_of

#: A queue of its own, so that neither side gets messages of the other.
QUEUE = "bench-plain"


def plain_settings() -> dict[str, Any]:
    profile = settings.BROKER_PROFILE
    chosen: dict[str, Any] = profile.celery_settings([QUEUE])
    if mended := profile.transports.get(scheme_of(chosen["broker_url"])):
        (original,) = symbol_by_name(mended).__bases__
        chosen["broker_transport"] = f"{original.__module__}:{original.__qualname__}"
    return {**chosen, "include": ["benchmarks.tasks"], "timezone": settings.TIME_ZONE}


app = Celery("plain", set_as_current=False)
app.conf.update(plain_settings())
