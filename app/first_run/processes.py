"""Starts and stops child processes: each in a session of its own, stopped by its pid, and never left behind."""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

#: How often we check a condition that we wait for. Short enough not to be noticed, long enough to cost nothing.
POLL_SECONDS = 0.05

#: Below the ports that systems use for outgoing connections (Linux from 32768, macOS from 49152). While a server
#: restarts, any client can take a port of that range, even a client that tries to connect to this very port.
SERVER_PORTS = range(15_000, 32_000)

#: `prctl(2)`: the signal this process gets when its parent dies.
PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    """Raised when a server of ours does not start. The message says why, and ends with the last lines of its log."""


def port_is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier server in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def find_free_port() -> int:
    """Return a port of 127.0.0.1 that is free and that no outgoing connection will take."""
    return next(port for port in random.sample(SERVER_PORTS, len(SERVER_PORTS)) if port_is_free(port))


def _prepare_child() -> Callable[[], None]:
    """Return the function that the child calls before it becomes the program.

    It makes the child react to Ctrl-C and SIGQUIT again: a shell makes programs in the background, and all that they
    start, ignore them. On Linux it asks the kernel to kill the child when its parent dies.
    """
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    parent = os.getpid()

    def prepare() -> None:
        for number in (signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        if prctl:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent died before the line above
                os._exit(1)

    return prepare


class ChildProcess:
    """One program and the processes that it starts, in a session of its own, so that Ctrl-C reaches only the parent.

    It gets the variables of `env` and no others. Its output is appended to the file `log`. On Linux it does not outlive
    its parent, even if that is killed; to be exact, it does not outlive the *thread* that started it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.command = [str(word) for word in command]
        self.env = dict(env)
        self.log = log
        self.cwd = cwd
        self.user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env=self.env,
                cwd=self.cwd,
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_prepare_child(),
            )

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.command[0]} was not started")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal. None while it runs, and before it was started."""
        return None if self._process is None else self._process.poll()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, *, within_seconds: float = 10) -> None:
        """Ask it to end (SIGTERM). Kill it and its children if it has not ended in time."""
        self.terminate()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(within_seconds)
        self.kill()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), without waiting for it."""
        if self._process is not None and self.is_running:
            self.thaw()
            self._process.terminate()

    def kill(self) -> None:
        """End it and its children at once (SIGKILL)."""
        self._signal_all(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def freeze(self) -> None:
        """Suspend it and its children (SIGSTOP). Connections stay open, but nothing answers."""
        self._signal_all(signal.SIGSTOP)
        if self.is_running and hasattr(os, "waitid"):  # not on macOS before Python 3.13
            # Each thread stops when it is next scheduled. This returns when the last one has stopped.
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of the log, for an error message."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _signal_all(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


class Server(ABC):
    """A server of our own on 127.0.0.1. Its files are below `directory`; a restart keeps them and its port."""

    #: Its name in messages.
    title: str
    #: Seconds that it may take until it answers. Generous, for loaded machines; a failed start shows at once.
    start_seconds: float = 60

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory = directory.absolute()
        self.port = port or find_free_port()
        self.processes: list[ChildProcess] = []

    @abstractmethod
    def build_processes(self) -> list[ChildProcess]:
        """Return the processes to start, in this order; the last one is the server. `directory` exists already."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server answers a client now. Takes at most 2 s."""

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    @property
    def is_running(self) -> bool:
        return bool(self.processes) and all(process.is_running for process in self.processes)

    def start(self) -> None:
        """Start it. Return when it answers. Raises ServerError if it does not; then no process is left running."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not port_is_free(self.port):
            raise ServerError(f"{self.title} cannot start: port {self.port} is in use. Stop what listens on it.")
        self.processes = self.build_processes()
        try:
            for process in self.processes:
                process.start()
            self._wait_until_it_answers()
        except BaseException:  # also Ctrl-C: the caller has nothing to stop before `start()` returns
            self.kill()
            raise

    def stop(self) -> None:
        """Ask it to end; kill it after 10 s."""
        for process in reversed(self.processes):
            process.stop()

    def kill(self) -> None:
        """Kill it, as a crash would."""
        for process in reversed(self.processes):
            process.kill()

    def restart(self) -> None:
        """Stop it and start it again on the same port with the data it kept."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        for process in self.processes:
            process.freeze()

    def thaw(self) -> None:
        for process in self.processes:
            process.thaw()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + self.start_seconds
        while not self.answers():
            if not self.is_running or time.monotonic() > deadline:
                raise self._failure()
            time.sleep(POLL_SECONDS)

    def _failure(self) -> ServerError:
        ended = [process.returncode for process in self.processes if process.returncode is not None]
        happened = (
            f"ended with status {ended[0]}"
            if ended
            else f"did not answer on port {self.port} within {self.start_seconds:.0f} s"
        )
        return ServerError(f"{self.title} {happened}. The end of {self.log}:\n{self.processes[-1].log_tail()}")
