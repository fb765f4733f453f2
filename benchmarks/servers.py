"""The brokers and databases of one run. They are our own, are removed afterwards, and write to disk as in
production."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.first_run.embedded import EMBEDDED, EmbeddedBroker
from app.first_run.processes import Server
from tests.harness.databases import Databases, PostgresDatabases, SQLiteDatabases
from tests.harness.postgres import OPTIONS, PostgresServer
from tests.harness.requirements import POSTGRESQL, RABBITMQ, Requirement, Source

#: Servers that pip cannot install, by the name of the broker or database.
REQUIREMENTS = {"rabbitmq": RABBITMQ, "postgresql": POSTGRESQL}


class SyncedPostgres(PostgresServer):
    """PostgreSQL that waits for the disk at each commit. The PostgreSQL of the tests does not."""

    options = {**OPTIONS, "fsync": "on"}


class MissingServerError(Exception):
    """Raised when a server is not installed and cannot be installed. The message names the cure."""


@contextmanager
def running_broker(name: str) -> Iterator[EmbeddedBroker]:
    require(REQUIREMENTS.get(name))
    with new_directory(name) as directory:
        broker = EMBEDDED[name](directory)
        with running(broker):
            yield broker


@contextmanager
def running_databases() -> Iterator[dict[str, Databases]]:
    """Lend databases of each kind. They are on the disk of the temporary files."""
    require(POSTGRESQL)
    with new_directory("sqlite") as sqlite, new_directory("postgresql") as postgresql:
        server = SyncedPostgres(postgresql)
        with running(server):
            yield {"postgresql": PostgresDatabases(server), "sqlite": SQLiteDatabases(sqlite)}


def require(requirement: Requirement | None) -> None:
    if requirement and requirement.provide(print) is not Source.INSTALLED:
        raise MissingServerError(requirement.cure)


@contextmanager
def running(server: Server) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()


@contextmanager
def new_directory(name: str) -> Iterator[Path]:
    # The server may change its owner: PostgreSQL runs as a user of its own.
    directory = Path(tempfile.mkdtemp(prefix=f"anybroker-bench-{name}-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
