"""Starts processes again that have ended, as systemd or Kubernetes would."""

import threading
import time
from dataclasses import dataclass

from tests.harness.service import ServiceProcess

#: How long after its end a process is started again.
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class End:
    """How a process ended: its exit status, negative for a signal."""

    name: str
    status: int


class Supervisor(threading.Thread):
    """Watches processes until it is told to stop.

    A test that ends a watched process does so with `os.kill`, and leaves the rest to the supervisor.
    """

    def __init__(self) -> None:
        super().__init__(name="supervisor", daemon=True)
        self.ends: list[End] = []
        self._watched: list[ServiceProcess] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def watch(self, process: ServiceProcess) -> None:
        with self._lock:
            self._watched.append(process)

    def release(self, process: ServiceProcess) -> None:
        """From now on it may end."""
        with self._lock:
            if process in self._watched:
                self._watched.remove(process)

    def ends_of(self, process: ServiceProcess) -> list[int]:
        """The exit statuses that `process` has ended with so far."""
        return [end.status for end in self.ends if end.name == process.name]

    def run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            with self._lock:
                for process in self._watched:
                    self._start_again(process)

    def stop(self) -> None:
        """Let everything end. Stop the processes first: they do not outlive the thread that started them."""
        with self._lock:
            self._watched.clear()

    def join(self, timeout: float | None = None) -> None:
        self._stopped.set()
        super().join(timeout)

    def _start_again(self, process: ServiceProcess) -> None:
        if (status := process.returncode) is not None:
            self.ends.append(End(process.name, status))
            with process.log.open("a") as log:
                log.write(f"{time.strftime('%H:%M:%S')} --- ended with status {status}, is started again ---\n")
            process.start()
