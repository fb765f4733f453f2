"""Relays and workers at the same moment: threads with connections of their own, on both databases."""

import threading
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections, transaction

from outbox import ledger
from outbox.models import Message
from tests.harness.crowd import at_once
from tests.outbox_rows import (
    ERROR,
    LEASE_SECONDS,
    WORKER,
    add,
    again,
    claim,
    let_pass,
    publish,
    row,
    start,
    state,
    take,
)

pytestmark = pytest.mark.django_db(transaction=True)

State = Message.State

#: Threads that do the same at once. More than this machine has cores.
CROWD = 8


def take_all(limit: int) -> list[UUID]:
    """Take until nothing is due, as a relay does."""
    taken: list[UUID] = []
    while batch := take(limit):
        taken += batch
    return taken


def claim_all(ids: Iterable[UUID]) -> list[ledger.Claim]:
    """Claim whatever can be claimed, as a worker does that all of it was delivered to."""
    claims = [claim(id) for id in ids]
    return [each for each in claims if each]


def test_of_many_deliveries_of_a_message_one_runs_it() -> None:
    for _ in range(10):
        id = publish()
        claims = at_once([partial(claim, id)] * CROWD)
        assert [each.attempt for each in claims if each] == [1]
        assert row(id).attempts == 1


def test_of_many_that_find_a_lease_ended_one_takes_it_over() -> None:
    first = start()
    let_pass(LEASE_SECONDS + 1)
    claims = at_once([partial(claim, first.id)] * CROWD)
    assert [each.attempt for each in claims if each] == [2]


def test_workers_that_are_handed_the_same_messages_run_each_once() -> None:
    ids = [add() for _ in range(100)]
    take()
    orders = [ids, ids[::-1], ids[50:] + ids[:50], ids[::2] + ids[1::2]]
    claimed = at_once([partial(claim_all, order) for order in orders])
    assert Counter(each.id for claims in claimed for each in claims) == Counter(ids)


def test_workers_that_claim_in_batches_get_each_message_once() -> None:
    ids = [add() for _ in range(100)]
    take()
    orders = [ids, ids[::-1], ids[50:] + ids[:50], ids[::2] + ids[1::2]]
    claimed = at_once([partial(claim_batches, order) for order in orders])
    assert Counter(each.id for claims in claimed for each in claims) == Counter(ids)


def claim_batches(ids: list[UUID]) -> list[ledger.Claim]:
    """Claim 20 at a time, as a worker does that all of it was delivered to."""
    batches = [ids[first : first + 20] for first in range(0, len(ids), 20)]
    options: dict[str, Any] = {"worker": WORKER, "lease_seconds": LEASE_SECONDS}
    return [each for batch in batches for each in ledger.claim(batch, token=uuid4(), **options)]


def test_what_several_relays_take_at_once_is_taken_once() -> None:
    ids = [add(priority=number % 10) for number in range(300)]
    taken = at_once([lambda: take_all(7)] * 4)
    assert Counter(id for batch in taken for id in batch) == Counter(ids)
    assert Message.objects.filter(state=State.PUBLISHED, publishes=1).count() == len(ids)


@pytest.mark.databases("postgresql")  # SQLite has one writer at a time
def test_a_relay_takes_what_another_one_leaves() -> None:
    ids = [add() for _ in range(20)]
    held, done = threading.Event(), threading.Event()
    mine: list[UUID] = []

    def hold_some() -> None:
        with transaction.atomic():
            mine.extend(take(5))
            held.set()
            done.wait(30)
        connections.close_all()

    thread = threading.Thread(target=hold_some)
    thread.start()
    try:
        held.wait(30)
        # At once: rows that are locked are not waited for.
        theirs = take(100)
    finally:
        done.set()
        thread.join()
    assert sorted(mine + theirs) == ids
    assert len(mine) == 5


@pytest.mark.databases("postgresql")  # SQLite has one writer at a time
def test_two_relays_share_the_work() -> None:
    for _ in range(400):
        add()
    first, second = at_once([lambda: take_all(10)] * 2)
    assert len(first) + len(second) == 400
    assert min(len(first), len(second)) >= 40


def test_a_message_that_is_completed_while_its_lease_is_taken_over_has_one_outcome() -> None:
    for _ in range(10):
        first = start()
        let_pass(LEASE_SECONDS + 1)
        completed, second = at_once(
            [
                partial(ledger.complete, first),
                partial(claim, first.id),
            ]
        )
        assert completed is not bool(second)
        assert state(first.id) == (State.DONE if completed else State.RUNNING)


def test_a_renewal_and_a_takeover_at_once_leave_one_holder() -> None:
    for _ in range(10):
        first = start()
        let_pass(LEASE_SECONDS + 1)
        kept, second = at_once(
            [
                partial(ledger.renew, [first], lease_seconds=LEASE_SECONDS),
                partial(claim, first.id),
            ]
        )
        assert bool(kept) is not bool(second)


def test_beats_that_enqueue_an_occurrence_at_once_get_the_same_message() -> None:
    ids = at_once([lambda: add(occurrence="report@2026-11-22")] * CROWD)
    assert len(set(ids)) == Message.objects.count() == 1


def test_people_who_replay_at_once_give_one_new_set_of_attempts() -> None:
    claimed = start(max_attempts=1)
    ledger.fail(claimed, error=ERROR)
    assert sum(at_once([lambda: ledger.replay([claimed.id], by="ada")] * CROWD)) == 1
    assert row(claimed.id).history.count("replayed by ada") == 1
    assert again(claimed.id).retries == 0


@pytest.mark.timeout(120)
def test_everyone_at_once_neither_loses_a_message_nor_waits_for_ever() -> None:
    """Relays, workers and an operator who keeps republishing, over the same rows: every message is completed once."""
    ids = [add(priority=number % 10, max_attempts=None) for number in range(200)]
    completed: list[UUID] = []

    def relay() -> None:
        while len(completed) < len(ids):
            if take(20):
                ledger.count_in_flight("default")
            ledger.release_lost("default", limit=5)
            ledger.postpone_overdue("default", seconds=1)

    def work(seed: int) -> None:
        turn = 0
        while len(completed) < len(ids):
            published = Message.objects.filter(state=State.PUBLISHED).order_by("?")
            for id in list(published.values_list("pk", flat=True)[:10]):
                claimed = claim(id)
                turn += 1
                if claimed is None:
                    continue
                ledger.renew([claimed], lease_seconds=LEASE_SECONDS)
                if (turn + seed) % 4 == 0:
                    ledger.retry(claimed, error=ERROR)
                elif ledger.complete(claimed):
                    completed.append(id)

    def operate() -> None:
        while len(completed) < len(ids):
            ledger.republish(by="me")
            ledger.extend_leases(LEASE_SECONDS)
            ledger.prune(keep_days=1, limit=10)

    at_once([relay, relay, *(partial(work, seed) for seed in range(3)), operate])
    assert Counter(completed) == Counter(ids)
    assert set(Message.objects.values_list("state", flat=True)) == {State.DONE}
