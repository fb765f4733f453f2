"""A private PostgreSQL server: own port, own data, gone after the tests."""

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from app.first_run.processes import ChildProcess, Server
from tests.harness.processes import descendants, signal_all

#: Where Debian keeps the programs of each version; they are not in the PATH.
PACKAGED = Path("/usr/lib/postgresql")

#: The server refuses to run as root: the users that may run it then, in this order.
UNPRIVILEGED_USERS = ["postgres", "nobody"]

#: What is not synced to the disk survives a crash of the server, which the tests cause, but not one of the machine.
OPTIONS = {
    "fsync": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
}


def find_binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, of the newest version there is; None if there are none."""
    packaged = sorted(PACKAGED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = packaged[-1] if packaged else shutil.which("initdb")
    return Path(found).parent if found else None


class PostgresServer(Server):
    """PostgreSQL with the user `anybroker`, who needs no password and may do everything."""

    title = "PostgreSQL"
    options = OPTIONS

    @property
    def _user(self) -> str | None:
        if os.geteuid() != 0:
            return None
        known = {entry.pw_name for entry in pwd.getpwall()}
        return next(user for user in UNPRIVILEGED_USERS if user in known)

    def build_processes(self) -> list[ChildProcess]:
        binaries = find_binaries()
        assert binaries is not None, "see requirements.py"
        data = self.directory / "data"
        if not data.exists():
            self._create(binaries, data)
        command: list[str | Path] = [binaries / "postgres", "-D", data, "-p", str(self.port)]
        for name, value in self.options.items():
            command += ["-c", f"{name}={value}"]
        return [ChildProcess(command, env={"PATH": os.defpath}, log=self.log, cwd=self.directory, user=self._user)]

    def _create(self, binaries: Path, data: Path) -> None:
        if self._user:
            shutil.chown(self.directory, self._user)
        options = ["-U", "anybroker", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        command = [str(binaries / "initdb"), "-D", str(data), *options]
        subprocess.run(command, check=True, capture_output=True, user=self._user, cwd=self.directory, env={})

    def answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """End it without waiting for its clients, as an operator does (SIGINT, a 'fast' shutdown)."""
        self.thaw()
        for process in self.processes:
            if process.is_running:
                os.kill(process.pid, signal.SIGINT)
            process.stop()

    def kill(self) -> None:
        backends = self._backends()
        super().kill()
        signal_all(backends, signal.SIGKILL)

    def freeze(self) -> None:
        super().freeze()
        signal_all(self._backends(), signal.SIGSTOP)

    def thaw(self) -> None:
        signal_all(self._backends(), signal.SIGCONT)
        super().thaw()

    def _backends(self) -> list[int]:
        """The processes of the connections, which have sessions of their own."""
        return [pid for process in self.processes if process.is_running for pid in descendants(process.pid)]

    def url(self, database: str) -> str:
        return f"postgresql://anybroker@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: LiteralString, *names: str) -> None:
        """Run a statement outside any transaction; each `{}` in it stands for one of `names`, quoted."""
        with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=2) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
