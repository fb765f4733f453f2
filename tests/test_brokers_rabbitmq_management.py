"""What only RabbitMQ's management plugin tells, asked of a server of our own that has it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from app.first_run.embedded import EmbeddedRabbitMQ
from app.first_run.processes import ChildProcess, find_free_port
from brokers import Finding, load_profile
from tests.harness.requirements import IN_CI, RABBITMQ
from tests.harness.waiting import wait_until

QUEUE = "managed"


class ManagedRabbitMQ(EmbeddedRabbitMQ):
    """With the management plugin, on a port of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.management_port = find_free_port()

    def build_processes(self) -> list[ChildProcess]:
        processes = super().build_processes()
        (self.directory / "enabled_plugins").write_text("[rabbitmq_management].\n")
        with (self.directory / "rabbitmq.conf").open("a") as configuration:
            configuration.write(f"management.tcp.port = {self.management_port}\nmanagement.tcp.ip = 127.0.0.1\n")
        return processes

    def put(self, path: str, body: dict[str, Any]) -> None:
        url = f"http://127.0.0.1:{self.management_port}/api/{path}"
        requests.put(url, json=body, auth=("guest", "guest"), timeout=10).raise_for_status()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedRabbitMQ]:
    if EmbeddedRabbitMQ.find_server() is None:
        (pytest.fail if IN_CI else pytest.skip)(RABBITMQ.cure)
    server = ManagedRabbitMQ(tmp_path_factory.mktemp("managed"))
    server.start()
    yield server
    server.stop()


def test_its_nodes_are_judged_and_a_queue_that_takes_messages_back_too_soon_is_found(server: ManagedRabbitMQ) -> None:
    environ = {**server.env, "RABBITMQ_MANAGEMENT_URL": f"http://guest:guest@127.0.0.1:{server.management_port}"}
    profile = load_profile("rabbitmq", environ=environ, env_file=Path("/dev/null"))
    profile.prepare([QUEUE])
    wait_until(lambda: Finding("ok", "nodes", "1 without alarm.") in profile.findings([QUEUE]), "the nodes to be known")
    assert [finding for finding in profile.findings([QUEUE]) if finding.level != "ok"] == []

    # A policy may say the same, from RabbitMQ 3.12 on.
    hasty = {"durable": True, "arguments": {"x-queue-type": "quorum", "x-consumer-timeout": 30_000}}
    server.put("queues/%2f/hasty", hasty)

    found = wait_until(lambda: [each for each in profile.findings(["hasty"]) if each.level == "warn"], "the time-out")
    assert found[0].name == "queue hasty"
    assert "consumer_timeout 30 s: a task may take 60 s." in found[0].message
    assert "Raise it" in found[0].cure
