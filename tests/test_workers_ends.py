"""A worker that cannot go on ends, so that its supervisor can start another one."""

import subprocess
import sys
from pathlib import Path

from settings import PROJECT_ROOT
from tests.harness.environment import child_environment
from workers.exits import BROKEN_EXIT_STATUS

#: An event loop that fails, and after it a wait for the pool that never ends.
STUCK = """
import time
import django
django.setup()
from celery.worker import consumer
from workers import consumer as ours, exits

def fail(self):
    raise ValueError("the pool speaks in tongues")

consumer.Consumer.start = fail
exits.STOP_SECONDS = 0.2
try:
    ours.Consumer.__new__(ours.Consumer).start()
except ValueError:
    time.sleep(60)
"""


#: A look of the watchdog that takes its time, and a fork while it does.
FORKING = """
import os
import threading
import time
import django
django.setup()
from workers.watchdog import Watchdog

begun = threading.Event()

def look(self):
    begun.set()
    time.sleep(0.5)
    print("looked", flush=True)
    self.ended.set()

Watchdog._look = look
Watchdog(None).start()
begun.wait()
if not os.fork():
    print("forked", flush=True)
    os._exit(0)
os.wait()
"""


def run(program: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `program` in a process of its own, as the service would."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT_ROOT,
        env=child_environment(home, **variables),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_no_process_is_forked_while_the_watchdog_uses_the_database(tmp_path: Path) -> None:
    """On SQLite, 5 of 8 processes that were forked so waited for ever with their first statement."""
    done = run(FORKING, tmp_path, OUTBOX_HEARTBEAT_SECONDS="1")
    assert done.stdout.split() == ["looked", "forked"], done.stderr


def test_a_worker_that_cannot_stop_after_an_error_is_ended(tmp_path: Path) -> None:
    ended = run(STUCK, tmp_path)
    assert ended.returncode == BROKEN_EXIT_STATUS, ended.stderr
    assert "after an error: ending at once." in ended.stdout + ended.stderr
