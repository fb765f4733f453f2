"""The relay: due rows -> broker.

A look at a queue: how much of it is in flight -> release what the broker has lost -> mark a batch as published ->
publish it. Marked before published: a relay that dies in between delays a message, never loses it.
"""

import fcntl
import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.db import Error, connection

from brokers import BrokerProfile
from brokers.errors import BrokerError, PublishError
from brokers.wire import TaskMessage
from outbox import instruments, ledger
from outbox.heartbeat import Heart
from outbox.sql import is_postgresql
from settings.outbox import OutboxSettings

logger = logging.getLogger(__name__)

#: How long the relay waits before it tries a broker or database again that was away: doubling between these.
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.25, 5.0


class SecondRelayError(Exception):
    """Raised when a relay starts beside another one on SQLite."""


@dataclass
class Relay:
    """Publishes what is due in `queues` until told to stop."""

    profile: BrokerProfile
    queues: Sequence[str]
    options: OutboxSettings
    stopped: threading.Event = field(default_factory=threading.Event)
    _prepared: bool = False

    def run(self) -> None:
        """Look at every queue again and again; return once `stopped` is set and the batch in hand is published."""
        heart = Heart("relay", every_seconds=self.options.heartbeat_seconds)
        instruments.started("relay")
        pause_seconds = self.options.busy_sleep_seconds
        backoff_seconds = FIRST_BACKOFF_SECONDS
        while not self.stopped.is_set():
            try:
                heart.beat(queues=list(self.queues), broker=self.profile.name)
                published = self.look_at_all()
            except BrokerError as error:
                self._prepared = False
                logger.warning("%s What is due waits in the database. Trying again.", error)
            except Error as error:
                self._wait_for_database(error, heart)
            else:
                pause_seconds = self._pause_after(published, pause_seconds)
                backoff_seconds = FIRST_BACKOFF_SECONDS
                self.stopped.wait(pause_seconds)
                continue
            self.stopped.wait(backoff_seconds * random.uniform(0.5, 1))  # noqa: S311
            backoff_seconds = min(backoff_seconds * 2, LAST_BACKOFF_SECONDS)
        heart.stop()

    def _pause_after(self, published: int, last_pause_seconds: float) -> float:
        """How long to sleep after a look: not at all if it found a full batch, ever longer if it found nothing."""
        if published >= self.options.batch_size:
            return 0.0
        busy, idle = self.options.busy_sleep_seconds, self.options.idle_sleep_seconds
        return busy if published else min(max(last_pause_seconds, busy) * 1.5, idle)

    def look_at_all(self) -> int:
        """Look at each queue once; return how many messages were published."""
        if not self._prepared:
            self.profile.prepare(self.queues)
            self._prepared = True
        return sum(self.look_at(queue) for queue in self.queues)

    def look_at(self, queue: str) -> int:
        """Publish one batch of what is due in `queue`; return how many messages that were.

        Raises BrokerError, with what could not be published due again.
        """
        in_flight = ledger.count_in_flight(queue)
        if in_flight.overdue:
            in_flight = self._judge_overdue(queue, in_flight)
        room = self.options.max_in_flight - in_flight.published
        if room <= 0:
            return 0
        messages = ledger.take_due(
            queue,
            limit=min(room, self.options.batch_size),
            lost_after_seconds=self.options.lost_after_seconds,
        )
        if messages:
            self._publish(queue, messages)
        return len(messages)

    def _judge_overdue(self, queue: str, in_flight: ledger.InFlight) -> ledger.InFlight:
        """Release as many overdue messages as the broker no longer has: a long queue is not a lost one."""
        waiting = self.profile.depth(queue).waiting
        # Counted before and after: what was claimed, or published by another relay, while we asked is not missing.
        after = ledger.count_in_flight(queue)
        missing = min(min(in_flight.published, after.published) - waiting, after.overdue)
        released = ledger.release_lost(queue, limit=missing) if missing > 0 else 0
        if released:
            logger.warning("%d messages of %s seem lost: publishing them again", released, queue)
        ledger.postpone_overdue(queue, seconds=self.options.lost_after_seconds)
        return ledger.InFlight(after.published - released, 0)

    def _publish(self, queue: str, messages: Sequence[TaskMessage]) -> None:
        try:
            with instruments.publishing(queue, messages):
                self.profile.publish(queue, messages)
        except PublishError as error:
            ledger.put_back(error.unpublished)
            raise
        except BaseException:
            # Whatever it was (a bug, Ctrl-C): a message that may not have been published must be due again.
            ledger.put_back(message.id for message in messages)
            raise

    def _wait_for_database(self, error: Error, heart: Heart) -> None:
        """Wait until the database answers again, and let what runs report before it counts as lost."""
        logger.warning("The database does not answer: %s Trying again.", str(error).strip())
        connection.close()
        while not self.stopped.wait(FIRST_BACKOFF_SECONDS):
            heart.touch()
            try:
                ledger.extend_leases(self.options.lease_seconds)
            except Error:
                connection.close()
            else:
                return


def drain(relay: Relay, *, deadline_seconds: float = 60) -> int:
    """Publish until nothing is due or a queue's window is full; return how many messages that were."""
    total, deadline = 0, time.monotonic() + deadline_seconds
    while time.monotonic() < deadline and (published := relay.look_at_all()):
        total += published
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
