"""How attempts have ended: settled in the ledger, those that are done in one statement."""

import logging
import time
from collections.abc import Sequence

from django.db import InterfaceError, OperationalError, ProgrammingError

from outbox import instruments, ledger
from outbox.ledger import Claim
from outbox.running import Kind, Outcome, settle

logger = logging.getLogger(__name__)

#: How an outcome is called in metrics.
NAMES = {
    Kind.DONE: "complete",
    Kind.RETRY: "retry",
    Kind.DEAD: "fail",
    Kind.CUT_SHORT: "retry",
    Kind.REFUSED: "refuse",
    Kind.EXPIRED: "expire",
}

Ended = tuple[Claim, Outcome]


def settle_all(ended: list[Ended], *, worker: str) -> None:
    """Settle these attempts, and take them out of the list. Raises `django.db.Error`; what is left is not settled."""
    done = [each for each in ended if each[1].kind is Kind.DONE]
    if done:
        _complete(done)
        ended[:] = [each for each in ended if each[1].kind is not Kind.DONE]
    while ended:
        _settle_one(*ended[0], worker=worker)
        del ended[0]


def say_that_it_was_late(claim: Claim) -> None:
    logger.warning("%s[%s] ended after its lease: another attempt was made", claim.task, claim.id)


def _complete(done: Sequence[Ended]) -> None:
    began = time.perf_counter()
    ours = {claim.id for claim, outcome in done if outcome.settled}
    left = [each for each in done if each[1].settled is None]
    ours |= ledger.complete_all([claim for claim, _ in left], [outcome.seconds for _, outcome in left])
    instruments.timed("settle", began)
    for claim, outcome in done:
        instruments.settled(claim.task, NAMES[Kind.DONE], outcome.seconds)
        if claim.id not in ours:
            say_that_it_was_late(claim)


def _settle_one(claim: Claim, outcome: Outcome, *, worker: str) -> None:
    began = time.perf_counter()
    try:
        settled = settle(claim, outcome, worker=worker)
    except (OperationalError, InterfaceError, ProgrammingError):
        raise
    except Exception as error:  # a task may ask for anything, and must not keep all others from being settled
        logger.exception("%s[%s] asks for what the ledger cannot keep", claim.task, claim.id)
        reason = f"{outcome.error}\nIt cannot be tried again as it asked to be: {error}"
        settled = ledger.fail(claim, error=reason, seconds=outcome.seconds)
    instruments.timed("settle", began)
    instruments.settled(claim.task, NAMES[outcome.kind], outcome.seconds)
    if outcome.kind is Kind.REFUSED:
        logger.warning("%s[%s] is refused: %s", claim.task, claim.id, outcome.error)
    elif not settled:
        say_that_it_was_late(claim)
