"""The relay: due rows -> broker, queue by queue. A queue that fails stops no other; see `lane.py`."""

import fcntl
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from django.db import Error, connection

from brokers import BrokerProfile
from brokers.errors import BrokerError
from outbox import instruments, ledger
from outbox.heartbeat import Heart
from outbox.sql import is_connection_lost, is_postgresql
from settings.outbox import OutboxSettings
from workers.relaying.foreign import make_lane
from workers.relaying.lane import FIRST_BACKOFF_SECONDS, Lane
from workers.relaying.news import read_news

logger = logging.getLogger(__name__)

#: How often the relay asks which tasks live workers know and what is paused.
NEWS_SECONDS = 1.0

#: An error that lasts is said again after so long.
REMIND_SECONDS = 60.0


class SecondRelayError(Exception):
    """Raised when a relay starts beside another one on SQLite."""


class Relay:
    """Publishes what is due in `queues` until told to stop."""

    def __init__(self, profile: BrokerProfile, queues: Sequence[str], options: OutboxSettings) -> None:
        self.profile = profile
        self.queues = queues
        self.options = options
        self.stopped = threading.Event()
        self.lanes = [make_lane(queue, profile, options) for queue in queues]
        self._heart = Heart("relay", every_seconds=options.heartbeat_seconds)
        self._news_at = 0.0
        self._answered_at = time.monotonic()
        self._said: dict[str, float] = {}

    def run(self) -> None:
        """Look at every queue again and again; return once `stopped` is set and the batch in hand is published."""
        instruments.started("relay")
        pause_seconds = self.options.busy_sleep_seconds
        while not self.stopped.is_set():
            try:
                self._try("The heartbeat", self._beat)
                published = self.look_at_all()
            except Error as error:
                self._wait_for_database(error)
                continue
            pause_seconds = self._pause_after(published, pause_seconds)
            self.stopped.wait(pause_seconds)
        self._heart.stop()

    def _beat(self) -> None:
        self._heart.beat(queues=list(self.queues), broker=self.profile.name)

    def _pause_after(self, published: int, last_pause_seconds: float) -> float:
        """How long to sleep after a look: not at all if it found a full batch, ever longer if it found nothing."""
        if published >= self.options.batch_size:
            return 0.0
        busy, idle = self.options.busy_sleep_seconds, self.options.idle_sleep_seconds
        return busy if published else min(max(last_pause_seconds, busy) * 1.5, idle)

    def look_at_all(self) -> int:
        """Look once at each queue whose turn it is; return how many messages were published.

        What a queue fails of is in its lane's `error`. Raises `django.db.Error` if the database is away.
        """
        if time.monotonic() >= self._news_at:
            self._try("What is paused and what workers know", self._read_news)
            self._news_at = time.monotonic() + NEWS_SECONDS
        published = sum(self._look_at(lane) for lane in self.lanes if lane.is_ready)
        self._answered_at = time.monotonic()
        return published

    def _read_news(self) -> None:
        news = read_news(self.queues)
        for lane in self.lanes:
            lane.hear(news.runnable[lane.queue], paused=lane.queue in news.paused_queues)

    def _look_at(self, lane: Lane) -> int:
        try:
            published = lane.look()
        except BrokerError as error:
            lane.fail(error)
            self._say(f"{error} What is due waits in the database. Trying again.")
            return 0
        except Error as error:
            raise_if_lost(error)
            lane.fail(error)
            self._say(f"Queue {lane.queue}: {describe(error)} What is due waits. Trying again.")
            return 0
        if lane.error:
            lane.recover()
            logger.info("Publishing %s again", lane.queue)
            if not any(each.error for each in self.lanes):
                self._said.clear()
        return published

    def _try(self, what: str, attempt: Callable[[], None]) -> None:
        """Do what publishing does not depend on. Raises `django.db.Error` if the database is away."""
        try:
            attempt()
        except Error as error:
            raise_if_lost(error)
            self._say(f"{what}: {describe(error)} Trying again.")

    def _say(self, text: str) -> None:
        """Log a warning, but not the same one for each queue and each look, however long the broker took to answer."""
        now, same = time.monotonic(), re.sub(r" after [\d.]+ s", "", text)
        self._said = {said: at for said, at in self._said.items() if now - at < REMIND_SECONDS}
        if same not in self._said:
            self._said[same] = now
            logger.warning("%s", text)

    def _wait_for_database(self, error: Error) -> None:
        """Wait until the database answers again, and let what runs report before it counts as lost."""
        logger.warning("The database does not answer: %s Trying again.", str(error).strip())
        while not self.stopped.is_set():
            connection.close()
            self._heart.touch()
            try:
                # While the database was away for less than that, nobody has missed more than one renewal.
                if time.monotonic() - self._answered_at > self.options.renew_seconds:
                    ledger.extend_leases(self.options.lease_seconds)
                else:
                    connection.ensure_connection()
            except Error:
                self.stopped.wait(FIRST_BACKOFF_SECONDS)
            else:
                self._answered_at = time.monotonic()
                logger.info("The database answers again")
                return


def raise_if_lost(error: Error) -> None:
    """Raise `error` if the connection to the database was lost with it: then it has to be waited for."""
    if is_connection_lost(error):
        raise error


def describe(error: Error) -> str:
    """What went wrong in the database, in a line."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "statement timeout" in text:
        return f"A statement timed out ({text})."
    return f"The database refused a statement ({text})."


def drain(relay: Relay, *, deadline_seconds: float = 60) -> int:
    """Publish until nothing is due or a queue's window is full; return how many messages that were.

    Raises the error of a queue that could not be published, once the others have been.
    """
    total, deadline = 0, time.monotonic() + deadline_seconds
    while time.monotonic() < deadline and (published := relay.look_at_all()):
        total += published
    for lane in relay.lanes:
        if lane.error:
            raise lane.error
    return total


@contextmanager
def only_relay() -> Iterator[None]:
    """On SQLite, hold the lock that one relay at a time may hold; the kernel lets go of it when the process ends.

    SQLite has one writer at a time, so a second relay could only get in the way; PostgreSQL takes any number.
    Raises SecondRelayError.
    """
    if is_postgresql():
        yield
        return
    path = Path(f"{connection.settings_dict['NAME']}.relay-lock")
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SecondRelayError(
                f"Another relay is running on this SQLite database (it holds {path}). "
                "One is enough; use PostgreSQL to run several."
            ) from None
        yield
