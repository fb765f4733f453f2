"""A queue of ours at RabbitMQ: replicated, and with a queue for its dead letters."""

from typing import Any, Self

from amqp.exceptions import NotFound
from kombu import Queue

from brokers.base import OTHERS_CURE
from brokers.errors import QueueError


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

    def declare(self, nowait: bool = False, channel: Any = None) -> str | None:
        self.dead_letters.declare(nowait=nowait, channel=channel or self.channel)
        return super().declare(nowait=nowait, channel=channel)


def find_queue(channel: Any, name: str) -> None:
    """Raise QueueError if there is no queue `name`. It is not declared: that takes a right, and it is not ours."""
    try:
        channel.queue_declare(name, passive=True)
    except NotFound as error:
        raise QueueError(f"RabbitMQ has no queue {name!r}.", OTHERS_CURE) from error
