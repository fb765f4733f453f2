"""The environment is read once, typed, and every mistake in it is answered with its cure and without a secret."""

import json
import re
import warnings
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.management.commands.config import ALL_SETTINGS
from brokers import profile_class
from settings.base import load
from settings.environment import SettingsWarning
from settings.errors import SettingsError
from settings.loading import load_service
from settings.masking import SecretUrl, mask_url
from settings.service import ServiceSettings
from settings.telemetry import TelemetrySettings
from tests.settings_carrier import NO_FILE, Carrier, carrier, problem, problems, service

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
        ("LOAD_FACTOR", "0", "CARRIER_LOAD_FACTOR='0' is too small: it must be more than 0."),
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
    loaded = load_service(profile_class, environ=environ, env_file=NO_FILE)
    assert loaded.service.broker == loaded.profile.name == "rabbitmq"


def test_the_mistakes_of_every_room_are_reported_together() -> None:
    environ = {
        "SECRET_KEY": "for tests",
        "REDIS_URL": "http://redis",
        "METRICS_PORT": "70000",
        "API_HSTS_SECONDS": "-1",
        "OUTBOX_LEASE_SECONDS": "soon",
        "ALLOWED_HOSTS": "https://a.org",
    }
    with pytest.raises(SettingsError) as caught:
        load_service(profile_class, environ=environ, env_file=NO_FILE)
    assert {each.split("=")[0] for each in caught.value.problems} == environ.keys() - {"SECRET_KEY"}


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
    [("DATABSE_URL", "DATABASE_URL"), ("ALOWED_HOSTS", "ALLOWED_HOSTS"), ("SECRETKEY", "SECRET_KEY"),
     ("BROKERS", "BROKER"), ("QUEUE", "QUEUES"), ("TIMEZONE", "TIME_ZONE")],
)  # fmt: skip
def test_what_looks_like_a_variable_of_the_service_is_an_error_in_the_file_and_may_be_a_neighbours_in_the_process(
    name: str, meant: str, tmp_path: Path
) -> None:
    said = f"{name} is not a setting. Did you mean {meant}?"
    with pytest.warns(SettingsWarning, match=re.escape(said)):
        assert service(**{name: "1"}).broker == "redis"
    (tmp_path / ".env").write_text(f"{name}=1\n")
    assert problems(ServiceSettings, {"SECRET_KEY": "for tests"}, tmp_path / ".env") == [said]


def test_the_standard_names_of_opentelemetry_are_no_mistake() -> None:
    environ = dict.fromkeys(["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAMES"], "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(TelemetrySettings, environ=environ, env_file=NO_FILE)


def test_variables_of_other_programs_are_left_alone() -> None:
    foreign = """
        HOME HOSTNAME LANG TZ PATH USER DEBUGINFOD_URLS SENTRY_ENVIRONMENT APP_ENVIRONMENT DATABASE_PORT WEB_CONCURRENCY
        REDIS_PORT REDIS_SERVICE_HOST REDIS_SERVICE_PORT REDIS_PORT_6379_TCP REDIS_PORT_6379_TCP_ADDR
        RABBITMQ_NODENAME RABBITMQ_NODE_PORT RABBITMQ_CONFIG_FILE RABBITMQ_DEFAULT_USER RABBITMQ_DEFAULT_PASS
        RABBITMQ_DEFAULT_VHOST RABBITMQ_LOG_BASE RABBITMQ_SERVICE_HOST AWS_ACCESS_KEY_ID AWS_REGION SQS_PORT
    """
    environ = dict.fromkeys(foreign.split(), "1") | {"SECRET_KEY": "for tests"}
    load(ServiceSettings, also_known=ALL_SETTINGS, environ=environ, env_file=NO_FILE)


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
