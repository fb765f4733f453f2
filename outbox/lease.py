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

from django.db import DatabaseError, connection

from outbox import ledger

logger = logging.getLogger(__name__)


@dataclass
class LeaseKeeper:
    """Keeps the claims of one process; make one with `current_keeper()`."""

    lease_seconds: float
    renew_seconds: float
    _held: dict[UUID, tuple[ledger.Claim, float]] = field(default_factory=dict)
    """Each claim and since when (monotonic)."""
    _thread: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def keep(self, claim: ledger.Claim) -> Iterator[None]:
        """Renew the lease of `claim` while the block runs."""
        self._held[claim.id] = (claim, time.monotonic())
        if self._thread is None:
            self._start()
        try:
            yield
        finally:
            del self._held[claim.id]

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outbox-lease", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(self.renew_seconds)
            # A copy: tasks begin and end meanwhile.
            due = time.monotonic() - self.renew_seconds
            claims = [claim for claim, since in list(self._held.values()) if since <= due]
            if claims:
                self._renew(claims)

    def _renew(self, claims: list[ledger.Claim]) -> None:
        try:
            kept = ledger.renew(claims, lease_seconds=self.lease_seconds)
        except DatabaseError:
            logger.warning("Cannot renew the leases of %d running tasks: the database is away", len(claims))
            connection.close()
            return
        for claim in claims:
            if claim.id not in kept and claim.id in self._held:
                logger.warning("Lost the lease of %s: another attempt may run beside this one", claim.id)


_keepers: dict[int, LeaseKeeper] = {}


def current_keeper(*, lease_seconds: float, renew_seconds: float) -> LeaseKeeper:
    """The keeper of this process: a pool process that was forked off needs a thread of its own."""
    pid = os.getpid()
    if pid not in _keepers:
        _keepers.clear()
        _keepers[pid] = LeaseKeeper(lease_seconds, renew_seconds)
    return _keepers[pid]
