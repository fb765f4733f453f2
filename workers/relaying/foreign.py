"""Queues of workers that are not ours (OUTBOX_FOREIGN_QUEUES): the classic outbox, at least once.

A message for one travels with its arguments inside and is done when the broker has confirmed it. Our workers never
consume such a queue.
"""

import logging
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from brokers import BrokerProfile
from brokers.base import ForeignQueue
from brokers.errors import PublishError
from brokers.wire import TaskMessage
from outbox import instruments, ledger
from outbox.ledger import InFlight
from settings.outbox import OutboxSettings
from workers.relaying.lane import Lane

logger = logging.getLogger(__name__)

#: How many messages are read at once: their arguments may be large.
READ_AT_ONCE = 50


class ForeignLane(Lane):
    """A lane whose end is the broker."""

    def __init__(self, queue: str, profile: BrokerProfile, options: OutboxSettings) -> None:
        super().__init__(queue, profile.for_others, options)

    def _judge_overdue(self, in_flight: InFlight) -> InFlight:
        """Publish again what was not confirmed: how much the broker holds says nothing, for others consume it."""
        released = ledger.release_unconfirmed(self.queue)
        if released:
            logger.warning("%d messages of %s were not confirmed: publishing them again", released, self.queue)
            self._floor.due.clear()
        return InFlight(in_flight.published - released, 0, min(in_flight.urgent, in_flight.published - released))

    def _publish(self, messages: Sequence[TaskMessage]) -> int:
        left = list(messages)
        try:
            while left:
                self._hand_over(left[:READ_AT_ONCE])
                del left[:READ_AT_ONCE]
        except BaseException:
            ledger.put_back([message.id for message in left])
            self._floor.due.clear()
            raise
        return len(messages)

    def _hand_over(self, messages: Sequence[TaskMessage]) -> None:
        """Publish these messages and settle those that the broker has confirmed."""
        fitting = []
        for message in ledger.complete_messages(messages):
            if reason := self.profile.refuses(self.queue, message):
                ledger.bury(message.id, reason)
                logger.error("%s[%s] is dead: %s", message.task, message.id, reason)
            else:
                fitting.append(message)
        try:
            if fitting:
                with instruments.publishing(self.queue, fitting):
                    self.profile.publish(self.queue, fitting)
        except PublishError as error:
            ledger.hand_over([message.id for message in fitting if message.id not in error.unpublished])
            raise
        ledger.hand_over([message.id for message in fitting])


def make_lane(queue: str, profile: BrokerProfile, options: OutboxSettings) -> Lane:
    """The lane of a queue of ours, or of one of others."""
    kind = ForeignLane if queue in settings.SERVICE.outbox_foreign_queues else Lane
    return kind(queue, profile, options)


def leave_to_others(queues: Any) -> None:
    """Take the foreign queues out of what a worker of ours consumes; `queues` are Celery's.

    Ends the worker that was told to consume one.
    """
    foreign = [name for name, queue in queues.items() if isinstance(queue, ForeignQueue)]
    if chosen := [name for name in foreign if name in (queues._consume_from or ())]:
        raise SystemExit(
            f"-Q {chosen[0]} is one of OUTBOX_FOREIGN_QUEUES: its workers are not ours, and its messages have no row "
            "that one of ours could claim. Take it out of -Q, or out of OUTBOX_FOREIGN_QUEUES."
        )
    queues.deselect(foreign)
