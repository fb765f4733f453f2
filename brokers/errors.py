"""What can go wrong with a broker, whichever library noticed it.

BrokerError
    The broker cannot be used as things are.
    BrokerUnreachableError
        It does not answer.
    BrokerRefusedError
        It answers, and does not let us do this.
    QueueError
        A queue is missing, or is not what our promises need.
    PublishError
        It took a part of a batch.
"""

from typing import Any
from uuid import UUID


class BrokerError(ConnectionError):
    """Base class. `problem` says what is wrong, `cure` what to do about it.

    It is a `ConnectionError`, so wherever kombu and Celery wait for a broker to come back, they wait for this.
    """

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(f"{problem} {cure}")
        self.problem = problem
        self.cure = cure

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem, self.cure)


class BrokerUnreachableError(BrokerError):
    """Raised when the broker does not answer, or stops answering."""


class BrokerRefusedError(BrokerError):
    """Raised when the broker answers, but one of us refuses: password, permission, certificate."""


class QueueError(BrokerError):
    """Raised when a queue does not exist or lacks what our promises rest on."""


class PublishError(BrokerError):
    """Raised when the broker took some messages of a batch and not others: `unpublished` holds the ids of those."""

    def __init__(self, problem: str, cure: str, unpublished: frozenset[UUID]) -> None:
        super().__init__(problem, cure)
        self.unpublished = unpublished

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem, self.cure, self.unpublished)
