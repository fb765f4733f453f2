"""Which processes of the service are alive: a row each, renewed every few seconds. The same on every broker."""

import contextlib
import logging
import os
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import Error, connection
from django.db.models import F
from django.db.models.functions import Now

from outbox.models import Heartbeat

logger = logging.getLogger(__name__)

#: Heartbeats that a process may miss before it no longer counts as alive.
MISSED_HEARTBEATS = 3


def silence_limit_seconds() -> float:
    """How old the last heartbeat of a process that is alive may be."""
    return MISSED_HEARTBEATS * settings.OUTBOX.heartbeat_seconds


class Heart:
    """The heartbeat of this process: a row for people, and a file for a probe that does not import Django.

    The file does not depend on the database: restarting a process does not bring a database back.
    """

    def __init__(self, kind: str, *, every_seconds: float) -> None:
        self.kind = kind
        directory = settings.OUTBOX.heartbeat_directory
        self._file: Path | None = directory / kind if directory else None
        self.name = f"{kind}:{socket.gethostname()}:{os.getpid()}"
        self.every_seconds = every_seconds
        self._next = 0.0

    def beat(self, **details: Any) -> None:
        """Record that this process lives and what it does, if it is time to. Raises `django.db.Error`."""
        if time.monotonic() < self._next:
            return
        self.touch()
        self._next = time.monotonic() + self.every_seconds
        Heartbeat.objects.update_or_create(
            name=self.name,
            defaults={"details": details, "seen_at": Now()},
            create_defaults={"kind": self.kind, "details": details},
        )

    def touch(self) -> None:
        """Say to the probe alone that this process lives: while it waits for the database, for one."""
        if self._file is None:
            return
        new = self._file.with_suffix(f".{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(f"{silence_limit_seconds():g}")
            new.replace(self._file)  # a probe never reads half of it
        except OSError as error:
            logger.warning("The heartbeat cannot be written to %s: %s", self._file, error.strerror)

    def stop(self) -> None:
        """Take the record away: this process ends on purpose."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
        with contextlib.suppress(Error):
            Heartbeat.objects.filter(name=self.name).delete()
            connection.close()


def alive(*, within_seconds: float | None = None) -> list[Heartbeat]:
    """The processes that are alive, or whose last heartbeat is at most so old, by the database's clock."""
    limit = timedelta(seconds=silence_limit_seconds() if within_seconds is None else within_seconds)
    recent = Heartbeat.objects.filter(seen_at__gte=Now() - limit)
    return list(recent.annotate(age=Now() - F("seen_at")).order_by("kind", "name"))


def forget_dead(*, after_seconds: float = 86_400) -> int:
    """Delete the records of processes that were last seen a day ago."""
    return Heartbeat.objects.filter(seen_at__lt=Now() - timedelta(seconds=after_seconds)).delete()[0]
