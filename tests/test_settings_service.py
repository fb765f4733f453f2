"""The service's own settings: what production asks for, and the database, e-mail and cache that URLs stand for."""

import multiprocessing
import stat
from pathlib import Path
from typing import Any

import pytest
from django.db.utils import ConnectionHandler

from settings import PROJECT_ROOT
from settings.connections import POSTGRESQL_OPTIONS
from settings.secret_key import kept_key
from settings.service import ServiceSettings
from tests.settings_carrier import problem, problems, service

STRONG_KEY = "q8Zr-3vYt_Lw6nXbKc0uJf2sHgPd5aEoM1iVxTkR7yBzN9mQWlC4"
PRODUCTION = {"ENVIRONMENT": "production", "SECRET_KEY": STRONG_KEY, "ALLOWED_HOSTS": "orders.example.com"}


# --- Production ----------------------------------------------------------------------------------


def test_production_starts_with_a_key_and_hosts() -> None:
    settings = service(**PRODUCTION)
    assert settings.is_production
    assert not settings.debug
    assert settings.allowed_hosts == ("orders.example.com",)


def test_production_asks_for_everything_it_misses_at_once() -> None:
    lines = problems(ServiceSettings, {"ENVIRONMENT": "production", "DEBUG": "true"})
    assert [line[:30] for line in lines] == [
        "ALLOWED_HOSTS is empty, so no ",
        "DEBUG='true' shows settings an",
        "SECRET_KEY is not set, and pro",
    ]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (STRONG_KEY[:49], "has 49 characters and can be guessed; it needs 50"),
        ("ab" * 40, "is not random but a placeholder"),
        (f"django-insecure-{STRONG_KEY}", "is not random but a placeholder"),
        (f"please-change-me-{STRONG_KEY}", "is not random but a placeholder"),
        ("changeme", "is not random but a placeholder"),
    ],
)
def test_production_refuses_a_weak_secret_key_without_showing_it(key: str, reason: str) -> None:
    assert problem(ServiceSettings, **PRODUCTION | {"SECRET_KEY": key}) == (
        f"SECRET_KEY='***' {reason}: make one with: python -c 'import secrets; print(secrets.token_urlsafe(50))'"
    )


def test_development_has_debug_and_the_local_hosts() -> None:
    settings = service()
    assert settings.debug
    assert settings.allowed_hosts == ("localhost", "127.0.0.1", "[::1]")
    assert not service(DEBUG="false").debug


def test_the_key_of_development_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secret_key"
    first = kept_key(path)
    assert kept_key(path) == first
    assert len(first) >= 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_processes_that_start_at_once_keep_the_same_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = pool.map(kept_key, [tmp_path / "secret_key"] * 16, chunksize=1)
    assert len(set(keys)) == 1


# --- Database, e-mail, cache ---------------------------------------------------------------------


def test_sqlite_is_durable_and_lets_readers_and_writers_work_at_once(tmp_path: Path, django_db_blocker: Any) -> None:
    config = service(DATABASE_URL=f"sqlite:///{tmp_path}/new/directory/db.sqlite3").databases
    connection: Any = ConnectionHandler(config)["default"]
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        found = [
            cursor.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
        connection.close()
    assert found == ["wal", 2, 1, 20_000]
    assert connection.transaction_mode == "IMMEDIATE"
    assert config["default"]["ATOMIC_REQUESTS"] is True


def test_a_relative_sqlite_path_is_in_the_project() -> None:
    assert service(DATABASE_URL="sqlite:///var/a.db").databases["default"]["NAME"] == str(PROJECT_ROOT / "var/a.db")
    assert service(DATABASE_URL="sqlite:////tmp/a.db").databases["default"]["NAME"] == "/tmp/a.db"


def test_postgresql_keeps_its_connections_and_checks_them() -> None:
    config = service(DATABASE_URL="postgresql://app:p%40ss@db:5433/orders?sslmode=require").databases["default"]
    assert config["ENGINE"] == "django.db.backends.postgresql"
    assert [config[name] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")] == [
        "orders",
        "app",
        "p@ss",
        "db",
        5433,
    ]
    assert config["OPTIONS"] == {**POSTGRESQL_OPTIONS, "sslmode": "require"}
    assert config["CONN_MAX_AGE"] > 0
    assert config["CONN_HEALTH_CHECKS"]
    assert config["ATOMIC_REQUESTS"]


def test_prepared_statements_can_be_turned_off_for_a_pooler() -> None:
    config = service(DATABASE_URL="postgresql://app@db/orders?prepare_threshold=0").databases["default"]

    assert POSTGRESQL_OPTIONS["prepare_threshold"]
    assert config["OPTIONS"]["prepare_threshold"] is None


def test_a_pool_takes_the_place_of_kept_connections() -> None:
    config = service(DATABASE_URL="postgres://app@db/orders", DATABASE_POOL_SIZE="4").databases
    assert config["default"]["CONN_MAX_AGE"] == 0
    # Django itself refuses what does not go together, when it makes the pool.
    connection: Any = ConnectionHandler(config)["default"]
    assert connection.pool.max_size == 4


SPECIAL = (
    "has a password with characters that end it: write @ as %40, : as %3A, / as %2F, # as %23, ? as %3F, % as %25."
)


@pytest.mark.parametrize(
    ("url", "shown", "answer"),
    [
        (
            "postgress://app:hunter2@db/orders",
            "postgress://app:***@db/orders",
            "has a scheme that is not supported: choose sqlite, postgres or postgresql. Did you mean 'postgres'?",
        ),
        (
            "mysql://app:hunter2@db/orders",
            "mysql://app:***@db/orders",
            "has a scheme that is not supported: choose sqlite, postgres or postgresql.",
        ),
        (
            "postgres://app:hunter2@db",
            "postgres://app:***@db",
            "names no database: write postgresql://user:password@host:5432/orders.",
        ),
        (
            "postgres://app:hunter2@db:many/orders",
            "postgres://app:***@db:many/orders",
            "has a port that is not a number from 1 to 65535.",
        ),
        (
            "postgres://app:hunter2@db:65536/orders",
            "postgres://app:***@db:65536/orders",
            "has a port that is not a number from 1 to 65535.",
        ),
        (
            "postgres://app:hunter2@[db/orders",
            "postgres://app:***@[db/orders",
            "has a host that cannot be read: write scheme://user:password@host:port/name.",
        ),
        ("postgres://app:hunter/2@db/orders", "postgres://app:***@db/orders", SPECIAL),
        ("postgres://app:hunter#2@db/orders", "postgres://app:***@db/orders", SPECIAL),
        ("postgres://app:12?hunter2@db/orders", "postgres://app:***@db/orders", SPECIAL),
        (
            "hunter2",
            "***",
            "is not a URL: write one such as postgresql://user:password@localhost:5432/orders.",
        ),
        (
            "postgres://db/orders?pool=true",
            "postgres://db/orders?pool=true",
            "must not set pool: set DATABASE_POOL_SIZE instead.",
        ),
        (
            "postgres://db/orders?conn_max_age=long",
            "postgres://db/orders?conn_max_age=long",
            "sets conn_max_age to something other than a whole number of seconds.",
        ),
        (
            "sqlite://var/db.sqlite3",
            "sqlite://var/db.sqlite3",
            "takes the start of a path for a host: write three slashes before a path in the project "
            "(sqlite:///var/name), four before an absolute one.",
        ),
        (
            "sqlite://:memory:",
            "sqlite://:***",
            "names no file, and web and worker must share one: write sqlite:///var/db.sqlite3.",
        ),
        ("sqlite:////tmp", "sqlite:////tmp", "is a directory: add the name of a file, such as db.sqlite3."),
        (
            "sqlite:////dev/null/db.sqlite3",
            "sqlite:////dev/null/db.sqlite3",
            "is in a directory that cannot be created (a file is in its place): create it, or choose another.",
        ),
    ],
)
def test_a_bad_database_url_is_answered_exactly(url: str, shown: str, answer: str) -> None:
    assert problem(ServiceSettings, DATABASE_URL=url) == f"DATABASE_URL={shown!r} {answer}"


def test_a_pool_is_refused_where_there_can_be_none() -> None:
    assert problem(ServiceSettings, DATABASE_POOL_SIZE="4") == (
        "DATABASE_POOL_SIZE='4' needs PostgreSQL, but DATABASE_URL is a sqlite:// URL. Unset one of them."
    )
    url = "postgres://db/orders?conn_max_age=60"
    assert problem(ServiceSettings, DATABASE_POOL_SIZE="4", DATABASE_URL=url) == (
        "DATABASE_POOL_SIZE='4' makes a pool, which has no use for the conn_max_age in DATABASE_URL. "
        "Remove one of them."
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail", ("mail", 25, "", "", False, False)),
        ("smtp+tls://me%40a.org:p%40ss@mail", ("mail", 587, "me@a.org", "p@ss", True, False)),
        ("smtp+ssl://me:pass@mail:2465", ("mail", 2465, "me", "pass", False, True)),
    ],
)
def test_email_url_becomes_djangos_settings(url: str, expected: tuple[object, ...]) -> None:
    settings = service(EMAIL_URL=url, EMAIL_TIMEOUT_SECONDS="7").email_settings
    names = ("HOST", "PORT", "HOST_USER", "HOST_PASSWORD", "USE_TLS", "USE_SSL")
    assert tuple(settings[f"EMAIL_{name}"] for name in names) == expected
    assert settings["EMAIL_TIMEOUT"] == 7


def test_email_may_go_to_files_in_the_project() -> None:
    settings = service(EMAIL_URL="filemail:///var/mail").email_settings
    assert settings["EMAIL_BACKEND"] == "django.core.mail.backends.filebased.EmailBackend"
    assert settings["EMAIL_FILE_PATH"] == str(PROJECT_ROOT / "var" / "mail")


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        (
            "smpt://mail",
            "has a scheme that is not supported: choose consolemail, smtp, smtp+tls, smtp+ssl, filemail, memorymail "
            "or dummymail. Did you mean 'smtp'?",
        ),
        ("smtps://mail", "is ambiguous: write smtp+tls:// for STARTTLS, or smtp+ssl:// for TLS from the start."),
        ("smtp://", "names no mail server: write smtp://mail.example.com:25."),
        ("smtp://mail?ssl=1", "takes no options behind '?': the time-out is EMAIL_TIMEOUT_SECONDS."),
    ],
)
def test_a_bad_email_url_is_answered_exactly(url: str, answer: str) -> None:
    assert problem(ServiceSettings, EMAIL_URL=url) == f"EMAIL_URL={url!r} {answer}"


def test_a_cache_on_redis_cannot_hold_up_a_request_and_takes_djangos_options() -> None:
    config = service(CACHE_URL="redis://u:p@h:1/2?key_prefix=shop&timeout=60").caches["default"]
    assert config["LOCATION"] == "redis://u:p@h:1/2"
    assert (config["KEY_PREFIX"], config["TIMEOUT"]) == ("shop", 60)
    assert config["OPTIONS"] == {"socket_timeout": 2, "socket_connect_timeout": 2}


def test_no_other_cache_needs_a_server() -> None:
    for url in ("locmemcache://", "filecache:///var/cache", "dbcache://cache_table", "dummycache://"):
        assert "redis" not in service(CACHE_URL=url).caches["default"]["BACKEND"]
    assert problem(ServiceSettings, CACHE_URL="dbcache://") == (
        "CACHE_URL='dbcache://' names no table: write dbcache://cache_table."
    )


@pytest.mark.parametrize(
    ("name", "value", "answer"),
    [
        (
            "ALLOWED_HOSTS",
            "https://a.org",
            "has 'https://a.org', which is not a host name: leave out scheme, port and path.",
        ),
        ("ALLOWED_HOSTS", "a.org:80", "has 'a.org:80', which is not a host name: leave out scheme, port and path."),
        (
            "CSRF_TRUSTED_ORIGINS",
            "a.org",
            "has 'a.org', which is not an origin: write it as https://orders.example.com.",
        ),
        ("QUEUES", "mail,news letters", "has 'news letters': up to 60 letters, digits, - and _ work on every broker."),
        ("QUEUES", "mail,mail", "names a queue twice: remove one."),
        ("DEFAULT_FROM_EMAIL", "me", "is not an e-mail address: write name@example.com."),
        (
            "TIME_ZONE",
            "Europe/Berln",
            "is not a time zone: write one such as Europe/Berlin. Did you mean 'Europe/Berlin'?",
        ),
        ("LOG_LEVEL", "warn", "is not known: choose DEBUG, INFO, WARNING, ERROR or CRITICAL. Did you mean 'WARNING'?"),
    ],
)
def test_other_mistakes_of_the_service_are_answered_exactly(name: str, value: str, answer: str) -> None:
    assert problem(ServiceSettings, **{name: value}) == f"{name}={value!r} {answer}"


def test_the_log_level_may_be_written_small() -> None:
    assert service(LOG_LEVEL="debug").log_level == "DEBUG"


# --- Queues --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("theirs,default", "has 'default', which is in QUEUES too: our own workers consume it. Remove one."),
        ("theirs,theirs", "names a queue twice: remove one."),
        ("their queue", "has 'their queue': the outbox keeps names of up to 80 characters without spaces."),
    ],
)
def test_a_queue_is_ours_or_it_is_foreign(value: str, wrong: str) -> None:
    assert problem(ServiceSettings, OUTBOX_FOREIGN_QUEUES=value) == f"OUTBOX_FOREIGN_QUEUES='{value}' {wrong}"


def test_others_may_name_their_queues_as_they_like() -> None:
    settings = service(OUTBOX_FOREIGN_QUEUES="celery, their.queue:high")
    assert settings.relayed_queues == ("default", "celery", "their.queue:high")


@pytest.mark.parametrize("url", ["rpc://", "amqp://user:hidden@host//"])
def test_results_that_only_the_caller_could_read_are_refused(url: str) -> None:
    said = problem(ServiceSettings, CELERY_RESULT_BACKEND=url)
    assert "keeps results in the connection that called" in said
    assert "hidden" not in said
