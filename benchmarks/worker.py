"""Measures how many tasks that do nothing a worker runs per second.

Ours claims and settles. It stands beside plain Celery's with early and with late acknowledgement.

The workers are real, started as in the Procfile. A worker is frozen while its queue is filled, so that publishing is
not measured. The other workers are idle meanwhile.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.first_run.processes import ChildProcess
from benchmarks import plain, work
from benchmarks.compare import Outcome, take_turns
from outbox.models import Message
from settings import PROJECT_ROOT
from tests.harness.waiting import wait_until
from workers.relaying.relay import Relay, drain

COMMAND = ["worker", "-l", "INFO", "--pool", "prefork", "--concurrency", "2", "--include", "benchmarks.tasks"]

#: Options that make plain Celery leave out what our consumer leaves out.
QUIET = ["--without-mingle", "--without-gossip", "--without-heartbeat"]

#: How often the finished tasks are counted. Counting takes a few microseconds.
LOOK_SECONDS = 0.005


def measure(seconds: float) -> list[Outcome]:
    with tempfile.TemporaryDirectory(prefix="anybroker-bench-") as folder, running_workers(Path(folder)) as workers:
        ours, early, late = workers
        relay = work.new_relay()
        sides = {
            "ours": lambda: ours.run_round(lambda ticks: fill_ours(relay, ticks)),
            "early": lambda: early.run_round(lambda ticks: fill_plain(plain.QUEUE, ticks)),
            "late": lambda: late.run_round(lambda ticks: fill_plain(plain.LATE_QUEUE, ticks)),
        }
        measured = take_turns(sides, seconds=seconds)
        return [
            Outcome.of("worker", "tasks/s", measured["ours"], measured["early"]),
            Outcome.of("worker, against acks_late", "tasks/s", measured["ours"], measured["late"]),
        ]


def fill_plain(queue: str, ticks: Path) -> None:
    work.publish_in_a_loop(work.ORDINARY_WINDOW, str(ticks), queue)


def fill_ours(relay: Relay, ticks: Path) -> None:
    """Fill the window of our queue."""
    work.empty_ledger()
    work.fill_ledger(work.ORDINARY_WINDOW, str(ticks))
    drain(relay)


def wait_until_settled() -> None:
    """Wait for what is settled a few milliseconds after it was run: a frozen worker could not."""
    running = Message.objects.filter(state=Message.State.RUNNING)
    wait_until(lambda: not running.exists(), "the last tasks to settle")


class Worker(ChildProcess):
    """A Celery worker. Each of its tasks adds a byte to the file `ticks`."""

    def __init__(self, app: str, folder: Path, *options: str, queue: str = work.QUEUE, **variables: str) -> None:
        command = [sys.executable, "-m", "celery", "-A", app, *COMMAND, "-n", f"{queue}@%h", "-Q", queue, *options]
        environment = {**os.environ, **variables}
        super().__init__(command, env=environment, log=folder / f"{queue}.log", cwd=PROJECT_ROOT)
        self.ticks = folder / f"{queue}.ticks"

    def is_ready(self) -> bool:
        if not self.is_running:
            raise RuntimeError(f"The worker ended:\n{self.log_tail()}")
        return self.log.exists() and " ready." in self.log.read_text(errors="replace")

    def count(self) -> int:
        return self.ticks.stat().st_size if self.ticks.exists() else 0

    def run_round(self, fill: Callable[[Path], None]) -> float:
        """Return the tasks per second, from a full queue to an empty one."""
        expected = self.count() + work.ORDINARY_WINDOW
        wait_until_settled()
        self.freeze()
        fill(self.ticks)
        self.thaw()
        started = time.perf_counter()
        wait_until(
            lambda: self.count() >= expected, "the tasks to be done", within_seconds=90, every_seconds=LOOK_SECONDS
        )
        return work.ORDINARY_WINDOW / (time.perf_counter() - started)


@contextmanager
def running_workers(folder: Path) -> Iterator[tuple[Worker, Worker, Worker]]:
    """Lend workers that are ready: ours, a plain one, and a plain one that acknowledges late."""
    early = Worker("benchmarks.plain", folder, *QUIET, queue=plain.QUEUE)
    late = Worker("benchmarks.plain", folder, *QUIET, queue=plain.LATE_QUEUE, **{plain.LATE: "1"})
    workers = Worker("app", folder), early, late
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            wait_until(worker.is_ready, "the worker to be ready")
        yield workers
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.stop()
