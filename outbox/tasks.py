"""What the outbox itself does periodically."""

import logging

from celery import shared_task
from django.conf import settings

from outbox import heartbeat, ledger

logger = logging.getLogger(__name__)

#: Rows deleted by one statement: few enough that nobody waits for its locks.
PRUNE_CHUNK = 1000


@shared_task
def prune_messages() -> int:
    """Delete messages that were finished more than OUTBOX_KEEP_DAYS ago, in chunks; return how many."""
    total = 0
    while deleted := ledger.prune(keep_days=settings.OUTBOX.keep_days, limit=PRUNE_CHUNK):
        total += deleted
    heartbeat.forget_dead()
    logger.info("Pruned %d finished messages", total)
    return total
