"""Makes the pictures of docs/images: `make pictures`. They show the real pages over an hour that is made up.

The service runs as it does in the tests, on Redis and SQLite.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from settings import PROJECT_ROOT
from tests.browser.visitor import Visitor, launch
from tests.harness.servers import Servers
from tests.harness.service import Service, Surroundings
from tests.harness.smtp import MailServer
from tests.harness.waiting import wait_until

IMAGES = PROJECT_ROOT / "docs" / "images"

#: An hour of trade with a mail server that was slow for some minutes and refused two addresses.
HISTORY = """
import math, random
from datetime import timedelta
from django.utils import timezone
from outbox.models import Message

chance, now = random.Random(7), timezone.now()
task = "orders.tasks.send_order_confirmation_email"
rows = []
for minute in range(59, 0, -1):
    many = round(24 + 14 * math.sin(minute / 9) + chance.uniform(-5, 5))
    slow = 18 if 24 <= minute <= 29 else 1
    for _ in range(many):
        end = now - timedelta(minutes=minute, seconds=chance.uniform(0, 59))
        begin = end - timedelta(seconds=min(chance.lognormvariate(-2.2, 0.7), 3) * slow)
        rows.append(Message(task=task, arguments="[[], {}]", queue="default", state="done", attempts=1,
            created_at=begin, published_at=begin, finished_at=end))
for minute, address, error in ((26, "ada", "550 5.1.1 mailbox unavailable"), (7, "grace", "553 5.1.2 domain unknown")):
    end = now - timedelta(minutes=minute)
    rows.append(Message(task=task, arguments="[[], {}]", queue="default", state="dead", attempts=1, created_at=end,
        finished_at=end, last_error='Traceback (most recent call last):\\n  File "orders/tasks.py", line 22, in '
        'send_order_confirmation_email\\n    order_confirmation(order, to=user_email).send()\\n'
        f"smtplib.SMTPRecipientsRefused: {address}@example.com: {error}"))
from uuid import UUID
for row in rows:
    row.id = UUID(int=(int(row.created_at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | chance.getrandbits(62))
Message.objects.bulk_create(rows)
"""


@contextmanager
def trading_service(servers: Servers, directory: Path) -> Iterator[Service]:
    """The service in operation, the last e-mail just being sent."""
    mail_server = MailServer()
    mail_server.start()
    around = Surroundings(servers.broker("redis"), servers.databases("sqlite").create(), mail_server)
    service = Service(directory, around, OUTBOX_HEARTBEAT_SECONDS="2")
    service.queue = service.env["QUEUES"] = "default"
    try:
        service.manage("shell", "-v", "0", "-c", HISTORY)
        service.start()
        service.start_beat()
        for quantities in ({"BEANS-1KG": 2}, {"DRIPPER": 1, "FILTERS-100": 1}, {"GRINDER": 1}, {"SCALE": 1}):
            service.shop.order(quantities)
        wait_until(lambda: len(mail_server.mails) == 4, "the e-mails")
        mail_server.hold()
        service.shop.order({"KETTLE": 1})
        mail_server.wait_until_held()
        yield service
    finally:
        mail_server.accept()
        service.stop()
        mail_server.stop()


def take(browser: Browser, service: Service, name: str, **options: object) -> None:
    options = {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light", **options}
    context = browser.new_context(base_url=f"http://127.0.0.1:{service.port}", **options)  # type: ignore[arg-type]
    visitor = Visitor(context.new_page())
    if name == "home":
        visitor.page.goto("/")
    else:
        visitor.open_console()
        visitor.says("#processes", "send_order_confirmation_email")
    visitor.page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
    context.close()


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    servers = Servers()
    servers.provide("chromium", lambda line: print(line, file=sys.stderr))  # noqa: T201
    try:
        with (
            tempfile.TemporaryDirectory() as directory,
            trading_service(servers, Path(directory)) as service,
            sync_playwright() as playwright,
        ):
            browser = launch(playwright, servers.chromium())
            take(browser, service, "console-light")
            take(browser, service, "console-dark", color_scheme="dark")
            take(browser, service, "console-phone", viewport={"width": 390, "height": 844}, color_scheme="dark")
            take(browser, service, "home")
            browser.close()
    finally:
        servers.stop()


if __name__ == "__main__":
    main()
