"""Redis, or Valkey, with one list for each queue. Fast, and simple to run.

kombu takes a message off the list *before* it records which worker has it: a worker killed in between loses it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from brokers.base import STEP_SECONDS, CaCerts, Depth, Finding
from brokers.channel import ChannelProfile
from brokers.errors import BrokerRefusedError
from brokers.publishing import publish_pipelined
from brokers.redis.server import count, inspect_server, is_cluster
from brokers.redis.url import CLUSTER_CURE, NO_CLUSTER, SCHEMES, parse_redis_url
from brokers.urls import BrokerUrl
from brokers.wire import TaskMessage
from settings.masking import SecretUrl
from settings.variables import Seconds


class RedisProfile(ChannelProfile):
    """Settings for BROKER=redis."""

    model_config = SettingsConfigDict(env_prefix="REDIS_")

    name: ClassVar[str] = "redis"
    title: ClassVar[str] = "Redis"
    schemes: ClassVar[tuple[str, ...]] = SCHEMES
    compose_service: ClassVar[str] = "redis"
    transports: ClassVar[Mapping[str, str]] = {
        "redis": "brokers.redis.mended:RedisTransport",
        "rediss": "brokers.redis.mended:RedisTransport",
        "sentinel": "brokers.redis.mended:SentinelTransport",
    }
    error_reader: ClassVar[str] = "brokers.redis.errors:RedisErrors"
    plain_names: ClassVar[Mapping[str, Any]] = {"key_prefix": ""}

    url: SecretUrl = SecretUrl("redis://localhost:6379/0")
    """Where Redis is: redis://, rediss:// (TLS; the server's certificate is always verified), unix:// for a socket
    (unix:///run/redis.sock?db=0), or sentinel:// for each Sentinel, separated by `;`. Write user, password and
    database into the first URL: rediss://user:password@host:6379/0."""

    ca_certs: CaCerts | None = None
    """File of certificates that verify a rediss:// server, in addition to the system's own."""

    sentinel_master: str = "mymaster"
    """Name under which the Sentinels know the Redis to use. Only for sentinel://."""

    sentinel_password: SecretStr | None = None
    """Password of the Sentinels, if they have one. The password in the URL is for Redis."""

    key_prefix: str = ""
    """Prefix of every key, so that several services can share a Redis. Change it only while the queues are empty. Those
    in OUTBOX_FOREIGN_QUEUES are called as they are."""

    visibility_timeout: Annotated[Seconds, Field(ge=1)] = 120
    """After how long a message that a worker took and did not acknowledge is given to another worker. Only for
    tasks with durable=False: the ledger tracks all others. Longer than the longest task (60 s), or some run twice."""

    restore_interval_seconds: Annotated[int, Field(ge=1)] = 5
    """How often a worker looks for such messages; this adds to the visibility timeout. kombu's default is 100 s."""

    socket_timeout_seconds: Annotated[float, Field(gt=1)] = 5
    """How long an answer may take. Without a limit, a connection that was cut silently would block for ever. More than
    1 s, which is how long a worker waits for messages at a time."""

    connect_timeout_seconds: Annotated[float, Field(gt=0)] = 2
    """How long connecting may take."""

    health_check_interval_seconds: Annotated[int, Field(ge=1)] = 5
    """How often an idle connection is tested, so that a connection that was cut silently is replaced."""

    prefetch_multiplier: Annotated[int, Field(ge=1)] = 1
    """Messages that a worker takes in advance, times its concurrency. More is not faster on Redis, and the messages of
    a killed worker wait until they count as lost (OUTBOX_LOST_AFTER_SECONDS)."""

    @classmethod
    def parse_url(cls, text: str) -> list[BrokerUrl]:
        return parse_redis_url(text)

    @property
    def address(self) -> str:
        if self._scheme != "sentinel":
            return super().address
        return f"{self.title} {self.sentinel_master!r} of the Sentinels at {self.places}"

    @property
    def access_hint(self) -> str:
        return f"Check user, password and database in {self.variable_of('url')}."

    @property
    def _scheme(self) -> str:
        return self.addresses[0].scheme

    def connection_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "broker_url": self.broker_url,
            "broker_transport_options": self._transport_options(),
            "worker_prefetch_multiplier": self.prefetch_multiplier,
        }
        if self._scheme == "rediss":
            # By default kombu accepts any certificate for rediss://.
            settings["broker_use_ssl"] = {"ssl_cert_reqs": "required", "ssl_ca_certs": self.ca_certs_file}
        return settings

    def _transport_options(self) -> dict[str, Any]:
        answer, connect = self.socket_timeout_seconds, self.connect_timeout_seconds
        timeouts = {"socket_timeout": answer, "socket_connect_timeout": connect}
        options = {
            **timeouts,
            "socket_keepalive": True,
            "health_check_interval": self.health_check_interval_seconds,
            "visibility_timeout": self.visibility_timeout,
            "unacked_restore_interval": self.restore_interval_seconds,
            # Look every time; by default kombu looks every tenth time.
            "unacked_restore_throttle": 1,
            # One list per queue: the relay publishes by priority, so the broker needs none.
            "priority_steps": [0],
            "global_keyprefix": self.key_prefix,
        }
        if self._scheme == "sentinel":
            password = self.sentinel_password.get_secret_value() if self.sentinel_password else None
            options["master_name"] = self.sentinel_master
            # No retry: the next Sentinel is asked at once, not the same one again.
            options["sentinel_kwargs"] = {**timeouts, "password": password, "retry": None}
        return options

    def less_patient(self) -> Self:
        limited = ("socket_timeout_seconds", "connect_timeout_seconds")
        return self.model_copy(update={field: min(getattr(self, field), STEP_SECONDS) for field in limited})

    def prepare(self, queues: Sequence[str]) -> None:
        """Verify that Redis can be used. There is nothing to create: the first message makes its queue."""
        with self.new_channel() as channel, channel.conn_or_acquire() as client:
            if is_cluster(client.info("cluster")):
                raise BrokerRefusedError(f"{self.address} cannot be used: {NO_CLUSTER}.", CLUSTER_CURE)

    def publish(self, queue: str, messages: Sequence[TaskMessage]) -> None:
        self.ask(lambda channel: publish_pipelined(channel, queue, messages))

    def depth(self, queue: str) -> Depth:
        """The unacknowledged are those of all queues together: kombu records them in one place."""
        return self.ask(lambda channel: count(channel, queue))

    def _inspect(self, queues: Sequence[str]) -> Iterator[Finding]:
        with self.new_channel() as channel, channel.conn_or_acquire() as client:
            info = client.info()
        yield Finding("ok", "reachable", self.address)
        yield from inspect_server(info)
