"""A worker that cannot go on ends, so that its supervisor can start another one."""

import subprocess
import sys
from pathlib import Path

from outbox.worker import BROKEN_EXIT_STATUS
from settings import PROJECT_ROOT
from tests.harness.environment import child_environment

#: An event loop that fails, and after it a wait for the pool that never ends.
STUCK = """
import time
import django
django.setup()
from celery.worker import consumer
from outbox import worker

def fail(self):
    raise ValueError("the pool speaks in tongues")

consumer.Consumer.start = fail
worker.STOP_SECONDS = 0.2
try:
    worker.Consumer.__new__(worker.Consumer).start()
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
from outbox import worker

begun = threading.Event()

def look(self):
    begun.set()
    time.sleep(0.5)
    print("looked", flush=True)
    self.ended.set()

worker.Watch._look = look
worker.Watch(None).start()
begun.wait()
if not os.fork():
    print("forked", flush=True)
    os._exit(0)
os.wait()
"""


def test_no_process_is_forked_while_the_watchdog_uses_the_database(tmp_path: Path) -> None:
    """On SQLite, 5 of 8 processes that were forked so waited for ever with their first statement."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING],
        cwd=PROJECT_ROOT,
        env=child_environment(tmp_path, OUTBOX_HEARTBEAT_SECONDS="1"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["looked", "forked"], done.stderr


def test_a_worker_that_cannot_stop_after_an_error_is_ended(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STUCK],
        cwd=PROJECT_ROOT,
        env=child_environment(tmp_path),
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == BROKEN_EXIT_STATUS, ended.stderr
    assert b"after an error: ending at once." in ended.stdout + ended.stderr
