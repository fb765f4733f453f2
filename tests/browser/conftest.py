"""A browser, someone who uses it, and one service in operation for all that is done there."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect, sync_playwright

from tests.browser.visitor import PATIENCE_MS, Visitor, launch
from tests.conftest import chosen
from tests.harness.databases import Database
from tests.harness.servers import Servers
from tests.harness.service import Service, Surroundings
from tests.harness.smtp import MailServer

expect.set_options(timeout=PATIENCE_MS)

#: So that what fails is seen soon.
HEARTBEAT_SECONDS = "1"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    # Not for the whole session: while it lives, an event loop runs in this thread, and Django refuses its database.
    with sync_playwright() as playwright:
        browser = launch(playwright, chromium)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _mail_is_taken(mail_server: MailServer) -> Iterator[None]:
    yield
    mail_server.accept()


@pytest.fixture(scope="module")
def any_database(servers: Servers, pytestconfig: pytest.Config) -> Iterator[Database]:
    """What the pages show does not depend on it."""
    database = servers.databases(chosen(pytestconfig, "database")[0]).create()
    yield database
    database.drop()


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    servers: Servers,
    any_database: Database,
    mail_server: MailServer,
    pytestconfig: pytest.Config,
) -> Iterator[Service]:
    """Web, relay and a worker, in operation for all tests of a file, on one of the brokers."""
    around = Surroundings(servers.broker(chosen(pytestconfig, "broker")[0]), any_database, mail_server)
    service = Service(tmp_path_factory.mktemp("service"), around, OUTBOX_HEARTBEAT_SECONDS=HEARTBEAT_SECONDS)
    service.start()
    yield service
    service.kill()


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Callable[..., Visitor]]:
    """Open a browser of one's own at `service`; the options are Playwright's."""
    pages: list[Page] = []

    def open_window(**options: object) -> Visitor:
        context = browser.new_context(base_url=f"http://127.0.0.1:{service.port}", **options)  # type: ignore[arg-type]
        pages.append(context.new_page())
        return Visitor(pages[-1])

    yield open_window
    for page in pages:
        page.context.close()


@pytest.fixture(scope="module")
def logged_in(browser: Browser, service: Service) -> StorageState:
    """The cookies of the demo administrator."""
    context = browser.new_context(base_url=f"http://127.0.0.1:{service.port}")
    Visitor(context.new_page()).open_console()
    cookies = context.storage_state()
    context.close()
    return cookies


@pytest.fixture
def staff(visit: Callable[..., Visitor], logged_in: StorageState) -> Visitor:
    """The demo administrator on the console."""
    visitor = visit(storage_state=logged_in)
    visitor.page.goto("/console/")
    return visitor
