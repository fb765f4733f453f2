"""The whole service in operation, on a network that can fail, shared by many cases of the conformance suite."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import requests

from app.first_run.embedded import EmbeddedBroker
from app.first_run.processes import Server
from tests.harness.processes import descendants, is_alive, signal_all
from tests.harness.promise import Customer, Record
from tests.harness.proxy import TcpProxy
from tests.harness.service import Service, ServiceProcess, Surroundings
from tests.harness.shop import Order
from tests.harness.supervisor import Supervisor
from tests.harness.versions import THIS, Version
from tests.harness.waiting import wait_until

#: A tenth of the windows of production, so that a case sees them pass in seconds.
SHORT_WINDOWS = {
    "OUTBOX_LEASE_SECONDS": "3",
    "OUTBOX_RENEW_SECONDS": "1",
    "OUTBOX_LOST_AFTER_SECONDS": "3",
    "OUTBOX_HEARTBEAT_SECONDS": "1",
    "OUTBOX_DEAF_AFTER_SECONDS": "8",
    # SQS's emulator looks at each message it holds when it is asked for one.
    "OUTBOX_MAX_IN_FLIGHT": "100",
    # What a killed worker had taken and not acknowledged is handed out again after this time.
    "REDIS_VISIBILITY_TIMEOUT": "10",
    "REDIS_RESTORE_INTERVAL_SECONDS": "1",
    "SQS_VISIBILITY_TIMEOUT": "10",
    # How soon a connection that went mute is noticed.
    "REDIS_HEALTH_CHECK_INTERVAL_SECONDS": "1",
    "RABBITMQ_HEARTBEAT_SECONDS": "2",
}

#: How many lines of a log an error message shows.
STORY_LINES = 60

#: How many tasks the worker runs at a time.
PLACES = 2

#: How long all processes may take to start, several of them at a time on two cores.
UP_SECONDS = 120.0


def _is_up(process: ServiceProcess) -> bool:
    return process.is_running and process.is_ready()


def _story(process: ServiceProcess) -> str:
    """The end of a process's log, without what it says of single tasks."""
    lines = process.log_tail(2000).splitlines()
    return "\n".join([line for line in lines if "Task " not in line][-STORY_LINES:])


class Site:
    """Web, relay and a worker under a supervisor. The relay and the worker reach the broker through a proxy each.

    The worker reaches the database through a third one.

    with site.customer():          # orders are posted ...
        site.broker.freeze()       # ... while something goes wrong
    site.heal()
    assert_promise(site)
    """

    def __init__(
        self,
        directory: Path,
        around: Surroundings,
        *,
        pool: str,
        servers: Sequence[Server] = (),
        windows: Mapping[str, str] = SHORT_WINDOWS,
    ) -> None:
        self.broker = around.broker
        self.database = around.database
        self.mail_server = around.mail_server
        self.pool = pool
        self.relay_network = TcpProxy(self.broker.port)
        self.worker_network = TcpProxy(self.broker.port)
        self.database_network = TcpProxy(urlsplit(self.database.url).port or 0)
        self._networks = [self.relay_network, self.worker_network, self.database_network]
        self.supervisor = Supervisor()
        self.service = Service(directory, around, **windows, DJANGO_SETTINGS_MODULE=THIS.settings)
        self.web_version = self.worker_version = THIS
        self.record = Record(self.service.shop, self.mail_server)
        self._servers: list[Server] = [self.broker, *servers]

    # --- opening hours ------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start everything and return when it is ready."""
        for network in self._networks:
            network.__enter__()
        self.supervisor.start()
        relay_variables = self.broker.env_at(self.relay_network.port)
        worker_variables = {
            **self.broker.env_at(self.worker_network.port),
            "DATABASE_URL": self._through(self.database_network, self.database.url),
        }
        self.web = self.service.start_web(wait=False)
        self.relay = self.service.start_relay(wait=False, **relay_variables)
        self.worker = self.service.start_worker(pool=self.pool, concurrency=PLACES, wait=False, **worker_variables)
        for process in self.service.processes:
            self.supervisor.watch(process)
        self.wait_until_up()

    @staticmethod
    def _through(network: TcpProxy, url: str) -> str:
        return url.replace(f":{network.target_port}/", f":{network.port}/")

    def close(self) -> None:
        """End everything in good order."""
        self.supervisor.stop()
        self.service.stop()
        if self.supervisor.is_alive():
            self.supervisor.join()
        for network in self._networks:
            network.__exit__()

    @contextmanager
    def beats(self, number: int) -> Iterator[list[ServiceProcess]]:
        """Several beats while the block runs."""
        beats = [self.service.start_beat(f"beat-{each}", wait=False) for each in range(1, number + 1)]
        for beat in beats:
            self.supervisor.watch(beat)
        try:
            self.wait_until_up()
            yield beats
        finally:
            for beat in beats:
                self.supervisor.release(beat)
                beat.stop()
                self.service.processes.remove(beat)

    @contextmanager
    def worker_stopped(self) -> Iterator[None]:
        """No worker runs while the block does."""
        self.supervisor.release(self.worker)
        self.worker.stop()
        try:
            yield
        finally:
            self.worker.start()
            self.supervisor.watch(self.worker)
            self.wait_until_up()

    @contextmanager
    def another_worker(self, version: Version = THIS) -> Iterator[ServiceProcess]:
        """One more worker while the block runs, once it is ready."""
        worker = self.service.start_worker(
            "worker-2", pool=self.pool, concurrency=PLACES, DJANGO_SETTINGS_MODULE=version.settings
        )
        try:
            yield worker
        finally:
            worker.stop()
            self.service.processes.remove(worker)

    def deploy_worker(self, version: Version) -> None:
        """Tell the worker to stop; the supervisor starts it again in another version."""
        self.worker_version = version
        self.worker.env["DJANGO_SETTINGS_MODULE"] = version.settings
        os.kill(self.worker.pid, signal.SIGTERM)

    def move_to(self, broker: EmbeddedBroker) -> None:
        """Restart everything with another BROKER. The old one keeps what it holds: nobody empties it first."""
        for process in self.service.processes:
            self.supervisor.release(process)
            process.stop()
        self.service.move_to(broker)
        self.broker = self._servers[0] = broker
        self.relay_network.redirect(broker.port)
        self.worker_network.redirect(broker.port)
        self.relay.env.update(broker.env_at(self.relay_network.port))
        self.worker.env.update(broker.env_at(self.worker_network.port))
        for process in self.service.processes:
            process.start()
            self.supervisor.watch(process)
        self.wait_until_up()

    def heal(self) -> None:
        """Undo every fault and return when all processes are ready again, whatever has happened to them."""
        self.mail_server.accept()
        for server in self._servers:
            server.thaw()
            if not server.is_running:
                server.start()
        self.relay_network.target_port = self.worker_network.target_port = self.broker.port
        for network in self._networks:
            network.heal()
        for process in self.service.processes:
            if process.is_running:
                signal_all([process.pid, *descendants(process.pid)], signal.SIGCONT)
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Return when every process of the service runs and is ready."""
        for process in self.service.processes:
            up = partial(_is_up, process)
            wait_until(up, f"{process.name} to be ready", within_seconds=UP_SECONDS, every_seconds=0.1)

    # --- what happens -------------------------------------------------------------------------------------------------

    def customer(self, *, every_seconds: float = 0.25) -> Customer:
        """Somebody who posts an order every so often while a block runs."""
        return Customer(self.service.shop, every_seconds=every_seconds)

    def order_being_sent(self) -> Order:
        """Place an order and return when the worker is in the middle of its e-mail; `mail_server.accept()` goes on."""
        self.mail_server.hold()
        order = self.service.shop.order()
        self.mail_server.wait_until_held()
        return order

    def enqueue(self, task: str, *args: Any, **options: Any) -> UUID:
        """Have a task of `errands` enqueued by a request; return the id of its message."""
        wanted = {"task": f"tests.harness.errands.tasks.{task}", "args": args, "options": options}
        answer = self.service.shop.request("POST", "/enqueue/", json=wanted)
        assert answer.status_code == requests.codes.created, f"{answer.status_code}: {answer.text[:500]}"
        return UUID(answer.json()["id"])

    def send_by_name(self, task: str, *args: Any, rolled_back: bool = False, **options: Any) -> UUID:
        """Have a task called by its name by a request; return the id of its message."""
        wanted = {"task": task, "args": args, "options": options, "rolled_back": rolled_back}
        answer = self.service.shop.request("POST", "/send-by-name/", json=wanted)
        assert answer.status_code == requests.codes.created, f"{answer.status_code}: {answer.text[:500]}"
        return UUID(answer.json()["id"])

    def kill(self, process: ServiceProcess) -> None:
        """End a process and all that it started with SIGKILL; the supervisor starts it again."""
        pids = [process.pid, *descendants(process.pid)]
        signal_all(pids, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, pids)), f"the end of {process.name}")

    def freeze(self, process: ServiceProcess) -> None:
        """Suspend a process and all that it started; `heal()` wakes it up."""
        signal_all([process.pid, *descendants(process.pid)], signal.SIGSTOP)

    @contextmanager
    def interrupted(self, *, every: bool = True) -> Iterator[None]:
        """The worker is in the middle of an e-mail in every place it has, or in one; the block ends what sends them.

        So nothing is killed between the mail server's 250 and the commit, which is the one moment that repeats an
        e-mail.
        """
        self.mail_server.hold()
        dialogues = PLACES if every else 1
        wait_until(lambda: self.mail_server.held == dialogues, f"{dialogues} SMTP dialogues in the middle")
        yield
        wait_until(lambda: not self.mail_server.held, "the end of the interrupted dialogues")
        self.mail_server.accept()

    @contextmanager
    def same_worker(self, *, unless_deaf: bool = False) -> Iterator[None]:
        """The worker may not end while the block runs, unless its watchdog may end it: its process stays the same."""
        from workers.exits import BROKEN_EXIT_STATUS  # not above: pytest may read this file before Django is set up

        ends_before = len(self.supervisor.ends_of(self.worker))
        yield
        ends = self.supervisor.ends_of(self.worker)[ends_before:]
        allowed = {BROKEN_EXIT_STATUS} if unless_deaf else set()
        assert set(ends) <= allowed, f"the worker ended with status {ends}:\n{_story(self.worker)}"
