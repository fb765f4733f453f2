"""Batches: many messages in a few round trips, each of them confirmed by the broker.

A `publish` raises a library's own error, or PublishError, which names the messages that did not arrive. After any other
error it is unknown which did: publish all of them again, a worker runs each once.
"""

# mypy: disable-error-code="attr-defined"
# The stubs of kombu do not know `Producer.batch`.

from collections.abc import Sequence
from typing import Any

from kombu import Producer

from brokers.wire import BODY, TaskMessage


def publish_pipelined(channel: Any, queue: str, messages: Sequence[TaskMessage]) -> None:
    """Publish through a kombu channel that can collect a batch: to Redis all of it travels as one pipeline."""
    producer = Producer(channel)
    with producer.batch(max_size=len(messages)):
        for message in messages:
            producer.publish(BODY, exchange="", routing_key=queue, headers=message.headers, **message.properties)
