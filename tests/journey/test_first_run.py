"""`make run` and `make order`, as a new user types them, and the ways to end them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.first_run.processes import find_free_port, port_is_free
from settings import PROJECT_ROOT
from tests.harness.environment import child_environment
from tests.harness.waiting import wait_until

MINUTE = 60


class FirstRun:
    """`make run` in a directory of its own, its output read by us as by a terminal."""

    def __init__(self, directory: Path, broker: str) -> None:
        self.directory = directory
        self.port = find_free_port()
        self.env = child_environment(directory, DATABASE_URL=f"sqlite:///{directory}/db.sqlite3", FIRST_RUN=self.mark)
        command = [sys.executable, "-m", "app.first_run", "--broker", broker, "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, "--directory", str(directory)],
            env=self.env,
            cwd=PROJECT_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def mark(self) -> str:
        return f"first-run-{self.port}"

    def order(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.first_run.sample_order", "--port", str(self.port)]
        return subprocess.run(
            [*command, "--mailbox", str(self.directory / "mail")],
            env=self.env,
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            timeout=MINUTE,
        )

    def processes(self) -> dict[int, str]:
        """The ids and command lines of everything it started that still runs."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it has ended, or is not ours to read
                continue
        return found

    def read_until(self, words: str) -> None:
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if words in line:
                return
        raise AssertionError(f"make run ended without saying {words!r}:\n{''.join(seen)}")

    def kill(self) -> None:
        """End everything that is left of it; its parts are in process groups of their own."""
        for process_id in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        self.process.wait(MINUTE)


@pytest.fixture
def first_run(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FirstRun]:
    first_run = FirstRun(tmp_path, request.param)
    yield first_run
    first_run.kill()


def press_ctrl_c(first_run: FirstRun) -> None:
    first_run.process.send_signal(signal.SIGINT)


def press_ctrl_c_in_a_pipe(first_run: FirstRun) -> None:
    """As in `make run | tee log`: the reader may end first."""
    assert first_run.process.stdout is not None
    first_run.process.stdout.close()
    press_ctrl_c(first_run)


def close_the_terminal(first_run: FirstRun) -> None:
    assert first_run.process.stdout is not None
    first_run.process.stdout.close()
    first_run.process.send_signal(signal.SIGHUP)


@pytest.mark.parametrize(
    ("first_run", "end"),
    [("redis", press_ctrl_c), ("sqs", press_ctrl_c_in_a_pipe), ("rabbitmq", close_the_terminal)],
    indirect=["first_run"],
)
def test_a_first_run_takes_an_order_and_leaves_nothing_behind(
    first_run: FirstRun, end: Callable[[FirstRun], None]
) -> None:
    first_run.read_until("ready.")

    order = first_run.order()
    assert order.returncode == 0, order.stdout + order.stderr
    assert "-> 201 in" in order.stdout
    assert "The e-mail arrived" in order.stdout

    end(first_run)

    assert first_run.process.wait(MINUTE) == 0
    wait_until(lambda: not first_run.processes(), "everything to have ended")
    assert port_is_free(first_run.port)
