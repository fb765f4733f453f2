"""A queue of ours at RabbitMQ: replicated, and with a queue for its dead letters."""

import logging
from typing import Any, Self

from amqp.exceptions import NotFound, PreconditionFailed
from kombu import Queue

from brokers.base import OTHERS_CURE
from brokers.errors import QueueError

logger = logging.getLogger(__name__)


class DeadLetteredQueue(Queue):
    """A queue that is declared together with the queue of its dead letters.

    If a worker or publisher declared the queue alone, its dead letters would vanish.
    """

    @classmethod
    def of(cls, name: str, *, delivery_limit: int) -> Self:
        """Return a durable quorum queue, whose messages become dead letters after `delivery_limit` deliveries."""
        arguments = {
            "x-queue-type": "quorum",
            "x-delivery-limit": delivery_limit,
            # The default exchange routes to the queue of that name, so there is no exchange to declare.
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": f"{name}.dead",
        }
        return cls(name, routing_key=name, queue_arguments=arguments)

    @property
    def dead_letters(self) -> Queue:
        """The queue for messages that were delivered too often or were rejected. People look at it."""
        return Queue(f"{self.name}.dead", queue_arguments={"x-queue-type": "quorum"})

    def create(self, channel: Any) -> None:
        """Create both unless they are there. Raises PreconditionFailed for one that is not what it should be."""
        self.dead_letters.declare(channel=channel)
        super().declare(channel=channel)

    def declare(self, nowait: bool = False, channel: Any = None) -> str:
        """What a worker calls before it consumes. A queue that is not what it should be is consumed as it is.

        The worker has others, and would end. The relay and the doctor say what is wrong.
        """
        given: Any = channel or self.channel
        with given.connection.channel() as own:  # RabbitMQ closes the one on which it says no
            try:
                self.create(own)
            except PreconditionFailed as error:
                logger.error("A queue is not what it should be: %s", error)
        return self.name


def find_queue(channel: Any, name: str) -> None:
    """Raise QueueError if there is no queue `name`. It is not declared: that takes a right, and it is not ours."""
    try:
        channel.queue_declare(name, passive=True)
    except NotFound as error:
        raise QueueError(f"RabbitMQ has no queue {name!r}.", OTHERS_CURE) from error
