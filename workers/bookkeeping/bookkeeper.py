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
from uuid import uuid4

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from outbox import instruments, ledger
from outbox.ledger import Claim
from outbox.running import Kind, Outcome
from outbox.sql import is_postgresql, query
from workers.bookkeeping.answers import Delivery, answer
from workers.bookkeeping.holds import Holds, Pace
from workers.bookkeeping.outcomes import Ended, say_that_it_was_late, settle_all
from workers.watchdog import LOOKING

logger = logging.getLogger(__name__)

#: Outcomes wait so long for others to be settled with, and no more than so many are claimed or settled at once.
LINGER_SECONDS, MOST_AT_ONCE = 0.005, 100

#: A task that has run for so long is recorded as begun, so that its attempt counts whatever happens. One that is over
#: sooner, as most are, is counted by what settles it.
BEGIN_SECONDS = 0.02

#: How long the thread waits before it tries a database again that was away: doubling between these.
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.05, 1.0

#: How long workers that waited for the database let those go first that have finished something meanwhile: a message
#: whose lease ended while its worker was cut off would otherwise be run again.
SETTLING_SECONDS = 2.0


@dataclass
class Bookkeeper:
    """`answered` is called, on this thread, with what became of deliveries; everything else is called by the worker."""

    worker: str
    places: int
    knows: Callable[[Claim], str]
    """Says why this worker cannot run a claim; an empty text if it can."""
    answered: Callable[[Sequence[Delivery]], None]
    counts_at_once: bool = False
    """Whether an attempt counts when it is claimed: a task may end this process, and its own `begin` with it."""
    find_terminated: Callable[[Holds, threading.Condition], None] = lambda holds, changed: None
    """Called as often as leases are renewed: looks for what was revoked while it runs."""
    counts: Counter[str] = field(default_factory=Counter)
    """How many messages got which answer."""

    def __post_init__(self) -> None:
        self.pace = Pace(self.places)
        self._holds = Holds()
        self._inbox: deque[Delivery] = deque()
        self._outcomes: deque[Ended] = deque()
        self._released: deque[Claim] = deque()
        #: What is being claimed, and with which token: both stay until each has its answer.
        self._asked: list[Delivery] = []
        self._token = uuid4()
        #: Since when outcomes wait for others; 0 if there are none. All these times are monotonic.
        self._waits_since = self._wakes_at = self._claim_at = 0.0
        self._renewed_at = time.monotonic()
        self._was_away = self._stopping = False
        self._changed = threading.Condition(threading.RLock())
        self._thread = threading.Thread(target=self._run, name="worker-bookkeeper", daemon=True)

    # --- Called by the worker -----------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def deliver(self, delivery: Delivery) -> None:
        with self._changed:
            self._inbox.append(delivery)
            self._changed.notify()

    def handed(self, claim: Claim) -> bool:
        """The pool is about to be given a claim; False if it must not be, because it is not ours any more."""
        with self._changed:
            hold = self._holds.of(claim)
            if hold:
                hold.handed = True
            return hold is not None

    def begun(self, claim: Claim) -> None:
        """A claim runs: from now on this attempt counts, and whoever runs it keeps its lease."""
        with self._changed:
            if hold := self._holds.of(claim):
                hold.begun_at = time.monotonic()
                if self._inbox or self._wakes_at > hold.begun_at + BEGIN_SECONDS:
                    self._changed.notify()

    def settle(self, claim: Claim, outcome: Outcome) -> None:
        """A claim is over."""
        with self._changed:
            if not self._holds.drop(claim):
                say_that_it_was_late(claim)
                return
            if outcome.kind in {Kind.REFUSED, Kind.EXPIRED}:
                self.counts[outcome.kind.value] += 1
            if outcome.seconds:
                self.pace.learn(outcome.seconds)
            self._outcomes.append((claim, outcome))
            self._touch()

    def release_waiting(self, *, pool_is_gone: bool = False) -> None:
        """Give back what waits for a place. What the pool has been given it runs, unless it is gone."""
        with self._changed:
            self._inbox.clear()
            for hold in self._holds.waiting():
                if pool_is_gone or not hold.handed:
                    self.release(hold.claim)

    def release(self, claim: Claim) -> None:
        """Give a claim back that was not begun."""
        with self._changed:
            if self._holds.drop(claim):
                self._released.append(claim)
                self._changed.notify()

    def stop(self, *, within_seconds: float) -> None:
        """Settle and give back what there is, for so long at most; then the thread ends."""
        with self._changed:
            self._stopping = True
            self.release_waiting(pool_is_gone=True)
            self._changed.notify()
        self._thread.join(within_seconds)

    def _touch(self) -> None:
        """There is something to be settled that may wait for others."""
        if not self._waits_since:
            self._waits_since = time.monotonic()
            self._changed.notify()

    # --- The thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        backoff_seconds = 0.0
        while self._wait(backoff_seconds):
            with self._alone():
                kept = self._try_to_keep()
            longer = min(backoff_seconds * 2 or FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS)
            backoff_seconds = 0.0 if kept else longer
        connection.close()

    @staticmethod
    def _alone() -> AbstractContextManager[Any]:
        """On SQLite the pool must not fork while this thread is inside of it: see `LOOKING`."""
        return nullcontext() if is_postgresql() else LOOKING

    def _wait(self, backoff_seconds: float) -> bool:
        """Wait until there is something to do; False when it is time to end."""
        if backoff_seconds:
            time.sleep(backoff_seconds)
        with self._changed:
            while (pause_seconds := self._pause()) > 0:
                if self._stopping:
                    return False
                self._wakes_at = time.monotonic() + pause_seconds
                self._changed.wait(pause_seconds)
            if not self._asked:
                number = min(self._room(), len(self._inbox), MOST_AT_ONCE)
                self._asked = [self._inbox.popleft() for _ in range(number)]
                self._token = uuid4()
        return True

    def _pause(self) -> float:
        """How many seconds nothing has to be done."""
        unrecorded = self._holds.unrecorded()
        if self._released or (self._stopping and (self._waits_since or self._asked or unrecorded)):
            return 0
        until = self._renewed_at + settings.OUTBOX.renew_seconds
        if self._asked or (self._inbox and self._room()):
            until = min(until, self._claim_at)
        if self._waits_since:
            until = min(until, self._waits_since + (LINGER_SECONDS if len(self._outcomes) < MOST_AT_ONCE else 0))
        return min([until, *(hold.begun_at + BEGIN_SECONDS for hold in unrecorded)]) - time.monotonic()

    def _room(self) -> int:
        """How many are to be claimed now: none while more than half of what should be at hand still is.

        So that a busy worker claims many at a time.
        """
        ahead, waiting = self.pace.ahead, len(self._holds.waiting())
        return ahead - waiting if waiting <= ahead // 2 else 0

    def _try_to_keep(self) -> bool:
        """Keep the ledger; False if it has to be tried again."""
        try:
            self._keep()
        except Exception as error:  # this thread must not end: the worker could do nothing any more
            if isinstance(error, OperationalError | InterfaceError):
                logger.warning("The database does not answer: %s The worker waits.", str(error).strip())
                self._was_away = True
            else:
                logger.exception("The ledger cannot be kept. Trying again.")
            connection.close()
            with self._changed:
                self._touch()
            return False
        with self._changed:
            is_idle = self._pause() > 0
        if is_idle and not is_postgresql():
            connection.close()  # a pool process that is forked must not inherit it
        return True

    def _keep(self) -> None:
        with self._changed:
            self._waits_since = 0.0
        self._settle_outcomes()
        self._record_begun()
        self._release_what_waits()
        self._renew_if_time()
        if self._was_away:
            query("SELECT 1", [])
            self._was_away, self._claim_at = False, time.monotonic() + SETTLING_SECONDS
        if self._asked and (self._stopping or time.monotonic() >= self._claim_at):
            self._answer()

    # --- Settling -----------------------------------------------------------------------------------------------------

    def _settle_outcomes(self) -> None:
        with self._changed:
            left = [self._outcomes.popleft() for _ in range(min(len(self._outcomes), MOST_AT_ONCE))]
            if self._outcomes:
                self._touch()
        try:
            settle_all(left, worker=self.worker)
        finally:
            with self._changed:
                self._outcomes.extendleft(reversed(left))

    def _record_begun(self) -> None:
        until = time.monotonic() - (0 if self._stopping else BEGIN_SECONDS)
        with self._changed:
            begun = [hold for hold in self._holds.unrecorded() if hold.begun_at <= until]
        ledger.begin([hold.claim for hold in begun], lease_seconds=settings.OUTBOX.lease_seconds)
        for hold in begun:
            hold.recorded = True

    def _release_what_waits(self) -> None:
        with self._changed:
            claims = list(self._released)
        ledger.release(claims, counted=self.counts_at_once)
        with self._changed:
            for _ in claims:
                self._released.popleft()

    def _renew_if_time(self) -> None:
        """Renew the leases of what waits for a place; what has been lost meanwhile must not be begun."""
        if time.monotonic() < self._renewed_at + settings.OUTBOX.renew_seconds:
            return
        self.find_terminated(self._holds, self._changed)
        with self._changed:
            waiting = [hold.claim for hold in self._holds.waiting()]
        kept = ledger.renew(waiting, lease_seconds=settings.OUTBOX.lease_seconds)
        self._renewed_at = time.monotonic()
        with self._changed:
            for claim in waiting:
                hold = self._holds.of(claim)
                if claim.id not in kept and hold and not hold.begun_at:
                    self._holds.drop(claim)
                    logger.warning("Lost the lease of %s[%s] before it began", claim.task, claim.id)

    # --- Claiming -----------------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        began = time.perf_counter()
        try:
            answer(self._asked, token=self._token, worker=self.worker, knows=self.knows, counts=self.counts_at_once)
        finally:
            answered = [each for each in self._asked if each.answer]
            self._asked = [each for each in self._asked if not each.answer]
            if answered:
                instruments.timed("claim", began)
                self._take_note_of(answered)

    def _take_note_of(self, answered: Sequence[Delivery]) -> None:
        counts = Counter(str(each.answer) for each in answered)
        self.counts.update(counts)
        for name, number in counts.items():
            instruments.answered(name, number)
        with self._changed:
            for each in answered:
                if each.claim:
                    self._holds.add(each.claim, recorded=self.counts_at_once)
                    if self._stopping:
                        self.release(each.claim)
        self.answered(answered)
