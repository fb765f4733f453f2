"""What can go wrong with a broker, whichever library noticed it.

BrokerError
    The broker cannot be used as things are.
    BrokerUnreachableError
        It does not answer.
    BrokerRefusedError
        It answers, and does not let us do this.
    QueueError
        A queue is missing, or is not what our promises need.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final, Protocol, TypeVar

import amqp.exceptions
import kombu.exceptions
import redis.exceptions
from botocore import exceptions as aws

E = TypeVar("E", bound=BaseException)

#: Everything the libraries raise when a broker is away or says no. They have no common base.
LIBRARY_ERRORS: Final = (
    OSError,
    amqp.exceptions.AMQPError,
    amqp.exceptions.MessageNacked,
    aws.BotoCoreError,
    aws.ClientError,
    kombu.exceptions.KombuError,
    redis.exceptions.RedisError,
)

_TIMEOUTS: Final = (TimeoutError, redis.exceptions.TimeoutError, aws.ConnectTimeoutError, aws.ReadTimeoutError)

_REFUSALS: Final = (
    amqp.exceptions.AccessRefused,
    amqp.exceptions.NotAllowed,
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.ClientError,
    redis.exceptions.AuthenticationError,
    redis.exceptions.ResponseError,
)


class BrokerError(ConnectionError):
    """Base class. `problem` says what is wrong, `cure` what to do about it.

    It is a `ConnectionError`, so wherever kombu and Celery wait for a broker to come back, they wait for this.
    """

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(f"{problem} {cure}")
        self.problem = problem
        self.cure = cure

    def __reduce__(self) -> tuple[type["BrokerError"], tuple[str, str]]:
        return type(self), (self.problem, self.cure)


class BrokerUnreachableError(BrokerError):
    """Raised when the broker does not answer, or stops answering."""


class BrokerRefusedError(BrokerError):
    """Raised when the broker answers but refuses us: wrong password, missing permission, not what it seems."""


class QueueError(BrokerError):
    """Raised when a queue does not exist or lacks what our promises rest on."""


class Addressed(Protocol):
    """What a message about a broker needs to know of it."""

    @property
    def address(self) -> str: ...
    @property
    def start_hint(self) -> str: ...
    @property
    def access_hint(self) -> str: ...


@contextmanager
def broker_errors(broker: Addressed) -> Iterator[None]:
    """Turn whatever a library raises inside into a BrokerError that names the broker, the time spent and a cure."""
    started = monotonic()
    try:
        yield
    except BrokerError:
        raise
    except LIBRARY_ERRORS as error:
        reason = _reason(error)
        if _find(error, _REFUSALS):
            raise BrokerRefusedError(f"{broker.address} refuses us ({reason}).", broker.access_hint) from error
        seconds = round(monotonic() - started, 1)
        waited = f" after {seconds:g} s" if seconds else ""
        problem = f"Cannot reach {broker.address}{waited} ({reason})."
        raise BrokerUnreachableError(problem, broker.start_hint) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what lies behind it, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _find(error: BaseException, kinds: tuple[type[E], ...]) -> E | None:
    return next((cause for cause in _causes(error) if isinstance(cause, kinds)), None)


def _reason(error: BaseException) -> str:
    """Return a few words for a person; libraries wrap the plain fact in layers of their own."""
    if untrusted := _find(error, (ssl.SSLCertVerificationError,)):
        return f"its certificate is not trusted: {untrusted.verify_message}"
    if _find(error, (ConnectionRefusedError,)):
        return "connection refused"
    if _find(error, _TIMEOUTS):
        return "no answer"
    words = str(error).splitlines() or [type(error).__name__]
    return words[0].rstrip(".")
