"""Renews the leases of the tasks that this process runs, for as long as it runs them.

The renewal is a thread of the pool process itself: whatever kills the process ends its leases.
Most tasks end before their first renewal, so it costs them nothing.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from django.db import connection

from outbox import ledger

logger = logging.getLogger(__name__)


@dataclass
class LeaseKeeper:
    """Keeps the claims of one process; make one with `current_keeper()`."""

    lease_seconds: float
    renew_seconds: float
    _held: dict[tuple[UUID, int], tuple[ledger.Claim, float]] = field(default_factory=dict)
    """Each claim and since when (monotonic). Of one message this process may hold two, one of them lost."""
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def keep(self, claim: ledger.Claim) -> Iterator[None]:
        """Renew the lease of `claim` while the block runs."""
        held = claim.id, claim.attempt
        with self._lock:
            self._held[held] = (claim, time.monotonic())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outbox-lease", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            # A renewal that is under way ends first: one that came after the claim was settled would undo that.
            with self._lock:
                del self._held[held]

    def _run(self) -> None:
        while True:
            time.sleep(self.renew_seconds)
            try:
                with self._lock:
                    self._renew()
            except Exception:  # whatever it was, the next renewal may succeed
                logger.warning("Cannot renew the leases of running tasks", exc_info=True)
            finally:
                connection.close()  # rather than keep it idle: tasks that long are rare

    def _renew(self) -> None:
        # Also those that began a while ago: they cannot all wait for the round after the next.
        begun = time.monotonic() - self.renew_seconds / 2
        claims = [claim for claim, since in self._held.values() if since <= begun]
        kept = ledger.renew(claims, lease_seconds=self.lease_seconds) if claims else set()
        for claim in claims:
            if claim.id not in kept:
                logger.warning("Lost the lease of %s: another attempt may run beside this one", claim.id)


_keepers: dict[int, LeaseKeeper] = {}


def current_keeper(*, lease_seconds: float, renew_seconds: float) -> LeaseKeeper:
    """The keeper of this process: a pool process that was forked off needs a thread of its own."""
    pid = os.getpid()
    return _keepers.get(pid) or _keepers.setdefault(pid, LeaseKeeper(lease_seconds, renew_seconds))
