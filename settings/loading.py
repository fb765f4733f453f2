"""Reads all settings together, so that all mistakes are reported together."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from settings.api import ApiSettings
from settings.base import EnvSettings, load
from settings.environment import Environment
from settings.errors import SettingsError
from settings.outbox import OutboxSettings
from settings.service import ServiceSettings
from settings.telemetry import TelemetrySettings

Profile = TypeVar("Profile", bound=EnvSettings)

_CLASSES = (ServiceSettings, OutboxSettings, ApiSettings, TelemetrySettings)


class Loaded(NamedTuple, Generic[Profile]):
    """The settings of every room, and of the broker that BROKER names."""

    service: ServiceSettings
    outbox: OutboxSettings
    api: ApiSettings
    telemetry: TelemetrySettings
    profile: Profile


def load_service(
    profile_class: Callable[[str], type[Profile]],
    *,
    also_known: Iterable[type[EnvSettings]] = (),
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> Loaded[Profile]:
    """Return all settings. Raises one SettingsError with all mistakes in their variables.

    `profile_class` finds a broker's class by name, or raises SettingsError. The other arguments are those of `load`.
    """
    broker = Environment.read(environ, env_file).get("BROKER") or ServiceSettings.model_fields["broker"].default
    options: dict[str, Any] = {"also_known": also_known, "environ": environ, "env_file": env_file}
    try:
        profile = profile_class(broker)
    except SettingsError as unknown:
        try:
            load(*_CLASSES, **options)
        except SettingsError as others:
            raise SettingsError(*unknown.problems, *others.problems) from None
        raise
    return Loaded(*load(*_CLASSES, profile, **options))
