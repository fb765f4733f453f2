"""A small class of settings to test `settings/` with, and how to ask for what is wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, SecretStr, field_validator

from settings.base import EnvSettings, SettingsConfigDict, load
from settings.errors import SettingsError
from settings.masking import SecretUrl
from settings.service import ServiceSettings
from settings.variables import CommaList, Seconds

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

    load_factor: float = Field(default=0.5, gt=0)
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
