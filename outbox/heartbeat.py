"""Which processes of the service are alive: a row each, renewed every few seconds. The same on every broker."""

import contextlib
import os
import socket
import time
from datetime import timedelta
from typing import Any

from django.db import Error, connection
from django.db.models import F
from django.db.models.functions import Now

from outbox.models import Heartbeat


class Heart:
    """The heartbeat of this process."""

    def __init__(self, kind: str, *, every_seconds: float) -> None:
        self.kind = kind
        self.name = f"{kind}:{socket.gethostname()}:{os.getpid()}"
        self.every_seconds = every_seconds
        self._next = 0.0

    def beat(self, **details: Any) -> None:
        """Record that this process lives and what it does, if it is time to. Raises `django.db.Error`."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.every_seconds
        Heartbeat.objects.update_or_create(
            name=self.name,
            defaults={"details": details, "seen_at": Now()},
            create_defaults={"kind": self.kind, "details": details},
        )

    def stop(self) -> None:
        """Take the record away: this process ends on purpose."""
        with contextlib.suppress(Error):
            Heartbeat.objects.filter(name=self.name).delete()
            connection.close()


def alive(*, within_seconds: float) -> list[Heartbeat]:
    """The processes whose last heartbeat is at most so old, by the database's clock."""
    recent = Heartbeat.objects.filter(seen_at__gte=Now() - timedelta(seconds=within_seconds))
    return list(recent.annotate(age=Now() - F("seen_at")).order_by("kind", "name"))


def forget_dead(*, after_seconds: float = 86_400) -> int:
    """Delete the records of processes that were last seen a day ago."""
    return Heartbeat.objects.filter(seen_at__lt=Now() - timedelta(seconds=after_seconds)).delete()[0]
