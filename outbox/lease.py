"""Renews the leases of the tasks that this process runs, for as long as it runs them and no longer than they may take.

The renewal is a thread of the process that runs the task: whatever kills the process ends its leases.
Most tasks end before their first renewal, so it costs them nothing.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from django.db import connection

from outbox import ledger

logger = logging.getLogger(__name__)

#: How much longer than its time limit a task may hold its lease: where a pool can stop a task, it has done so by then.
GRACE_SECONDS = 5.0

#: Is told how many tasks of this process hang, after each that is found. Workers put their own in its place.
on_hang: Callable[[int], None] = lambda hanging: None  # noqa: E731


@dataclass
class Held:
    """A claim that this process runs. Times are monotonic."""

    claim: ledger.Claim
    since: float
    until: float
    hangs: bool = False


@dataclass
class LeaseKeeper:
    """Keeps the claims of one process; make one with `current_keeper()`."""

    lease_seconds: float
    renew_seconds: float
    _held: dict[tuple[UUID, UUID], Held] = field(default_factory=dict)
    """By id and lease. Of one message this process may hold two claims, one of them lost."""
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def keep(self, claim: ledger.Claim, *, limit_seconds: float | None = None) -> Iterator[None]:
        """Renew the lease of `claim` while the block runs, until `limit_seconds` and a grace are over."""
        key, now = (claim.id, claim.lease), time.monotonic()
        until = float("inf") if limit_seconds is None else now + limit_seconds + GRACE_SECONDS
        with self._lock:
            self._held[key] = Held(claim, now, until)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outbox-lease", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            # A renewal that is under way ends first: one that came after the claim was settled would undo that.
            with self._lock:
                del self._held[key]

    def _run(self) -> None:
        while True:
            time.sleep(self.renew_seconds)
            try:
                with self._lock:
                    self._give_up_what_hangs()
                    self._renew()
            except Exception:  # whatever it was, the next renewal may succeed
                logger.warning("Cannot renew the leases of running tasks", exc_info=True)
            finally:
                connection.close()  # rather than keep it idle: tasks that long are rare

    def _give_up_what_hangs(self) -> None:
        now = time.monotonic()
        for held in self._held.values():
            if now > held.until and not held.hangs:
                seconds = now - held.since
                error = f"It hangs: it ran for {seconds:.0f} s, longer than its time limit, and cannot be stopped."
                ledger.cut_short(held.claim, error=error, seconds=seconds)
                held.hangs = True
                logger.error("%s[%s] hangs: another attempt will be made", held.claim.task, held.claim.id)
                on_hang(sum(each.hangs for each in self._held.values()))

    def _renew(self) -> None:
        # Also those that began a while ago: they cannot all wait for the round after the next.
        begun = time.monotonic() - self.renew_seconds / 2
        claims = [held.claim for held in self._held.values() if held.since <= begun and not held.hangs]
        kept = ledger.renew(claims, lease_seconds=self.lease_seconds) if claims else set()
        for claim in claims:
            if claim.id not in kept:
                logger.warning("Lost the lease of %s: another attempt may run beside this one", claim.id)


_keepers: dict[int, LeaseKeeper] = {}


def current_keeper(*, lease_seconds: float, renew_seconds: float) -> LeaseKeeper:
    """The keeper of this process: a pool process that was forked off needs a thread of its own."""
    pid = os.getpid()
    return _keepers.get(pid) or _keepers.setdefault(pid, LeaseKeeper(lease_seconds, renew_seconds))
