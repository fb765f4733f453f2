"""The variables that the tests and their child processes see: nobody's `.env` or shell decides how a test ends."""

import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from brokers import PROFILES
from settings.api import ApiSettings
from settings.base import EnvSettings
from settings.outbox import OutboxSettings
from settings.service import ServiceSettings
from settings.telemetry import TelemetrySettings
from settings.web import WebSettings

#: Values that hold for the tests' own process and for every process of the service.
COMMON = {
    "DJANGO_SETTINGS_MODULE": "app.settings",
    "ENV_FILE": os.devnull,
    "SECRET_KEY": "only-for-tests-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    # Tests place orders faster than any customer; those of the limits set them.
    "API_USER_PER_MINUTE": "0",
    "API_ANONYMOUS_PER_MINUTE": "0",
    "API_ORDERS_PER_MINUTE": "0",
    "API_LOGINS_PER_MINUTE": "0",
    "API_FAILED_LOGINS_PER_ACCOUNT": "0",
    # Nothing here may ever reach a real AWS account.
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def isolate(environment: MutableMapping[str, str], **variables: str) -> None:
    """Take every setting of the service and of AWS out of `environment`, then add the tests' own and `variables`."""
    settings = {variable.name for each in _settings_classes() for variable in each.variables()}
    for name in list(environment):
        if name in settings or name.startswith("AWS_"):
            del environment[name]
    environment.update(COMMON)
    environment.update(variables)


def child_environment(home: Path, **variables: str) -> dict[str, str]:
    """The whole environment of a process of the service: `variables`, and what any process needs."""
    python = Path(sys.executable).parent
    return {
        "PATH": os.pathsep.join([str(python), os.defpath]),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **COMMON,
        **variables,
    }


def _settings_classes() -> Iterator[type[EnvSettings]]:
    yield from (ServiceSettings, WebSettings, OutboxSettings, ApiSettings, TelemetrySettings)
    yield from PROFILES.values()
