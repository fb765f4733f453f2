"""The broker: the findings of its profile."""

from collections.abc import Iterable

from django.conf import settings

from brokers import Finding


def examine() -> Iterable[Finding]:
    yield from settings.BROKER_PROFILE.findings(settings.SERVICE.queues)
    yield from settings.BROKER_PROFILE.foreign_findings(settings.SERVICE.outbox_foreign_queues)
