"""Publishes a batch to RabbitMQ: sends the messages one by one, then waits for all confirms together."""

# mypy: disable-error-code="attr-defined"
# The stubs of amqp do not know what a channel is made of.

import time
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import amqp

from brokers.errors import PublishError
from brokers.wire import TaskMessage


class Confirms:
    """Publisher confirms of one AMQP channel. It numbers the messages and waits once for all their confirms."""

    def __init__(self, channel: amqp.Channel) -> None:
        self.channel = channel
        self.sent = 0
        self.waiting: dict[int, UUID] = {}
        self.refused: set[UUID] = set()
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)

    @classmethod
    def of(cls, channel: amqp.Channel) -> "Confirms":
        """Return the confirms of `channel`, always the same: RabbitMQ numbers the messages of a channel from its
        first."""
        if not hasattr(channel, "anybroker_confirms"):
            channel.anybroker_confirms = cls(channel)
        confirms: Confirms = channel.anybroker_confirms
        return confirms

    def publish(self, queue: str, messages: Sequence[TaskMessage], *, timeout_seconds: float) -> None:
        """Send all messages, then wait until RabbitMQ has confirmed all.

        Raises PublishError if it refuses some, TimeoutError if it does not answer in time.
        """
        self.refused.clear()
        for message in messages:
            self.sent += 1
            self.waiting[self.sent] = message.id
            prepared = amqp.Message(message.body, application_headers=message.headers, **message.properties)
            # Mandatory: otherwise RabbitMQ confirms a message that no queue takes.
            self.channel._basic_publish(prepared, exchange="", routing_key=queue, mandatory=True)
        deadline = time.monotonic() + timeout_seconds
        while self.waiting:
            self.channel.connection.drain_events(timeout=max(deadline - time.monotonic(), 0.001))
        if self.refused:
            raise PublishError(
                f"RabbitMQ did not take {len(self.refused)} of {len(messages)} messages for queue {queue}.",
                "The queue is missing or full; the next attempt looks for it.",
                frozenset(self.refused),
            )

    def _settle(self, delivery_tag: int, multiple: bool) -> Iterator[UUID]:
        tags = [tag for tag in self.waiting if tag <= delivery_tag] if multiple else [delivery_tag]
        for tag in tags:
            if tag in self.waiting:
                yield self.waiting.pop(tag)

    def _on_ack(self, delivery_tag: int, multiple: bool) -> None:
        list(self._settle(delivery_tag, multiple))

    def _on_nack(self, delivery_tag: int, multiple: bool) -> None:
        self.refused.update(self._settle(delivery_tag, multiple))

    def _on_return(self, error: Exception, exchange: str, routing_key: str, message: Any) -> None:
        self.refused.add(UUID(message.properties["correlation_id"]))
