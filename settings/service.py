"""What the service itself reads: key, hosts, database, e-mail, cache, and which broker carries its tasks."""

import re
from email.utils import parseaddr
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator

from settings import PROJECT_ROOT, connections
from settings.base import EnvSettings
from settings.errors import SettingsError, did_you_mean
from settings.masking import SecretUrl
from settings.secret_key import kept_key, require_strong
from settings.values import addresses
from settings.values.proxies import Proxies, read_proxies
from settings.variables import CommaList, DefaultText, OriginList, Seconds, Unit

#: ALLOWED_HOSTS in development: this machine only.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")

#: Names of queues that work on every broker. SQS is the strictest: it takes 80 characters, prefix included.
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")

#: Names of queues that others have chosen: what a row of the outbox can keep.
_FOREIGN_NAME = re.compile(r"[^\s,]{1,80}")


def _development_key() -> SecretStr:
    path = PROJECT_ROOT / "var" / "secret_key"
    try:
        return SecretStr(kept_key(path))
    except OSError as error:
        raise SettingsError(
            f"SECRET_KEY is not set, and one cannot be kept in {path} ({error.strerror}). Set it."
        ) from None


class ServiceSettings(EnvSettings):
    """The service.

    Which broker carries the tasks, where the database is, how e-mail leaves. The defaults run on a laptop;
    `ENVIRONMENT=production` requires the values that must not be defaults there.
    """

    environment: Literal["development", "production"] = "development"
    """`production` refuses to start with DEBUG, a weak SECRET_KEY or no ALLOWED_HOSTS, and sends cookies over
    HTTPS only."""

    debug: Annotated[bool, DefaultText("true in development, false in production")] = False
    """Whether errors are answered with tracebacks and settings. Refused in production."""

    secret_key: Annotated[SecretStr, DefaultText("in development one is made and kept in var/secret_key")] = SecretStr(
        ""
    )
    """Signs sessions and tokens: 50 random characters or more, the same in every process. Anyone who
    knows it can log in as any user."""

    allowed_hosts: Annotated[CommaList, DefaultText("localhost, 127.0.0.1 and [::1] in development")] = ()
    """Host names that the service answers to, without scheme and port; `.example.com` means its subdomains
    too."""

    csrf_trusted_origins: OriginList = ()
    """Origins whose forms are trusted, with their scheme, when a proxy changes host or port:
    `https://orders.example.com`."""

    broker: str = "redis"
    """Which broker carries the tasks: `redis`, `rabbitmq` or `sqs`."""

    celery_broker_url: SecretUrl | None = None
    """Overrides the broker's own URL (REDIS_URL, RABBITMQ_URL) and must agree with BROKER."""

    celery_result_backend: SecretUrl | None = None
    """Where Celery stores what tasks return. If unset, `AsyncResult` is answered from the outbox, which knows how a
    task ended but not what it returned."""

    queues: CommaList = ("default",)
    """Queues that workers consume; tasks that name none go to the first. Letters, digits, `-` and `_`."""

    outbox_foreign_queues: CommaList = ()
    """Queues that belong to workers that are not ours: plain Celery, or another code base. What is enqueued for one is
    published with its arguments inside. Their names are taken as they are, without SQS_QUEUE_PREFIX and
    REDIS_KEY_PREFIX, and they are never created or changed."""

    database_url: SecretUrl = SecretUrl("sqlite:///var/db.sqlite3")
    """The database: `sqlite:///path` in the project, `sqlite:////path` elsewhere, or
    `postgresql://user:password@host:5432/name`; options of libpq may follow a `?`. Behind a pooler that keeps no
    prepared statements (PgBouncer before 1.24, pooling transactions), add `prepare_threshold=0`."""

    database_pool_size: Annotated[int, Unit("connections")] = Field(default=0, ge=0)
    """The most PostgreSQL connections of one process, shared by its threads. 0: no pool; each thread keeps a connection
    of its own."""

    database_statement_timeout: Annotated[Seconds, Field(ge=0)] = 10
    """How long PostgreSQL may work on one statement of a web process; it is then ended, and the request is answered
    with 503. 0: no limit. A pooler that shares connections between transactions (PgBouncer) would pass the limit on to
    workers: use 0 there, and `ALTER ROLE ... SET statement_timeout` for a role of web's own."""

    email_url: SecretUrl = SecretUrl("consolemail://")
    """How e-mail leaves: `smtp://host:25`, `smtp+tls://user:password@host:587` (STARTTLS),
    `smtp+ssl://user:password@host:465`, `filemail:///var/mail`, or `consolemail://` for the log."""

    email_timeout_seconds: Seconds = Field(default=10, ge=1)
    """How long a mail server may take to answer before the attempt counts as failed."""

    email_connection_seconds: Seconds = Field(default=60, ge=0)
    """How long a connection to the mail server is used for one e-mail after another. It is closed when none has come
    for 10 s. 0: each e-mail has a connection of its own."""

    email_connection_messages: Annotated[int, Unit("e-mails")] = Field(default=100, ge=1)
    """After how many e-mails a new connection is made: some servers refuse more."""

    default_from_email: str = "orders@localhost"
    """Sender of every e-mail: an address, or `Name <address>`. Production with a mail server asks for one."""

    cache_url: SecretUrl = SecretUrl("locmemcache://")
    """Django's cache: `locmemcache://` (each process its own), `redis://host:6379/1`, `rediss://`,
    `filecache:///var/cache`, `dbcache://table` or `dummycache://`."""

    orders_report_email: str | None = None
    """E-mail address that gets the daily summary of orders. If unset, no summary is sent."""

    site_name: str = "Anybroker Orders"
    """Name of the service in e-mails."""

    time_zone: str = "UTC"
    """Zone of dates in e-mails and of the hours in the schedule, as in `Europe/Berlin`."""

    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
    ] = "INFO"
    """The lowest level that is logged."""

    script_name: str = ""
    """Path below which a proxy serves the service, as in `/shop`. Every address and the static files get it. Whether
    the proxy passes the path on or takes it off does not matter. `/health/live` answers with and without it."""

    trust_proxy_headers: bool = False
    """Whether `X-Forwarded-Proto: https` is believed. Set this only behind a proxy that always sets the header: without
    one, any client can forge it."""

    trusted_proxies: Annotated[CommaList, DefaultText("1 with TRUST_PROXY_HEADERS, otherwise 0")] = ()
    """Proxies in front whose `X-Forwarded-For` is believed: how many stand in a row, as in `2`, or their networks, as
    in `10.0.0.0/8, 2001:db8::/32`. Networks are safer where a proxy can be gone past. See docs/behind-a-proxy.md."""

    @property
    def is_production(self) -> bool:
        """Whether ENVIRONMENT is `production`."""
        return self.environment == "production"

    @property
    def relayed_queues(self) -> tuple[str, ...]:
        """Every queue that the relay publishes to."""
        return (*self.queues, *self.outbox_foreign_queues)

    @property
    def proxies(self) -> Proxies:
        """How many proxies stand in front, or their networks."""
        if not self.trusted_proxies:
            return int(self.trust_proxy_headers)
        return read_proxies(self.trusted_proxies)

    @property
    def databases(self) -> dict[str, dict[str, Any]]:
        """Django's DATABASES."""
        url = self.database_url.get_secret_value()
        return {"default": connections.database(url, pool_size=self.database_pool_size)}

    @property
    def email_settings(self) -> dict[str, Any]:
        """Django's EMAIL_… settings by name."""
        return connections.email(self.email_url.get_secret_value(), timeout_seconds=self.email_timeout_seconds)

    @property
    def caches(self) -> dict[str, dict[str, Any]]:
        """Django's CACHES."""
        return {"default": connections.cache(self.cache_url.get_secret_value())}

    @model_validator(mode="before")
    @classmethod
    def _development_defaults(cls, given: dict[str, Any]) -> dict[str, Any]:
        if given.get("environment") == "production":
            return given
        defaults = {"debug": True, "allowed_hosts": LOCAL_HOSTS} | given
        return defaults if "secret_key" in given else defaults | {"secret_key": _development_key()}

    @field_validator("debug")
    @classmethod
    def _no_debug_in_production(cls, debug: bool, info: ValidationInfo) -> bool:
        if debug and _is_production(info):
            raise ValueError("shows settings and tracebacks to everyone: unset it in production.")
        return debug

    @field_validator("secret_key")
    @classmethod
    def _strong_key_in_production(cls, secret_key: SecretStr, info: ValidationInfo) -> SecretStr:
        if _is_production(info):
            require_strong(secret_key.get_secret_value())
        return secret_key

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_in_production(cls, hosts: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not hosts and _is_production(info):
            raise ValueError("is empty, so no request would be answered: list host names, as in orders.example.com.")
        for host in hosts:
            if "/" in host or re.search(r"[^\]]:\d+$", host):
                raise ValueError(f"has {host!r}, which is not a host name: leave out scheme, port and path.")
        return hosts

    @field_validator("celery_result_backend")
    @classmethod
    def _results_for_everyone(cls, url: SecretUrl | None) -> SecretUrl | None:
        if url and url.get_secret_value().partition(":")[0] in {"rpc", "amqp"}:
            raise ValueError("keeps results in the connection that called, which is not the relay's: name a store.")
        return url

    @field_validator("queues")
    @classmethod
    def _queues_for_every_broker(cls, queues: tuple[str, ...]) -> tuple[str, ...]:
        if not queues:
            raise ValueError("names no queue: write default.")
        for queue in queues:
            if not _QUEUE_NAME.fullmatch(queue):
                raise ValueError(f"has {queue!r}: up to 60 letters, digits, - and _ work on every broker.")
        if len(set(queues)) < len(queues):
            raise ValueError("names a queue twice: remove one.")
        return queues

    @field_validator("outbox_foreign_queues")
    @classmethod
    def _queues_of_others(cls, foreign: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for queue in foreign:
            if not _FOREIGN_NAME.fullmatch(queue):
                raise ValueError(f"has {queue!r}: the outbox keeps names of up to 80 characters without spaces.")
            if queue in info.data.get("queues", ()):
                raise ValueError(f"has {queue!r}, which is in QUEUES too: our own workers consume it. Remove one.")
        if len(set(foreign)) < len(foreign):
            raise ValueError("names a queue twice: remove one.")
        return foreign

    @field_validator("database_url")
    @classmethod
    def _database(cls, url: SecretUrl) -> SecretUrl:
        connections.create_directory(connections.database(url.get_secret_value()))
        return url

    @field_validator("database_pool_size")
    @classmethod
    def _pool_of_postgresql(cls, size: int, info: ValidationInfo) -> int:
        if url := info.data.get("database_url"):
            connections.database(url.get_secret_value(), pool_size=size)
        return size

    @field_validator("email_url")
    @classmethod
    def _email(cls, url: SecretUrl) -> SecretUrl:
        connections.email(url.get_secret_value())
        return url

    @field_validator("cache_url")
    @classmethod
    def _cache(cls, url: SecretUrl) -> SecretUrl:
        connections.cache(url.get_secret_value())
        return url

    @field_validator("default_from_email")
    @classmethod
    def _sender(cls, address: str, info: ValidationInfo) -> str:
        sends = (url := info.data.get("email_url")) and url.get_secret_value().startswith("smtp")
        if sends and _is_production(info) and parseaddr(address)[1].endswith("@localhost"):
            raise ValueError("is nobody's address outside of this machine: write one of yours, as in shop@example.com.")
        return addresses.sender(address)

    @field_validator("orders_report_email")
    @classmethod
    def _address(cls, address: str | None) -> str | None:
        return address and addresses.deliverable(address)

    @field_validator("script_name")
    @classmethod
    def _path(cls, path: str) -> str:
        if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path.rstrip("/")):
            raise ValueError("is not a path: write it with a slash before it, as in /shop.")
        return path.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        read_proxies(texts)
        return texts

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            meant = did_you_mean(zone, sorted(available_timezones()))
            raise ValueError(f"is not a time zone: write one such as Europe/Berlin.{meant}") from None
        return zone


def _is_production(info: ValidationInfo) -> bool:
    return info.data.get("environment") == "production"
