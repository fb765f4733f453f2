"""The only writer of `Message`: every change of a message's state is one statement of this package.

enqueue.py  whoever calls `.delay()`
relay.py    what is due, what was lost
foreign.py  what is for workers that are not ours
held.py     what is not to be published now
worker.py   claim, begin, renew, release
settle.py   how attempts end
revoke.py   what `revoke()` decides
people.py   replay, discard, prune
occurrences.py  what beat asks of the past of its schedules
history.py  what a message tells of its past
pauses.py   pause, resume

The clock is the database's, because hosts may disagree about the hour.
"""

from outbox.ledger.enqueue import encode, enqueue
from outbox.ledger.foreign import bury, complete_messages, hand_over, release_unconfirmed
from outbox.ledger.held import EVERY_TASK, EXPIRED, UNKNOWN, Runnable, make_due, set_aside, set_due_aside
from outbox.ledger.history import ERROR_CHARACTERS, legible
from outbox.ledger.pauses import pause, pauses, resume
from outbox.ledger.people import discard, prune, prune_dead, prune_poison, replay, republish
from outbox.ledger.relay import (
    AGEING_SECONDS,
    MOST_DOUBLINGS,
    SPENT,
    Floor,
    InFlight,
    count_in_flight,
    extend_leases,
    postpone_overdue,
    put_back,
    release_lost,
    take_due,
)
from outbox.ledger.revoke import find_terminated, revoke, terminate
from outbox.ledger.settle import complete, complete_all, cut_short, expire, fail, retry
from outbox.ledger.worker import (
    Answer,
    Claim,
    begin,
    claim,
    explain,
    refuse,
    release,
    renew,
    waits_unclaimed,
)

__all__ = [
    "AGEING_SECONDS",
    "ERROR_CHARACTERS",
    "EVERY_TASK",
    "EXPIRED",
    "MOST_DOUBLINGS",
    "SPENT",
    "UNKNOWN",
    "Answer",
    "Claim",
    "Floor",
    "InFlight",
    "Runnable",
    "begin",
    "bury",
    "claim",
    "complete",
    "complete_all",
    "complete_messages",
    "count_in_flight",
    "cut_short",
    "discard",
    "encode",
    "enqueue",
    "expire",
    "explain",
    "extend_leases",
    "fail",
    "find_terminated",
    "hand_over",
    "legible",
    "make_due",
    "pause",
    "pauses",
    "postpone_overdue",
    "prune",
    "prune_dead",
    "prune_poison",
    "put_back",
    "refuse",
    "release",
    "release_lost",
    "release_unconfirmed",
    "renew",
    "replay",
    "republish",
    "resume",
    "retry",
    "revoke",
    "set_aside",
    "set_due_aside",
    "take_due",
    "terminate",
    "waits_unclaimed",
]
