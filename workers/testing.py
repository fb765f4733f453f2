"""A relay and a worker inside of a test, in threads: for projects that test with `celery.contrib.testing`.

    @pytest.mark.django_db(transaction=True)
    def test_it_happens():
        with start_worker(app):
            result = my_task.delay()
            ...

A test that is one transaction hides its rows from both: mark it `django_db(transaction=True)`. Django keeps SQLite's
test database in memory, where threads lock each other out: give it a file (`DATABASES[...]["TEST"]`), or PostgreSQL.
On SQS a second worker in one process hears nothing, because kombu keeps the event loop of the first: let a fixture of
the session start one.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from celery.contrib.testing import worker
from django.conf import settings
from django.db import connections

from workers.relaying.relay import Relay

#: How long the relay may take to publish what it has in hand.
STOP_SECONDS = 10.0


@contextmanager
def start_worker(app: Celery, *, pool: str = "threads", concurrency: int = 2, **options: Any) -> Iterator[Any]:
    """`celery.contrib.testing.worker.start_worker`, with a relay beside it while the block runs.

    The settings choose broker and queues. Celery's ping at the start is left out: its result would have to be kept.
    """
    relay = Relay(settings.BROKER_PROFILE, list(settings.SERVICE.relayed_queues), settings.OUTBOX)
    thread = threading.Thread(target=_run, args=[relay], name="relay", daemon=True)
    thread.start()
    options = {"perform_ping_check": False, **options}
    try:
        with worker.start_worker(app, pool=pool, concurrency=concurrency, **options) as started:
            yield started
    finally:
        relay.stopped.set()
        thread.join(STOP_SECONDS)


def _run(relay: Relay) -> None:
    try:
        relay.run()
    finally:
        connections.close_all()
