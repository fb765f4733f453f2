"""Several relays, one at a time on SQLite, and one that runs from cron."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from app.first_run.embedded import EmbeddedBroker
from settings import PROJECT_ROOT
from tests.harness.ledger import Ledger
from tests.harness.promise import assert_promise
from tests.harness.servers import Servers
from tests.harness.service import Service, Surroundings
from tests.harness.site import Site
from tests.harness.smtp import MailServer
from tests.harness.waiting import wait_until

#: Messages for two relays to share.
MESSAGES = 120


@pytest.mark.pools("prefork")
def test_relays_share_the_work_and_one_goes_on_when_another_dies(site: Site) -> None:
    ledger, subject = Ledger(site.database), f"shared {uuid4()}"
    second = site.service.start_relay("relay-2", wait=True, **site.broker.env_at(site.relay_network.port))
    try:
        original = site.enqueue("send", subject, countdown=3600)
        ledger.copy(original, MESSAGES)
        with site.customer(every_seconds=0.05) as customer:
            customer.wait_for(10)
            os.kill(second.pid, signal.SIGKILL)
            customer.wait_for(20)
        wait_until(lambda: ledger.count(subject, "state = 'done'") == MESSAGES, "all messages", within_seconds=90)
    finally:
        second.kill()
        site.service.processes.remove(second)

    customer.assert_untroubled()
    ledger.execute("DELETE FROM outbox_message WHERE id = %s", original)
    assert_promise(site)
    assert ledger.count(subject, "attempts = 1") == MESSAGES
    assert len(site.mail_server.about(subject)) == MESSAGES


@pytest.fixture
def service(tmp_path: Path, broker: EmbeddedBroker, servers: Servers, mail_server: MailServer) -> Iterator[Service]:
    """A service on SQLite, nothing of it started."""
    database = servers.databases("sqlite").create()
    service = Service(tmp_path, Surroundings(broker, database, mail_server))
    yield service
    service.stop()
    database.drop()


def run_relay(service: Service, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`manage.py relay` until it ends by itself."""
    return subprocess.run(
        [sys.executable, "manage.py", "relay", *arguments],
        env={**service.env, **variables},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_on_sqlite_a_second_relay_says_so_and_ends_and_the_first_goes_on(service: Service) -> None:
    service.start()

    for arguments in ((), ("--once",)):
        second = run_relay(service, *arguments)
        assert (second.returncode, second.stdout) == (1, "")
        assert re.fullmatch(r"(CommandError: )?Another relay is running on this SQLite database .*\n", second.stderr)

    order = service.shop.order()
    service.around.mail_server.wait_for(order["number"])


def test_a_relay_from_cron_publishes_what_is_due_and_ends(service: Service) -> None:
    service.start_web()
    service.start_worker()
    orders = [service.shop.order() for _ in range(3)]

    once = run_relay(service, "--once")

    assert (once.returncode, once.stdout) == (0, "Published 3 messages.\n"), once.stderr
    for order in orders:
        service.around.mail_server.wait_for(order["number"])
    assert run_relay(service, "--once").stdout == "Published 0 messages.\n"


def test_a_relay_from_cron_that_cannot_reach_the_broker_says_so_and_loses_nothing(
    service: Service, broker: EmbeddedBroker
) -> None:
    service.start_web()
    order = service.shop.order()

    away = run_relay(service, "--once", **broker.env_at(1))  # nothing listens there

    assert (away.returncode, away.stdout) == (1, "")
    assert "What is due waits in the database." in away.stderr
    assert "Traceback" not in away.stderr
    service.start_worker()
    assert run_relay(service, "--once").stdout == "Published 1 messages.\n"
    service.around.mail_server.wait_for(order["number"])
