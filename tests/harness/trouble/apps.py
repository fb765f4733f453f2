"""Lets a test make a worker deaf."""

import signal
from typing import Any

from celery.signals import worker_ready
from django.apps import AppConfig

#: Sent to a worker, it receives nothing any more, and goes on living as if its queues were empty.
DEAFENING_SIGNAL = signal.SIGUSR2


class TroubleConfig(AppConfig):
    name = "tests.harness.trouble"

    def ready(self) -> None:
        worker_ready.connect(_listen_for_signal)


def _listen_for_signal(sender: Any, **_: Any) -> None:
    """`sender` is the worker's consumer; what it does to its connection it does between two events."""
    signal.signal(DEAFENING_SIGNAL, lambda *_: sender.hub.call_soon(sender.task_consumer.cancel))
