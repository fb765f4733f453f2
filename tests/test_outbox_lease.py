"""Leases are renewed by the process that runs the task, as long as it runs it, and not a moment longer."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from functools import partial

import pytest
from django.db import connection, connections

from outbox import lease, ledger
from outbox.lease import LeaseKeeper, current_keeper
from outbox.models import Message
from tests.harness.crowd import at_once
from tests.harness.waiting import wait_until
from tests.outbox_rows import ERROR, LEASE_SECONDS, again, claim, let_pass, row, seconds_from_now, start, state, take

pytestmark = pytest.mark.django_db(transaction=True)

State = Message.State


@pytest.fixture(autouse=True)
def no_keeper_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_keepers", {})


def keeper(renew_seconds: float = 0.1) -> LeaseKeeper:
    return LeaseKeeper(LEASE_SECONDS, renew_seconds)


def is_fresh(claimed: ledger.Claim) -> bool:
    return seconds_from_now(claimed.id) > LEASE_SECONDS - 5


def wait_until_renewed(*claims: ledger.Claim) -> None:
    let_pass(15)
    wait_until(lambda: all(map(is_fresh, claims)), "the leases to be renewed")


def test_a_task_that_runs_keeps_its_lease() -> None:
    claimed = start()
    with keeper().keep(claimed):
        wait_until_renewed(claimed)
        wait_until_renewed(claimed)
        assert claim(claimed.id) is None
    assert ledger.complete(claimed)


def test_a_task_that_ended_does_not(django_database: str) -> None:
    ours = keeper()
    first, second = start(), start()
    with ours.keep(first):
        wait_until_renewed(first)
    with ours.keep(second):
        wait_until_renewed(second)
        assert not is_fresh(first)


def test_a_task_that_fails_does_not_either() -> None:
    ours, claimed, other = keeper(), start(), start()
    with pytest.raises(ZeroDivisionError), ours.keep(claimed):
        1 / 0  # noqa: B018
    with ours.keep(other):
        wait_until_renewed(other)
    assert not is_fresh(claimed)


def test_most_tasks_end_before_a_thread_has_anything_to_do() -> None:
    claimed = start()
    with keeper(renew_seconds=30).keep(claimed):
        pass
    let_pass(5)
    assert seconds_from_now(claimed.id) < LEASE_SECONDS - 4


def test_the_threads_of_a_pool_share_one_keeper_and_one_renewal() -> None:
    keepers = at_once([lambda: current_keeper(lease_seconds=LEASE_SECONDS, renew_seconds=5)] * 8)
    assert len({id(each) for each in keepers}) == 1
    ours, claims, ended = keeper(), [start() for _ in range(4)], threading.Barrier(5)

    def run(claimed: ledger.Claim) -> bool:
        with ours.keep(claimed):
            ended.wait(60)
        return ledger.complete(claimed)

    def watch() -> None:
        wait_until_renewed(*claims)
        assert sum(thread.name == "outbox-lease" and thread.is_alive() for thread in threading.enumerate()) >= 1
        ended.wait(60)

    assert at_once([watch, *(partial(run, each) for each in claims)])[1:] == [True] * 4


def test_a_pool_process_that_was_forked_off_renews_by_itself() -> None:
    current = partial(current_keeper, lease_seconds=LEASE_SECONDS, renew_seconds=0.1)
    ours, theirs = start(), start()
    with current().keep(ours):
        wait_until_renewed(ours)
        connections.close_all()  # a connection must not be used by two processes
        child = multiprocessing.get_context("fork").Process(target=run_in_child, args=(current, theirs))
        child.start()
        wait_until_renewed(theirs)
        child.join(30)
    assert child.exitcode == 0


def run_in_child(current: Callable[[], LeaseKeeper], claimed: ledger.Claim) -> None:
    with current().keep(claimed):
        wait_until_renewed(claimed)
        wait_until_renewed(claimed)
    connections.close_all()
    sys.stdout.flush()
    os._exit(0)


def test_no_renewal_follows_what_settles_the_message() -> None:
    """It would make it running again, with nobody to run it, until that lease ended too."""
    ours = keeper(renew_seconds=0.001)
    for _ in range(50):
        claimed = start()
        with ours.keep(claimed):
            wait_until(lambda: seconds_from_now(claimed.id) > 0, "it runs")  # noqa: B023
        ledger.retry(claimed, error=ERROR)
        take()
        assert state(claimed.id) == State.PUBLISHED
        assert claim(claimed.id), "what is published can be claimed"


def test_of_two_attempts_in_one_process_each_has_its_own_lease() -> None:
    """As in a pool of threads whose database was away for longer than a lease."""
    ours, first = keeper(), start()
    with ours.keep(first):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE outbox_message SET state = 'published'")
        second = claim(first.id) or again(first.id)
        with ours.keep(second):
            wait_until_renewed(second)
    assert ledger.complete(first) is False
    assert ledger.complete(second) is True


def test_whatever_goes_wrong_in_a_renewal_the_next_one_is_tried() -> None:
    claimed = start()
    with keeper().keep(claimed):
        wait_until_renewed(claimed)
        rename("outbox_message", "elsewhere")
        threading.Event().wait(0.5)
        rename("elsewhere", "outbox_message")
        wait_until_renewed(claimed)


def rename(table: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {name}")


def test_who_lost_a_lease_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    first = start()
    let_pass(LEASE_SECONDS + 1)
    with keeper().keep(first):
        again(first.id)
        wait_until(lambda: f"Lost the lease of {first.id}" in caplog.text, "a warning")


class TestTasksThatHang:
    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lease, "GRACE_SECONDS", 0.1)

    def test_a_lease_is_kept_no_longer_than_the_task_may_run(self, caplog: pytest.LogCaptureFixture) -> None:
        claimed = start(max_attempts=3)
        with keeper(renew_seconds=0.05).keep(claimed, limit_seconds=0.1):
            wait_until(lambda: state(claimed.id) == State.PENDING, "another attempt is to be made")
            assert "It hangs: it ran for 0 s" in row(claimed.id).last_error
            assert f"[{claimed.id}] hangs" in caplog.text
            take()
            second = again(claimed.id)
        assert (second.attempt, second.retries) == (2, 1)
        assert ledger.complete(claimed) is False, "it came too late"

    def test_one_that_ends_within_its_grace_is_done(self) -> None:
        claimed, other = start(), start()
        ours = keeper(renew_seconds=0.05)
        with ours.keep(claimed, limit_seconds=60), ours.keep(other):
            wait_until_renewed(claimed, other)
        assert ledger.complete(claimed)

    def test_a_last_attempt_that_hangs_is_dead(self) -> None:
        claimed = start(max_attempts=1)
        with keeper(renew_seconds=0.05).keep(claimed, limit_seconds=0):
            wait_until(lambda: state(claimed.id) == State.DEAD, "it is given up")

    def test_whoever_has_an_interest_is_told_how_many_hang(self, monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[int] = []
        monkeypatch.setattr(lease, "on_hang", told.append)
        ours, hanging, fine = keeper(renew_seconds=0.05), [start(), start()], start()
        with ours.keep(fine), ours.keep(hanging[0], limit_seconds=0):
            wait_until(lambda: told == [1], "the first is counted")
            with ours.keep(hanging[1], limit_seconds=0):
                wait_until(lambda: told == [1, 2], "the second is counted")
                assert state(fine.id) == State.RUNNING
