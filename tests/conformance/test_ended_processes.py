"""What ends with a process is known at once, or after the lease of production's settings; never twice."""

import os
import signal
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from tests.conformance.conftest import Sites, close_site
from tests.harness.ledger import Ledger
from tests.harness.processes import children, is_alive, signal_all
from tests.harness.promise import assert_promise
from tests.harness.site import SHORT_WINDOWS, Site
from tests.harness.waiting import wait_until

#: The lease of production: what is claimed again sooner, is so because somebody has said that it may be.
LEASES = {"OUTBOX_LEASE_SECONDS": "20", "OUTBOX_RENEW_SECONDS": "5", "OUTBOX_LOST_AFTER_SECONDS": "30"}

#: How soon the message of a killed pool process is claimed again, and that of a killed worker.
PROCESS_SECONDS, WORKER_SECONDS = 3.0, 40.0

#: How long the tasks of these cases run: longer than it takes to kill something, shorter than a lease.
TASK_SECONDS = 6


@pytest.fixture
def leased(sites: Sites) -> Iterator[Site]:
    """A site with production's leases."""
    site = sites.open({**SHORT_WINDOWS, **LEASES})
    yield site
    close_site(site)


def running(site: Site, subject: str) -> UUID:
    """The id of a message whose task has begun."""
    id = site.enqueue("send_late", subject, TASK_SECONDS)
    ledger = Ledger(site.database)
    wait_until(lambda: ledger.message(id)["begun_at"], "the task to begin")
    return id


@pytest.mark.pools("prefork")
def test_what_a_killed_process_ran_is_claimed_again_within_3_seconds_and_of_a_killed_worker_within_40(
    leased: Site,
) -> None:
    site, ledger, subject = leased, Ledger(leased.database), f"killed {uuid4()}"
    id = running(site, subject)
    first = ledger.message(id)["lease"]

    signal_all(children(site.worker.pid), signal.SIGKILL)

    wait_until(
        lambda: ledger.message(id)["lease"] not in (first, None), "another claim", within_seconds=PROCESS_SECONDS
    )
    assert "killed" in ledger.message(id)["history"]
    wait_until(lambda: ledger.message(id)["attempts"] == 2, "another attempt")

    site.kill(site.worker)
    killed = time.monotonic()

    ledger.wait_for(id, "done", within_seconds=WORKER_SECONDS)
    assert ledger.message(id)["attempts"] == 3
    assert len(site.mail_server.about(subject)) == 1, f"{time.monotonic() - killed:.1f} s after its worker was killed"
    assert_promise(site)


@pytest.mark.pools("prefork")
def test_a_process_whose_worker_was_killed_sends_no_second_email(site: Site) -> None:
    """It is in the middle of its task, which the next worker runs again."""
    ledger, subject = Ledger(site.database), f"orphan {uuid4()}"
    id, pool = running(site, subject), children(site.worker.pid)

    os.kill(site.worker.pid, signal.SIGKILL)

    ledger.wait_for(id, "done", within_seconds=WORKER_SECONDS)
    wait_until(lambda: not any(map(is_alive, pool)), "the end of the orphans", within_seconds=TASK_SECONDS)
    assert len(site.mail_server.about(subject)) == 1
    assert_promise(site)
