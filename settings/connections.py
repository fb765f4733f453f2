"""DATABASE_URL, EMAIL_URL and CACHE_URL as the dictionaries that Django wants.

django-environ does the parsing, but it accepts some mistakes, and some of its errors show the password. So URLs are
checked here first: every `ValueError` says what is wrong and the cure.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote_plus, urlsplit

from environ import Env

from settings import PROJECT_ROOT
from settings.errors import choose_from

SQLITE, POSTGRESQL = ("sqlite",), ("postgres", "postgresql")
DATABASE_SCHEMES = (*SQLITE, *POSTGRESQL)
EMAIL_SCHEMES = ("consolemail", "smtp", "smtp+tls", "smtp+ssl", "filemail", "memorymail", "dummymail")
CACHE_SCHEMES = ("locmemcache", "redis", "rediss", "filecache", "dbcache", "dummycache")

#: Where a mail server listens, unless the URL says otherwise.
SMTP_PORTS = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}

#: How long a connection is kept for the next request. Connecting costs more than most queries; ten minutes
#: is short enough to follow a database that has moved.
CONN_MAX_AGE_SECONDS = 600

#: How long a SQLite writer waits for another one to finish.
SQLITE_BUSY_SECONDS = 20

#: WAL: readers do not wait for the writer. FULL: a commit is on the disk before it is answered, so that an
#: order answered with 201 survives a power cut; WAL's usual NORMAL may lose the last ones.
SQLITE_PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"

#: Options of libpq and psycopg. We stop waiting for a PostgreSQL that does not answer: after 5 s while connecting,
#: later after about 15 s, also if the connection was cut silently. psycopg prepares a statement of the outbox once it
#: has come five times; Django's own statements are never prepared.
POSTGRESQL_OPTIONS = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
    "prepare_threshold": 5,
    # READ COMMITTED, whatever the server's default is: under another level concurrent orders and claims fail instead of
    # waiting. The number is psycopg's. For what runs outside of a transaction, see outbox/apps.py.
    "isolation_level": 2,
}

#: How long a request waits for a connection of the pool.
POOL_WAIT_SECONDS = 10

#: A cache that does not answer must not delay a request for longer than this.
CACHE_TIMEOUT_SECONDS = 2

_ENCODE = (
    "has a password with characters that end it: write @ as %40, : as %3A, / as %2F, # as %23, ? as %3F, % as %25."
)

_NO_FILE = "names no file, and web and worker must share one: write sqlite:///var/db.sqlite3."

#: Options of DATABASE_URL that would undo what the service relies on.
_NOT_IN_URL = {
    "atomic_requests": "every request is a transaction, which joins an order and its e-mail's task",
    "autocommit": "Django's transactions need it on",
    "pool": "set DATABASE_POOL_SIZE instead",
    "isolation_level": "concurrent orders and claims wait for each other under READ COMMITTED only",
    "transaction_mode": "IMMEDIATE keeps a transaction from failing half-way",
    "init_command": "it makes a commit survive a power cut",
}


def database(url: str, *, pool_size: int = 0) -> dict[str, Any]:
    """Return Django's settings of the database at `url`; a `pool_size` of 0 means no pool.

    Raises ValueError with the cure. A mistake in the URL is reported before one in the pool.
    """
    if url == "sqlite://:memory:":
        raise ValueError(_NO_FILE)
    scheme = _scheme(url, DATABASE_SCHEMES, "postgresql://user:password@localhost:5432/orders")
    for option in parse_qs(_split(url).query):
        if option.lower() in _NOT_IN_URL:
            raise ValueError(f"must not set {option}: {_NOT_IN_URL[option.lower()]}.")
    config = _sqlite(url) if scheme in SQLITE else _postgresql(url)
    if not isinstance(config["CONN_MAX_AGE"], int | None):
        raise ValueError("sets conn_max_age to something other than a whole number of seconds.")
    return {**config, **(_pool(config, pool_size) if pool_size else {}), "ATOMIC_REQUESTS": True}


def _sqlite(url: str) -> dict[str, Any]:
    if _split(url).path in ("", "/", "/:memory:"):
        raise ValueError(_NO_FILE)
    path = _in_project(url)
    config = _parsed(Env.db_url_config, url)
    if path.is_dir():
        raise ValueError("is a directory: add the name of a file, such as db.sqlite3.")
    options = {
        "timeout": SQLITE_BUSY_SECONDS,
        # A transaction that reads first and writes later cannot wait for the lock; it would fail at once.
        "transaction_mode": "IMMEDIATE",
        "init_command": SQLITE_PRAGMAS,
    }
    return {
        "CONN_MAX_AGE": CONN_MAX_AGE_SECONDS,
        **config,
        "NAME": str(path),
        "OPTIONS": options | config.get("OPTIONS", {}),
    }


def _postgresql(url: str) -> dict[str, Any]:
    config = _parsed(Env.db_url_config, url)
    if not config["NAME"]:
        raise ValueError("names no database: write postgresql://user:password@host:5432/orders.")
    options = POSTGRESQL_OPTIONS | config.get("OPTIONS", {})
    # In DATABASE_URL 0 means never. For psycopg 0 means at once, and None means never.
    options["prepare_threshold"] = options["prepare_threshold"] or None
    return {
        "CONN_HEALTH_CHECKS": True,
        "CONN_MAX_AGE": CONN_MAX_AGE_SECONDS,
        **config,
        "OPTIONS": options,
    }


def _pool(config: dict[str, Any], size: int) -> dict[str, Any]:
    """Return the settings that a pool changes. Django refuses a pool if the threads keep connections, too."""
    if is_sqlite(config):
        raise ValueError("needs PostgreSQL, but DATABASE_URL is a sqlite:// URL. Unset one of them.")
    if config["CONN_MAX_AGE"] not in (0, CONN_MAX_AGE_SECONDS):
        raise ValueError("makes a pool, which has no use for the conn_max_age in DATABASE_URL. Remove one of them.")
    pool = {"min_size": 1, "max_size": size, "timeout": POOL_WAIT_SECONDS}
    return {"CONN_MAX_AGE": 0, "OPTIONS": config["OPTIONS"] | {"pool": pool}}


def email(url: str, *, timeout_seconds: int = 10) -> dict[str, Any]:
    """Return Django's EMAIL_… settings for `url`."""
    if url.startswith("smtps:"):
        raise ValueError("is ambiguous: write smtp+tls:// for STARTTLS, or smtp+ssl:// for TLS from the start.")
    scheme = _scheme(url, EMAIL_SCHEMES, "smtp+tls://user:password@mail.example.com:587")
    config = _parsed(Env.email_url_config, url)
    if "OPTIONS" in config:
        raise ValueError("takes no options behind '?': the time-out is EMAIL_TIMEOUT_SECONDS.")
    if scheme in SMTP_PORTS and not config["EMAIL_HOST"]:
        raise ValueError(f"names no mail server: write {scheme}://mail.example.com:{SMTP_PORTS[scheme]}.")
    return {
        "EMAIL_BACKEND": config["EMAIL_BACKEND"],
        "EMAIL_HOST": config["EMAIL_HOST"] or "",
        "EMAIL_PORT": config["EMAIL_PORT"] or SMTP_PORTS.get(scheme, 25),
        "EMAIL_HOST_USER": config["EMAIL_HOST_USER"] or "",
        "EMAIL_HOST_PASSWORD": config["EMAIL_HOST_PASSWORD"] or "",
        "EMAIL_USE_TLS": scheme == "smtp+tls",
        "EMAIL_USE_SSL": scheme == "smtp+ssl",
        "EMAIL_TIMEOUT": timeout_seconds,
        "EMAIL_FILE_PATH": str(_in_project(url)) if scheme == "filemail" else None,
    }


def cache(url: str) -> dict[str, Any]:
    """Return Django's settings of the cache at `url`. Only redis:// and rediss:// need a server."""
    scheme = _scheme(url, CACHE_SCHEMES, "redis://localhost:6379/1")
    config = _parsed(Env.cache_url_config, url)
    # django-environ writes the keys in lower case for Django's Redis cache, which then ignores KEY_PREFIX.
    config = {key.upper(): value for key, value in config.items()}
    if scheme == "dbcache" and not config["LOCATION"]:
        raise ValueError("names no table: write dbcache://cache_table.")
    if scheme == "filecache":
        config["LOCATION"] = str(_in_project(url))
    if scheme in ("redis", "rediss"):
        times = {"socket_timeout": CACHE_TIMEOUT_SECONDS, "socket_connect_timeout": CACHE_TIMEOUT_SECONDS}
        config["OPTIONS"] = times | config.get("OPTIONS", {})
    return config


def is_sqlite(config: dict[str, Any]) -> bool:
    """Whether `database()` returned the settings of a SQLite file."""
    return bool(config["ENGINE"].endswith("sqlite3"))


def create_directory(config: dict[str, Any]) -> None:
    """Create the directory of a SQLite file, because SQLite does not. Raises ValueError with the cure if that fails."""
    if is_sqlite(config):
        try:
            Path(config["NAME"]).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "a file is in its place" if isinstance(error, FileExistsError) else error.strerror
            raise ValueError(
                f"is in a directory that cannot be created ({reason}): create it, or choose another."
            ) from None


def _scheme(url: str, known: tuple[str, ...], example: str) -> str:
    scheme, separator, _ = url.partition("://")
    if not separator or not re.fullmatch(r"[\w.+-]+", scheme):
        raise ValueError(f"is not a URL: write one such as {example}.")
    if scheme not in known:
        raise ValueError(f"has a scheme that is not supported: {choose_from(scheme, known)}")
    return scheme


def _in_project(url: str) -> Path:
    """Return the path that a URL without a host names: in the project, or absolute after four slashes."""
    parts = _split(url)
    if parts.netloc or not parts.path.strip("/"):
        reason = "takes the start of a path for a host" if parts.netloc else "names no path"
        raise ValueError(
            f"{reason}: write three slashes before a path in the project ({parts.scheme}:///var/name), "
            "four before an absolute one."
        )
    return PROJECT_ROOT / unquote_plus(parts.path[1:])


def _split(url: str) -> SplitResult:
    """Return the parts of `url`. Raises our own ValueError: the parser's message would show the password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("has a host that cannot be read: write scheme://user:password@host:port/name.") from None
    if parts.netloc and "@" not in parts.netloc and "@" in url:
        raise ValueError(_ENCODE)
    for server in parts.netloc.rpartition("@")[2].split(","):
        port = re.sub(r"^(\[.*\]|[^:]*):?", "", server)
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError("has a port that is not a number from 1 to 65535.")
    return parts


def _parsed(parse: Callable[[str], dict[str, Any]], url: str) -> dict[str, Any]:
    """Return `parse(url)` of a URL whose host and port can be read."""
    _split(url)
    try:
        return parse(url)
    except ValueError:
        raise ValueError("cannot be read: write scheme://user:password@host:port/name.") from None
