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
from outbox.ledger import Answer
from outbox.ledger.held import SET_ASIDE_SECONDS
from outbox.ledger.revoke import TERMINATED_WITH
from outbox.models import Message, Pause
from settings.outbox import URGENT_PRIORITY
from tests.outbox_rows import ERROR, LEASE_SECONDS, LOST_AFTER_SECONDS, QUEUE, TASK, WORKER, let_pass

State = Message.State

UNFINISHED = {State.PENDING, State.PUBLISHED, State.RUNNING}

#: Where a worker's lease may be in force.
HELD = {State.PUBLISHED, State.RUNNING}

#: Finished messages are kept for so long. Not a multiple of the times below: nothing is on the edge.
KEEP_SECONDS = 1005

#: After so long every worker has refused it.
GIVE_UP_SECONDS = 105

#: How long a refused message waits.
FIRST_REFUSED_SECONDS, REFUSED_SECONDS = 0.5, 10

#: So long a wait counts as one level of priority.
AGEING_SECONDS = 20

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


#: What can be paused: the queue of all of them, and the task of some.
pauses = st.sampled_from([(Pause.Kind.QUEUE, QUEUE), (Pause.Kind.TASK, TASK)])


@dataclass
class Row:
    """What the model knows of a message. Times are seconds since the machine was started."""

    task: str
    wanted: float
    due: float
    priority: int
    expires: float | None
    max_attempts: int | None
    occurrence: str | None
    state: str = State.PENDING
    lease: UUID | None = None
    begun: bool = False
    attempts: int = 0
    replayed_after: int = 0
    publishes: int = 0
    published: float = 0
    refused: float | None = None
    finished: float = 0
    error: str = ""
    lines: int = 0
    """How many its history has."""

    @property
    def is_spent(self) -> bool:
        return self.max_attempts is not None and self.attempts - self.replayed_after >= self.max_attempts

    def count_attempt(self) -> None:
        if not self.begun and self.state in UNFINISHED:
            self.attempts += 1
        self.begun = True

    def wait_again(self) -> None:
        """Become pending, since when it was before."""
        self.state, self.due, self.publishes = State.PENDING, self.wanted, 0

    def wait_until(self, due: float) -> None:
        """Become pending anew."""
        self.wanted, self.lease, self.refused = due, None, None
        self.wait_again()

    def fail(self, error: str) -> None:
        self.count_attempt()
        self.error, self.refused = error, None
        self.lines += 1

    def finish(self, now: float, state: str, error: str = "") -> None:
        self.state, self.finished, self.error = state, now, error


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        Message.objects.all().delete()
        Pause.objects.all().delete()
        self.rows: dict[UUID, Row] = {}
        self.now = 0.0
        self.claims: list[ledger.Claim] = []
        self.unanswered: list[tuple[UUID, list[UUID], bool]] = []
        """Claims whose answer was lost: the token, the ids, and whether they count at once."""
        self.paused: set[tuple[str, str]] = set()

    # --- What happens -------------------------------------------------------------------------------------------------

    @initialize()
    def enqueue_the_first(self) -> None:
        self.enqueue(TASK, 0, 0, None, None, None)

    @precondition(lambda self: len(self.rows) < FEW)
    @rule(
        task=st.sampled_from([TASK, "tests.other"]),
        priority=st.sampled_from([0, 0, 5]),
        countdown=waits,
        expires=st.sampled_from([None, None, 20, 60]),
        max_attempts=st.sampled_from([None, 1, 2, 3]),
        occurrence=st.sampled_from([None, None, None, "a", "b"]),
    )
    def enqueue(
        self,
        task: str,
        priority: int,
        countdown: int,
        expires: int | None,
        max_attempts: int | None,
        occurrence: str | None,
    ) -> None:
        id = ledger.enqueue(
            task, [], {}, queue=QUEUE, priority=priority, countdown=countdown, expires=expires,
            max_attempts=max_attempts, occurrence=occurrence,
        )  # fmt: skip
        same = [known for known, row in self.rows.items() if occurrence and row.occurrence == occurrence]
        if same:
            assert [id] == same
        else:
            expiry, due = None if expires is None else self.now + expires, self.now + countdown
            self.rows[id] = Row(task, due, due, priority, expiry, max_attempts, occurrence)

    @rule(seconds=st.sampled_from([10, 20, 2000]))
    def time_passes(self, seconds: int) -> None:
        if seconds:
            let_pass(seconds)
            self.now += seconds

    @rule(after=after, limit=limits)
    def a_relay_takes(self, after: int, limit: int) -> None:
        self.time_passes(after)
        messages = ledger.take_due(
            QUEUE, limit=limit, lost_after_seconds=LOST_AFTER_SECONDS, ageing_seconds=AGEING_SECONDS
        )
        taken = {each.id for each in messages}
        due = self.those(lambda row: row.state in {State.PENDING, State.RUNNING} and row.due <= self.now)
        died = set(Message.objects.filter(pk__in=due, state=State.DEAD).values_list("pk", flat=True))
        self.check_choice(taken | died, due, limit, by=lambda row: row.due - row.priority * AGEING_SECONDS)
        for id in taken | died:
            row = self.rows[id]
            if row.state == State.RUNNING and row.begun:
                row.lines, row.wanted = row.lines + 1, row.due
            if row.state == State.RUNNING and row.is_spent:
                row.finish(self.now, State.DEAD, ledger.SPENT)
            elif row.expires is not None and row.expires <= self.now:
                row.begun = False
                row.finish(self.now, State.DEAD, ledger.EXPIRED)
            else:
                row.state, row.published = State.PUBLISHED, self.now
                row.due = self.now + LOST_AFTER_SECONDS * 2**row.publishes
                row.publishes = min(row.publishes + 1, ledger.MOST_DOUBLINGS)
        assert died == {id for id in died if self.rows[id].state == State.DEAD}
        assert taken == {id for id in taken if self.rows[id].state == State.PUBLISHED}

    # The rarer events share a rule: each rule is chosen as often as another.
    @rule(which=st.integers(0, 5), places=some, limit=limits)
    def a_relay_mends(self, which: int, places: set[int], limit: int) -> None:
        if which == 0:
            self.publishing_failed(self.ids_at(places))
        elif which == 1:
            self.a_relay_releases_what_the_broker_lost(limit)
        elif which == 2:
            self.a_relay_finds_that_the_queue_is_long()
        elif which == 3:
            self.a_relay_sets_aside_what_nobody_knows(self.ids_at(places))
        elif which == 4:
            self.a_relay_finds_a_worker_that_knows_everything()
        else:
            self.a_relay_finds_that_the_database_was_away()

    def publishing_failed(self, ids: list[UUID]) -> None:
        ledger.put_back(ids)
        for row in self.published(ids):
            row.wait_again()

    def a_relay_releases_what_the_broker_lost(self, limit: int) -> None:
        overdue = self.those(lambda row: row.state == State.PUBLISHED and row.due <= self.now)
        published = self.published(self.rows)
        urgent = sum(row.priority >= URGENT_PRIORITY for row in published)
        assert ledger.count_in_flight(QUEUE) == ledger.InFlight(len(published), len(overdue), urgent)
        released = ledger.release_lost(QUEUE, limit=limit)
        chosen = set(Message.objects.filter(pk__in=overdue, state=State.PENDING).values_list("pk", flat=True))
        assert released == len(chosen)
        self.check_choice(chosen, overdue, limit, by=lambda row: row.published)
        for id in chosen:
            self.rows[id].state, self.rows[id].due = State.PENDING, self.rows[id].wanted

    def a_relay_finds_that_the_queue_is_long(self) -> None:
        overdue = self.those(lambda row: row.state == State.PUBLISHED and row.due <= self.now)
        assert ledger.postpone_overdue(QUEUE, seconds=LOST_AFTER_SECONDS) == len(overdue)
        for id in overdue:
            self.rows[id].due = self.now + LOST_AFTER_SECONDS

    def a_relay_sets_aside_what_nobody_knows(self, ids: list[UUID]) -> None:
        ids = [id for id in ids if self.rows[id].task != TASK]
        unknown = self.published(ids)
        runnable, give_up_days = ledger.Runnable(frozenset({TASK})), GIVE_UP_SECONDS / 86_400
        assert ledger.set_aside(ids, runnable, give_up_days=give_up_days) == len(unknown)
        for row in unknown:
            row.state, row.publishes, row.due = State.PENDING, 0, self.now + SET_ASIDE_SECONDS
            is_given_up = row.refused is not None and row.refused <= self.now - GIVE_UP_SECONDS
            row.refused, row.error = self.now if row.refused is None else row.refused, ledger.UNKNOWN
            if row.expires is not None and row.expires <= self.now:
                row.finish(self.now, State.DEAD, ledger.EXPIRED)
            elif is_given_up:
                row.finish(self.now, State.DEAD, ledger.UNKNOWN)

    def a_relay_finds_a_worker_that_knows_everything(self) -> None:
        for row in self.rows.values():
            if row.state == State.PENDING and row.due > self.now >= row.wanted:
                row.due = row.wanted
                row.refused = None if row.error == ledger.UNKNOWN else row.refused
        ledger.make_due(QUEUE, ledger.Runnable())

    def a_relay_finds_that_the_database_was_away(self) -> None:
        ledger.extend_leases(LEASE_SECONDS)
        for row in self.rows.values():
            if row.state == State.RUNNING:
                row.due = max(row.due, self.now + LEASE_SECONDS)

    @rule(after=after, places=some, answered=st.sampled_from([True] * 4 + [False]), counts=st.booleans())
    def a_relay_takes_and_a_broker_delivers(self, after: int, places: set[int], answered: bool, counts: bool) -> None:
        self.a_relay_takes(after, limit=FEW)
        self.a_broker_delivers(0, places, answered, counts)

    @rule(after=after, places=some, answered=st.sampled_from([True] * 4 + [False]), counts=st.booleans())
    def a_broker_delivers(self, after: int, places: set[int], answered: bool, counts: bool) -> None:
        """A worker claims what it was handed; the answer may be lost, and the attempts may count at once."""
        self.time_passes(after)
        token, ids = uuid4(), self.ids_at(places)
        claims = self.claim(token, ids, counts)
        if answered:
            self.claims += claims
            self.explain([*(set(ids) - {each.id for each in claims}), uuid4()])
        else:
            self.unanswered.append((token, ids, counts))

    @precondition(lambda self: self.unanswered)
    @rule(after=after)
    def a_worker_asks_again(self, after: int) -> None:
        self.time_passes(after)
        self.claims += self.claim(*self.unanswered.pop())

    def claim(self, token: UUID, ids: list[UUID], counts: bool) -> list[ledger.Claim]:
        expected = {id for id in ids if id in self.rows and self.may_run(self.rows[id], token)}
        options: dict[str, Any] = {"worker": WORKER, "lease_seconds": LEASE_SECONDS}
        claims = ledger.claim([*ids, uuid4()], token=token, counts=counts, **options)
        assert {each.id for each in claims} == expected
        for each in claims:
            row = self.rows[each.id]
            is_mine = row.state == State.RUNNING and row.lease == token
            row.lines += row.state == State.RUNNING and row.begun and not is_mine
            row.attempts += counts and not is_mine
            attempt = row.attempts + (not counts)
            assert (each.attempt, each.retries) == (attempt, attempt - row.replayed_after - 1)
            assert (each.task, each.max_attempts, each.lease) == (row.task, row.max_attempts, token)
            row.state, row.lease, row.begun = State.RUNNING, token, counts
            row.due, row.publishes = self.now + LEASE_SECONDS, 0
        return claims

    def explain(self, ids: list[UUID]) -> None:
        expected: dict[UUID, Answer] = {}
        for id in ids:
            row = self.rows.get(id)
            if row is not None and row.state in {State.PENDING, State.PUBLISHED}:
                if row.expires is not None and row.expires <= self.now:
                    row.finish(self.now, State.DEAD, ledger.EXPIRED)
                    row.lease, row.begun = None, False
                elif row.state == State.PUBLISHED and self.is_paused(row):
                    row.wait_again()
            if row is None:
                expected[id] = Answer.UNKNOWN
            else:
                late = row.state == State.DEAD and row.error == ledger.EXPIRED
                expected[id] = Answer.EXPIRED if late else Answer.DUPLICATE
        assert ledger.explain(ids) == expected

    @precondition(lambda self: self.claims)
    @rule(after=after, places=st.sets(which, min_size=1))
    def a_worker_begins(self, after: int, places: set[int]) -> None:
        self.time_passes(after)
        claims = self.claims_at(places)
        ledger.begin(claims, lease_seconds=LEASE_SECONDS)
        for each in claims:
            if self.is_holder(each, HELD) and not self.rows[each.id].begun:
                row = self.rows[each.id]
                row.count_attempt()
                row.state, row.due, row.refused = State.RUNNING, self.now + LEASE_SECONDS, None

    @precondition(lambda self: self.claims)
    @rule(after=after, places=st.sets(which, min_size=1))
    def a_worker_renews(self, after: int, places: set[int]) -> None:
        self.time_passes(after)
        claims = self.claims_at(places)
        kept = ledger.renew(claims, lease_seconds=LEASE_SECONDS)
        ours = {each.id for each in claims if self.is_holder(each, HELD)}
        assert kept == ours
        for id in ours:
            self.rows[id].state, self.rows[id].due = State.RUNNING, self.now + LEASE_SECONDS

    @precondition(lambda self: self.claims)
    @rule(places=some, which=st.integers(0, 3))
    def a_worker_gives_back(self, places: set[int], which: int) -> None:
        claims = self.claims_at(places)
        if which >= 2:
            (self.a_worker_refuses if which == 2 else self.a_worker_was_too_slow)(claims)
            return
        counted = which == 1
        ledger.release(claims, counted=counted)
        for each in claims:
            if self.is_holder(each, HELD) and self.rows[each.id].begun is counted:
                row = self.rows[each.id]
                row.attempts, row.begun, row.lease = row.attempts - counted, False, None
                row.wait_again()

    def a_worker_was_too_slow(self, claims: list[ledger.Claim]) -> None:
        """The time of messages was over before the worker had a place for them."""
        for each in claims:
            settles = self.is_holder(each, HELD)
            assert ledger.expire(each) is settles
            if settles:
                row = self.rows[each.id]
                row.attempts, row.begun, row.lease = row.attempts - row.begun, False, None
                row.finish(self.now, State.DEAD, ledger.EXPIRED)

    def a_worker_refuses(self, claims: list[ledger.Claim]) -> None:
        ledger.refuse(claims, ["no"] * len(claims), worker=WORKER, give_up_days=GIVE_UP_SECONDS / 86_400)
        for each in claims:
            if not self.is_holder(each, {State.RUNNING}):
                continue
            row = self.rows[each.id]
            row.attempts, row.begun, row.lease = row.attempts - row.begun, False, None
            so_far = 0 if row.refused is None else self.now - row.refused
            pause = min(max(so_far / 5, FIRST_REFUSED_SECONDS), REFUSED_SECONDS)
            row.error, row.due = f"Refused by {WORKER}: no", self.now + pause
            if row.refused is not None and row.refused <= self.now - GIVE_UP_SECONDS:
                row.finish(self.now, State.DEAD, row.error)
            else:
                row.state = State.PENDING
            row.refused = self.now if row.refused is None else row.refused

    @precondition(lambda self: self.claims)
    @rule(places=st.sets(which, min_size=1))
    def a_worker_completes(self, places: set[int]) -> None:
        claims = self.claims_at(places)
        ours = {each.id for each in claims if self.is_holder(each, set(State))}
        assert ledger.complete_all(claims, [1.0] * len(claims)) == ours
        for id in ours:
            self.rows[id].count_attempt()
            self.rows[id].refused = None
            self.rows[id].finish(self.now, State.DONE)

    @precondition(lambda self: self.claims)
    @rule(place=which, countdown=waits, max_attempts=st.sampled_from([0, 0, 1, 4]))
    def a_worker_retries(self, place: int, countdown: int, max_attempts: int) -> None:
        claim = self.claim_at(place)
        settles = self.is_holder(claim, UNFINISHED)
        assert ledger.retry(claim, error=ERROR, countdown=countdown, max_attempts=max_attempts) is settles
        if settles:
            row = self.rows[claim.id]
            if row.max_attempts is not None:
                row.max_attempts = max(row.max_attempts, max_attempts)
            self.row_is_tried_again(row, ERROR, self.now + countdown)

    @precondition(lambda self: self.claims)
    @rule(place=which)
    def a_worker_is_cut_short(self, place: int) -> None:
        claim = self.claim_at(place)
        settles = self.is_holder(claim, UNFINISHED)
        assert ledger.cut_short(claim, error=ERROR, seconds=1) is settles
        if settles:
            row, pause = self.rows[claim.id], min(2**claim.retries, 60) if claim.retries else 0
            self.row_is_tried_again(row, ERROR, self.now + pause)
            if row.state == State.DEAD:
                row.error = f"{ERROR} {ledger.SPENT}"
            # The pause is no multiple of 10 s: until it is over nothing happens.
            self.time_passes((pause + 9) // 10 * 10)

    def row_is_tried_again(self, row: Row, error: str, due: float) -> None:
        row.fail(error)
        is_spent = row.is_spent
        row.wait_until(due)
        if is_spent:
            row.finish(self.now, State.DEAD, error)

    @precondition(lambda self: self.claims)
    @rule(place=which)
    def a_worker_buries(self, place: int) -> None:
        claim = self.claim_at(place)
        settles = self.is_holder(claim, UNFINISHED)
        assert ledger.fail(claim, error=ERROR) is settles
        if settles:
            self.rows[claim.id].fail(ERROR)
            self.rows[claim.id].finish(self.now, State.DEAD, ERROR)

    @rule(what=pauses)
    def someone_pauses_or_resumes(self, what: tuple[str, str]) -> None:
        if what in self.paused:
            assert ledger.resume(*what, by="ada")
            self.paused.remove(what)
        else:
            assert ledger.pause(*what, by="ada")
            self.paused.add(what)
            for row in self.published(self.rows):
                if what[1] in {QUEUE, row.task}:
                    row.wait_again()

    @precondition(lambda self: self.paused)
    @rule(what=pauses)
    def someone_pauses_at_the_same_moment(self, what: tuple[str, str]) -> None:
        """Another one than a relay or worker that does not know it yet: what they publish meanwhile is not run."""
        if what not in self.paused:
            Pause.objects.create(kind=what[0], name=what[1], by="ada")
            self.paused.add(what)

    @rule(which=st.integers(0, 6), places=some, limit=limits)
    def someone_decides(self, which: int, places: set[int], limit: int) -> None:
        if which <= 1:
            self.someone_replays(self.ids_at(places))
        elif which == 2:
            self.someone_discards(self.ids_at(places))
        elif which == 3:
            self.someone_republishes()
        elif which == 4:
            self.someone_revokes(self.ids_at(places))
        elif which == 5:
            self.someone_terminates(self.ids_at(places))
        else:
            self.old_ones_are_pruned(limit)

    def someone_replays(self, ids: list[UUID]) -> None:
        dead = [row for row in self.known(ids) if row.state == State.DEAD]
        assert ledger.replay(ids, by="ada") == len(dead)
        for row in dead:
            row.wait_until(self.now)
            row.expires, row.replayed_after, row.begun = None, row.attempts, False
            row.lines += 1

    def someone_discards(self, ids: list[UUID]) -> None:
        open = [row for row in self.known(ids) if row.state in {State.DEAD, State.PENDING, State.PUBLISHED}]
        assert ledger.discard(ids, by="ada") == len(open)
        self.rows_are_discarded(open)

    def someone_revokes(self, ids: list[UUID]) -> None:
        """What waits, or was claimed and not begun, is discarded; what runs goes on."""
        waits = {State.PENDING, State.PUBLISHED}
        open = [row for row in self.known(ids) if row.state in waits or (row.state == State.RUNNING and not row.begun)]
        assert ledger.revoke(ids, by="ada") == len(open)
        self.rows_are_discarded(open)

    def someone_terminates(self, ids: list[UUID]) -> None:
        """What runs is discarded, and who runs it is told so."""
        running = [row for row in self.known(ids) if row.state == State.RUNNING]
        assert ledger.terminate(ids, by="ada") == len(running)
        for row in running:
            row.error = f"{TERMINATED_WITH}SIGTERM"
        self.rows_are_discarded(running)
        discarded = {each.id for each in self.claims if self.state_of(each.id) == State.DISCARDED}
        assert set(ledger.find_terminated(self.claims)) == discarded

    def state_of(self, id: UUID) -> str | None:
        return self.rows[id].state if id in self.rows else None

    def rows_are_discarded(self, rows: Iterable[Row]) -> None:
        for row in rows:
            row.finish(self.now, State.DISCARDED, row.error)
            row.lease = None
            row.lines += 1

    def someone_republishes(self) -> None:
        published = self.published(self.rows)
        assert ledger.republish(by="me") == len(published)
        for row in published:
            row.wait_again()
            row.lines += 1

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
            assert message.lease == row.lease
            assert (message.begun_at is not None) is row.begun
            assert (message.finished_at is None) is (row.state in UNFINISHED)
            assert (message.refused_at is None) is (row.refused is None)
            assert len(message.history.splitlines()) == row.lines, message.history
            if row.state in UNFINISHED:
                assert message.publishes == row.publishes

    @invariant()
    def what_is_unfinished_will_be_due(self) -> None:
        """Nothing can get lost: a message that is neither finished nor due has a time at which it will be."""
        times = Message.objects.filter(finished_at=None).values_list("pk", "due_at", "wanted_at")
        if times:
            base = self.clock()
            for id, due_at, wanted_at in times:
                row = self.rows[id]
                assert (due_at - base).total_seconds() == pytest.approx(row.due - self.now, abs=9)
                assert (wanted_at - base).total_seconds() == pytest.approx(row.wanted - self.now, abs=9)

    @invariant()
    def what_is_offered_can_be_claimed(self) -> None:
        """Nothing can get stuck: what is out of attempts is dead, or runs until it is."""
        for row in self.rows.values():
            assert not (row.is_spent and row.state in {State.PENDING, State.PUBLISHED})

    @invariant()
    def what_was_claimed_and_not_begun_has_used_no_attempt(self) -> None:
        for row in self.rows.values():
            assert not (row.state == State.RUNNING and not row.begun and row.is_spent)

    # --- The model ----------------------------------------------------------------------------------------------------

    def clock(self) -> Any:
        return Message.objects.annotate(now=Now()).values_list("now", flat=True)[0]

    def ids_at(self, places: Iterable[int]) -> list[UUID]:
        ids = list(self.rows)
        return [ids[place] for place in places if place < len(ids)]

    def claim_at(self, place: int) -> ledger.Claim:
        """One of the last claims; its holder may have settled it or lost it long ago."""
        return self.claims[max(-1 - place, -len(self.claims))]

    def claims_at(self, places: Iterable[int]) -> list[ledger.Claim]:
        """Of one message only one of them, as in a worker."""
        return list({each.id: each for each in map(self.claim_at, places)}.values())

    def those(self, condition: Callable[[Row], bool]) -> list[UUID]:
        return [id for id, row in self.rows.items() if condition(row)]

    def known(self, ids: Iterable[UUID]) -> list[Row]:
        return [self.rows[id] for id in dict.fromkeys(ids) if id in self.rows]

    def published(self, ids: Iterable[UUID]) -> list[Row]:
        return [row for row in self.known(ids) if row.state == State.PUBLISHED]

    def is_paused(self, row: Row) -> bool:
        return (Pause.Kind.QUEUE, QUEUE) in self.paused or (Pause.Kind.TASK, row.task) in self.paused

    def may_run(self, row: Row, token: UUID) -> bool:
        is_offered = row.state == State.PUBLISHED or (row.state in UNFINISHED and row.due <= self.now)
        is_mine = row.state == State.RUNNING and row.lease == token
        is_over = row.is_spent or (row.expires is not None and row.expires <= self.now)
        return is_mine or (is_offered and not is_over and not self.is_paused(row))

    def is_holder(self, claim: ledger.Claim, states: Iterable[str]) -> bool:
        row = self.rows.get(claim.id)
        return row is not None and row.lease == claim.lease and row.state in states

    def check_choice(
        self, chosen: Iterable[UUID], candidates: Iterable[UUID], limit: int, *, by: Callable[[Row], Any]
    ) -> None:
        """As many as there are up to the limit, and none that had to wait for one that was left. Ties are free."""
        chosen, left = set(chosen), set(candidates) - set(chosen)
        assert chosen <= set(candidates)
        assert len(chosen) == min(limit, len(chosen | left))
        if chosen and left:
            # But for the time that the machine takes.
            assert max(by(self.rows[id]) for id in chosen) < min(by(self.rows[id]) for id in left) + 9


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
