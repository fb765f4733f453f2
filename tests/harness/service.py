"""The real processes of the service, each as it would be started in production, on queues and a port of their own."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import requests

from app.first_run.embedded import EmbeddedBroker
from app.first_run.processes import ChildProcess, find_free_port
from brokers import BrokerProfile, load_profile
from settings import PROJECT_ROOT
from tests.harness.databases import Database, manage
from tests.harness.environment import child_environment
from tests.harness.shop import Shop
from tests.harness.smtp import MailServer
from tests.harness.waiting import wait_until

#: Where the daily summary goes.
REPORT_EMAIL = "reports@example.com"


class ServiceProcess(ChildProcess):
    """A process of the service that says in its log, or to a client, when it is ready."""

    def __init__(
        self, command: list[str], *, env: dict[str, str], log: Path, is_ready: Callable[["ServiceProcess"], bool]
    ) -> None:
        super().__init__([sys.executable, *command], env=env, log=log, cwd=PROJECT_ROOT)
        self._is_ready = is_ready
        self._log_begin = 0

    @property
    def name(self) -> str:
        return self.log.stem

    def start(self) -> None:
        self._log_begin = self.log.stat().st_size if self.log.exists() else 0
        super().start()

    def is_ready(self) -> bool:
        """Whether it has said so since it was last started."""
        return self._is_ready(self)

    def wait_until_ready(self) -> None:
        """Return when it is. Raises AssertionError with the end of its log if it ends or takes too long."""
        wait_until(lambda: not self.is_running or self.is_ready(), f"{self.name} to be ready")
        assert self.is_running, f"{self.name} ended with status {self.returncode}:\n{self.log_tail()}"

    def restart(self) -> None:
        self.stop()
        self.start()
        self.wait_until_ready()

    @property
    def output(self) -> str:
        """What it wrote since it was last started."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[self._log_begin :].decode(errors="replace")


def says(words: str) -> Callable[[ServiceProcess], bool]:
    return lambda process: words in process.output


def _web_answers(process: ServiceProcess) -> bool:
    try:
        return requests.get(f"http://{process.env['WEB_BIND']}/health/ready", timeout=2).ok
    except requests.RequestException:
        return False


@dataclass(frozen=True)
class Surroundings:
    """What a service needs around it."""

    broker: EmbeddedBroker
    database: Database
    mail_server: MailServer


class Service:
    """One environment of the service: a web server, and as many relays, workers and beats as a test starts.

    `variables` are added to the environment of every process. Each `start_…` takes more for that process alone, e.g.
    `start_worker(**broker.env_at(proxy.port))`, and waits until it is ready unless told not to.
    """

    def __init__(self, directory: Path, around: Surroundings, **variables: str) -> None:
        self.directory = directory
        self.around = around
        self.port = find_free_port()
        queues = variables.get("QUEUES", f"test-{uuid4().hex[:12]}")
        self.queue = queues.partition(",")[0]
        self.processes: list[ServiceProcess] = []
        self.env = child_environment(
            directory,
            DATABASE_URL=around.database.url,
            EMAIL_URL=around.mail_server.url,
            ORDERS_REPORT_EMAIL=REPORT_EMAIL,
            WEB_BIND=f"127.0.0.1:{self.port}",
            **around.broker.env,
            **{"QUEUES": queues, **variables},
        )

    @cached_property
    def shop(self) -> Shop:
        """The demo customer."""
        return Shop(self.port, self.around.database.token)

    def start(self) -> None:
        """Start web, relay and one worker, and return when all are ready."""
        starters = (self.start_web, self.start_relay, self.start_worker)
        for process in [start(wait=False) for start in starters]:
            process.wait_until_ready()

    def start_web(self, *, wait: bool = True, **variables: str) -> ServiceProcess:
        return self._start("web", ["-m", "gunicorn", "app.wsgi"], _web_answers, variables, wait=wait)

    def start_relay(self, name: str = "relay", *, wait: bool = True, **variables: str) -> ServiceProcess:
        return self._start(name, ["manage.py", "relay"], says("Relaying "), variables, wait=wait)

    def start_worker(
        self, name: str = "worker", *, pool: str = "prefork", concurrency: int = 2, wait: bool = True, **variables: str
    ) -> ServiceProcess:
        command = ["-m", "celery", "-A", "app", "worker", "-l", "INFO", "-n", f"{name}@%h"]
        command += ["--pool", pool, "--concurrency", str(concurrency)]
        return self._start(name, command, says(" ready."), variables, wait=wait)

    def start_beat(self, name: str = "beat", *, wait: bool = True, **variables: str) -> ServiceProcess:
        command = ["-m", "celery", "-A", "app", "beat", "-l", "INFO"]
        return self._start(name, command, says("beat: Starting"), variables, wait=wait)

    @cached_property
    def profile(self) -> BrokerProfile:
        """The profile of this service's broker, which leads past every proxy."""
        return load_profile(self.env["BROKER"], environ=self.env, env_file=Path(os.devnull))

    def move_to(self, broker: EmbeddedBroker) -> None:
        """What is started from now on uses another broker."""
        self.around = replace(self.around, broker=broker)
        for environment in (self.env, *(process.env for process in self.processes)):
            environment.update(broker.env)
        self.__dict__.pop("profile", None)

    def depth(self) -> int:
        """How many messages the broker holds of this service's queue, those with a worker included."""
        depth = self.profile.depth(self.queue)
        return depth.waiting + (depth.unacknowledged or 0)

    def manage(self, *arguments: str) -> str:
        """The output of a `manage.py` command in this service's environment."""
        return manage(self.env, *arguments)

    def stop(self) -> None:
        """End every process in good order, all at the same time."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.stop()

    def kill(self) -> None:
        """End every process at once."""
        for process in self.processes:
            process.kill()

    def _start(
        self,
        name: str,
        command: list[str],
        is_ready: Callable[[ServiceProcess], bool],
        variables: dict[str, str],
        *,
        wait: bool,
    ) -> ServiceProcess:
        log = self.directory / f"{name}.log"
        process = ServiceProcess(command, env={**self.env, **variables}, log=log, is_ready=is_ready)
        self.processes.append(process)
        process.start()
        if wait:
            process.wait_until_ready()
        return process
