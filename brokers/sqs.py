"""Amazon SQS, or an emulator of it. Nothing to run; paid for by the request."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Self
from urllib.parse import urlsplit

from boto3.session import Session
from botocore.config import Config
from pydantic import Field, PrivateAttr, field_validator
from pydantic_settings import SettingsConfigDict

from brokers.base import STEP_SECONDS, BrokerProfile, Depth, Finding
from brokers.errors import broker_errors
from brokers.publishing import publish_to_sqs
from brokers.sqs_queues import QUEUE_NAME, PredefinedQueues, SQSQueues
from brokers.wire import TaskMessage
from settings.errors import SettingsError
from settings.variables import Seconds

DAY_SECONDS: Final = 86_400


class SQSProfile(BrokerProfile):
    """Settings for BROKER=sqs. Credentials are found as every AWS program finds them: AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY, AWS_PROFILE, the role of the container or of the machine."""

    model_config = SettingsConfigDict(env_prefix="SQS_")

    name: ClassVar[str] = "sqs"
    title: ClassVar[str] = "SQS"
    schemes: ClassVar[tuple[str, ...]] = ("sqs",)
    compose_service: ClassVar[str] = "elasticmq"
    depth_is_exact: ClassVar[bool] = False

    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "eu-central-1"
    """The AWS region that the queues are in."""

    queue_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]*$", max_length=40)] = "anybroker-"
    """Put before the name of every queue, so that services and environments share an account: anybroker-default."""

    endpoint_url: str | None = None
    """Where an emulator is (http://localhost:9324), or a VPC endpoint; empty means AWS itself."""

    create_queues: bool = True
    """Whether we may create queues and correct their attributes; false only verifies them, for accounts where queues
    are made by other means (deploy/aws/)."""

    visibility_timeout: Annotated[Seconds, Field(ge=1, le=43_200)] = 120
    """When a message that a worker took and did not acknowledge is handed to another one. Longer than the longest task
    (60 s), or messages waiting in a busy worker run twice; what a killed worker held waits that long."""

    retention_days: Annotated[int, Field(ge=1, le=14)] = 14
    """How long SQS keeps a message that nobody takes: 14 is the most there is, for an outage of the workers."""

    max_receives: Annotated[int, Field(ge=1, le=1000)] = 10
    """How often a message is received before it becomes a dead letter: one that kills its worker each time would go
    round until it is too old."""

    wait_time_seconds: Annotated[int, Field(ge=0, le=15)] = 10
    """How long an empty queue is listened to per request. Longer costs less; kombu gives up a request after 20 s, and
    one that is given up as the answer comes is a message delayed by the visibility timeout."""

    polling_interval_seconds: Annotated[float, Field(ge=0)] = 0.1
    """Pause after a request that brought nothing. kombu's own 1 s would be added to the delay of the next message;
    without any a worker asks a failing SQS as fast as it can."""

    connect_timeout_seconds: Annotated[float, Field(gt=0)] = 2
    """How long connecting may take. By default botocore tries for minutes."""

    read_timeout_seconds: Annotated[float, Field(gt=0)] = 5
    """How long an answer may take."""

    prefetch_multiplier: Annotated[int, Field(ge=1)] = 4
    """Messages that a worker takes in advance, times its concurrency, ten per request at most: requests are paid for."""

    _urls: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "http://localhost")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or "@" in parts.netloc:
            raise ValueError("is no address of SQS: write http://host:port or https://host:port and nothing more.")
        return url

    def _accept_url(self, url: str) -> Self:
        if url.strip().lower() != "sqs://":
            raise SettingsError(
                "CELERY_BROKER_URL says more than sqs://. Write the address to SQS_ENDPOINT_URL and the keys to "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: a URL ends up in logs."
            )
        return self

    @property
    def address(self) -> str:
        return f"{self.title} at {self.endpoint_url}" if self.endpoint_url else f"{self.title} in {self.region}"

    @property
    def reach_hint(self) -> str:
        return super().reach_hint if self.endpoint_url else "Check the network, the proxy and SQS_REGION."

    @property
    def access_hint(self) -> str:
        emulator = " (an emulator takes any)" if self.endpoint_url else " and their policy"
        return (
            f"Check the AWS credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role{emulator}."
        )

    def celery_settings(self, queues: Sequence[str]) -> dict[str, Any]:
        if misnamed := [queue for queue in queues if not QUEUE_NAME.fullmatch(queue)]:
            names = ", ".join(misnamed)
            raise SettingsError(f"QUEUES: SQS has no such names ({names}). Use letters, digits, - and _, 35 at most.")
        settings = super().celery_settings(queues)
        settings["broker_transport_options"] |= {
            "queue_name_prefix": self.queue_prefix,
            # kombu then neither lists queues, a right that many do not have, nor makes one without dead letters.
            "predefined_queues": PredefinedQueues(self.queue_prefix, queues, self.queue_url),
        }
        return settings

    def connection_settings(self) -> dict[str, Any]:
        endpoint = urlsplit(self.endpoint_url or "https://")
        return {
            # Without keys in the URL, boto looks for them in all the usual places.
            "broker_url": f"sqs://{endpoint.netloc}",
            "broker_transport_options": {
                "region": self.region,
                "is_secure": endpoint.scheme == "https",
                "visibility_timeout": self.visibility_timeout,
                "wait_time_seconds": self.wait_time_seconds,
                "polling_interval": self.polling_interval_seconds,
                "client-config": self._client_options(self.connect_timeout_seconds, self.read_timeout_seconds),
            },
            "worker_prefetch_multiplier": self.prefetch_multiplier,
        }

    @staticmethod
    def _client_options(connect_timeout: float, read_timeout: float) -> dict[str, Any]:
        # One attempt: whoever publishes or polls tries again anyway, and knows better when.
        retries = {"total_max_attempts": 1}
        return {"connect_timeout": connect_timeout, "read_timeout": read_timeout, "retries": retries}

    @cached_property
    def queues(self) -> SQSQueues:
        """The queues of this service, made as the settings say."""
        options = self._client_options(
            min(self.connect_timeout_seconds, STEP_SECONDS), min(self.read_timeout_seconds, STEP_SECONDS)
        )
        return SQSQueues(
            client=Session(region_name=self.region).client(
                "sqs", endpoint_url=self.endpoint_url, config=Config(**options)
            ),
            prefix=self.queue_prefix,
            attributes={
                "VisibilityTimeout": str(self.visibility_timeout),
                "MessageRetentionPeriod": str(self.retention_days * DAY_SECONDS),
            },
            max_receives=self.max_receives,
        )

    def queue_url(self, queue: str) -> str:
        """Return the URL of `queue`, which is made if it is missing and may be. SQS is asked once."""
        with broker_errors(self):
            if queue not in self._urls:
                if self.create_queues and self.queues.find_url(self.queues.name(queue)) is None:
                    self.queues.ensure(queue)
                self._urls[queue] = self.queues.url(queue)
        return self._urls[queue]

    def prepare(self, queues: Sequence[str]) -> None:
        with broker_errors(self):
            for queue in queues:
                self.queues.ensure(queue) if self.create_queues else self.queues.url(queue)

    def publish(self, queue: str, messages: Sequence[TaskMessage]) -> None:
        with broker_errors(self):
            publish_to_sqs(self.queues.client, self.queue_url(queue), queue, messages)

    def depth(self, queue: str) -> Depth:
        """SQS calls its numbers approximate: for up to a minute after the last message they may be behind."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        with broker_errors(self):
            counts = self.queues.read(self.queue_url(queue), *names)
        return Depth(*(int(counts[name]) for name in names))

    def _inspect(self, queues: Sequence[str]) -> Iterator[Finding]:
        with broker_errors(self):
            for number, queue in enumerate(queues):
                findings = list(self.queues.inspect(queue))
                if number == 0:
                    yield Finding("ok", "reachable", self.address)
                yield from findings
