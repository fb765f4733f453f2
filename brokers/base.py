"""`BrokerProfile`: the whole contract between the service and the broker that carries its messages."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from kombu import Message, Queue
from kombu.utils.imports import symbol_by_name
from pydantic import BeforeValidator, FilePath, PrivateAttr

from brokers.errors import BrokerError
from brokers.library_errors import LibraryErrors
from brokers.urls import scheme_of
from brokers.wire import TaskMessage
from settings import PROJECT_ROOT
from settings.base import EnvSettings
from settings.errors import SettingsError
from settings.masking import SecretUrl

#: A task that runs longer is stopped: first by an exception that it may handle, then by killing its process. Otherwise
#: a task that hangs would occupy its place in the worker for ever.
SOFT_TIME_LIMIT_SECONDS: Final = 50
TIME_LIMIT_SECONDS: Final = 60

#: The longest that one step of a question to a broker may take (connecting, logging in, waiting for the answer).
STEP_SECONDS: Final = 3

#: Celery's options whose right value is the same on every broker.
COMMON_SETTINGS: Final[Mapping[str, Any]] = {
    # JSON only: through pickle, anyone who can write to the broker could run any code.
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
    # Whether a task has run is in the database; results would double the broker's work.
    "task_ignore_result": True,
    # Events and remote control use queues of their own. On Redis and RabbitMQ, remote control makes a worker exit when
    # its connection is lost (Celery 5.7.0).
    "worker_send_task_events": False,
    "task_send_sent_event": False,
    "worker_enable_remote_control": False,
    # Acknowledge before the task runs: then no redelivery timeout of a broker makes a long task run twice.
    "task_acks_late": False,
    "task_soft_time_limit": SOFT_TIME_LIMIT_SECONDS,
    "task_time_limit": TIME_LIMIT_SECONDS,
    # A misspelled queue is an error where it is used, not a new queue that nobody reads.
    "task_create_missing_queues": False,
    # Wait for the broker as long as it takes; Celery would give up after 100 attempts.
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # A lost connection to the broker does not interrupt an e-mail that is being sent.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # Publishing fails within seconds instead of keeping a request waiting.
    "task_publish_retry": True,
    "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
    # Ten threads publish at a time. The eleventh waits for 5 s, then fails; by default Celery waits for ever.
    "broker_pool_limit": 10,
    "broker_pool_acquire_timeout": 5,
}

#: The largest message that each broker takes: the default of RabbitMQ since 4.0. Only messages for workers that are not
#: ours have a size worth mentioning.
MOST_BYTES: Final = 16 * 1024 * 1024

#: What to do about a queue that belongs to others.
OTHERS_CURE: Final = "It is one of OUTBOX_FOREIGN_QUEUES: who consumes it creates it. Create it, or correct its name."

CaCerts = Annotated[FilePath, BeforeValidator(lambda path: PROJECT_ROOT / path)]
"""A file of certificates in PEM format; a relative path is relative to the checkout."""


Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Depth:
    """How many messages a broker holds of one queue."""

    #: Not yet handed to a worker.
    waiting: int
    #: Handed to a worker and not acknowledged; None if the broker does not tell.
    unacknowledged: int | None


@dataclass(frozen=True)
class Finding:
    """The result of one check. `cure` is empty when there is nothing to do."""

    level: Level
    name: str
    message: str
    cure: str = ""


class ForeignQueue(Queue):
    """A queue that belongs to workers that are not ours."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **{"routing_key": name, "no_declare": True, **options})


class BrokerProfile(EnvSettings):
    """One broker: its settings, Celery's options for it, and the questions that we ask it ourselves.

    Every method that talks to the broker raises BrokerError, within STEP_SECONDS per step.
    """

    name: ClassVar[str]
    """The name of the broker in BROKER."""
    title: ClassVar[str]
    """The name of the broker for people."""
    schemes: ClassVar[tuple[str, ...]]
    """URL schemes of this broker, the usual one first. Includes schemes that are refused with a reason of their own."""
    compose_service: ClassVar[str]
    """The name of the broker's service in its compose file."""
    transports: ClassVar[Mapping[str, str]] = {}
    """The mended transports that take the place of kombu's: URL scheme → `module:class`. They are names, not classes,
    so that a process loads the client of its own broker only."""
    error_reader: ClassVar[str] = "brokers.library_errors:LibraryErrors"
    """The class of `library_errors`, as `module:class`. It and the client are imported when there is an error to
    read."""

    counts_unacknowledged: ClassVar[bool] = True
    """Whether `depth` knows how many messages workers have not acknowledged yet."""
    prefetch_is_the_consumers: ClassVar[bool] = False
    """Whether a new prefetch applies only to consumers that start after it was set."""
    depth_is_exact: ClassVar[bool] = True
    """Whether `depth` counts a message as soon as it was published."""
    plain_names: ClassVar[Mapping[str, Any]] = {}
    """The fields with which queues are called as they are, and none is created or changed."""

    _is_for_others: bool = PrivateAttr(default=False)

    def variable_of(self, field: str) -> str:
        """Return the variable that has set `field`, or that would set it."""
        return self._given.get(field, (f"{self.prefix()}{field.upper()}", ""))[0]

    @property
    @abstractmethod
    def address(self) -> str:
        """The broker and its address for messages, without secrets: 'Redis at localhost:6379'."""

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
        """What tells what an error of the broker's library means."""
        reader: LibraryErrors = symbol_by_name(self.error_reader)()
        return reader

    def with_url(self, url: str) -> Self:
        """Return this profile with the URL that CELERY_BROKER_URL holds.

        Raises SettingsError if the URL is not valid or belongs to another broker.
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

    @cached_property
    def for_others(self) -> Self:
        """This profile for foreign queues: their names are as they are, and none is created or changed."""
        current = {field: getattr(self, field) for field in type(self).model_fields}
        others = self._build({**current, **self.plain_names}, self._given)
        others._is_for_others = True
        return others

    def celery_settings(self, queues: Sequence[str], foreign: Sequence[str] = ()) -> dict[str, Any]:
        """Return Celery's settings for this broker, in Celery's lower-case names; the first queue is the default.

        `foreign` are queues that messages can be sent to, and that our workers do not consume.
        """
        return {
            **deepcopy(COMMON_SETTINGS),
            "task_queues": [*map(self.queue, queues), *map(ForeignQueue, foreign)],
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
        """Create the queues that must exist, or verify them if we may not create them.

        Safe to run again, and in several processes at the same time.
        """

    @abstractmethod
    def publish(self, queue: str, messages: Sequence[TaskMessage]) -> None:
        """Publish a batch in as few round trips as the broker allows. Return when the broker has confirmed all of it.

        Raises PublishError if the broker took a part. After any other BrokerError it may have all, some or none of it.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages that a worker of ours has received, in as few round trips as the broker allows.

        Raises what the library raises if the connection is lost. The caller need not do anything then.
        """
        for message in messages:
            message.ack()

    def refuses(self, queue: str, message: TaskMessage) -> str:
        """Say why the broker will never take a message for `queue`; an empty text if it will."""
        size = len(message.body)
        return f"It has {size} bytes, and {self.title} takes {MOST_BYTES}." if size > MOST_BYTES else ""

    @abstractmethod
    def depth(self, queue: str) -> Depth:
        """Return how many messages the broker holds of `queue`. Cheap enough to be asked several times a second."""

    def findings(self, queues: Sequence[str]) -> list[Finding]:
        """Check everything on the broker's side that our promises depend on. Never raises, changes nothing."""
        found: list[Finding] = []
        try:
            for finding in self._inspect(queues):
                found.append(finding)
        except BrokerError as error:
            found.append(Finding("fail", self.title, error.problem, error.cure))
        return found

    def foreign_findings(self, queues: Sequence[str]) -> list[Finding]:
        """Check that foreign queues are there. Never raises, changes nothing."""
        return [self._look_at_foreign(queue) for queue in queues]

    def _look_at_foreign(self, queue: str) -> Finding:
        name = f"foreign queue {queue}"
        try:
            self.for_others.prepare([queue])
            waiting = self.for_others.depth(queue).waiting
        except BrokerError as error:
            return Finding("fail", name, error.problem, error.cure)
        return Finding("ok", name, f"{waiting} messages wait in it for workers that are not ours.")

    @abstractmethod
    def _inspect(self, queues: Sequence[str]) -> Iterator[Finding]:
        """Yield findings. A BrokerError ends the inspection and becomes the last finding."""
