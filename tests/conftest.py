"""What tests may ask for, and on what they run.

    broker     a running broker; the test runs on each of brokers.PROFILES
    database   a fresh database with the demo catalogue; the test runs on SQLite and on PostgreSQL
    service    the service's real processes, not yet started, on `broker` and `database`
    mail_server, shop     where the service sends its e-mail, and a customer of it
    servers    all brokers by name, for a test that needs two
    chromium   a browser's program; the tests in browser/ use it

A test that needs a broker *and* a database runs on every broker with PostgreSQL, and on the first one with SQLite too:
no code depends on both choices at once. A test of Django's own kind (`db`, `@pytest.mark.django_db`) runs on both
databases. The markers `brokers` and `databases` name those that a test is about; `--broker=redis,sqs` and
`--database=sqlite` leave the others out.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import django
import pytest
from pytest_django.plugin import DjangoDbBlocker

from app.first_run import processes
from app.first_run.embedded import EmbeddedBroker
from brokers import PROFILES
from tests.harness.databases import Database
from tests.harness.environment import isolate
from tests.harness.requirements import IN_CI
from tests.harness.servers import DATABASES, Servers
from tests.harness.service import Service, Surroundings
from tests.harness.shop import Shop
from tests.harness.smtp import MailServer

SERVERS = pytest.StashKey[Servers]()

#: What needs a browser.
BROWSER_TESTS = Path(__file__).parent / "browser"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("anybroker")
    group.addoption("--broker", default=",".join(PROFILES), help="brokers to test on (default: %(default)s)")
    group.addoption("--database", default=",".join(DATABASES), help="databases to test on (default: %(default)s)")
    group.addoption(
        "--fault-seconds",
        type=float,
        default=5,
        help="how long a fault of tests/conformance lasts (default: %(default)g)",
    )


def pytest_configure(config: pytest.Config) -> None:
    for option, known in (("broker", list(PROFILES)), ("database", DATABASES)):
        if unknown := set(chosen(config, option)) - set(known):
            raise pytest.UsageError(f"--{option}={','.join(unknown)}: choose from {', '.join(known)}")
    if worker := getattr(config, "workerinput", None):
        # Each process chooses from ports of its own: one that is free may be taken before its server listens there.
        number = int(worker["workerid"].removeprefix("gw"))
        processes.SERVER_PORTS = processes.SERVER_PORTS[number :: worker["workercount"]]
    servers = config.stash[SERVERS] = Servers()
    if not runs_tests(config):
        # Set by the import of `app`; the processes that run tests would have their settings read before `isolate`.
        os.environ.pop("DJANGO_SETTINGS_MODULE", None)
        return
    # Whatever a test of the views or models publishes goes to a real broker, too. No test ever sees the developer's
    # database: this one has no tables.
    isolate(os.environ, DATABASE_URL=servers.databases("sqlite").url("nobody"), **servers.broker("redis").env)
    django.setup()


def pytest_unconfigure(config: pytest.Config) -> None:
    if servers := config.stash.get(SERVERS, None):
        servers.stop()


def runs_tests(config: pytest.Config) -> bool:
    """Whether this process runs tests itself; with `-n` others do, each with servers of its own."""
    return hasattr(config, "workerinput") or not config.getoption("numprocesses")


def chosen(config: pytest.Config, option: str) -> list[str]:
    return [name for name in str(config.getoption(option)).split(",") if name]


# --- which test runs on what ------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Multiply a test by the brokers and databases it asks for."""
    wanted = set(metafunc.fixturenames)
    brokers, databases = about(metafunc, "broker"), about(metafunc, "database")
    if {"broker", "database"} <= wanted:
        main = "postgresql" if "postgresql" in databases else (*databases, None)[0]
        pairs = [(broker, main) for broker in brokers if main]
        pairs += [(brokers[0], database) for database in databases if database != main and brokers]
        metafunc.parametrize("broker, database", pairs, indirect=True)
    elif "broker" in wanted:
        metafunc.parametrize("broker", brokers, indirect=True)
    elif "database" in wanted:
        metafunc.parametrize("database", databases, indirect=True)
    if wanted & {"db", "transactional_db"} or metafunc.definition.get_closest_marker("django_db"):
        metafunc.fixturenames.append("django_database")
        metafunc.parametrize("django_database", databases, indirect=True, scope="session")


def about(metafunc: pytest.Metafunc, option: str) -> list[str]:
    """What was chosen of the brokers or databases that a test is about: all, or those that its marker names."""
    marker = metafunc.definition.get_closest_marker(f"{option}s")
    return [name for name in chosen(metafunc.config, option) if marker is None or name in marker.args]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Set `django_database` up before anything uses a database: pytest forgets names added while it multiplies."""
    if isinstance(item, pytest.Function) and hasattr(item, "callspec") and "django_database" in item.callspec.params:
        item.fixturenames[:] = ["django_database", *(name for name in item.fixturenames if name != "django_database")]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install what the chosen tests need before the first of them runs: it is seen, and costs no test its time."""
    if session.config.option.collectonly or not runs_tests(session.config):
        return
    specs = [spec for item in session.items if (spec := getattr(item, "callspec", None))]
    values = [value for spec in specs for value in spec.params.values()]
    # A value is the name of a broker or database, or a place: several of those.
    names = [name for value in values for name in (value if isinstance(value, tuple) else (value,))]
    names += [name for item in session.items for name in getattr(item, "fixturenames", ()) if name == "chromium"]
    provide(session.config, sorted({name for name in names if isinstance(name, str)}))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Install everything before several processes of pytest find it missing at the same time."""
    paths = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    browses = any(BROWSER_TESTS.is_relative_to(path) or path.is_relative_to(BROWSER_TESTS) for path in paths)
    provide(config, [*chosen(config, "broker"), *chosen(config, "database"), *(["chromium"] if browses else [])])


def provide(config: pytest.Config, names: list[str]) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for name in names:
        config.stash[SERVERS].provide(name, reporter.write_line if reporter else print)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    outcome = "failed" if IN_CI else "WERE SKIPPED AND PROVE NOTHING"
    for requirement in config.stash[SERVERS].missing:
        terminalreporter.write_line(f"{requirement.cure} Its tests {outcome}.", red=True, bold=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the service's processes wrote when a test of theirs fails."""
    report = yield
    arguments = getattr(item, "funcargs", {})
    service = arguments.get("service") or getattr(arguments.get("site"), "service", None)
    if report.failed and isinstance(service, Service):
        for process in service.processes:
            report.sections.append((f"{process.name} ({process.log})", process.log_tail(60)))
    return report


# --- what they run on -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    return pytestconfig.stash[SERVERS]


@pytest.fixture(scope="session")
def chromium(servers: Servers) -> str:
    return servers.chromium()


@pytest.fixture
def broker(request: pytest.FixtureRequest, servers: Servers) -> EmbeddedBroker:
    return servers.broker(request.param)


@pytest.fixture
def database(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Database]:
    database = servers.databases(request.param).create()
    yield database
    database.drop()


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def service(tmp_path: Path, broker: EmbeddedBroker, database: Database, mail_server: MailServer) -> Iterator[Service]:
    service = Service(tmp_path, Surroundings(broker, database, mail_server))
    yield service
    service.kill()


@pytest.fixture
def shop(service: Service) -> Shop:
    return service.shop


@pytest.fixture(scope="session")
def django_database(
    request: pytest.FixtureRequest, servers: Servers, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """The kind of database that Django's `db` is in this test."""
    from tests.harness.django_databases import default_database

    with django_db_blocker.unblock():
        lease = default_database(servers.databases(request.param).url("django"))
        lease.__enter__()
    yield request.param
    with django_db_blocker.unblock():
        lease.__exit__(None, None, None)


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None) -> None:
    """pytest-django would make the test database here; `django_database` does, of each kind."""
