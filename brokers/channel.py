"""`ChannelProfile`: the common part of brokers that kombu keeps a connection to."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from kombu import Connection
from kombu.pools import connections
from pydantic import field_validator

from brokers.base import STEP_SECONDS, BrokerProfile, CaCerts
from brokers.errors import BrokerError
from brokers.library_errors import broker_errors
from brokers.urls import BrokerUrl
from settings.masking import SecretUrl

T = TypeVar("T")


class ChannelProfile(BrokerProfile):
    """A profile with a URL. It asks the broker through kombu, with Celery's options but shorter timeouts."""

    url: SecretUrl
    ca_certs: CaCerts | None = None

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretUrl) -> SecretUrl:
        cls.parse_url(url.get_secret_value())
        return url

    @classmethod
    @abstractmethod
    def parse_url(cls, text: str) -> list[BrokerUrl]:
        """Return the addresses in a URL.

        Raises ValueError with what is wrong and the cure, without quoting the URL.
        """

    @property
    def addresses(self) -> list[BrokerUrl]:
        return self.parse_url(self.url.get_secret_value())

    @property
    def broker_url(self) -> str:
        """The URL as kombu wants it, password included."""
        return ";".join(map(str, self.addresses))

    @property
    def ca_certs_file(self) -> str | None:
        return str(self.ca_certs) if self.ca_certs else None

    @property
    def places(self) -> str:
        return ", ".join(each.place for each in self.addresses)

    @property
    def address(self) -> str:
        return f"{self.title} at {self.places}"

    def less_patient(self) -> Self:
        """Return this profile without a timeout above STEP_SECONDS."""
        return self

    def connection(self) -> Connection:
        """Return a connection, not yet open, that tries each address once."""
        settings = self.less_patient().connection_settings()
        one_try = {"max_retries": len(self.addresses) - 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
        return Connection(
            settings["broker_url"],
            ssl=settings.get("broker_use_ssl", False),
            connect_timeout=STEP_SECONDS,
            transport_options={**settings["broker_transport_options"], **one_try},
        )

    @contextmanager
    def new_channel(self) -> Iterator[Any]:
        """Lend a channel of a new connection, so that the answer is about the broker as it is now."""
        with broker_errors(self):
            connection = self.connection()
            try:
                yield connection.default_channel
            except BaseException:
                # Closed without a dialogue: a frozen broker would not answer that either.
                connection.collect()
                raise
            connection.release()

    def ask(self, question: Callable[[Any], T]) -> T:
        """Return the answer to `question`, which is given a channel. Its connection is kept for the next question."""
        with broker_errors(self), connections[self.connection()].acquire(block=True, timeout=STEP_SECONDS) as kept:
            was_open = kept.connected
            try:
                return question(kept.default_channel)
            except BrokerError:
                raise
            except self.library_errors.kinds:
                kept.collect()
                if not was_open:
                    raise
            # The kept connection may have been cut while it was idle: ask once more, on a new one.
            try:
                return question(kept.default_channel)
            except self.library_errors.kinds:
                kept.collect()
                raise
