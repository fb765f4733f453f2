"""What becomes of messages that a broker has handed out: each gets its answer from the ledger, many at a time."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError
from kombu.message import Message as BrokerMessage

from outbox import ledger
from outbox.ledger import Answer, Claim
from workers import poison

logger = logging.getLogger(__name__)


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


def answer(
    deliveries: Iterable[Delivery], *, token: UUID, worker: str, knows: Callable[[Claim], str], counts: bool
) -> None:
    """Give each delivery its answer; `knows` says why this worker cannot run a claim, with an empty text if it can.

    Raises `django.db.Error`: then to be called again, with the same token, for those that have no answer yet.
    """
    by_id: dict[UUID, list[Delivery]] = {}
    for each in deliveries:
        if each.id is None:
            _put_aside(each)
        else:
            by_id.setdefault(each.id, []).append(each)
    lease_seconds = settings.OUTBOX.lease_seconds
    claims = ledger.claim(list(by_id), token=token, worker=worker, lease_seconds=lease_seconds, counts=counts)
    for claim in claims:
        _answer_claim(claim, by_id.pop(claim.id), worker, knows(claim))
    for id, found in ledger.explain(list(by_id)).items():
        for each in by_id[id]:
            if found is Answer.UNKNOWN:
                each.reason = f"is for {id}, and the ledger has no such message"
                _put_aside(each)
            each.answer = found


def _answer_claim(claim: Claim, copies: Sequence[Delivery], worker: str, reason: str) -> None:
    """The first of the copies stands for the claim; `reason` is why it is refused, if it is."""
    first, *others = copies
    if reason:
        ledger.refuse([claim], [reason], worker=worker, give_up_days=settings.OUTBOX.refused_days)
        logger.warning("%s[%s] is refused: it %s", claim.task, claim.id, reason)
        first.answer, first.reason = Answer.REFUSED, reason
    else:
        first.answer, first.claim = Answer.CLAIMED, claim
    for each in others:
        each.answer = Answer.DUPLICATE


def _put_aside(delivery: Delivery) -> None:
    """Keep a message that means nothing to the ledger."""
    try:
        poison.keep(delivery.message, delivery.reason)
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # one message must not stop all others for ever
        logger.exception("A message that cannot be read cannot be kept either: %.1000r", delivery.message.body)
    delivery.answer = Answer.UNKNOWN
