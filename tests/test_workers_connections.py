"""A worker's connection to the database: kept from task to task, and not for longer than it works."""

from collections.abc import Iterator

import pytest
from celery.fixups.django import DjangoWorkerFixup  # type: ignore[attr-defined]
from celery.signals import task_postrun, task_prerun
from django.db import close_old_connections, connection

from app.celery import app
from outbox.tasks import prune_messages
from workers.consumer import look_after_connections

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _as_in_a_worker() -> Iterator[None]:
    look_after_connections()
    yield
    for signal in (task_prerun, task_postrun):
        signal.disconnect(close_old_connections)


def run_a_task() -> None:
    """What a worker does before and after each task."""
    fixup = DjangoWorkerFixup(app)
    fixup.on_task_prerun(prune_messages)
    task_prerun.send(prune_messages)
    task_postrun.send(prune_messages)
    fixup.on_task_postrun(prune_messages)


def test_it_is_kept_from_task_to_task() -> None:
    connection.ensure_connection()
    kept = connection.connection

    run_a_task()

    assert connection.connection is kept


def test_one_that_is_too_old_is_closed() -> None:
    connection.ensure_connection()
    connection.close_at = 0.0

    run_a_task()

    assert connection.connection is None


@pytest.mark.databases("postgresql")  # SQLite is a file: there is no connection to break
def test_one_that_broke_is_closed() -> None:
    connection.ensure_connection()
    connection.connection.close()
    connection.errors_occurred = True

    run_a_task()

    assert connection.connection is None
