"""Each compose file for real: up from nothing, an order from outside, its e-mail in Mailpit, down to nothing.

Not a part of `make test`, because it takes minutes and needs Docker: `make compose-test`.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from brokers import PROFILES
from tests.harness.requirements import IN_CI
from tests.harness.shop import Shop
from tests.harness.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent

#: Pulling the images and building ours included.
UP_SECONDS = 600

#: What the service itself consists of: containers of the image that is built here.
PROCESSES = {"web", "relay", "worker", "beat"}

#: All that compose is told: where Docker is, and any free port, so that a stack of the user's is not in the way.
#: Nothing else is set, as after a fresh clone.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or name.startswith("DOCKER_")},
    **dict.fromkeys(("PORT", "MAILPIT_PORT", "BROKER_PORT", "BROKER_UI_PORT"), "0"),
}


@dataclass(frozen=True)
class Stack:
    """One compose file, under a project name of its own: a stack of the user's has other containers and volumes."""

    broker: str

    def __str__(self) -> str:
        return self.broker

    @property
    def project(self) -> str:
        return f"anybroker-check-{self.broker}-{os.getpid()}"

    def compose(self, *arguments: str) -> str:
        """Run a compose command and return what it printed; fail with the services' last words if it fails."""
        command = ["docker", "compose", "--project-name", self.project, "--env-file", os.devnull]
        done = subprocess.run(
            [*command, "--file", f"compose.{self.broker}.yml", *arguments],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            logs = docker("compose", "--project-name", self.project, "logs", "--no-color", "--tail=30")
            pytest.fail(f"docker compose {' '.join(arguments)}\n{done.stderr[-2000:]}\n{logs}", pytrace=False)
        return done.stdout

    def port(self, service: str, container_port: int) -> int:
        """Where a port of `service` is published on this machine."""
        return int(self.compose("port", service, str(container_port)).rpartition(":")[2])

    def containers(self) -> dict[str, dict[str, Any]]:
        """What Docker knows about each running container, by service."""
        found = json.loads(docker("inspect", *self.compose("ps", "--quiet").split()))
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}

    def leftovers(self) -> list[str]:
        """Containers, volumes and networks of this project that still exist."""
        mine = f"--filter=label=com.docker.compose.project={self.project}"
        kinds = (["ps", "--all"], ["volume", "ls"], ["network", "ls"])
        return [found for kind in kinds for found in docker(*kind, "--quiet", mine).split()]

    def shop(self) -> Shop:
        """The demo customer, with the token that the service gave for the password."""
        port = self.port("web", 8000)
        password = {"username": "demo", "password": "demo"}
        answer = requests.post(f"http://127.0.0.1:{port}/auth/token/", json=password, timeout=10)
        return Shop(port=port, token=answer.json()["token"])

    def mail_about(self, number: str) -> dict[str, Any]:
        """The e-mail in Mailpit whose subject names the order; empty as long as there is none."""
        api = f"http://127.0.0.1:{self.port('mailpit', 8025)}/api/v1"
        listed = requests.get(f"{api}/messages", timeout=10).json()["messages"]
        ids = [mail["ID"] for mail in listed if number in mail["Subject"]]
        return dict(requests.get(f"{api}/message/{ids[0]}", timeout=10).json()) if ids else {}


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True).stdout


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    """A Docker engine with compose. Without one nothing is checked, which in CI is a failure."""
    if not (docker("info", "--format", "{{.ServerVersion}}").strip() and docker("compose", "version")):
        give_up = pytest.fail if IN_CI else pytest.skip
        give_up("NO DOCKER ENGINE ANSWERS: THE COMPOSE FILES ARE NOT CHECKED.")


@pytest.fixture(params=[Stack(broker) for broker in PROFILES], ids=str)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A whole stack that is up and healthy; afterwards nothing of it is left."""
    stack: Stack = request.param
    try:
        stack.compose("up", "--detach", "--build", "--wait", "--wait-timeout", str(UP_SECONDS))
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans")
    assert stack.leftovers() == []


@pytest.mark.timeout(UP_SECONDS + 120)
def test_an_order_from_outside_is_confirmed_by_e_mail(stack: Stack) -> None:
    order = stack.shop().order({"DRIPPER": 2})
    mail = wait_until(lambda: stack.mail_about(order["number"]), "The e-mail arrives")
    assert [to["Address"] for to in mail["To"]] == ["demo@example.com"]
    assert "Ceramic dripper" in mail["Text"]
    assert order["total"] in mail["Text"]

    containers = stack.containers()
    assert containers.keys() > PROCESSES | {"postgres", "mailpit"}
    assert len({containers[name]["Image"] for name in PROCESSES}) == 1
    for name, container in containers.items():
        check_container(name, container)


def check_container(name: str, container: dict[str, Any]) -> None:
    """It has not failed since the start, and only this machine can reach it; the service's own can do little harm."""
    assert container["State"]["Status"] == "running", name
    assert container["RestartCount"] == 0, name
    bindings = filter(None, container["NetworkSettings"]["Ports"].values())
    assert {each["HostIp"] for binding in bindings for each in binding} <= {"127.0.0.1"}, name
    if name in PROCESSES:
        assert container["Config"]["User"] == "10001:10001", name
        assert container["HostConfig"]["ReadonlyRootfs"], name
        assert container["HostConfig"]["CapDrop"] == ["ALL"], name
