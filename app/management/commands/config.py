"""`manage.py config`: shows the settings in force, and where each came from."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from app.settings import API, BROKER_PROFILE, OUTBOX, SERVICE, TELEMETRY
from brokers import PROFILES
from settings import PROJECT_ROOT, documentation
from settings.api import ApiSettings
from settings.base import EnvSettings, load
from settings.outbox import OutboxSettings
from settings.service import ServiceSettings
from settings.telemetry import TelemetrySettings
from settings.web import WebSettings

#: Every class that reads the environment, in the order of docs/settings.md.
ALL_SETTINGS: list[type[EnvSettings]] = [
    ServiceSettings,
    OutboxSettings,
    WebSettings,
    ApiSettings,
    TelemetrySettings,
    *PROFILES.values(),
]

UNSET = "(unset)"


class Command(BaseCommand):
    """Show the effective settings of the service and of its broker, secrets masked."""

    help = "Show every setting in force and where it came from: environment, .env or default. Secrets are masked."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add `--json` and `--write-docs`."""
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--json", action="store_true", help="as an object: name to value and source")
        group.add_argument(
            "--write-docs",
            action="store_true",
            help="write docs/settings.md and .env.example anew, and do nothing else",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what the options say."""
        if options["write_docs"]:
            for path in documentation.write(ALL_SETTINGS):
                self.stdout.write(f"Wrote {path.relative_to(PROJECT_ROOT)}")
        elif options["json"]:
            found = [setting for each in _in_force() for setting in each.effective()]
            self.stdout.write(json.dumps({s.name: {"value": s.value, "source": s.source} for s in found}, indent=2))
        else:
            self._show_tables(_in_force())

    def _show_tables(self, sections: list[EnvSettings]) -> None:
        settings = [setting for section in sections for setting in section.effective()]
        names = max(len(setting.name) for setting in settings)
        values = max(len(setting.value or UNSET) for setting in settings)
        for section in sections:
            self.stdout.write(self.style.MIGRATE_HEADING(documentation.title(type(section))))
            for setting in section.effective():
                value = setting.value or UNSET
                self.stdout.write(f"  {setting.name:{names}}  {value:{values}}  {setting.source}")
            self.stdout.write("")


def _in_force() -> list[EnvSettings]:
    return [SERVICE, OUTBOX, *load(WebSettings), API, TELEMETRY, BROKER_PROFILE]
