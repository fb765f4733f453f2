"""The only writer of `Message`: every change of a message's state is one statement of this package.

enqueue.py  whoever calls `.delay()`
relay.py    what is due, what was lost
worker.py   claim, renew, settle
people.py   replay, discard, prune

The clock is the database's, because hosts may disagree about the hour.
"""

from outbox.ledger.enqueue import enqueue
from outbox.ledger.people import discard, prune, replay, republish
from outbox.ledger.relay import (
    EXPIRED,
    MOST_DOUBLINGS,
    SPENT,
    InFlight,
    count_in_flight,
    extend_leases,
    postpone_overdue,
    put_back,
    release_lost,
    take_due,
)
from outbox.ledger.worker import (
    ERROR_CHARACTERS,
    SETTLING_SECONDS,
    Claim,
    claim,
    complete,
    fail,
    legible,
    renew,
    retry,
    waits_unclaimed,
)

__all__ = [
    "ERROR_CHARACTERS",
    "EXPIRED",
    "MOST_DOUBLINGS",
    "SETTLING_SECONDS",
    "SPENT",
    "Claim",
    "InFlight",
    "claim",
    "complete",
    "count_in_flight",
    "discard",
    "enqueue",
    "extend_leases",
    "fail",
    "legible",
    "postpone_overdue",
    "prune",
    "put_back",
    "release_lost",
    "renew",
    "replay",
    "republish",
    "retry",
    "take_due",
    "waits_unclaimed",
]
