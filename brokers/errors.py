"""What can go wrong with a broker, whichever library noticed it.

BrokerError
    The broker cannot be used as things are.
    BrokerUnreachableError
        It does not answer.
    BrokerRefusedError
        It answers, and refuses.
    QueueError
        A queue is missing, or is not what our promises need.
    PublishError
        It took only a part of a batch.
"""

from typing import Any
from uuid import UUID


class BrokerError(ConnectionError):
    """Base class. `problem` says what is wrong, `cure` says what to do.

    It is a `ConnectionError`, so kombu and Celery wait for the broker and try again, as after any lost connection.
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
    """Raised when the broker refuses us (password, permission), or when we refuse its certificate."""


class QueueError(BrokerError):
    """Raised when a queue does not exist, or lacks an attribute that our promises need."""


class PublishError(BrokerError):
    """Raised when the broker took only a part of a batch. `unpublished` holds the ids of the messages it did not
    take."""

    def __init__(self, problem: str, cure: str, unpublished: frozenset[UUID]) -> None:
        super().__init__(problem, cure)
        self.unpublished = unpublished

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem, self.cure, self.unpublished)
