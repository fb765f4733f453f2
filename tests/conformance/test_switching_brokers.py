"""Another broker: change BROKER, restart. There and back, for every pair, with messages in flight and under load."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conformance.conftest import DATABASE, in_full_length
from tests.conftest import chosen
from tests.harness.faults import everything_settled
from tests.harness.ledger import Ledger
from tests.harness.promise import assert_promise
from tests.harness.servers import Servers
from tests.harness.service import Surroundings
from tests.harness.site import SHORT_WINDOWS, Site
from tests.harness.smtp import MailServer
from tests.harness.waiting import wait_until

#: Messages that the old broker holds when it is left. In full length as many as SQS's emulator can carry, or thousands.
IN_FLIGHT = 40
MANY_IN_FLIGHT = {"redis": 3000, "rabbitmq": 3000, "sqs": 150}

#: When what the old broker holds counts as lost, and how soon it is published again when an operator says so.
LOST_AFTER_SECONDS = 30
IMMEDIATELY_SECONDS = 10


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each pair of brokers in one case, which goes both ways; in full length, with each way of leaving one."""
    pairs = [(*pair, DATABASE) for pair in combinations(chosen(metafunc.config, "broker"), 2)]
    metafunc.parametrize("pair", pairs, ids=[f"{one}-{other}" for one, other, _ in pairs])
    metafunc.parametrize("republished_first", [True, False] if in_full_length(metafunc.config) else [True])


@pytest.fixture
def site(tmp_path: Path, servers: Servers, mail_server: MailServer, pair: tuple[str, str, str]) -> Iterator[Site]:
    database = servers.databases(DATABASE).create()
    windows = {
        **SHORT_WINDOWS,
        "OUTBOX_LOST_AFTER_SECONDS": str(LOST_AFTER_SECONDS),
        "OUTBOX_MAX_IN_FLIGHT": str(max(MANY_IN_FLIGHT.values()) + 1000),
    }
    site = Site(tmp_path, Surroundings(servers.broker(pair[0]), database, mail_server), pool="prefork", windows=windows)
    try:
        site.open()
        yield site
    finally:
        site.close()
        database.drop()


def leave_in_flight(site: Site, number: int, subject: str) -> None:
    """Have the broker hold so many messages, and nobody to take them."""
    ledger = Ledger(site.database)
    with everything_settled(site) as settled:
        assert settled, "an e-mail was not settled in time"
        site.supervisor.release(site.worker)
        site.kill(site.worker)
    original = site.enqueue("send", subject, countdown=3600)
    ledger.copy(original, number)
    ledger.execute("DELETE FROM outbox_message WHERE id = %s", original)
    wait_until(lambda: ledger.count(subject, "state = 'published'") == number, "messages in flight")


def test_switching_there_and_back_loses_nothing_and_sends_nothing_twice(
    site: Site, servers: Servers, pair: tuple[str, str, str], republished_first: bool, pytestconfig: pytest.Config
) -> None:
    for destination, republished in ((pair[1], republished_first), (pair[0], not republished_first)):
        number = MANY_IN_FLIGHT[site.service.profile.name] if in_full_length(pytestconfig) else IN_FLIGHT
        subject = f"in flight to {destination} {uuid4()}"
        with site.customer(every_seconds=0.1) as customer:
            customer.wait_for(10)
            leave_in_flight(site, number, subject)
            site.move_to(servers.broker(destination))
            if republished:
                republish(site, subject)
            customer.wait_for(customer.accepted + 10)
        assert_promise(site)
        assert Ledger(site.database).count(subject, "state = 'done' AND attempts = 1") == number
        assert len(site.mail_server.about(subject)) == number


def republish(site: Site, subject: str) -> None:
    """Do not wait until the messages count as lost."""
    site.service.manage("outbox", "republish", "--yes")
    site.mail_server.wait_for(subject, within_seconds=IMMEDIATELY_SECONDS)
