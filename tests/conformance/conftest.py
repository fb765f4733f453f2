"""One service in operation per broker and pool, shared by all cases: each of them finds it healthy."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.first_run.embedded import EmbeddedBroker
from tests.conftest import chosen
from tests.harness.databases import PostgresDatabases
from tests.harness.servers import Servers
from tests.harness.service import Surroundings
from tests.harness.site import SHORT_WINDOWS, Site
from tests.harness.smtp import MailServer

#: The pools that a worker may run; each has its own ways to lose a message.
POOLS = ("prefork", "threads")

#: `--fault-seconds` from here on means that the tests may take hours.
FULL_LENGTH_SECONDS = 20

#: Several relays, and a server that can go away: what production runs on.
DATABASE = "postgresql"

#: How long a case may take before it counts as hanging.
CASE_SECONDS = 400


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a case that asks for `site` on every broker with every pool, or with those that its marker `pools` names."""
    if "sites" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("pools")
    pools = marker.args if marker else POOLS
    places = [
        # All cases of one site run in one process, one after the other.
        pytest.param((broker, DATABASE, pool), id=f"{broker}-{pool}", marks=pytest.mark.xdist_group(f"{broker}-{pool}"))
        for broker in chosen(metafunc.config, "broker")
        for pool in pools
    ]
    metafunc.parametrize("sites", places, indirect=True, scope="session")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give each case the time that several starts of everything take on a machine that is busy with other cases.

    And let those that need no site run where others of the same broker do.
    """
    item.add_marker(pytest.mark.timeout(CASE_SECONDS))
    asked_for: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    if "broker" in asked_for:
        item.add_marker(pytest.mark.xdist_group(asked_for["broker"]))
    if isinstance(asked_for.get("pair"), tuple):  # not where only one broker is asked for
        item.add_marker(pytest.mark.xdist_group(asked_for["pair"][0]))


class Sites:
    """The site on one broker with one pool: opened when a case first asks for it, and anew after one that failed."""

    def __init__(self, servers: Servers, broker: str, pool: str, directory: Path) -> None:
        self._servers = servers
        self._broker = broker
        self._pool = pool
        self._directory = directory
        self._opened = 0
        self._site: Site | None = None

    @property
    def broker(self) -> EmbeddedBroker:
        """It runs."""
        return self._servers.broker(self._broker)

    def healthy(self) -> Site:
        """The site, with everything in order."""
        # The broker of the whole session, which a case elsewhere may have stopped.
        self._servers.broker(self._broker)
        if self._site is None:
            self._site = self.open()
        self._site.heal()
        return self._site

    def open(self, windows: Mapping[str, str] = SHORT_WINDOWS) -> Site:
        """A new site, for a case of its own; `close_site` it."""
        databases = self._servers.databases(DATABASE)
        assert isinstance(databases, PostgresDatabases)
        mail_server = MailServer()
        mail_server.start()
        around = Surroundings(self.broker, databases.create(), mail_server)
        self._opened += 1
        directory = self._directory / str(self._opened)
        directory.mkdir()
        site = Site(directory, around, pool=self._pool, servers=[databases.server], windows=windows)
        try:
            site.open()
        except BaseException:
            close_site(site)
            raise
        return site

    def close(self) -> None:
        if self._site is not None:
            close_site(self._site)
            self._site = None


def close_site(site: Site) -> None:
    site.close()
    site.mail_server.stop()
    site.database.drop()


@pytest.fixture(scope="session")
def sites(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sites]:
    broker, _, pool = request.param
    sites = Sites(servers, broker, pool, tmp_path_factory.mktemp(f"{broker}-{pool}"))
    yield sites
    sites.close()


@pytest.fixture
def site(request: pytest.FixtureRequest, sites: Sites) -> Iterator[Site]:
    """The service in operation, everything in order."""
    failed_before = request.session.testsfailed
    yield sites.healthy()
    if request.session.testsfailed > failed_before:
        sites.close()


def in_full_length(config: pytest.Config) -> bool:
    """Whether faults, tasks and queues are as long as in production: `make conformance`."""
    return float(config.getoption("fault_seconds")) >= FULL_LENGTH_SECONDS


@pytest.fixture
def fault_seconds(pytestconfig: pytest.Config) -> float:
    """How long a fault lasts: a few seconds, or `--fault-seconds`."""
    return float(pytestconfig.getoption("fault_seconds"))
