"""The settings of SQS."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from brokers.base import BrokerProfile
from settings.errors import SettingsError
from settings.masking import SecretUrl
from settings.variables import Seconds

#: A path is not allowed: kombu would drop it.
ENDPOINT: Final = re.compile(r"https?://[^/@?#\s]+/?", re.IGNORECASE)


class SQSSettings(BrokerProfile):
    """The variables of SQS, and its names in messages."""

    model_config = SettingsConfigDict(env_prefix="SQS_")

    name: ClassVar[str] = "sqs"
    title: ClassVar[str] = "SQS"
    schemes: ClassVar[tuple[str, ...]] = ("sqs",)
    compose_service: ClassVar[str] = "elasticmq"
    transports: ClassVar[Mapping[str, str]] = {"sqs": "brokers.sqs.mended:SQSTransport"}
    error_reader: ClassVar[str] = "brokers.sqs.errors:SQSErrors"
    depth_is_exact: ClassVar[bool] = False
    plain_names: ClassVar[Mapping[str, Any]] = {"queue_prefix": "", "create_queues": False}

    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "eu-central-1"
    """The AWS region that the queues are in."""

    queue_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]*$", max_length=40)] = "anybroker-"
    """Prefix of the name of every queue, so that services and environments can share an account: anybroker-default.
    Queues in OUTBOX_FOREIGN_QUEUES have no prefix but what their name says."""

    endpoint_url: SecretUrl | None = None
    """Address of an emulator (http://localhost:9324) or of a VPC endpoint. If unset, AWS itself is used."""

    create_queues: bool = True
    """Whether we may create queues and correct their attributes. If false, we only verify them: for accounts where
    queues are made by other means."""

    visibility_timeout: Annotated[Seconds, Field(ge=1, le=43_200)] = 120
    """After how long a message that a worker took and did not acknowledge is given to another worker. It must be longer
    than the longest task (60 s), or messages that wait in a busy worker run twice. The messages of a killed worker wait
    for as long."""

    retention_days: Annotated[int, Field(ge=1, le=14)] = 14
    """How long SQS keeps a message that no worker takes. 14 is the most that SQS allows; it is for an outage of the
    workers."""

    max_receives: Annotated[int, Field(ge=1, le=1000)] = 10
    """How often a message is received before it becomes a dead letter. Without a limit, a message that kills its worker
    would be delivered again until it is too old."""

    wait_time_seconds: Annotated[int, Field(ge=0, le=15)] = 10
    """How long one request waits for a message in an empty queue. A longer wait costs less. kombu gives a request up
    after 20 s; if the answer comes at that moment, its message is delayed by the visibility timeout."""

    polling_interval_seconds: Annotated[float, Field(ge=0)] = 0.1
    """Pause after a request that brought no message. It delays the next message; kombu's default is 1 s. Without a
    pause, a worker would ask a failing SQS as fast as it can."""

    connect_timeout_seconds: Annotated[float, Field(gt=0)] = 2
    """How long connecting may take. botocore's own default is minutes."""

    read_timeout_seconds: Annotated[float, Field(gt=0)] = 5
    """How long an answer may take."""

    prefetch_multiplier: Annotated[int, Field(ge=1)] = 4
    """Messages that a worker takes in advance, times its concurrency; ten per request at most. Every request is paid
    for, so it should bring several messages."""

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint(cls, url: SecretUrl | None) -> SecretUrl | None:
        if url and not ENDPOINT.fullmatch(url.get_secret_value()):
            raise ValueError("is no address of SQS: write http://host:port or https://host:port and nothing more.")
        return url

    @property
    def endpoint(self) -> str | None:
        """The address of SQS, or None for AWS itself."""
        return self.endpoint_url.get_secret_value().rstrip("/") if self.endpoint_url else None

    def _accept_url(self, url: str) -> Self:
        if url.strip().lower() != "sqs://":
            raise SettingsError(
                "CELERY_BROKER_URL says more than sqs://. Write the address to SQS_ENDPOINT_URL and the keys to "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: a URL ends up in logs."
            )
        return self

    @property
    def address(self) -> str:
        return f"{self.title} at {self.endpoint}" if self.endpoint else f"{self.title} in {self.region}"

    @property
    def reach_hint(self) -> str:
        return super().reach_hint if self.endpoint else "Check the network, the proxy and SQS_REGION."

    @property
    def access_hint(self) -> str:
        emulator = " (an emulator takes any)" if self.endpoint else " and their policy"
        return (
            f"Check the AWS credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role{emulator}."
        )

    @property
    def trust_hint(self) -> str:
        return "Set AWS_CA_BUNDLE to the certificate of who issued it, and use the host name it is for."
