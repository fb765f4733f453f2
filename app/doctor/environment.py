"""The settings, checked without asking any server: Django's system checks and our own."""

import platform
from collections.abc import Iterator

import celery
import django
from django.conf import settings
from django.core import checks

from brokers.base import Finding, Level


def examine() -> Iterator[Finding]:
    service = settings.SERVICE
    versions = f"Python {platform.python_version()}, Django {django.__version__}, Celery {celery.__version__}"
    yield Finding("ok", "settings", f"ENVIRONMENT={service.environment}, BROKER={service.broker}; {versions}")
    for message in checks.run_checks(include_deployment_checks=service.is_production):
        level: Level = "fail" if message.level >= checks.ERROR else "warn"
        if message.level >= checks.WARNING and not message.is_silenced():
            yield Finding(level, message.id or "check", message.msg, message.hint or "See manage.py check --deploy.")
