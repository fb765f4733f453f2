"""RabbitMQ, with quorum queues, which survive the loss of a node. A message is published once it is confirmed."""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

from kombu import Message
from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from brokers.base import CaCerts, Depth, Finding
from brokers.channel import ChannelProfile
from brokers.rabbitmq.confirms import Confirms
from brokers.rabbitmq.management import inspect_consumer_timeout, inspect_nodes
from brokers.rabbitmq.queue import DeadLetteredQueue, find_queue
from brokers.rabbitmq.server import inspect_dead_letters, inspect_queue, inspect_version, try_to_publish
from brokers.urls import BrokerUrl, parse_urls, scheme_of
from brokers.wire import TaskMessage
from settings.masking import SecretUrl

PORTS: Final = {"amqp": 5672, "amqps": 5671}


class RabbitMQProfile(ChannelProfile):
    """Settings for BROKER=rabbitmq."""

    model_config = SettingsConfigDict(env_prefix="RABBITMQ_")

    name: ClassVar[str] = "rabbitmq"
    title: ClassVar[str] = "RabbitMQ"
    schemes: ClassVar[tuple[str, ...]] = tuple(PORTS)
    compose_service: ClassVar[str] = "rabbitmq"
    transports: ClassVar[Mapping[str, str]] = {
        "amqp": "brokers.rabbitmq.mended:BoundedTransport",
        "amqps": "brokers.rabbitmq.mended:EachHostVerifiedTransport",
    }
    counts_unacknowledged: ClassVar[bool] = False
    prefetch_is_the_consumers: ClassVar[bool] = True

    url: SecretUrl = SecretUrl("amqp://guest:guest@localhost:5672//")
    """Where RabbitMQ is: amqp:// or amqps:// (TLS; the server's certificate is always verified). Several nodes of a
    cluster, separated by `;`, are tried in turn; all use the user, password and virtual host of the first URL:
    amqps://user:password@one:5671/orders;amqps://two:5671."""

    ca_certs: CaCerts | None = None
    """File of the certificates that verify an amqps:// server. If unset, the system's own are used."""

    management_url: SecretUrl | None = None
    """URL of the management plugin, http(s)://user:password@host:15672. If set, the doctor also checks what only the
    plugin knows: alarms of each node, and a split cluster."""

    heartbeat_seconds: Annotated[int, Field(ge=2)] = 10
    """How often a worker and RabbitMQ send each other a heartbeat. After two silent periods the connection is
    closed."""

    connect_timeout_seconds: Annotated[float, Field(gt=0)] = 2
    """How long connecting to one host may take, and how long each step of logging in."""

    confirm_timeout_seconds: Annotated[float, Field(gt=0)] = 5
    """How long RabbitMQ may take to confirm a message. Without a limit, a publisher would wait for ever while RabbitMQ
    is frozen or short of memory or disk."""

    delivery_limit: Annotated[int, Field(ge=1)] = 20
    """How often a message is delivered before it becomes a dead letter. Without a limit, a message that kills its
    worker would be delivered for ever. A queue keeps the limit that it was created with."""

    prefetch_multiplier: Annotated[int, Field(ge=1)] = 4
    """Messages that a worker takes in advance, times its concurrency. More than one is faster (3,005 instead of 2,292
    tasks/s) and costs nothing: RabbitMQ redelivers the messages of a killed worker at once."""

    @field_validator("management_url")
    @classmethod
    def _check_management_url(cls, url: SecretUrl | None) -> SecretUrl | None:
        if url and scheme_of(url.get_secret_value()) not in ("http", "https"):
            raise ValueError("is no URL of the management plugin: write http://user:password@host:15672.")
        return url

    @classmethod
    def parse_url(cls, text: str) -> list[BrokerUrl]:
        return parse_urls(text, PORTS)

    @property
    def access_hint(self) -> str:
        return f"Check user, password and virtual host in {self.variable_of('url')} (rabbitmqctl list_permissions)."

    def connection_settings(self) -> dict[str, Any]:
        settings = {
            "broker_url": self.broker_url,
            "broker_transport_options": {"confirm_publish": True},
            "broker_connection_timeout": self.connect_timeout_seconds,
            "broker_heartbeat": self.heartbeat_seconds,
            "worker_prefetch_multiplier": self.prefetch_multiplier,
        }
        if self.addresses[0].scheme == "amqps":
            # By default kombu does not verify that the certificate is for this host. None: the host connected to.
            settings["broker_use_ssl"] = {
                "cert_reqs": ssl.CERT_REQUIRED,
                "ca_certs": self.ca_certs_file,
                "server_hostname": None,
            }
        return settings

    def celery_settings(self, queues: Sequence[str], foreign: Sequence[str] = ()) -> dict[str, Any]:
        settings = super().celery_settings(queues, foreign)
        # Both are options of each message, not of the connection. `mandatory`: otherwise RabbitMQ confirms a message
        # that no queue takes.
        publishing = {"mandatory": True, "confirm_timeout": self.confirm_timeout_seconds}
        settings["task_routes"] = {"*": {"queue": queues[0], **publishing}}
        # So that each host is tried once.
        settings["task_publish_retry_policy"] |= {"max_retries": len(self.addresses)}
        return settings

    def queue(self, name: str) -> DeadLetteredQueue:
        return DeadLetteredQueue.of(name, delivery_limit=self.delivery_limit)

    def prepare(self, queues: Sequence[str]) -> None:
        with self.new_channel() as channel:
            for name in queues:
                if self._is_for_others:
                    find_queue(channel, name)
                else:
                    self.queue(name).create(channel)

    def publish(self, queue: str, messages: Sequence[TaskMessage]) -> None:
        timeout = self.confirm_timeout_seconds
        self.ask(lambda channel: Confirms.of(channel).publish(queue, messages, timeout_seconds=timeout))

    def acknowledge(self, messages: Sequence[Message]) -> None:
        if messages:
            channel: Any = messages[0].channel
            channel.acknowledge_all(messages)

    def depth(self, queue: str) -> Depth:
        """The unacknowledged are None: RabbitMQ tells a client only how many messages wait."""
        return self.ask(lambda channel: Depth(channel.queue_declare(queue, passive=True).message_count, None))

    def _inspect(self, queues: Sequence[str]) -> Iterator[Finding]:
        with self.new_channel() as channel:
            connection = channel.connection
            yield Finding("ok", "reachable", self.address)
            yield inspect_version(connection.server_properties)
            for queue in map(self.queue, queues):
                yield from inspect_queue(connection, queue)
                yield from inspect_dead_letters(connection, queue.dead_letters)
            yield try_to_publish(channel)
        if self.management_url:
            url = self.management_url.get_secret_value()
            yield from inspect_nodes(url)
            for name in queues:
                yield from inspect_consumer_timeout(url, self.connection().virtual_host, name)
