"""The embedded brokers: they keep what they were given, touch nothing of anyone's and leave nothing behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.first_run.embedded import EmbeddedBroker, EmbeddedRedis
from app.first_run.processes import ChildProcess, Server, ServerError, find_free_port
from brokers import BrokerProfile, load_profile
from brokers.wire import TaskMessage
from outbox.models import new_message_id
from settings import PROJECT_ROOT
from tests.harness.processes import descendants, is_alive
from tests.harness.waiting import wait_until

#: Starts a Redis, says its process id, and never stops it.
ABANDON_A_BROKER = """
import sys, time
from pathlib import Path
from app.first_run.embedded import EmbeddedRedis
broker = EmbeddedRedis(Path(sys.argv[1]))
broker.start()
print(broker.processes[0].pid, flush=True)
time.sleep(600)
"""


def profile_of(broker: EmbeddedBroker) -> BrokerProfile:
    return load_profile(broker.env["BROKER"], environ=broker.env, env_file=Path(os.devnull))


def test_it_keeps_messages_through_a_restart_and_a_crash_if_it_says_so(broker: EmbeddedBroker) -> None:
    queue, port = f"kept-{new_message_id().hex[-8:]}", broker.port
    profile = profile_of(broker)
    profile.prepare([queue])
    profile.publish(queue, [TaskMessage(new_message_id(), "some.task")])

    broker.restart()
    profile.prepare([queue])
    profile.publish(queue, [TaskMessage(new_message_id(), "some.task")])
    broker.kill()
    assert not broker.is_running
    broker.start()

    assert broker.port == port
    profile.prepare([queue])
    kept = 2 if broker.keeps_messages else 0
    wait_until(lambda: profile.depth(queue).waiting == kept, f"{kept} messages in the queue")


def test_a_frozen_broker_does_not_answer_until_it_is_thawed(broker: EmbeddedBroker) -> None:
    broker.freeze()
    assert not broker.answers()
    broker.thaw()
    wait_until(broker.answers, "an answer")


def test_nothing_is_left_of_it_after_stop(broker: EmbeddedBroker) -> None:
    started = [process.pid for process in broker.processes]
    everything = started + [pid for parent in started for pid in descendants(parent)]
    assert all(os.getsid(pid) == pid for pid in started), "Ctrl-C in our terminal would reach it"

    broker.stop()

    wait_until(lambda: not any(map(is_alive, everything)), "the end of its processes")
    assert not broker.answers()


def test_it_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", ABANDON_A_BROKER, tmp_path], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)

    parent.kill()

    wait_until(lambda: not is_alive(pid), "the end of the abandoned broker")
    parent.communicate()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", find_free_port())) as occupant:
        port = occupant.getsockname()[1]
        with pytest.raises(ServerError, match=f"Embedded Redis cannot start: port {port} is in use"):
            EmbeddedRedis(tmp_path, port).start()


class FailingServer(Server):
    """Says why it does not start, and ends."""

    title = "The failing server"

    def build_processes(self) -> list[ChildProcess]:
        return [ChildProcess(["sh", "-c", "echo no luck today; exit 3"], env={"PATH": os.defpath}, log=self.log)]

    def answers(self) -> bool:
        return False


def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"The failing server ended with status 3(.|\n)*no luck today"):
        FailingServer(tmp_path).start()


def test_a_process_that_ignores_sigterm_is_killed_in_the_end(tmp_path: Path) -> None:
    process = ChildProcess(
        ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"],
        env={"PATH": os.defpath},
        log=tmp_path / "log",
    )
    process.start()
    wait_until(process.log_tail, "the process to have started")
    process.stop(within_seconds=0.2)
    assert process.returncode == -signal.SIGKILL
