"""Turns what a library raises, when a broker is away or refuses, into an error of ours.

The errors of the libraries have no common base. Those of kombu and amqp are read here, because every broker is used
through kombu. Those of a broker's own library are read by `errors.py` in its folder, which is imported only by
processes that use that broker.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import ClassVar, Final, Protocol, TypeVar

import amqp.exceptions
import kombu.exceptions

from brokers.errors import BrokerError, BrokerRefusedError, BrokerUnreachableError, QueueError

E = TypeVar("E", bound=BaseException)
Kinds = tuple[type[Exception], ...]

#: Characters. Some libraries describe a whole connection in an error.
LONGEST_REASON: Final = 200


class LibraryErrors:
    """Reads the errors of kombu and amqp. The causes of an error count, too."""

    kinds: ClassVar[Kinds] = (
        OSError,
        amqp.exceptions.AMQPError,
        amqp.exceptions.MessageNacked,
        kombu.exceptions.KombuError,
    )
    """Every error that is raised when a broker is away or refuses."""
    timeouts: ClassVar[Kinds] = (TimeoutError,)
    denials: ClassVar[Kinds] = (amqp.exceptions.AccessRefused, amqp.exceptions.NotAllowed)
    refusals: ClassVar[Kinds] = (amqp.exceptions.ChannelError, amqp.exceptions.IrrecoverableConnectionError)
    distrust: ClassVar[Kinds] = (ssl.SSLCertVerificationError,)

    def is_lack_of_queue(self, error: BaseException) -> bool:
        return self.find(error, (amqp.exceptions.NotFound,)) is not None

    def is_other_queue(self, error: BaseException) -> bool:
        """Whether a queue of that name exists with other attributes."""
        return self.find(error, (amqp.exceptions.PreconditionFailed,)) is not None

    def is_distrust(self, error: BaseException) -> bool:
        """Whether we do not trust the broker's certificate."""
        return self.find(error, self.distrust) is not None

    def is_denial(self, error: BaseException) -> bool:
        """Whether the broker rejects our credentials, or does not permit us to do this."""
        return self.find(error, self.denials) is not None

    def is_refusal(self, error: BaseException) -> bool:
        """Whether the broker answers and refuses."""
        return self.find(error, self.refusals) is not None

    def reason(self, error: BaseException) -> str:
        """Return the cause in a few words for a person, without the layers that libraries wrap around it."""
        if untrusted := self.find(error, (ssl.SSLCertVerificationError,)):
            return untrusted.verify_message.rstrip(".")
        if self.find(error, (ConnectionRefusedError,)):
            return "connection refused"
        if self.find(error, self.timeouts):
            return "no answer"
        if (failed := self.find(error, (OSError,))) and failed.strerror:
            return failed.strerror
        words = str(error).splitlines() or [type(error).__name__]
        return words[0][:LONGEST_REASON].rstrip(".")

    def find(self, error: BaseException, kinds: tuple[type[E], ...]) -> E | None:
        """Return the outermost error of one of these kinds among `error` and its causes."""
        return next((cause for cause in self._causes(error) if isinstance(cause, kinds)), None)

    def _causes(self, error: BaseException) -> Iterator[BaseException]:
        """Yield the error and its causes, outermost first; stop at an error that an earlier attempt has raised."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, BrokerError):
            yield cause
            cause = self._behind(cause)

    def _behind(self, error: BaseException) -> BaseException | None:
        return error.__cause__ or error.__context__


class Addressed(Protocol):
    """What an error about a broker needs to know of it."""

    @property
    def address(self) -> str: ...
    @property
    def reach_hint(self) -> str: ...
    @property
    def access_hint(self) -> str: ...
    @property
    def trust_hint(self) -> str: ...
    @property
    def library_errors(self) -> LibraryErrors: ...


@contextmanager
def broker_errors(broker: Addressed) -> Iterator[None]:
    """Turn what a library raises inside the block into a BrokerError with the broker, the time it took and a cure."""
    started = monotonic()
    try:
        yield
    except BrokerError:
        raise
    except broker.library_errors.kinds as error:
        raise as_broker_error(error, broker, seconds=round(monotonic() - started, 1)) from error


def as_broker_error(error: Exception, broker: Addressed, *, seconds: float = 0) -> BrokerError:
    """Return the BrokerError that a library's error means; `seconds` is how long the attempt took."""
    if isinstance(error, BrokerError):
        return error
    library = broker.library_errors
    reason = library.reason(error)
    if library.is_lack_of_queue(error):
        return QueueError(f"{broker.address} lacks a queue ({reason}).", "manage.py relay creates what is missing.")
    if library.is_other_queue(error):
        return QueueError(
            f"A queue at {broker.address} is not what it should be ({reason}).",
            "When it is empty, delete it; manage.py relay makes it anew.",
        )
    if library.is_distrust(error):
        return BrokerRefusedError(f"The certificate of {broker.address} is not trusted ({reason}).", broker.trust_hint)
    if library.is_denial(error):
        return BrokerRefusedError(f"{broker.address} refuses us ({reason}).", broker.access_hint)
    if library.is_refusal(error):
        return BrokerRefusedError(f"{broker.address} says no ({reason}).", "The server's log may say more.")
    waited = f" after {seconds:g} s" if seconds else ""
    return BrokerUnreachableError(f"Cannot reach {broker.address}{waited} ({reason}).", broker.reach_hint)
