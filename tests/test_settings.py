"""The environment is read once, typed, and every mistake in it is answered with its cure and without a secret."""

import json
import multiprocessing
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from django.db.utils import ConnectionHandler
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import Field, SecretStr, ValidationError, field_validator

from brokers import profile_class
from settings import PROJECT_ROOT, documentation
from settings.base import EnvSettings, SettingsConfigDict, load
from settings.environment import Environment
from settings.errors import SettingsError
from settings.masking import SecretUrl, mask_url
from settings.secret_key import kept_key
from settings.service import ServiceSettings, load_service
from settings.variables import CommaList, Seconds

STRONG_KEY = "q8Zr-3vYt_Lw6nXbKc0uJf2sHgPd5aEoM1iVxTkR7yBzN9mQWlC4"
PRODUCTION = {"ENVIRONMENT": "production", "SECRET_KEY": STRONG_KEY, "ALLOWED_HOSTS": "orders.example.com"}
NO_FILE = Path("no such file")


class Carrier(EnvSettings):
    """A carrier of parcels. It exists for these tests."""

    model_config = SettingsConfigDict(env_prefix="CARRIER_")

    url: SecretUrl = SecretUrl("van://localhost:1/")
    """Where it is."""

    speed: Literal["slow", "fast"] = "slow"
    """How it drives."""

    stop_timeout: Seconds = Field(default=30, ge=1, le=60)
    """How long it waits at a door."""

    towns: CommaList = ("Bonn",)
    """Where it goes."""

    insured: bool = False
    """Whether it may break things."""

    load_factor: float = 0.5
    """How full it is."""

    pin: SecretStr = SecretStr("")
    """Opens its door."""

    @field_validator("url")
    @classmethod
    def _drives(cls, url: SecretUrl) -> SecretUrl:
        if not url.get_secret_value().startswith("van://"):
            raise ValueError(f"cannot drive, {url.get_secret_value()} cannot: write van://host:port/.")
        return url


def carrier(file: Path = NO_FILE, **environ: str) -> Carrier:
    return load(Carrier, environ=environ, env_file=file)[0]


def service(**environ: str) -> ServiceSettings:
    """Return the service's settings, in development unless told otherwise."""
    return load(ServiceSettings, environ={"SECRET_KEY": "for tests"} | environ, env_file=NO_FILE)[0]


def problems(cls: type[EnvSettings], environ: Mapping[str, str], file: Path = NO_FILE) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(cls, environ=environ, env_file=file)
    return str(caught.value).splitlines()


def problem(cls: type[EnvSettings], **environ: str) -> str:
    (line,) = problems(cls, {"SECRET_KEY": "for tests"} | environ if cls is ServiceSettings else environ)
    return line


# --- Where a value comes from ---------------------------------------------------------------------------------


def test_a_variable_is_the_prefix_and_the_field_in_upper_case() -> None:
    assert carrier(CARRIER_SPEED="fast").speed == "fast"


def test_the_environment_goes_before_the_file_and_the_file_before_the_default(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CARRIER_SPEED=fast\nexport CARRIER_TOWNS='Bonn, Ulm'  # a comment\n")
    settings = carrier(tmp_path / ".env", CARRIER_TOWNS="Kiel")
    assert (settings.speed, settings.towns, settings.insured) == ("fast", ("Kiel",), False)
    sources = {each.name: each.source for each in settings.effective()}
    assert sources["CARRIER_SPEED"] == ".env"
    assert sources["CARRIER_TOWNS"] == "environment"
    assert sources["CARRIER_INSURED"] == "default"


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CARRIER_SPEED=fast\n")
    assert carrier(tmp_path / ".env", CARRIER_SPEED=" ", CARRIER_STOP_TIMEOUT="").speed == "fast"


def test_a_dollar_sign_in_the_file_is_only_a_dollar_sign(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CARRIER_PIN=a${HOME}b\n")
    assert carrier(tmp_path / ".env").pin.get_secret_value() == "a${HOME}b"


def test_constructing_a_class_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRIER_SPEED", "fast")
    assert Carrier().speed == "slow"
    assert load(Carrier, env_file=NO_FILE)[0].speed == "fast"


def test_settings_cannot_be_changed_once_they_are_read() -> None:
    with pytest.raises(ValidationError):
        carrier().speed = "fast"


def test_a_replaced_value_is_checked_and_names_the_variable_that_gave_it() -> None:
    replaced = carrier().replace(given_by="BIG_URL", url="van://u:hunter2@h/")
    assert next(each for each in replaced.effective() if each.name == "CARRIER_URL").source == "BIG_URL"
    with pytest.raises(SettingsError, match=r"^BIG_URL='bike://u:\*\*\*@h/' cannot drive"):
        carrier().replace(given_by="BIG_URL", url="bike://u:hunter2@h/")


# --- Mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "answer"),
    [
        ("SPEED", "fats", "CARRIER_SPEED='fats' is not known: choose slow or fast. Did you mean 'fast'?"),
        ("SPEED", "7", "CARRIER_SPEED='7' is not known: choose slow or fast."),
        ("STOP_TIMEOUT", "ten", "CARRIER_STOP_TIMEOUT='ten' is not a whole number: write digits only, such as 10."),
        ("STOP_TIMEOUT", "1.5", "CARRIER_STOP_TIMEOUT='1.5' is not a whole number: write digits only, such as 10."),
        ("STOP_TIMEOUT", "0", "CARRIER_STOP_TIMEOUT='0' is too small: the least is 1."),
        ("STOP_TIMEOUT", "61", "CARRIER_STOP_TIMEOUT='61' is too large: the most is 60."),
        ("INSURED", "maybe", "CARRIER_INSURED='maybe' is neither true nor false: write true or false."),
        ("LOAD_FACTOR", "full", "CARRIER_LOAD_FACTOR='full' is not a number: write one such as 2 or 0.5."),
    ],
)
def test_a_mistake_names_the_variable_the_value_and_the_cure(variable: str, value: str, answer: str) -> None:
    assert problem(Carrier, **{f"CARRIER_{variable}": value}) == answer


def test_several_mistakes_are_reported_together_sorted_one_per_line() -> None:
    environ = {"CARRIER_STOP_TIMEOUT": "ten", "CARRIER_INSURED": "maybe", "CARRIER_SPED": "slow", "DEBUG": "perhaps"}
    with pytest.raises(SettingsError) as caught:
        load(Carrier, ServiceSettings, environ=environ, env_file=NO_FILE)
    assert [line.split("=")[0].split()[0] for line in str(caught.value).splitlines()] == [
        "CARRIER_INSURED",
        "CARRIER_SPED",
        "CARRIER_STOP_TIMEOUT",
        "DEBUG",
    ]
    assert caught.value.problems == str(caught.value).splitlines()


def test_an_unknown_broker_is_reported_together_with_the_other_mistakes() -> None:
    environ = {"BROKER": "rabitmq", "ENVIRONMENT": "prod", "SECRET_KEY": "for tests"}
    with pytest.raises(SettingsError) as caught:
        load_service(profile_class, environ=environ, env_file=NO_FILE)
    assert caught.value.problems == [
        "BROKER='rabitmq' is not a known broker: choose redis, rabbitmq or sqs. Did you mean 'rabbitmq'?",
        "ENVIRONMENT='prod' is not known: choose development or production. Did you mean 'production'?",
    ]


def test_the_service_is_loaded_with_the_profile_that_broker_names() -> None:
    environ = {"BROKER": "rabbitmq", "SECRET_KEY": "for tests"}
    settings, _, profile = load_service(profile_class, environ=environ, env_file=NO_FILE)
    assert settings.broker == profile.name == "rabbitmq"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CARRIER_SPED", "CARRIER_SPEED"),
        ("CARRIER_STOP_TIMOUT", "CARRIER_STOP_TIMEOUT"),
        ("CARRIER_URI", "CARRIER_URL"),
        ("carrier_speed", "CARRIER_SPEED"),
    ],
)
def test_a_mistyped_variable_with_a_known_prefix_is_an_error(name: str, meant: str) -> None:
    assert problem(Carrier, **{name: "1"}) == f"{name} is not a setting. Did you mean {meant}?"


@pytest.mark.parametrize(
    ("name", "meant"),
    [("DATABSE_URL", "DATABASE_URL"), ("ALOWED_HOSTS", "ALLOWED_HOSTS"), ("SECRETKEY", "SECRET_KEY")],
)
def test_a_mistyped_variable_of_the_service_is_an_error(name: str, meant: str) -> None:
    assert problem(ServiceSettings, **{name: "1"}) == f"{name} is not a setting. Did you mean {meant}?"


def test_variables_of_other_programs_are_left_alone() -> None:
    foreign = """
        HOME HOSTNAME LANG TZ PATH USER DEBUGINFOD_URLS SENTRY_ENVIRONMENT APP_ENVIRONMENT DATABASE_PORT WEB_CONCURRENCY
        REDIS_PORT REDIS_SERVICE_HOST REDIS_SERVICE_PORT REDIS_PORT_6379_TCP REDIS_PORT_6379_TCP_ADDR
        RABBITMQ_NODENAME RABBITMQ_NODE_PORT RABBITMQ_CONFIG_FILE RABBITMQ_DEFAULT_USER RABBITMQ_DEFAULT_PASS
        RABBITMQ_DEFAULT_VHOST RABBITMQ_LOG_BASE RABBITMQ_SERVICE_HOST AWS_ACCESS_KEY_ID AWS_REGION SQS_PORT
    """
    environ = dict.fromkeys(foreign.split(), "1") | {"SECRET_KEY": "for tests"}
    load(ServiceSettings, also_known=documented_classes(), environ=environ, env_file=NO_FILE)


def test_in_the_file_an_unknown_name_with_a_known_prefix_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CARRIER_COLOUR=red\nOTHER=1\n")
    assert problems(Carrier, {}, tmp_path / ".env") == [
        "CARRIER_COLOUR in .env is not a setting. Remove it; docs/settings.md lists those there are."
    ]


def test_mistyped_variables_of_a_broker_that_is_not_chosen_are_reported_too() -> None:
    with pytest.raises(SettingsError, match=r"^CARRIER_SPED is not a setting"):
        load(
            ServiceSettings,
            also_known=[Carrier],
            environ={"CARRIER_SPED": "1", "SECRET_KEY": "for tests"},
            env_file=NO_FILE,
        )


def test_a_line_of_the_file_that_is_no_assignment_is_named_but_not_shown(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("CARRIER_SPEED=fast\n\nCARRIER_PIN hunter2\nlonely\n")
    assert problems(Carrier, {}, path) == [
        f"{path} line 3 is not an assignment: write NAME=value.",
        f"{path} line 4 is not an assignment: write NAME=value.",
    ]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"\xff\xfe\x00")
    assert problems(Carrier, {}, path) == [f"{path} cannot be read (it is not UTF-8 text). Mend or remove it."]


# --- Secrets --------------------------------------------------------------------------------------------------


def test_a_secret_is_never_in_what_is_shown_of_an_instance() -> None:
    settings = carrier(CARRIER_URL="van://driver:hunter2@h:1/", CARRIER_PIN="hunter2")
    dumped = [settings.model_dump(), settings.model_dump(mode="json"), settings.effective()]
    for text in (repr(settings), str(settings), settings.model_dump_json(), json.dumps(dumped, default=repr)):
        assert "hunter2" not in text
    assert "van://driver:***@h:1/" in repr(settings)
    assert settings.url.get_secret_value() == "van://driver:hunter2@h:1/"


def test_a_validator_that_quotes_the_secret_is_masked_as_well() -> None:
    assert problem(Carrier, CARRIER_URL="bike://u:hunter2@h") == (
        "CARRIER_URL='bike://u:***@h' cannot drive, bike://u:***@h cannot: write van://host:port/."
    )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://:hunter2@h:1/0", "redis://:***@h:1/0"),
        ("redis://hunter2@h:1/0", "redis://***@h:1/0"),
        ("redis://:hunter2", "redis://:***"),
        ("amqp://u:hunter2@a:1//;amqp://u:hunter2@b:2//", "amqp://u:***@a:1//;amqp://u:***@b:2//"),
        ("amqp://a:1;amqp://u:hunter2@b", "amqp://a:1;amqp://u:***@b"),
        ("postgres://u:hunter2@a:1,b:2/orders", "postgres://u:***@a:1,b:2/orders"),
        ("postgres://u:hun/ter2#x?y@h/orders", "postgres://u:***@h/orders"),
        ("postgres://h/orders?sslmode=require&password=hunter2", "postgres://h/orders?sslmode=require&password=***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    assert shown in repr(SecretUrl(url))


@hypothesis_settings(deadline=None)
@given(
    before=st.text(alphabet="aZ0:/?#@;,%[]=& ", max_size=8),
    after=st.text(alphabet="aZ0:/?#@;,%[]=& ", max_size=8),
    scheme=st.sampled_from(["postgresql", "redis", "smtp+tls", "sqlite", "nonsense"]),
    host=st.sampled_from(["@host:5432/orders", "@host", "@:x", "@[::1]/a", ""]),
)
def test_no_password_however_odd_is_shown(before: str, after: str, scheme: str, host: str) -> None:
    # Without a host behind it, digits are a port, and what follows an @ is a host, even to us.
    assume(host or not (before[:1].isdigit() or "@" in before + after))
    url = f"{scheme}://user:{before}hunter2{after}{host}"
    environ = {"DATABASE_URL": url, "EMAIL_URL": url, "CACHE_URL": url, "SECRET_KEY": "for tests"}
    try:
        shown = repr(load(ServiceSettings, environ=environ, env_file=NO_FILE)[0])
    except SettingsError as error:
        shown = str(error)
    assert "hunter2" not in shown


# --- The service: production ----------------------------------------------------------------------------------


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


# --- The service: database, e-mail, cache ---------------------------------------------------------------------


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
    assert config["OPTIONS"] == {"connect_timeout": 5, "sslmode": "require"}
    assert config["CONN_MAX_AGE"] > 0
    assert config["CONN_HEALTH_CHECKS"]
    assert config["ATOMIC_REQUESTS"]


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


# --- The documentation ----------------------------------------------------------------------------------------


def documented_classes() -> list[type[EnvSettings]]:
    from app.management.commands.config import ALL_SETTINGS

    return ALL_SETTINGS


def test_the_written_documentation_is_current(tmp_path: Path) -> None:
    for path in documentation.write(documented_classes(), tmp_path):
        committed = PROJECT_ROOT / path.relative_to(tmp_path)
        assert committed.read_text("utf-8") == path.read_text("utf-8"), (
            f"{committed.name} is not what the classes say. Write it anew: {documentation.WRITE_COMMAND}"
        )


def test_every_class_of_settings_is_documented() -> None:
    def leaves(cls: type[EnvSettings]) -> set[type[EnvSettings]]:
        return {leaf for child in cls.__subclasses__() for leaf in leaves(child)} or {cls}

    assert leaves(EnvSettings) - {Carrier} == set(documented_classes())


@pytest.mark.parametrize("cls", documented_classes())
def test_every_variable_says_what_it_means(cls: type[EnvSettings]) -> None:
    assert documentation.title(cls)
    for variable in cls.variables():
        assert variable.description.endswith("."), f"{variable.name} has no docstring of whole sentences"


def test_the_example_file_uncommented_gives_the_defaults(tmp_path: Path) -> None:
    lines = documentation.example_file(documented_classes()).splitlines()
    path = tmp_path / ".env"
    path.write_text("\n".join(line.removeprefix("#") if not line.startswith("# ") else line for line in lines))
    environment = Environment.read({"SECRET_KEY": "for tests"}, path)
    for cls in documented_classes():
        written = cls.from_environment(environment)
        unset = cls.from_environment(Environment({"SECRET_KEY": "for tests"}, {}))
        assert written.model_dump() == unset.model_dump()
        assert [each.name for each in written.effective() if each.source == "default"] == [
            each.name
            for each in cls.variables()
            if (each.default_in_words or not each.default) and each.name != "SECRET_KEY"
        ]


def test_units_and_bounds_are_documented() -> None:
    types = {variable.name: variable.type for variable in [*Carrier.variables(), *ServiceSettings.variables()]}
    assert types["CARRIER_STOP_TIMEOUT"] == "whole number of seconds, at least 1, at most 60"
    assert types["EMAIL_TIMEOUT_SECONDS"] == "whole number of seconds, at least 1"
    assert types["CARRIER_SPEED"] == "`slow` or `fast`"
    assert types["DATABASE_URL"] == "URL, password hidden"
