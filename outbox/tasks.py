"""What the outbox itself does periodically."""

import logging
from collections.abc import Callable

from celery import shared_task
from django.conf import settings

from outbox import heartbeat, ledger

logger = logging.getLogger(__name__)

#: Rows deleted by one statement: few enough that nobody waits for its locks.
PRUNE_CHUNK = 1000


@shared_task
def prune_messages() -> int:
    """Delete what was kept for long enough, in chunks; return how many messages that were."""
    options = settings.OUTBOX
    total = _prune(ledger.prune, options.keep_days) + _prune(ledger.prune_dead, options.dead_keep_days)
    poison = _prune(ledger.prune_poison, options.poison_keep_days)
    heartbeat.forget_dead()
    logger.info("Pruned %d finished messages and %d that could not be read", total, poison)
    return total


def _prune(prune: Callable[..., int], keep_days: float | None) -> int:
    total = 0
    while keep_days is not None and (deleted := prune(keep_days=keep_days, limit=PRUNE_CHUNK)):
        total += deleted
    return total
