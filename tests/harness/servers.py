"""The servers of a test session: each is started when the first test asks for it, and only once."""

import shutil
import tempfile
from functools import cached_property
from pathlib import Path

import pytest

from app.first_run.embedded import EMBEDDED, EmbeddedBroker
from app.first_run.processes import Server
from tests.harness.databases import Databases, PostgresDatabases, SQLiteDatabases
from tests.harness.docker import Container, DockerPostgres, DockerRabbitMQ
from tests.harness.postgres import PostgresServer
from tests.harness.requirements import CHROMIUM, IN_CI, POSTGRESQL, RABBITMQ, Requirement, Say, Source, find_chromium

#: What a broker, a database or a fixture needs that pip cannot install; the others need nothing.
REQUIREMENTS: dict[str, Requirement] = {"rabbitmq": RABBITMQ, "postgresql": POSTGRESQL, "chromium": CHROMIUM}

#: Every kind of database the service supports.
DATABASES = ["sqlite", "postgresql"]


class Servers:
    """The brokers and databases of this session. `stop()` ends them and deletes what they kept."""

    def __init__(self) -> None:
        self._sources: dict[str, Source | None] = {}
        self._brokers: dict[str, EmbeddedBroker] = {}
        self._directories: list[Path] = []
        self._others: list[Server] = []

    def provide(self, name: str, say: Say) -> None:
        """Install what `name` needs, unless that has been tried already."""
        if name in REQUIREMENTS and name not in self._sources:
            self._sources[name] = REQUIREMENTS[name].provide(say)

    @property
    def missing(self) -> list[Requirement]:
        """What could not be provided."""
        return [REQUIREMENTS[name] for name, source in self._sources.items() if source is None]

    def broker(self, name: str) -> EmbeddedBroker:
        """The running broker. Whatever the last test did to it, the next one finds it running."""
        broker = self._brokers.get(name) or self._build_broker(name)
        self._brokers[name] = broker
        broker.thaw()
        if not broker.is_running:
            broker.start()
        return broker

    def databases(self, kind: str) -> Databases:
        return self._sqlite if kind == "sqlite" else self._postgres

    def chromium(self) -> str:
        """The browser's program."""
        self._source("chromium")
        program = find_chromium()
        assert program
        return program

    def stop(self) -> None:
        for server in [*self._brokers.values(), *self._others]:
            server.stop()
            if isinstance(server, Container):
                server.remove()
        for directory in self._directories:
            shutil.rmtree(directory, ignore_errors=True)

    def _build_broker(self, name: str) -> EmbeddedBroker:
        kind = DockerRabbitMQ if self._source(name) is Source.DOCKER else EMBEDDED[name]
        return kind(self._new_directory(name))

    @cached_property
    def _sqlite(self) -> SQLiteDatabases:
        return SQLiteDatabases(self._new_directory("sqlite"))

    @cached_property
    def _postgres(self) -> PostgresDatabases:
        kind = DockerPostgres if self._source("postgresql") is Source.DOCKER else PostgresServer
        server = kind(self._new_directory("postgresql"))
        self._others.append(server)
        server.start()
        return PostgresDatabases(server)

    def _source(self, name: str) -> Source:
        """Where `name` comes from; ends the test that needs it when it is missing."""
        source = self._sources.get(name) if name in REQUIREMENTS else Source.INSTALLED
        if source is None:
            give_up = pytest.fail if IN_CI else pytest.skip
            give_up(REQUIREMENTS[name].cure)
        return source

    def _new_directory(self, name: str) -> Path:
        # Not below pytest's own directories: those are closed to the user that PostgreSQL has to run as.
        directory = Path(tempfile.mkdtemp(prefix=f"anybroker-{name}-"))
        self._directories.append(directory)
        return directory
