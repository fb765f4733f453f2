"""Calls by name, and messages for workers that are not ours, while everything is in operation."""

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.conformance.conftest import Sites, close_site
from tests.harness.ledger import Ledger
from tests.harness.others import RECEIVE, make_queue, others
from tests.harness.promise import assert_promise
from tests.harness.site import SHORT_WINDOWS, Site
from tests.harness.waiting import wait_until

#: How long the broker is away at least.
AWAY_SECONDS = 10.0

#: How many messages are sent in each part of a case.
MESSAGES = 10

#: A task of our own, by its name.
ERRAND = "tests.harness.errands.tasks.send"


@pytest.fixture
def theirs() -> str:
    return f"theirs-{uuid4().hex[:8]}"


@pytest.fixture
def neighbour(sites: Sites, theirs: str) -> Iterator[Site]:
    """The service in operation, beside another service with a queue of its own."""
    site = sites.open({**SHORT_WINDOWS, "OUTBOX_FOREIGN_QUEUES": theirs})
    make_queue(site.service.profile, theirs)
    yield site
    close_site(site)


def test_what_is_called_by_its_name_runs_if_its_transaction_commits(site: Site) -> None:
    subject = f"by name {uuid4()}"
    undone = site.send_by_name(ERRAND, f"{subject}, undone", rolled_back=True)
    id = site.send_by_name(ERRAND, subject)
    ledger = Ledger(site.database)
    ledger.wait_for(id, "done")
    assert not ledger.execute("SELECT 1 FROM outbox_message WHERE id = %s", undone)
    assert_promise(site)
    assert [mail.subject for mail in site.mail_server.about(subject)] == [subject]


@pytest.mark.pools("prefork")
def test_a_plain_celery_worker_gets_everything_though_the_broker_was_away(
    neighbour: Site, theirs: str, fault_seconds: float
) -> None:
    site, ledger, profile = neighbour, Ledger(neighbour.database), neighbour.service.profile
    with others(site.broker, profile, theirs, site.service.directory) as receiver:
        sent = {site.send_by_name(RECEIVE, number, queue=theirs): number for number in range(MESSAGES)}
        site.send_by_name(RECEIVE, "undone", queue=theirs, rolled_back=True)
        receiver.wait_for(MESSAGES)

    site.broker.stop()
    late = [(site.send_by_name(RECEIVE, number, queue=theirs), number) for number in range(MESSAGES, 2 * MESSAGES)]
    time.sleep(max(AWAY_SECONDS, fault_seconds))
    assert {ledger.message(id)["state"] for id, _ in late} <= {"pending", "published"}
    site.heal()
    make_queue(profile, theirs)  # an emulator may have forgotten it, and we never make it

    # Another one: a plain worker may have gone deaf meanwhile.
    with others(site.broker, profile, theirs, site.service.directory) as receiver:
        wait_until(lambda: {ledger.message(id)["state"] for id, _ in late} == {"done"}, "all to be handed over")
        # Once or, as is promised, more often.
        wait_until(lambda: len(dict(receiver.received())) == 2 * MESSAGES, "the others to get the rest")
        received = dict(receiver.received())
    assert received == {str(id): f"(({number},), {{}})" for id, number in [*sent.items(), *late]}
    assert_promise(site)
