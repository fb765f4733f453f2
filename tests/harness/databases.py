"""Fresh databases in a moment: each kind is migrated and seeded once, then copied for every test."""

import shutil
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import closing
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from settings import PROJECT_ROOT
from tests.harness.environment import child_environment
from tests.harness.postgres import PostgresServer

#: How many of each product there are, so that no test runs out of one by accident.
STOCK = 1_000_000

SET_STOCK = f"from orders.models import Product; Product.objects.update(stock={STOCK})"


class Database(ABC):
    """A database of one test's own, with the catalogue and the demo users in it."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        #: The demo customer's token for the API.
        self.token = token

    @abstractmethod
    def query(self, statement: LiteralString) -> list[tuple[Any, ...]]:
        """The rows that a statement finds, read past the service."""

    @abstractmethod
    def drop(self) -> None:
        """Delete it, whoever may still use it."""

    def states(self) -> Counter[str]:
        """How many messages of the outbox are in which state."""
        return Counter(dict(self.query("SELECT state, count(*) FROM outbox_message GROUP BY state")))

    def unfinished(self) -> int:
        """How many messages of the outbox have still to happen."""
        return sum(number for state, number in self.states().items() if state in {"pending", "published", "running"})


class Databases(ABC):
    """Databases of one kind."""

    def __init__(self) -> None:
        self._numbers = count(1)

    @abstractmethod
    def url(self, name: str) -> str:
        """The DATABASE_URL of the database `name`."""

    @abstractmethod
    def copy_template(self, name: str, token: str) -> Database: ...

    @abstractmethod
    def create_template(self) -> Path:
        """Make an empty database called 'template'; return a directory for files of the session."""

    def create(self) -> Database:
        """A new copy of the template."""
        return self.copy_template(f"test{next(self._numbers)}", self._token)

    @cached_property
    def _token(self) -> str:
        """The demo customer's token, once the template has been migrated and seeded as a user would do it."""
        environment = child_environment(self.create_template(), DATABASE_URL=self.url("template"))
        manage(environment, "migrate", "--verbosity", "0")
        token = manage(environment, "seed_demo", "--print-token").strip()
        manage(environment, "shell", "-v", "0", "-c", SET_STOCK)
        return token


class SQLiteDatabase(Database):
    def __init__(self, path: Path, token: str) -> None:
        super().__init__(f"sqlite:///{path}", token)
        self._path = path

    def query(self, statement: LiteralString) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._path, timeout=20)) as connection:
            return connection.execute(statement).fetchall()

    def drop(self) -> None:
        for file in self._path.parent.glob(f"{self._path.name}*"):
            file.unlink()


class SQLiteDatabases(Databases):
    """Files in `directory`."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def url(self, name: str) -> str:
        return f"sqlite:///{self._file(name)}"

    def copy_template(self, name: str, token: str) -> SQLiteDatabase:
        return SQLiteDatabase(shutil.copyfile(self._file("template"), self._file(name)), token)

    def create_template(self) -> Path:
        return self._directory

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.sqlite3"


class PostgresDatabase(Database):
    def __init__(self, server: PostgresServer, name: str, token: str) -> None:
        super().__init__(server.url(name), token)
        self.server = server
        self._name = name

    def query(self, statement: LiteralString) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, connect_timeout=5) as connection:
            return connection.execute(statement).fetchall()

    def drop(self) -> None:
        self.server.execute("DROP DATABASE {} WITH (FORCE)", self._name)


class PostgresDatabases(Databases):
    """Databases of `server`."""

    def __init__(self, server: PostgresServer) -> None:
        super().__init__()
        self.server = server

    def url(self, name: str) -> str:
        return self.server.url(name)

    def copy_template(self, name: str, token: str) -> PostgresDatabase:
        self.server.execute("CREATE DATABASE {} TEMPLATE {}", name, "template")
        return PostgresDatabase(self.server, name, token)

    def create_template(self) -> Path:
        self.server.execute("CREATE DATABASE {}", "template")
        return self.server.directory


def manage(environment: dict[str, str], *arguments: str) -> str:
    """Run `manage.py` and return its output. Raises AssertionError with what it said if it fails."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"manage.py {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}"
    return done.stdout
