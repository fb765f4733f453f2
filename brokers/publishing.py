"""Batches: many messages in a few round trips, each of them confirmed by the broker.

What is raised here is a library's own error, except PublishError, which names the messages that did not arrive. After
any other error it is unknown which did: publish all of them again, a worker runs each once.
"""

# mypy: disable-error-code="attr-defined"
# The stubs of kombu and amqp know neither `Producer.batch` nor what a channel is made of.

import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import amqp
from kombu import Producer
from kombu.utils.json import dumps

from brokers.errors import PublishError
from brokers.wire import BODY, TaskMessage

#: What SQS takes in one request.
SQS_BATCH: Final = 10


def publish_pipelined(channel: Any, queue: str, messages: Sequence[TaskMessage]) -> None:
    """Publish through a kombu channel that can collect a batch: to Redis all of it travels as one pipeline."""
    producer = Producer(channel)
    with producer.batch(max_size=len(messages)):
        for message in messages:
            producer.publish(BODY, exchange="", routing_key=queue, headers=message.headers, **message.properties)


class Confirms:
    """Publisher confirms of one AMQP channel: numbers what is sent and waits once for all of it."""

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
        """The confirms of `channel`; RabbitMQ numbers a channel's messages from its first one."""
        if not hasattr(channel, "anybroker_confirms"):
            channel.anybroker_confirms = cls(channel)
        confirms: Confirms = channel.anybroker_confirms
        return confirms

    def publish(self, queue: str, messages: Sequence[TaskMessage], *, timeout_seconds: float) -> None:
        """Send all, then wait until RabbitMQ has all. Raises PublishError, or TimeoutError when it does not answer."""
        self.refused.clear()
        for message in messages:
            self.sent += 1
            self.waiting[self.sent] = message.id
            prepared = self.channel.prepare_message(
                BODY, properties={"correlation_id": str(message.id), "delivery_mode": 2},
                content_type="application/json", content_encoding="utf-8", headers=message.headers,
            )  # fmt: skip
            # Mandatory: otherwise RabbitMQ confirms what no queue wants.
            self.channel._basic_publish(prepared, exchange="", routing_key=queue, mandatory=True)
        deadline = time.monotonic() + timeout_seconds
        while self.waiting:
            self.channel.connection.drain_events(timeout=max(deadline - time.monotonic(), 0.001))
        if self.refused:
            raise PublishError(
                f"RabbitMQ did not take {len(self.refused)} of {len(messages)} messages for queue {queue}.",
                "The queue is missing or full; the next attempt declares it.",
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


def publish_to_sqs(client: Any, queue_url: str, queue: str, messages: Sequence[TaskMessage]) -> None:
    """Publish in requests of ten. Raises PublishError with those of a request that SQS did not take."""
    refused: dict[UUID, str] = {}
    for start in range(0, len(messages), SQS_BATCH):
        batch = messages[start : start + SQS_BATCH]
        entries = [{"Id": str(number), "MessageBody": sqs_body(queue, each)} for number, each in enumerate(batch)]
        answer = client.send_message_batch(QueueUrl=queue_url, Entries=entries)
        for failure in answer.get("Failed", []):
            refused[batch[int(failure["Id"])].id] = failure.get("Message") or failure["Code"]
    if refused:
        raise PublishError(
            f"SQS did not take {len(refused)} of {len(messages)} messages for queue {queue} "
            f"({next(iter(refused.values()))}).",
            "They are sent again.",
            frozenset(refused),
        )


def sqs_body(queue: str, message: TaskMessage) -> str:
    """A message as kombu writes it to SQS: JSON around a base64 body, in base64 itself."""
    envelope: Mapping[str, Any] = {
        "body": _base64(BODY),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": message.headers,
        "properties": {
            "correlation_id": str(message.id),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(message.id),
        },
    }
    return _base64(dumps(envelope).encode())


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
