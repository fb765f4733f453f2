"""Workers that are not ours: a plain Celery worker with a queue of its own, on the broker of a test."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kombu import Connection, Queue

from app.first_run.embedded import EmbeddedBroker
from app.first_run.processes import ChildProcess
from brokers import BrokerProfile
from settings import PROJECT_ROOT
from tests.harness.environment import child_environment
from tests.harness.waiting import wait_until

#: What the others' task is called.
RECEIVE = "tests.receive"


def make_queue(profile: BrokerProfile, name: str) -> None:
    """Create a queue as others do, by their own means."""
    settings = profile.for_others.connection_settings()
    with Connection(settings["broker_url"], transport_options=settings["broker_transport_options"]) as connection:
        Queue(name, routing_key=name).bind(connection.default_channel).declare()


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """What of Celery's settings can be said in JSON: no more than a stock worker has to know."""
    kept = (str, int, float, bool, list, dict)
    return {
        name: plain(value) if type(value) is dict else value
        for name, value in settings.items()
        if type(value) in kept and name not in {"task_queues", "task_routes"}
    }


class Others:
    """A worker that knows nothing of us."""

    def __init__(self, worker: ChildProcess) -> None:
        self.worker = worker

    def received(self) -> list[tuple[str, str]]:
        """The id and the arguments of each message that it has run."""
        return re.findall(rf"Task {RECEIVE}\[([^]]+)\] succeeded in \S+: (.*)", self.worker.log.read_text())

    def wait_for(self, count: int, *, within_seconds: float = 60) -> list[tuple[str, str]]:
        wait_until(lambda: len(self.received()) >= count, "the others to run it", within_seconds=within_seconds)
        return self.received()


@contextmanager
def others(broker: EmbeddedBroker, profile: BrokerProfile, queue: str, directory: Path) -> Iterator[Others]:
    """A plain Celery worker that consumes `queue` while the block runs."""
    stock = {
        "STOCK_SETTINGS": json.dumps(plain(profile.for_others.connection_settings())),
        "STOCK_QUEUE": json.dumps({"name": queue}),
    }
    command = [sys.executable, "-m", "celery", "-A", "tests.harness.stock_worker", "worker", "-l", "INFO"]
    command += ["--pool", "solo", "--without-mingle", "--without-gossip", "--without-heartbeat"]
    environment = child_environment(directory, **stock, **broker.env)
    del environment["DJANGO_SETTINGS_MODULE"]  # nothing of ours
    worker = ChildProcess(command, env=environment, log=directory / f"{queue}.log", cwd=PROJECT_ROOT)
    worker.start()
    try:
        yield Others(worker)
    finally:
        worker.stop()
