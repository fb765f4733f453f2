"""Publishing a batch: many messages in a few round trips, each of them confirmed by the broker.

A function that publishes raises PublishError, which names the messages that did not arrive, or a library's own error.
After the latter nobody knows which messages arrived. Publish all of them again: a worker runs each once.
"""

# mypy: disable-error-code="attr-defined"
# The stubs of kombu do not know `Producer.batch`.

from collections.abc import Sequence
from typing import Any

from kombu import Producer

from brokers.wire import TaskMessage


def publish_pipelined(channel: Any, queue: str, messages: Sequence[TaskMessage]) -> None:
    """Publish through a kombu channel that can collect a batch. Redis gets the whole batch as one pipeline."""
    producer = Producer(channel)
    with producer.batch(max_size=len(messages)):
        for message in messages:
            producer.publish(
                message.body, exchange="", routing_key=queue, headers=message.headers, **message.properties
            )
