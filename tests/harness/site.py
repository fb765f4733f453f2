"""The whole service in operation, on a network that can fail, shared by many cases of the conformance suite."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from app.processes import Server
from tests.harness.processes import descendants, is_alive, signal_all
from tests.harness.promise import Customer, Record
from tests.harness.proxy import TcpProxy
from tests.harness.service import Service, ServiceProcess, Surroundings
from tests.harness.supervisor import Supervisor
from tests.harness.waiting import wait_until

#: A tenth of the windows of production, so that a case sees them pass in seconds.
SHORT_WINDOWS = {
    "OUTBOX_LEASE_SECONDS": "3",
    "OUTBOX_RENEW_SECONDS": "1",
    "OUTBOX_LOST_AFTER_SECONDS": "3",
    "OUTBOX_HEARTBEAT_SECONDS": "1",
    "OUTBOX_DEAF_AFTER_SECONDS": "5",
    # What a killed worker had taken and not acknowledged is handed out again after this time.
    "REDIS_VISIBILITY_TIMEOUT": "10",
    "REDIS_RESTORE_INTERVAL_SECONDS": "1",
    "SQS_VISIBILITY_TIMEOUT": "10",
}

#: How long all processes may take to start, several of them at a time on two cores.
UP_SECONDS = 120.0


def _is_up(process: ServiceProcess) -> bool:
    return process.is_running and process.is_ready()


class Site:
    """Web, relay and a worker under a supervisor. The relay and the worker reach the broker through a proxy each.

    with site.customer():          # orders are posted ...
        site.broker.freeze()       # ... while something goes wrong
    site.heal()
    assert_promise(site)
    """

    def __init__(self, directory: Path, around: Surroundings, pool: str, servers: list[Server]) -> None:
        self.broker = around.broker
        self.database = around.database
        self.mail_server = around.mail_server
        self.pool = pool
        self.relay_network = TcpProxy(self.broker.port)
        self.worker_network = TcpProxy(self.broker.port)
        self.supervisor = Supervisor()
        self.service = Service(
            directory, around, **{**SHORT_WINDOWS, "DJANGO_SETTINGS_MODULE": "tests.harness.settings"}
        )
        self.record = Record(self.service.shop, self.mail_server)
        self._servers = [self.broker, *servers]

    # --- opening hours ------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start everything and return when it is ready."""
        for network in (self.relay_network, self.worker_network):
            network.__enter__()
        self.supervisor.start()
        relay_variables = self.broker.env_at(self.relay_network.port)
        worker_variables = self.broker.env_at(self.worker_network.port)
        self.web = self.service.start_web(wait=False)
        self.relay = self.service.start_relay(wait=False, **relay_variables)
        self.worker = self.service.start_worker(pool=self.pool, concurrency=2, wait=False, **worker_variables)
        for process in (self.web, self.relay, self.worker):
            self.supervisor.watch(process)
        self.wait_until_up()

    def close(self) -> None:
        """End everything in good order."""
        self.supervisor.stop()
        self.service.stop()
        if self.supervisor.is_alive():
            self.supervisor.join()
        for network in (self.relay_network, self.worker_network):
            network.__exit__()

    def heal(self) -> None:
        """Undo every fault and return when all processes are ready again, whatever has happened to them."""
        self.mail_server.accept()
        for server in self._servers:
            server.thaw()
            if not server.is_running:
                server.start()
        for network in (self.relay_network, self.worker_network):
            network.target_port = self.broker.port
            network.heal()
        for process in self.service.processes:
            if process.is_running:
                signal_all([process.pid, *descendants(process.pid)], signal.SIGCONT)
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Return when every process of the service runs and is ready."""
        for process in (self.web, self.relay, self.worker):
            up = partial(_is_up, process)
            wait_until(up, f"{process.name} to be ready", within_seconds=UP_SECONDS, every_seconds=0.1)

    # --- what happens -------------------------------------------------------------------------------------------------

    def customer(self, *, every_seconds: float = 0.2) -> Customer:
        """Somebody who posts an order every so often while a block runs."""
        return Customer(self.service.shop, every_seconds=every_seconds)

    def kill(self, process: ServiceProcess) -> None:
        """End a process and all that it started with SIGKILL; the supervisor starts it again."""
        pids = [process.pid, *descendants(process.pid)]
        signal_all(pids, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, pids)), f"the end of {process.name}")

    def freeze(self, process: ServiceProcess) -> None:
        """Suspend a process and all that it started; `heal()` wakes it up."""
        signal_all([process.pid, *descendants(process.pid)], signal.SIGSTOP)

    @contextmanager
    def same_worker(self) -> Iterator[None]:
        """The worker may not end while the block runs: its process id stays the same."""
        pid = self.worker.pid
        yield
        ends = self.supervisor.ends_of(self.worker)
        assert self.worker.pid == pid, f"the worker ended with status {ends[-1]}:\n{self.worker.log_tail(60)}"
