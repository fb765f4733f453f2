"""One queue on its way from the ledger to the broker, with an error and a pause of its own.

A look at it: how much of it is in flight -> release what the broker has lost -> mark a batch as published -> publish
it. Marked before published: a relay that dies in between delays a message, never loses it.
"""

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from brokers import BrokerProfile
from brokers.errors import PublishError
from brokers.wire import TaskMessage
from outbox import instruments, ledger
from outbox.ledger import EVERY_TASK, Floor, InFlight, Runnable
from outbox.sql import LOWEST_PRIORITY
from settings.outbox import URGENT_PRIORITY, OutboxSettings

logger = logging.getLogger(__name__)

#: How long a queue that could not be published is left alone: doubling between these.
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.25, 5.0

#: How many messages are set aside at once: what waits for a worker that knows it comes by again every 50 s.
SET_ASIDE_AT_ONCE = 5000

#: Looks below the floor take this share of the time at most, and come after so many seconds at the earliest and latest.
SHARE_BELOW = 0.05
FIRST_BELOW_SECONDS, LAST_BELOW_SECONDS = 0.5, 5.0


@dataclass
class Lane:
    """What the relay knows of one queue between two looks."""

    queue: str
    profile: BrokerProfile
    options: OutboxSettings
    error: Exception | None = None
    """Why it could not be published last time."""
    runnable: Runnable = EVERY_TASK
    paused: bool = False
    _is_prepared: bool = False
    _is_told: bool = False
    _holds_back: bool = False
    """Whether there are messages that are not runnable: only then the ledger has to leave them out."""
    _floor: Floor = field(default_factory=Floor)
    _below_at: float = 0.0
    _not_before: float = 0.0
    _backoff_seconds: float = FIRST_BACKOFF_SECONDS

    @property
    def is_ready(self) -> bool:
        """Whether it is time to look at it."""
        return time.monotonic() >= self._not_before

    def fail(self, error: Exception) -> None:
        """It could not be published: prepare it anew and leave it alone for a while."""
        self.error = error
        self._is_prepared = False
        self._not_before = time.monotonic() + self._backoff_seconds * random.uniform(0.5, 1)  # noqa: S311
        self._backoff_seconds = min(self._backoff_seconds * 2, LAST_BACKOFF_SECONDS)

    def recover(self) -> None:
        self.error = None
        self._backoff_seconds = FIRST_BACKOFF_SECONDS

    def hear(self, runnable: Runnable, *, paused: bool) -> None:
        """What may be published from now on: what waited for that waits no longer, the rest is set aside."""
        if not self._is_told or (self.runnable, self.paused) != (runnable, paused):
            ledger.make_due(self.queue, runnable)
            self._floor = Floor()
            self._holds_back = bool(runnable.paused)
        self.runnable, self.paused, self._is_told = runnable, paused, True
        if self._holds_back and not paused:
            days = self.options.refused_days
            ledger.set_due_aside(self.queue, runnable, limit=SET_ASIDE_AT_ONCE, give_up_days=days)

    def look(self) -> int:
        """Publish one batch of what is due; return how many messages that were.

        Raises BrokerError, with what could not be published due again.
        """
        if self.paused:
            return 0
        if not self._is_prepared:
            self.profile.prepare([self.queue])
            self._is_prepared = True
        began = time.monotonic()
        is_below = began >= self._below_at
        if is_below:
            self._floor = Floor()
        in_flight = ledger.count_in_flight(self.queue, self._floor)
        if in_flight.overdue:
            in_flight = self._judge_overdue(in_flight)
        published = self._publish_what_fits(in_flight)
        if is_below:
            seconds = (time.monotonic() - began) / SHARE_BELOW
            self._below_at = time.monotonic() + min(max(seconds, FIRST_BELOW_SECONDS), LAST_BELOW_SECONDS)
        return published

    def _judge_overdue(self, in_flight: InFlight) -> InFlight:
        """Release as many overdue messages as the broker no longer has: a long queue is not a lost one."""
        waiting = self.profile.depth(self.queue).waiting
        # Counted before and after: what was claimed, or published by another relay, while we asked is not missing.
        after = ledger.count_in_flight(self.queue, self._floor)
        missing = min(min(in_flight.published, after.published) - waiting, after.overdue)
        released = ledger.release_lost(self.queue, limit=missing) if missing > 0 else 0
        if released:
            logger.warning("%d messages of %s seem lost: publishing them again", released, self.queue)
            self._floor.due.clear()
        ledger.postpone_overdue(self.queue, seconds=self.options.lost_after_seconds)
        return InFlight(after.published - released, 0, min(after.urgent, after.published - released))

    def _publish_what_fits(self, in_flight: InFlight) -> int:
        """Publish a batch of what comes first by priority and age; then what is urgent and left, into the part of the
        window that is kept for it."""
        kept, batch = self.options.kept_for_urgent, self.options.batch_size
        in_kept = min(in_flight.urgent, kept)
        room = min(self.options.max_in_flight - kept - (in_flight.published - in_kept), batch)
        published = self._publish(self._take(room, LOWEST_PRIORITY))
        if published >= room:
            published += self._publish(self._take(min(kept - in_kept, batch), URGENT_PRIORITY))
        return published

    def _take(self, limit: int, least_priority: int) -> list[TaskMessage]:
        messages: list[TaskMessage] = []
        while len(messages) < limit:
            taken = ledger.take_due(
                self.queue,
                limit=limit - len(messages),
                lost_after_seconds=self.options.lost_after_seconds,
                ageing_seconds=self.options.ageing_seconds,
                least_priority=least_priority,
                runnable=self.runnable if self._holds_back else EVERY_TASK,
                floor=self._floor,
            )
            messages += [each for each in taken if each.task in self.runnable]
            others = [each.id for each in taken if each.task not in self.runnable]
            if not others:
                break
            self._holds_back = True
            ledger.set_aside(others, self.runnable, give_up_days=self.options.refused_days)
        return messages

    def _publish(self, messages: Sequence[TaskMessage]) -> int:
        if not messages:
            return 0
        try:
            with instruments.publishing(self.queue, messages):
                self.profile.publish(self.queue, messages)
        except BaseException as error:
            # Whatever it was (a bug, Ctrl-C): a message that may not have been published must be due again.
            is_known = isinstance(error, PublishError)
            ledger.put_back(error.unpublished if is_known else [message.id for message in messages])  # type: ignore[attr-defined]
            self._floor.due.clear()
            raise
        return len(messages)
