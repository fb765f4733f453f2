"""The broker: the findings of its profile."""

from collections.abc import Iterable

from django.conf import settings

from brokers import Finding


def examine() -> Iterable[Finding]:
    return settings.BROKER_PROFILE.findings(settings.SERVICE.queues)
