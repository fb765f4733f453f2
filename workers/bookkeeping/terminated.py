"""Ends what runs although someone has revoked it with `terminate=True`, where the pool can do that."""

import logging
import threading
from collections.abc import Mapping
from signal import Signals
from typing import Any

from celery.concurrency import prefork
from celery.worker import state

from outbox import ledger
from workers.bookkeeping.holds import Holds

logger = logging.getLogger(__name__)


class Terminator:
    """Looks, on the bookkeeper's thread, for claims that are to be ended, and ends them in the worker's loop."""

    def __init__(self, consumer: Any) -> None:
        self.consumer = consumer

    def look(self, holds: Holds, changed: threading.Condition) -> None:
        """Ask the ledger about what the pool has been given. Raises `django.db.Error`."""
        hub, pool = self.consumer.hub, self.consumer.pool
        if hub is None or not isinstance(pool, prefork.TaskPool):
            return
        with changed:
            claims = [hold.claim for hold in holds.handed()]
        found = ledger.find_terminated(claims)
        with changed:
            for claim in claims:
                if claim.id in found:
                    holds.drop(claim)
        if found:
            hub.call_soon(self.end, pool, {each.task_id: found[each.id] for each in claims if each.id in found})

    @staticmethod
    def end(pool: Any, found: Mapping[str, Signals]) -> None:
        """End the processes that run these messages, or will: Celery sends the signal once it knows which one it is."""
        for id, signal in found.items():
            if request := state.requests.get(id):
                logger.warning("%s[%s] was revoked while it ran: its process is ended", request.name, id)
                request.over = True
                request.terminate(pool, signal)
