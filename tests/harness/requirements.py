"""The programs that pip cannot install: found on this machine, else installed with apt, else, servers, run by Docker.

With `CI=true` one that is missing in the end fails its tests; elsewhere they are skipped, and loudly said so.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from app.first_run.embedded import EmbeddedRabbitMQ
from tests.harness.postgres import find_binaries

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

#: Debian's packages start their servers unless this script forbids it. We only want the programs.
START_POLICY = Path("/usr/sbin/policy-rc.d")
FORBID_STARTS = "#!/bin/sh\nexit 101\n"

#: Debian's PostgreSQL would also create a database cluster.
CLUSTER_POLICY = Path("/etc/postgresql-common/createcluster.d/anybroker-tests.conf")
NO_CLUSTER = "create_main_cluster = off\n"

Say = Callable[[str], None]


class Source(Enum):
    """Where a program comes from."""

    INSTALLED = "installed"
    DOCKER = "docker"


@dataclass(frozen=True)
class Requirement:
    title: str
    is_installed: Callable[[], bool]
    package: str
    image: str = ""
    """What Docker runs instead; empty if that is no way."""

    def provide(self, say: Say) -> Source | None:
        """Find the program or get it, telling with `say` what is done; None if there is no way."""
        if self.is_installed() or (_can_use_apt() and self._install(say)):
            return Source.INSTALLED
        return Source.DOCKER if self.image and _docker_answers() else None

    @property
    def cure(self) -> str:
        otherwise = " or start Docker" if self.image else ""
        return f"{self.title} is missing: install it (apt-get install {self.package}){otherwise}."

    def _install(self, say: Say) -> bool:
        say(f"{self.title} is not installed: running apt-get install {self.package} (once, about a minute) ...")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        with _programs_only():
            for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", self.package]):
                done = subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, text=True)
                if done.returncode:
                    say(f"apt-get {arguments[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")
                    return False
        return self.is_installed()


RABBITMQ = Requirement(
    title="RabbitMQ",
    is_installed=lambda: EmbeddedRabbitMQ.find_server() is not None,
    package="rabbitmq-server",
    image="rabbitmq:4-management-alpine",
)
POSTGRESQL = Requirement(
    title="PostgreSQL",
    is_installed=lambda: find_binaries() is not None,
    package="postgresql",
    image="postgres:17-alpine",
)
CHROMIUM = Requirement(title="Chromium", is_installed=lambda: find_chromium() is not None, package="chromium")


def find_chromium() -> str | None:
    """The browser's program: Chromium as Debian calls it, or as others do."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _can_use_apt() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "version"], capture_output=True, timeout=30).returncode == 0


@contextmanager
def _programs_only() -> Iterator[None]:
    """While the block runs, packages neither start a server nor create a database cluster."""
    policies = [(START_POLICY, FORBID_STARTS), (CLUSTER_POLICY, NO_CLUSTER)]
    ours = [(path, text) for path, text in policies if not path.exists()]
    try:
        for path, text in ours:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        yield
    finally:
        for path, _ in ours:
            path.unlink(missing_ok=True)
