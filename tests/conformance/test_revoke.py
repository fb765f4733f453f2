"""Revoking what waits and what runs, while everything is in operation."""

from uuid import UUID

import pytest

from tests.harness.ledger import Ledger
from tests.harness.processes import descendants
from tests.harness.promise import assert_promise
from tests.harness.site import Site
from tests.harness.waiting import wait_until

#: Longer than any case waits.
LONG_SECONDS = 300

#: Longer than it takes to revoke something.
SHORT_SECONDS = 15

#: A site renews its leases every second; the worker looks as often.
SOON_SECONDS = 10


def revoke(site: Site, id: UUID, **options: object) -> str:
    """Revoke a message as a person does, in a shell."""
    given = ", ".join([repr(str(id)), *(f"{name}={value!r}" for name, value in options.items())])
    return site.service.manage("shell", "-v", "0", "-c", f"from app.celery import app; app.control.revoke({given})")


def running(site: Site, subject: str, seconds: float) -> UUID:
    """The id of a task that runs for so long, once it has begun."""
    id = site.enqueue("send_late", subject, seconds)
    ledger = Ledger(site.database)
    wait_until(lambda: ledger.message(id)["begun_at"] is not None, "the task to begin")
    return id


def test_what_waits_is_not_run(site: Site) -> None:
    ledger = Ledger(site.database)
    with site.same_worker():
        id = site.enqueue("send", "revoked", countdown=60)
        revoke(site, id)
        ledger.hurry()
        assert_promise(site)
    message = ledger.message(id)
    assert (message["state"], message["attempts"]) == ("discarded", 0)
    assert "discarded by" in message["history"]
    assert not site.mail_server.about("revoked")


@pytest.mark.pools("prefork")
@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_what_runs_in_a_process_is_ended_and_its_place_is_free_again(site: Site, signal: str) -> None:
    ledger = Ledger(site.database)
    with site.same_worker():
        before = set(descendants(site.worker.pid))
        ids = [running(site, "terminated", LONG_SECONDS) for _ in range(2)]  # all places of the worker
        for id in ids:
            revoke(site, id, terminate=True, signal=signal)
        assert [ledger.message(id)["state"] for id in ids] == ["discarded"] * 2
        ended = "the ends of both processes"
        wait_until(lambda: not before & set(descendants(site.worker.pid)), ended, within_seconds=SOON_SECONDS)
        site.mail_server.wait_for(site.service.shop.order()["number"])
        assert_promise(site)
    assert "terminated by" in ledger.message(ids[0])["history"]
    assert [ledger.message(id)["attempts"] for id in ids] == [1, 1]
    assert not site.mail_server.about("terminated")


@pytest.mark.pools("prefork")
def test_what_runs_goes_on_unless_it_is_to_be_terminated(site: Site) -> None:
    with site.same_worker():
        id = running(site, "goes on", SHORT_SECONDS)
        revoke(site, id)
        Ledger(site.database).wait_for(id, "done")
        assert_promise(site)
    assert len(site.mail_server.about("goes on")) == 1


@pytest.mark.pools("threads")
def test_a_thread_cannot_be_ended_and_the_refusal_says_so(site: Site) -> None:
    with site.same_worker():
        id = running(site, "in a thread", SHORT_SECONDS)
        with pytest.raises(AssertionError, match="a pool of kind thread cannot end one task"):
            revoke(site, id, terminate=True)
        Ledger(site.database).wait_for(id, "done")
        assert_promise(site)
