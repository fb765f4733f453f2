"""What a broker has to be able to do: the whole contract between the service and whatever carries its messages."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from kombu import Message, Queue
from kombu.utils.imports import symbol_by_name
from pydantic import BeforeValidator, FilePath

from brokers.errors import BrokerError
from brokers.library_errors import LibraryErrors
from brokers.urls import scheme_of
from brokers.wire import TaskMessage
from settings import PROJECT_ROOT
from settings.base import EnvSettings
from settings.errors import SettingsError
from settings.masking import SecretUrl

#: A task that runs longer is stopped: first by an exception it may handle, then by killing its process.
#: One that hangs would otherwise hold its place in the worker for ever.
SOFT_TIME_LIMIT_SECONDS: Final = 50
TIME_LIMIT_SECONDS: Final = 60

#: No single step towards a broker takes longer when we merely ask it something.
STEP_SECONDS: Final = 3

#: Celery's options whose right value is the same on every broker.
COMMON_SETTINGS: Final[Mapping[str, Any]] = {
    # JSON only: whoever can write to the broker could run any code through pickle.
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
    # The answer to 'was it sent?' is in the database; results would double the broker's work.
    "task_ignore_result": True,
    # Events and remote control publish and consume on queues of their own. On a lost connection the worker exits
    # on Redis and RabbitMQ (Celery 5.7.0) because of the latter.
    "worker_send_task_events": False,
    "task_send_sent_event": False,
    "worker_enable_remote_control": False,
    # Acknowledge before the task runs, so that no broker's redelivery timeout makes a long task run twice.
    "task_acks_late": False,
    "task_soft_time_limit": SOFT_TIME_LIMIT_SECONDS,
    "task_time_limit": TIME_LIMIT_SECONDS,
    # A misspelled queue is an error where it is used, not a new queue that nobody reads.
    "task_create_missing_queues": False,
    # Wait for the broker as long as it takes; Celery would give up after 100 attempts.
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # An e-mail that is just being sent is not stopped because the broker went away.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # Publishing fails within seconds instead of keeping a request waiting.
    "task_publish_retry": True,
    "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
    # Ten threads publish at a time; the eleventh waits this many seconds, then fails. Celery waits without bound.
    "broker_pool_limit": 10,
    "broker_pool_acquire_timeout": 5,
}

CaCerts = Annotated[FilePath, BeforeValidator(lambda path: PROJECT_ROOT / path)]
"""A file of certificates in PEM format; a relative path is relative to the checkout."""


Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Depth:
    """How many messages a broker holds of one queue."""

    #: Not yet handed to a worker.
    waiting: int
    #: Handed to a worker and not acknowledged; None where the broker does not tell.
    unacknowledged: int | None


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `cure` is empty when there is nothing to do."""

    level: Level
    name: str
    message: str
    cure: str = ""


class BrokerProfile(EnvSettings):
    """One broker: how Celery uses it, and what we ask it ourselves.

    Every method that talks to the broker raises BrokerError, within STEP_SECONDS per step.
    """

    name: ClassVar[str]
    """What BROKER calls it."""
    title: ClassVar[str]
    """What people call it."""
    schemes: ClassVar[tuple[str, ...]]
    """URL schemes that mean this broker, the usual one first; those it has to refuse are included."""
    compose_service: ClassVar[str]
    """What the broker is called in its compose file."""
    transports: ClassVar[Mapping[str, str]] = {}
    """kombu's transports that are mended, by the scheme of their URLs. By name, as kombu writes where a class is: a
    process loads the client of its own broker only."""
    error_reader: ClassVar[str] = "brokers.library_errors:LibraryErrors"
    """The class of `library_errors`, by name: it and the client are imported once there is an error to read."""

    counts_unacknowledged: ClassVar[bool] = True
    """Whether `depth` knows how many messages are with workers."""
    prefetch_is_the_consumers: ClassVar[bool] = False
    """Whether a new prefetch holds for those only who begin to consume after it was set."""
    depth_is_exact: ClassVar[bool] = True
    """Whether `depth` counts a message the moment it was published."""

    def variable_of(self, field: str) -> str:
        """Return the variable that `field` was set by, or would be."""
        return self._given.get(field, (f"{self.prefix()}{field.upper()}", ""))[0]

    @property
    @abstractmethod
    def address(self) -> str:
        """Broker and place for a person, without secrets: 'Redis at localhost:6379'."""

    @property
    def start_hint(self) -> str:
        """The command that starts this broker."""
        return f"docker compose -f compose.{self.name}.yml up -d {self.compose_service}"

    @property
    def reach_hint(self) -> str:
        """What to do when the broker does not answer."""
        return f"Start it: {self.start_hint}"

    @property
    @abstractmethod
    def access_hint(self) -> str:
        """What to check when the broker refuses us."""

    @property
    def library_errors(self) -> LibraryErrors:
        """How to read what the library that talks to the broker raises."""
        reader: LibraryErrors = symbol_by_name(self.error_reader)()
        return reader

    def with_url(self, url: str) -> Self:
        """Return this profile with the URL that CELERY_BROKER_URL holds.

        Raises SettingsError when the URL will not do or belongs to another broker.
        """
        scheme = scheme_of(url)
        if scheme not in self.schemes:
            raise SettingsError(self._disagreement(scheme))
        return self._accept_url(url)

    def _accept_url(self, url: str) -> Self:
        return self.replace(given_by="CELERY_BROKER_URL", url=SecretUrl(url))

    def _disagreement(self, scheme: str) -> str:
        from brokers import PROFILES  # not above: it imports this module

        kind = f"{'an' if scheme[:1] in tuple('aeios') else 'a'} {scheme}:// URL" if scheme else "no URL"
        owner = next((each.name for each in PROFILES.values() if scheme in each.schemes), None)
        cure = (
            f"Unset one of them, or set BROKER={owner}."
            if owner
            else f"Unset it, or write a URL that starts with {self.schemes[0]}://."
        )
        return f"CELERY_BROKER_URL is {kind} but BROKER={self.name}. {cure}"

    @property
    def trust_hint(self) -> str:
        """What to do when the broker's certificate is not trusted."""
        return f"Set {self.prefix()}CA_CERTS to the certificate of who issued it, and use the host name it is for."

    def celery_settings(self, queues: Sequence[str]) -> dict[str, Any]:
        """Return Celery's settings for this broker, in Celery's lower-case names; the first queue is the default."""
        return {
            **deepcopy(COMMON_SETTINGS),
            "task_queues": [self.queue(name) for name in queues],
            "task_default_queue": queues[0],
            **self.connection_settings(),
        }

    @abstractmethod
    def connection_settings(self) -> dict[str, Any]:
        """Return the part of `celery_settings` that says how to reach the broker and how to behave there."""

    def queue(self, name: str) -> Queue:
        """Return queue `name` as Celery declares it."""
        return Queue(name, routing_key=name)

    @abstractmethod
    def prepare(self, queues: Sequence[str]) -> None:
        """Create what must exist, or verify it where we may not create. Safe to run again and at the same time."""

    @abstractmethod
    def publish(self, queue: str, messages: Sequence[TaskMessage]) -> None:
        """Publish a batch, in as few round trips as the broker allows; return when the broker has all of it.

        Raises PublishError when it took a part. After any other BrokerError it may have any part of it.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker that these messages, which a worker of ours was handed, are done with; in as few round trips
        as it allows. Raises what its library raises when the connection is lost: then nothing is to be done."""
        for message in messages:
            message.ack()

    @abstractmethod
    def depth(self, queue: str) -> Depth:
        """Return how many messages the broker holds of `queue`. Cheap enough to be asked several times a second."""

    def findings(self, queues: Sequence[str]) -> list[Finding]:
        """Look at everything on the broker's side that a promise of ours rests on. Never raises, changes nothing."""
        found: list[Finding] = []
        try:
            for finding in self._inspect(queues):
                found.append(finding)
        except BrokerError as error:
            found.append(Finding("fail", self.title, error.problem, error.cure))
        return found

    @abstractmethod
    def _inspect(self, queues: Sequence[str]) -> Iterator[Finding]:
        """Yield findings; a BrokerError ends the inspection and becomes the last one."""
