"""Keeps the ledger for a worker: claims what was delivered, and settles what has ended, many at a time.

A thread of the worker's main process, with a connection of its own: the loop that feeds heartbeats and hands out tasks
never waits for the database. While the database is away everything waits here: nothing is lost, nothing else stops.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from kombu.message import Message as BrokerMessage

from outbox import instruments, ledger
from outbox.ledger import Answer, Claim
from outbox.running import Kind, Outcome, settle
from outbox.sql import is_postgresql
from workers import poison
from workers.watchdog import LOOKING

logger = logging.getLogger(__name__)

#: Outcomes wait so long for others to be settled with, and no more than so many are settled at once.
LINGER_SECONDS, MOST_AT_ONCE = 0.005, 100

#: A task that has run for so long is recorded as begun, so that its attempt counts whatever happens. One that is over
#: sooner, as most are, is counted by what settles it.
BEGIN_SECONDS = 0.02

#: How long the thread waits before it tries a database again that was away: doubling between these.
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.05, 1.0

#: How long workers that wait for the database let those go first that have finished something meanwhile: a message
#: whose lease ended while its worker was cut off would otherwise be run again.
SETTLING_SECONDS = 2.0

#: How much work a worker claims in advance, in seconds: what it holds another worker could have begun.
AHEAD_SECONDS = 0.1

#: What it claims in advance at most, times its places.
MOST_AHEAD = 32

#: How fast the estimate of how long a task runs follows what is measured.
LEARNING_RATE = 0.05


#: How an outcome is called in metrics.
OUTCOMES = {
    Kind.DONE: "complete",
    Kind.RETRY: "retry",
    Kind.DEAD: "fail",
    Kind.CUT_SHORT: "retry",
    Kind.REFUSED: "refuse",
}


@dataclass(slots=True)
class Delivery:
    """A message that the broker has handed out, and what became of it."""

    message: BrokerMessage
    id: UUID | None
    """None: it cannot be read."""
    connection: int
    """The number of the connection that it came by: only there it can be acknowledged."""
    reason: str = ""
    """Why it cannot be read or run."""
    answer: Answer | None = None
    claim: Claim | None = None


@dataclass
class Pace:
    """How long a task runs, and so how many of them a worker should have at hand."""

    places: int
    seconds: float = AHEAD_SECONDS

    def learn(self, seconds: float) -> None:
        self.seconds += (seconds - self.seconds) * LEARNING_RATE

    @property
    def ahead(self) -> int:
        """How many claims may wait for a place."""
        return int(self.places * min(max(AHEAD_SECONDS / max(self.seconds, 1e-6), 1), MOST_AHEAD))


@dataclass
class Hold:
    """A claim of this worker. Times are monotonic."""

    claim: Claim
    begun_at: float | None = None
    recorded: bool = False
    handed: bool = False
    """Whether the pool has it: from then on it cannot be taken back."""


@dataclass
class Bookkeeper:
    """`answered` is called, on this thread, with what became of deliveries; everything else is called by the worker."""

    worker: str
    places: int
    knows: Callable[[Claim], str]
    """Says why this worker cannot run a claim; an empty text if it can."""
    answered: Callable[[Sequence[Delivery]], None]
    counts: Counter[str] = field(default_factory=Counter)
    """How many messages got which answer."""

    def __post_init__(self) -> None:
        self.pace = Pace(self.places)
        self._held: dict[UUID, Hold] = {}
        self._inbox: deque[Delivery] = deque()
        self._outcomes: deque[tuple[Claim, Outcome]] = deque()
        self._released: deque[Claim] = deque()
        self._asked: list[Delivery] = []
        self._token = uuid4()
        self._first_outcome = 0.0
        self._renewed = time.monotonic()
        self._changed = threading.Condition(threading.RLock())
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="worker-bookkeeper", daemon=True)

    # --- Called by the worker -----------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def deliver(self, delivery: Delivery) -> None:
        with self._changed:
            self._inbox.append(delivery)
            self._changed.notify()

    def handed(self, claim: Claim) -> None:
        """The pool has been given a claim."""
        with self._changed:
            if hold := self._hold_of(claim):
                hold.handed = True

    def begun(self, claim: Claim) -> None:
        """A claim runs: from now on this attempt counts, and whoever runs it keeps its lease."""
        with self._changed:
            if hold := self._hold_of(claim):
                hold.begun_at = time.monotonic()
                if self._inbox:
                    self._changed.notify()

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        """A claim is over."""
        with self._changed:
            if self._hold_of(claim) is None:
                logger.warning("%s[%s] ended after its lease: another attempt was made", claim.task, claim.id)
                return
            del self._held[claim.id]
            if outcome.seconds:
                self.pace.learn(outcome.seconds)
            self._outcomes.append((claim, outcome))
            self._touch()

    def release_waiting(self, *, pool_is_gone: bool = False) -> None:
        """Give back what waits for a place. What the pool has been given it runs, unless it is gone."""
        with self._changed:
            self._inbox.clear()
            waiting = [each for each in self._held.values() if not each.begun_at and (pool_is_gone or not each.handed)]
            for hold in waiting:
                self.release(hold.claim)

    def release(self, claim: Claim) -> None:
        """Give a claim back that was not begun."""
        with self._changed:
            if self._held.pop(claim.id, None):
                self._released.append(claim)
                self._changed.notify()

    def running(self) -> list[Claim]:
        with self._changed:
            return [hold.claim for hold in self._held.values() if hold.begun_at]

    def stop(self, *, within_seconds: float) -> None:
        """Settle and give back what there is, for so long at most; then the thread ends."""
        self.release_waiting(pool_is_gone=True)
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(within_seconds)

    def _hold_of(self, claim: Claim) -> Hold | None:
        hold = self._held.get(claim.id)
        return hold if hold and hold.claim.lease == claim.lease else None

    def _touch(self) -> None:
        """There is something that may wait for company."""
        if not self._first_outcome:
            self._first_outcome = time.monotonic()
            self._changed.notify()

    # --- The thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        backoff_seconds = 0.0
        while self._wait(backoff_seconds):
            try:
                with self._alone():
                    self._keep(head_start=bool(backoff_seconds))
                backoff_seconds = 0.0
                continue
            except (OperationalError, InterfaceError) as error:
                logger.warning("The database does not answer: %s The worker waits.", str(error).strip())
            except Exception:  # this thread must not end: the worker could do nothing any more
                logger.exception("The ledger cannot be kept. Trying again.")
            connection.close()
            backoff_seconds = min(backoff_seconds * 2 or FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS)

    @staticmethod
    def _alone() -> AbstractContextManager[Any]:
        """On SQLite the pool must not fork while this thread is inside of it: see `LOOKING`."""
        return nullcontext() if is_postgresql() else LOOKING

    def _wait(self, backoff_seconds: float) -> bool:
        """Wait until there is something to do; False when it is time to end."""
        if backoff_seconds:
            time.sleep(backoff_seconds)
        with self._changed:
            while (pause := self._pause()) > 0:
                if self._stopping:
                    self.release_waiting(pool_is_gone=True)
                if self._stopping and not (self._outcomes or self._released):
                    return False
                if not is_postgresql():
                    connection.close()  # a pool process that is forked must not inherit it
                self._changed.wait(pause)
            if not self._asked:
                self._asked = [self._inbox.popleft() for _ in range(min(self._room(), len(self._inbox), MOST_AT_ONCE))]
                self._token = uuid4()
        return True

    def _pause(self) -> float:
        """How long nothing has to be done."""
        if self._asked or self._released or (self._inbox and self._room()) or (self._stopping and self._outcomes):
            return 0
        until = self._renewed + settings.OUTBOX.renew_seconds
        unrecorded = [each.begun_at for each in self._held.values() if each.begun_at and not each.recorded]
        if unrecorded:
            until = min(until, min(unrecorded) + BEGIN_SECONDS)
        if self._first_outcome:
            enough = len(self._outcomes) >= MOST_AT_ONCE
            until = 0.0 if enough else min(until, self._first_outcome + LINGER_SECONDS)
        return min(until - time.monotonic(), 0.2 if self._stopping else 1e9)

    def _room(self) -> int:
        """How many are to be claimed now: none while more than half of what should be at hand still is.

        So that a busy worker claims many at a time.
        """
        ahead, waiting = self.pace.ahead, sum(not hold.begun_at for hold in self._held.values())
        return ahead - waiting if waiting <= ahead // 2 else 0

    def _keep(self, *, head_start: bool) -> None:
        self._settle_outcomes()
        self._record_begun()
        self._release_what_waits()
        self._renew_if_time()
        if self._stopping:
            self._asked = []
        if not self._asked:
            return
        if head_start:
            time.sleep(SETTLING_SECONDS)
        began = time.perf_counter()
        try:
            self._answer(self._asked)
        finally:
            answered = [each for each in self._asked if each.answer]
            self._asked = [each for each in self._asked if not each.answer]
            if answered:
                instruments.timed("claim", began)
                self._count(answered)
                self.answered(answered)

    def _count(self, answered: Sequence[Delivery]) -> None:
        counts = Counter(str(each.answer) for each in answered)
        self.counts.update(counts)
        for answer, number in counts.items():
            instruments.answered(answer, number)

    # --- Settling -----------------------------------------------------------------------------------------------------

    def _settle_outcomes(self) -> None:
        with self._changed:
            self._first_outcome = 0.0
            outcomes = [self._outcomes.popleft() for _ in range(min(len(self._outcomes), MOST_AT_ONCE))]
            if self._outcomes:
                self._first_outcome = time.monotonic()
        left = list(outcomes)
        try:
            done = [each for each in outcomes if each[1].kind is Kind.DONE]
            if done:
                self._complete(done)
                left = [each for each in left if each not in done]
            while left:
                self._settle_one(*left[0])
                left.pop(0)
        finally:
            with self._changed:
                self._outcomes.extendleft(reversed(left))

    def _complete(self, done: Sequence[tuple[Claim, Outcome]]) -> None:
        began = time.perf_counter()
        ours = ledger.complete_all([claim for claim, _ in done], [outcome.seconds for _, outcome in done])
        instruments.timed("settle", began)
        for claim, outcome in done:
            instruments.settled(claim.task, "complete", outcome.seconds)
            if claim.id not in ours:
                logger.warning("%s[%s] ended after its lease: another attempt was made", claim.task, claim.id)

    def _settle_one(self, claim: Claim, outcome: Outcome) -> None:
        began = time.perf_counter()
        settle(claim, outcome, worker=self.worker)
        instruments.timed("settle", began)
        instruments.settled(claim.task, OUTCOMES[outcome.kind], outcome.seconds)
        if outcome.kind is Kind.REFUSED:
            self.counts[str(Answer.REFUSED)] += 1
            logger.warning("%s[%s] is refused: %s", claim.task, claim.id, outcome.error)

    def _record_begun(self) -> None:
        early = time.monotonic() - BEGIN_SECONDS
        with self._changed:
            begun = [
                hold for hold in self._held.values() if hold.begun_at and hold.begun_at <= early and not hold.recorded
            ]
        if begun:
            ledger.begin([hold.claim for hold in begun], lease_seconds=settings.OUTBOX.lease_seconds)
            for hold in begun:
                hold.recorded = True

    def _release_what_waits(self) -> None:
        with self._changed:
            claims = list(self._released)
        if claims:
            ledger.release(claims)
            with self._changed:
                for _ in claims:
                    self._released.popleft()

    def _renew_if_time(self) -> None:
        if time.monotonic() < self._renewed + settings.OUTBOX.renew_seconds:
            return
        with self._changed:
            waiting = [hold.claim for hold in self._held.values() if not hold.begun_at]
        if waiting:
            ledger.renew(waiting, lease_seconds=settings.OUTBOX.lease_seconds)
        self._renewed = time.monotonic()

    # --- Claiming -----------------------------------------------------------------------------------------------------

    def _answer(self, deliveries: Sequence[Delivery]) -> None:
        """Give each delivery its answer. After an error to be called again with those that have none."""
        by_id: dict[UUID, list[Delivery]] = {}
        for each in deliveries:
            if each.id is None:
                poison.keep(each.message, each.reason)
                each.answer = Answer.UNKNOWN
            else:
                by_id.setdefault(each.id, []).append(each)
        if not by_id:
            return
        lease_seconds = settings.OUTBOX.lease_seconds
        claims = ledger.claim(list(by_id), token=self._token, worker=self.worker, lease_seconds=lease_seconds)
        refused = {claim: reason for claim in claims if (reason := self.knows(claim))}
        if refused:
            days = settings.OUTBOX.refused_days
            ledger.refuse(list(refused), list(refused.values()), worker=self.worker, give_up_days=days)
        unclaimed = by_id.keys() - {claim.id for claim in claims}
        reasons = ledger.explain(list(unclaimed)) if unclaimed else {}
        for claim in claims:
            self._note(claim, refused.get(claim, ""), *by_id[claim.id])
        for id, answer in reasons.items():
            for each in by_id[id]:
                if answer is Answer.UNKNOWN:
                    poison.keep(each.message, f"is for {id}, and the ledger has no such message")
                each.answer = answer

    def _note(self, claim: Claim, refused: str, first: Delivery, *others: Delivery) -> None:
        for each in others:
            each.answer = Answer.DUPLICATE
        if refused:
            first.answer, first.reason = Answer.REFUSED, refused
            logger.warning("%s[%s] is refused: it %s", claim.task, claim.id, refused)
            return
        first.answer, first.claim = Answer.CLAIMED, claim
        with self._changed:
            self._held[claim.id] = Hold(claim)
