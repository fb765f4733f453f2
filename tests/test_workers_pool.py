"""Celery's prefork pool, mended. When the first test fails, Celery has mended it itself: delete workers/pool.py."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency.asynpool import AsynPool
from kombu.asynchronous import Hub

from workers.pool import RewatchingPool


def watch_anew(kind: type[AsynPool]) -> bool:
    """Watch a process that was watched, and no longer is because it has ended; whether its end is noticed."""
    hub, (reader, writer) = Hub(), os.pipe()
    process = SimpleNamespace(_sentinel_poll=None, _popen=SimpleNamespace(sentinel=reader))
    noticed = []
    pool: Any = kind.__new__(kind)
    pool._event_process_exit = lambda hub, process: noticed.append(process)
    try:
        os.close(writer)
        pool._track_child_process(process, hub)
        hub.run_once()
        return noticed == [process]
    finally:
        hub.close()
        os.close(reader)


def test_celery_still_cannot_watch_a_process_anew() -> None:
    with pytest.raises(ValueError, match="file descriptor is None"):
        watch_anew(AsynPool)


def test_a_process_that_is_watched_anew_is_noticed_when_it_ends() -> None:
    assert watch_anew(RewatchingPool)


def looks_at_a_process_that_cannot_be_waited_for_yet(kind: type[AsynPool]) -> list[float]:
    """After how many seconds a pool looks at a process again that has closed its pipe."""
    process, looks = SimpleNamespace(_sentinel_poll=None), list[float]()
    hub = SimpleNamespace(call_later=lambda seconds, look: looks.append(seconds))
    pool: Any = kind.__new__(kind)
    pool._pool, pool.maintain_pool = [process], lambda: None
    pool._event_process_exit(hub, process)
    return looks


def test_celery_still_looks_only_once_at_a_process_that_ends() -> None:
    assert looks_at_a_process_that_cannot_be_waited_for_yet(AsynPool) == []


def test_a_process_that_cannot_be_waited_for_yet_is_looked_at_again_soon() -> None:
    assert looks_at_a_process_that_cannot_be_waited_for_yet(RewatchingPool)[0] < 0.1
