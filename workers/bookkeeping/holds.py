"""The claims that a worker holds, and how many of them it should have at hand."""

from dataclasses import dataclass, field
from uuid import UUID

from outbox.ledger import Claim

#: How much work a worker claims in advance, in seconds: what it holds another worker could have begun.
AHEAD_SECONDS = 0.1

#: What it claims in advance at most, times its places.
MOST_AHEAD = 32

#: How fast the estimate of how long a task runs follows what is measured.
LEARNING_RATE = 0.05


@dataclass
class Pace:
    """How long a task runs, and so how many of them a worker should have at hand."""

    places: int
    seconds: float = AHEAD_SECONDS

    def learn(self, seconds: float) -> None:
        self.seconds += (seconds - self.seconds) * LEARNING_RATE

    @property
    def ahead(self) -> int:
        """How many claims may wait for a place."""
        return int(self.places * min(max(AHEAD_SECONDS / max(self.seconds, 1e-6), 1), MOST_AHEAD))


@dataclass
class Hold:
    """A claim of this worker. Times are monotonic."""

    claim: Claim
    begun_at: float = 0.0
    """0: it waits for a place."""
    recorded: bool = False
    """Whether the ledger counts the attempt."""
    handed: bool = False
    """Whether the pool has it: from then on it cannot be taken back."""


@dataclass
class Holds:
    """What a worker has claimed and not settled. Of one message it holds the newest claim: an older one is lost."""

    _holds: dict[UUID, Hold] = field(default_factory=dict)

    def add(self, claim: Claim, *, recorded: bool) -> None:
        self._holds[claim.id] = Hold(claim, recorded=recorded)

    def of(self, claim: Claim) -> Hold | None:
        """The hold of a claim; None if it is not ours any more."""
        hold = self._holds.get(claim.id)
        return hold if hold and hold.claim.lease == claim.lease else None

    def drop(self, claim: Claim) -> bool:
        """Hold a claim no longer; False if it was not held."""
        if self.of(claim) is None:
            return False
        del self._holds[claim.id]
        return True

    def waiting(self) -> list[Hold]:
        """Those that have not begun."""
        return [hold for hold in self._holds.values() if not hold.begun_at]

    def handed(self) -> list[Hold]:
        """Those that the pool has been given."""
        return [hold for hold in self._holds.values() if hold.handed]

    def unrecorded(self) -> list[Hold]:
        """Those that have begun, which the ledger does not know yet."""
        return [hold for hold in self._holds.values() if hold.begun_at and not hold.recorded]
