"""What a queue is at RabbitMQ: replicated, and with a place for the messages that nobody can work on."""

from typing import Any, Self

from kombu import Queue


class DeadLetteredQueue(Queue):
    """A queue that is declared together with the queue of its dead letters.

    Without that, whoever declares it first (worker, publisher) makes a queue whose dead letters vanish.
    """

    @classmethod
    def of(cls, name: str, *, delivery_limit: int) -> Self:
        """Return a durable quorum queue, whose messages become dead letters after `delivery_limit` deliveries."""
        arguments = {
            "x-queue-type": "quorum",
            "x-delivery-limit": delivery_limit,
            # The default exchange leads to the queue of that name: there is no exchange to forget.
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": f"{name}.dead",
        }
        return cls(name, routing_key=name, queue_arguments=arguments)

    @property
    def dead_letters(self) -> Queue:
        """Where a message goes that was delivered too often or was rejected; for people to look at."""
        return Queue(f"{self.name}.dead", queue_arguments={"x-queue-type": "quorum"})

    def declare(self, nowait: bool = False, channel: Any = None) -> str | None:
        self.dead_letters.declare(nowait=nowait, channel=channel or self.channel)
        return super().declare(nowait=nowait, channel=channel)
