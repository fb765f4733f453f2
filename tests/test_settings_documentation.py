"""docs/settings.md, .env.example and `manage.py config` say what the classes say."""

import json
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT, CompletedProcess, run

import pytest

from app.management.commands.config import ALL_SETTINGS
from settings import PROJECT_ROOT, documentation
from settings.base import EnvSettings
from settings.environment import Environment
from settings.service import ServiceSettings
from tests.settings_carrier import Carrier


def test_the_written_documentation_is_current(tmp_path: Path) -> None:
    for path in documentation.write(ALL_SETTINGS, tmp_path):
        committed = PROJECT_ROOT / path.relative_to(tmp_path)
        assert committed.read_text("utf-8") == path.read_text("utf-8"), (
            f"{committed.name} is not what the classes say. Write it anew: {documentation.WRITE_COMMAND}"
        )


def test_every_class_of_settings_is_documented() -> None:
    def leaves(cls: type[EnvSettings]) -> set[type[EnvSettings]]:
        return {leaf for child in cls.__subclasses__() for leaf in leaves(child)} or {cls}

    assert leaves(EnvSettings) - {Carrier} == set(ALL_SETTINGS)


@pytest.mark.parametrize("cls", ALL_SETTINGS)
def test_every_variable_says_what_it_means(cls: type[EnvSettings]) -> None:
    assert documentation.title(cls)
    for variable in cls.variables():
        assert variable.description.endswith("."), f"{variable.name} has no docstring of whole sentences"


def test_the_example_file_uncommented_gives_the_defaults(tmp_path: Path) -> None:
    lines = documentation.example_file(ALL_SETTINGS).splitlines()
    path = tmp_path / ".env"
    path.write_text("\n".join(line.removeprefix("#") if not line.startswith("# ") else line for line in lines))
    environment = Environment.read({"SECRET_KEY": "for tests"}, path)
    for cls in ALL_SETTINGS:
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


# --- manage.py config -----------------------------------------------------------------------------------------


def config(*arguments: str, **environ: str) -> CompletedProcess[str]:
    """Run `manage.py config` as a user would, in an environment of these variables only."""
    command = [sys.executable, "manage.py", "config", "--no-color", *arguments]
    return run(command, cwd=PROJECT_ROOT, env=environ, text=True, stdout=PIPE, stderr=STDOUT, check=False, timeout=60)


def test_config_shows_each_setting_its_source_and_no_secret() -> None:
    shown = config(BROKER="rabbitmq", RABBITMQ_URL="amqp://me:hunter2@mq:5672//", SECRET_KEY="hunter2")
    assert shown.returncode == 0, shown.stdout
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["BROKER", "rabbitmq", "environment"] in lines
    assert ["RABBITMQ_URL", "amqp://me:***@mq:5672//", "environment"] in lines
    assert ["SECRET_KEY", "***", "environment"] in lines
    assert ["ORDERS_REPORT_EMAIL", "(unset)", "default"] in lines
    assert "hunter2" not in shown.stdout


def test_config_shows_the_broker_url_that_takes_the_place_of_the_brokers_own() -> None:
    found = json.loads(config("--json", CELERY_BROKER_URL="redis://:hunter2@elsewhere:6379/1").stdout)
    assert found["REDIS_URL"] == {"value": "redis://:***@elsewhere:6379/1", "source": "CELERY_BROKER_URL"}


@pytest.mark.parametrize(
    ("environ", "answer"),
    [
        (
            {"BROKER": "rabitmq"},
            "BROKER='rabitmq' is not a known broker: choose redis, rabbitmq or sqs. Did you mean 'rabbitmq'?",
        ),
        (
            {"REDIS_VISIBILTY_TIMEOUT": "1"},
            "REDIS_VISIBILTY_TIMEOUT is not a setting. Did you mean REDIS_VISIBILITY_TIMEOUT?",
        ),
        (
            {"BROKER": "redis", "CELERY_BROKER_URL": "amqp://u:hunter2@h"},
            "CELERY_BROKER_URL is an amqp:// URL but BROKER=redis. Unset one of them, or set BROKER=rabbitmq.",
        ),
        (
            {"DATABASE_URL": "postgres://u:hunter2@h"},
            "DATABASE_URL='postgres://u:***@h' names no database: write postgresql://user:password@host:5432/orders.",
        ),
        (
            {"ENVIRONMENT": "production", "ALLOWED_HOSTS": "orders.example.com"},
            "SECRET_KEY is not set, and production needs one: make one with: "
            "python -c 'import secrets; print(secrets.token_urlsafe(50))'",
        ),
    ],
)
def test_a_mistake_ends_the_command_with_one_line_and_no_traceback(environ: dict[str, str], answer: str) -> None:
    ended = config(**environ)
    assert (ended.returncode, ended.stdout) == (1, f"{answer}\n")
