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

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from time import monotonic
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

import amqp.exceptions
import kombu.exceptions
import redis.exceptions
from botocore import exceptions as aws
from redis.sentinel import MasterNotFoundError

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

#: Some libraries describe the whole of a connection in an error.
LONGEST_REASON: Final = 200

_UNTRUSTED: Final = (ssl.SSLCertVerificationError, aws.SSLError)

#: The broker does not accept who we are, or that we do this.
_DENIALS: Final = (
    amqp.exceptions.AccessRefused,
    amqp.exceptions.NotAllowed,
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    redis.exceptions.AuthenticationError,
    redis.exceptions.NoPermissionError,
)
_AWS_DENIALS: Final = (
    "AccessDenied",
    "AuthFailure",
    "ExpiredToken",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "MissingAuthenticationToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClient",
)

#: The broker is there and answers no.
_REFUSALS: Final = (
    amqp.exceptions.ChannelError,
    amqp.exceptions.IrrecoverableConnectionError,
    aws.ClientError,
    redis.exceptions.ResponseError,
)

#: What SQS calls the lack of a queue: the first in the older protocol's words.
AWS_NO_QUEUE: Final = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


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


class Addressed(Protocol):
    """What a message about a broker needs to know of it."""

    @property
    def address(self) -> str: ...
    @property
    def reach_hint(self) -> str: ...
    @property
    def access_hint(self) -> str: ...
    @property
    def trust_hint(self) -> str: ...


@contextmanager
def broker_errors(broker: Addressed) -> Iterator[None]:
    """Turn whatever a library raises inside into a BrokerError that names the broker, the time spent and a cure."""
    started = monotonic()
    try:
        yield
    except BrokerError:
        raise
    except LIBRARY_ERRORS as error:
        raise as_broker_error(error, broker, seconds=round(monotonic() - started, 1)) from error


def as_broker_error(error: Exception, broker: Addressed, *, seconds: float = 0) -> BrokerError:
    """Return what a library's error means for this broker; `seconds` is how long it took."""
    if isinstance(error, BrokerError):
        return error
    reason = _reason(error)
    if _find(error, (amqp.exceptions.NotFound,)) or aws_code(error) in AWS_NO_QUEUE:
        return QueueError(f"{broker.address} lacks a queue ({reason}).", "manage.py relay creates what is missing.")
    if _find(error, (amqp.exceptions.PreconditionFailed,)):
        return QueueError(
            f"A queue at {broker.address} is not what it should be ({reason}).",
            "When it is empty, delete it; manage.py relay makes it anew.",
        )
    if _find(error, _UNTRUSTED):
        return BrokerRefusedError(f"The certificate of {broker.address} is not trusted ({reason}).", broker.trust_hint)
    if _find(error, _DENIALS) or is_aws_denial(error):
        return BrokerRefusedError(f"{broker.address} refuses us ({reason}).", broker.access_hint)
    if _find(error, _REFUSALS):
        return BrokerRefusedError(f"{broker.address} says no ({reason}).", "The server's log may say more.")
    waited = f" after {seconds:g} s" if seconds else ""
    return BrokerUnreachableError(f"Cannot reach {broker.address}{waited} ({reason}).", broker.reach_hint)


def aws_code(error: BaseException) -> str:
    """Return what AWS calls the error, or an empty text when it is not AWS's."""
    answered = _find(error, (aws.ClientError,))
    return str(answered.response.get("Error", {}).get("Code", "")) if answered else ""


def is_aws_denial(error: BaseException) -> bool:
    """Whether AWS does not know us or does not let us do this."""
    answered = _find(error, (aws.ClientError,))
    status = answered.response.get("ResponseMetadata", {}).get("HTTPStatusCode") if answered else None
    return status == HTTPStatus.FORBIDDEN or aws_code(error).startswith(_AWS_DENIALS)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what lies behind it, outermost first, without that of an earlier attempt."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, BrokerError):
        yield cause
        # Botocore raises an error anew that it has kept, and what was behind it is then in its arguments only.
        kept = cause.kwargs.get("error") if isinstance(cause, aws.BotoCoreError) else None
        cause = cause.__cause__ or (kept if isinstance(kept, BaseException) else None) or cause.__context__


def _find(error: BaseException, kinds: tuple[type[E], ...]) -> E | None:
    return next((cause for cause in _causes(error) if isinstance(cause, kinds)), None)


def _reason(error: BaseException) -> str:
    """Return a few words for a person; libraries wrap the plain fact in layers of their own."""
    if untrusted := _find(error, (ssl.SSLCertVerificationError,)):
        return untrusted.verify_message.rstrip(".")
    if unverified := _find(error, (aws.SSLError,)):
        return str(unverified.kwargs["error"]).rstrip(".")
    if _find(error, (MasterNotFoundError,)):
        return "no Sentinel names a master: check REDIS_SENTINEL_MASTER and REDIS_SENTINEL_PASSWORD"
    if _find(error, (ConnectionRefusedError,)):
        return "connection refused"
    if _find(error, _TIMEOUTS):
        return "no answer"
    if answered := _find(error, (aws.ClientError,)):
        message = str(answered.response.get("Error", {}).get("Message", ""))
        return aws_code(error) if message.startswith("<") else f"{aws_code(error)}: {message}"
    if (failed := _find(error, (OSError,))) and failed.strerror:
        return failed.strerror
    words = str(error).splitlines() or [type(error).__name__]
    return words[0][:LONGEST_REASON].rstrip(".")
