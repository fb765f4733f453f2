"""Whatever is wrong with the broker, the console names it with its cure."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.first_run.embedded import EmbeddedBroker
from tests.browser.visitor import Visitor
from tests.harness.broker_settings import misconfigured
from tests.harness.databases import Database
from tests.harness.service import Service, Surroundings
from tests.harness.smtp import MailServer

#: What the console promises.
WITHIN_SECONDS = 10

WELL = re.compile(r"^\s*well")


@pytest.fixture
def service(
    tmp_path: Path, broker: EmbeddedBroker, any_database: Database, mail_server: MailServer
) -> Iterator[Service]:
    """A web server, and the queues that a relay has made; nobody else."""
    service = Service(tmp_path, Surroundings(broker, any_database, mail_server))
    service.profile.prepare([service.queue])
    service.start_web()
    yield service
    service.kill()


@pytest.fixture
def console(visit: Callable[..., Visitor], broker: EmbeddedBroker) -> Visitor:
    visitor = visit()
    visitor.open_console()
    visitor.says("#broker .state", WELL)
    return visitor


def test_a_broker_that_freezes_or_stops_is_named_with_its_cure(
    console: Visitor, service: Service, broker: EmbeddedBroker
) -> None:
    for harm, heal in ((broker.freeze, broker.thaw), (broker.stop, broker.start)):
        harm()
        console.says("#alerts", "Cannot reach", within_seconds=WITHIN_SECONDS)
        console.says("#alerts", "Start it: docker compose -f compose.")
        console.says("#alerts", "Orders are accepted all the same")
        heal()
        service.profile.prepare([service.queue])  # it may have forgotten the queue; a relay would make it again
        console.says("#broker .state", WELL)
    assert console.errors == []


def test_a_broker_with_a_setting_that_breaks_a_promise_is_named_with_its_cure(
    console: Visitor, service: Service
) -> None:
    with misconfigured(service) as (words, cure):
        console.says("#alerts", words, within_seconds=WITHIN_SECONDS)
        console.says("#alerts", cure)
    assert console.errors == []
