"""The ledger against a model of it, in any order of events: relays, workers (also such that were thought dead), people.

The model is the state diagram in Python. hypothesis looks for a sequence of events after which the two disagree, and
reduces what it finds to the shortest one. Time is the database's: it passes by moving every time of every row back.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db.models.functions import Now
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from outbox import ledger
from outbox.models import Message
from tests.outbox_rows import ERROR, LEASE_SECONDS, LOST_AFTER_SECONDS, QUEUE, TASK, let_pass

State = Message.State

UNFINISHED = {State.PENDING, State.PUBLISHED, State.RUNNING}

#: Finished messages are kept for so long. Not a multiple of the times below: nothing is on the edge.
KEEP_SECONDS = 1005

#: So few messages and claims at a time that events meet.
FEW = 3

# All times are multiples of 10 s, and a run of the machine takes less: what is due in the model is due in the database.
waits = st.sampled_from([0, 10, 40])
limits = st.integers(1, FEW)

#: How long nothing happens before an event: often not at all, often for longer than a lease.
after = st.sampled_from([0, 0, 0, 10, 30, 60, 500])

#: Places in the list of messages, or of the last claims.
which = st.integers(0, FEW - 1)
some = st.sets(which)


@dataclass
class Row:
    """What the model knows of a message. Times are seconds since the machine was started."""

    due: float
    priority: int
    expires: float | None
    max_attempts: int | None
    occurrence: str | None
    state: str = State.PENDING
    attempts: int = 0
    replayed_after: int = 0
    publishes: int = 0
    published: float = 0
    finished: float = 0
    error: str = ""

    @property
    def is_spent(self) -> bool:
        return self.max_attempts is not None and self.attempts - self.replayed_after >= self.max_attempts

    def wait_from(self, now: float, due: float) -> None:
        """Become pending."""
        self.state, self.due, self.publishes = State.PENDING, due, 0

    def finish(self, now: float, state: str, error: str = "") -> None:
        self.state, self.finished, self.error = state, now, error


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        Message.objects.all().delete()
        self.rows: dict[UUID, Row] = {}
        self.now = 0.0
        self.claims: list[ledger.Claim] = []
        self.attempts_made: set[tuple[UUID, int]] = set()

    # --- What happens -------------------------------------------------------------------------------------------------

    @initialize()
    def enqueue_the_first(self) -> None:
        self.enqueue(0, 0, None, None, None)

    @precondition(lambda self: len(self.rows) < FEW)
    @rule(
        priority=st.sampled_from([0, 0, 5]),
        countdown=waits,
        expires=st.sampled_from([None, None, 20, 60]),
        max_attempts=st.sampled_from([None, 1, 2, 3]),
        occurrence=st.sampled_from([None, None, None, "a", "b"]),
    )
    def enqueue(
        self, priority: int, countdown: int, expires: int | None, max_attempts: int | None, occurrence: str | None
    ) -> None:
        id = ledger.enqueue(
            TASK, [], {}, queue=QUEUE, priority=priority, countdown=countdown, expires=expires,
            max_attempts=max_attempts, occurrence=occurrence,
        )  # fmt: skip
        same = [known for known, row in self.rows.items() if occurrence and row.occurrence == occurrence]
        if same:
            assert [id] == same
        else:
            expiry = None if expires is None else self.now + expires
            self.rows[id] = Row(self.now + countdown, priority, expiry, max_attempts, occurrence)

    @rule(seconds=st.sampled_from([10, 20, 2000]))
    def time_passes(self, seconds: int) -> None:
        if seconds:
            let_pass(seconds)
            self.now += seconds

    @rule(after=after, limit=limits)
    def a_relay_takes(self, after: int, limit: int) -> None:
        self.time_passes(after)
        taken = {each.id for each in ledger.take_due(QUEUE, limit=limit, lost_after_seconds=LOST_AFTER_SECONDS)}
        due = self.those(lambda row: row.state in {State.PENDING, State.RUNNING} and row.due <= self.now)
        died = set(Message.objects.filter(pk__in=due, state=State.DEAD).values_list("pk", flat=True))
        self.check_choice(taken | died, due, limit, by=lambda row: (-row.priority, row.due))
        for id in taken | died:
            row = self.rows[id]
            if row.state == State.RUNNING and row.is_spent:
                row.finish(self.now, State.DEAD, ledger.SPENT)
            elif row.expires is not None and row.expires <= self.now:
                row.finish(self.now, State.DEAD, ledger.EXPIRED)
            else:
                row.state, row.published = State.PUBLISHED, self.now
                row.due = self.now + LOST_AFTER_SECONDS * 2**row.publishes
                row.publishes = min(row.publishes + 1, ledger.MOST_DOUBLINGS)
        assert died == {id for id in died if self.rows[id].state == State.DEAD}
        assert taken == {id for id in taken if self.rows[id].state == State.PUBLISHED}

    # The rarer events share a rule: each rule is chosen as often as another.
    @rule(which=st.integers(0, 3), places=some, limit=limits)
    def a_relay_mends(self, which: int, places: set[int], limit: int) -> None:
        if which == 0:
            self.publishing_failed(self.ids_at(places))
        elif which == 1:
            self.a_relay_releases_what_the_broker_lost(limit)
        elif which == 2:
            self.a_relay_finds_that_the_queue_is_long()
        else:
            self.a_relay_finds_that_the_database_was_away()

    def publishing_failed(self, ids: list[UUID]) -> None:
        ledger.put_back(ids)
        for row in self.published(ids):
            row.wait_from(self.now, due=self.now)

    def a_relay_releases_what_the_broker_lost(self, limit: int) -> None:
        overdue = self.those(lambda row: row.state == State.PUBLISHED and row.due <= self.now)
        assert ledger.count_in_flight(QUEUE) == ledger.InFlight(len(list(self.published(self.rows))), len(overdue))
        released = ledger.release_lost(QUEUE, limit=limit)
        chosen = set(Message.objects.filter(pk__in=overdue, state=State.PENDING).values_list("pk", flat=True))
        assert released == len(chosen)
        self.check_choice(chosen, overdue, limit, by=lambda row: row.published)
        for id in chosen:
            self.rows[id].state, self.rows[id].due = State.PENDING, self.now

    def a_relay_finds_that_the_queue_is_long(self) -> None:
        overdue = self.those(lambda row: row.state == State.PUBLISHED and row.due <= self.now)
        assert ledger.postpone_overdue(QUEUE, seconds=LOST_AFTER_SECONDS) == len(overdue)
        for id in overdue:
            self.rows[id].due = self.now + LOST_AFTER_SECONDS

    def a_relay_finds_that_the_database_was_away(self) -> None:
        ledger.extend_leases(LEASE_SECONDS)
        for row in self.rows.values():
            if row.state == State.RUNNING:
                row.due = max(row.due, self.now + LEASE_SECONDS)

    @rule(after=after, place=which)
    def a_relay_takes_and_a_broker_delivers(self, after: int, place: int) -> None:
        self.a_relay_takes(after, limit=FEW)
        if self.rows:
            self.a_broker_delivers(0, place, TASK)

    @precondition(lambda self: self.rows)
    @rule(after=after, place=which, task=st.sampled_from([TASK] * 5 + ["another"]))
    def a_broker_delivers(self, after: int, place: int, task: str) -> None:
        self.time_passes(after)
        [id] = self.ids_at({place % len(self.rows)})
        assert ledger.claim(uuid4(), task, lease_seconds=LEASE_SECONDS) is None
        claim = ledger.claim(id, task, lease_seconds=LEASE_SECONDS)
        row = self.rows[id]
        if task != TASK or not self.may_run(row):
            assert claim is None
            return
        row.state, row.due, row.publishes = State.RUNNING, self.now + LEASE_SECONDS, 0
        row.attempts += 1
        assert claim is not None
        assert (claim.attempt, claim.retries) == (row.attempts, row.attempts - row.replayed_after - 1)
        assert (id, claim.attempt) not in self.attempts_made, "two holders with the same fencing number"
        self.attempts_made.add((id, claim.attempt))
        self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(after=after, places=st.sets(which, min_size=1))
    def a_worker_renews(self, after: int, places: set[int]) -> None:
        self.time_passes(after)
        held = [self.claim_at(place) for place in places]
        kept = ledger.renew(held, lease_seconds=LEASE_SECONDS)
        ours = [claim.id for claim in held if self.is_holder(claim, {State.RUNNING, State.PUBLISHED})]
        assert kept == set(ours)
        for id in ours:
            self.rows[id].state, self.rows[id].due = State.RUNNING, self.now + LEASE_SECONDS

    @precondition(lambda self: self.claims)
    @rule(place=which)
    def a_worker_completes(self, place: int) -> None:
        claim = self.claim_at(place)
        settles = self.is_holder(claim, set(State))
        assert ledger.complete(claim) is settles
        if settles:
            self.rows[claim.id].finish(self.now, State.DONE)

    @precondition(lambda self: self.claims)
    @rule(place=which, countdown=waits, max_attempts=st.sampled_from([0, 0, 1, 4]))
    def a_worker_retries(self, place: int, countdown: int, max_attempts: int) -> None:
        claim = self.claim_at(place)
        settles = self.is_holder(claim, UNFINISHED)
        assert ledger.retry(claim, error=ERROR, countdown=countdown, max_attempts=max_attempts) is settles
        if not settles:
            return
        row = self.rows[claim.id]
        row.error = ERROR
        if row.max_attempts is not None:
            row.max_attempts = max(row.max_attempts, max_attempts)
        if row.is_spent:
            row.finish(self.now, State.DEAD, ERROR)
        else:
            row.wait_from(self.now, due=self.now + countdown)

    @precondition(lambda self: self.claims)
    @rule(place=which)
    def a_worker_buries(self, place: int) -> None:
        claim = self.claim_at(place)
        settles = self.is_holder(claim, UNFINISHED)
        assert ledger.fail(claim, error=ERROR) is settles
        if settles:
            self.rows[claim.id].finish(self.now, State.DEAD, ERROR)

    @rule(which=st.integers(0, 4), places=some, limit=limits)
    def someone_decides(self, which: int, places: set[int], limit: int) -> None:
        if which <= 1:
            self.someone_replays(self.ids_at(places))
        elif which == 2:
            self.someone_discards(self.ids_at(places))
        elif which == 3:
            self.someone_republishes()
        else:
            self.old_ones_are_pruned(limit)

    def someone_replays(self, ids: list[UUID]) -> None:
        dead = [row for row in self.known(ids) if row.state == State.DEAD]
        assert ledger.replay(ids, by="ada") == len(dead)
        for row in dead:
            row.wait_from(self.now, due=self.now)
            row.expires, row.replayed_after = None, row.attempts

    def someone_discards(self, ids: list[UUID]) -> None:
        open = [row for row in self.known(ids) if row.state in {State.DEAD, State.PENDING, State.PUBLISHED}]
        assert ledger.discard(ids, by="ada") == len(open)
        for row in open:
            row.finish(self.now, State.DISCARDED, row.error)

    def someone_republishes(self) -> None:
        published = list(self.published(self.rows))
        assert ledger.republish(by="me") == len(published)
        for row in published:
            row.wait_from(self.now, due=self.now)

    def old_ones_are_pruned(self, limit: int) -> None:
        begin = self.now - KEEP_SECONDS
        old = self.those(lambda row: row.state in {State.DONE, State.DISCARDED} and row.finished < begin)
        assert ledger.prune(keep_days=KEEP_SECONDS / 86_400, limit=limit) == min(limit, len(old))
        left = set(Message.objects.values_list("pk", flat=True))
        gone = set(self.rows) - left
        assert gone <= set(old)
        for id in gone:
            del self.rows[id]

    # --- What is always so --------------------------------------------------------------------------------------------

    @invariant()
    def the_ledger_is_as_the_model_says(self) -> None:
        stored = {message.pk: message for message in Message.objects.all()}
        assert set(stored) == set(self.rows)
        for id, row in self.rows.items():
            message = stored[id]
            assert (message.state, message.attempts, message.last_error) == (row.state, row.attempts, row.error)
            assert (message.max_attempts, message.replayed_after) == (row.max_attempts, row.replayed_after)
            assert (message.finished_at is None) is (row.state in UNFINISHED)
            if row.state in UNFINISHED:
                assert message.publishes == row.publishes

    @invariant()
    def what_is_unfinished_will_be_due(self) -> None:
        """Nothing can get lost: a message that is neither finished nor due has a time at which it will be."""
        times = Message.objects.filter(finished_at=None).values_list("pk", "due_at")
        if times:
            base = self.clock()
            for id, due_at in times:
                assert (due_at - base).total_seconds() == pytest.approx(self.rows[id].due - self.now, abs=9)

    # --- The model ----------------------------------------------------------------------------------------------------

    def clock(self) -> Any:
        return Message.objects.annotate(now=Now()).values_list("now", flat=True)[0]

    def ids_at(self, places: Iterable[int]) -> list[UUID]:
        ids = list(self.rows)
        return [ids[place] for place in places if place < len(ids)]

    def claim_at(self, place: int) -> ledger.Claim:
        """One of the last claims; its holder may have settled it or lost it long ago."""
        return self.claims[max(-1 - place, -len(self.claims))]

    def those(self, condition: Callable[[Row], bool]) -> list[UUID]:
        return [id for id, row in self.rows.items() if condition(row)]

    def known(self, ids: Iterable[UUID]) -> list[Row]:
        return [self.rows[id] for id in dict.fromkeys(ids) if id in self.rows]

    def published(self, ids: Iterable[UUID]) -> list[Row]:
        return [row for row in self.known(ids) if row.state == State.PUBLISHED]

    def may_run(self, row: Row) -> bool:
        is_offered = row.state == State.PUBLISHED or (row.state in UNFINISHED and row.due <= self.now)
        return is_offered and not row.is_spent and (row.expires is None or row.expires > self.now)

    def is_holder(self, claim: ledger.Claim, states: Iterable[str]) -> bool:
        row = self.rows.get(claim.id)
        return row is not None and row.attempts == claim.attempt and row.state in states

    def check_choice(
        self, chosen: Iterable[UUID], candidates: Iterable[UUID], limit: int, *, by: Callable[[Row], Any]
    ) -> None:
        """As many as there are up to the limit, and none that had to wait for one that was left. Ties are free."""
        chosen, left = set(chosen), set(candidates) - set(chosen)
        assert chosen <= set(candidates)
        assert len(chosen) == min(limit, len(chosen | left))
        if chosen and left:
            assert max(by(self.rows[id]) for id in chosen) <= min(by(self.rows[id]) for id in left)


@pytest.mark.django_db
def test_in_any_order_of_events_the_ledger_does_what_the_state_diagram_says() -> None:
    run_machine(
        LedgerMachine,
        settings=settings(
            max_examples=150,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
