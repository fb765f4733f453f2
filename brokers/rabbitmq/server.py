"""Checks of RabbitMQ that any client can make. They change nothing."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import amqp
from amqp.exceptions import NotFound, PreconditionFailed
from kombu import Queue

from brokers.base import STEP_SECONDS, Finding

#: The first version whose quorum queues delay, expire and dead-letter messages as classic queues do.
OLDEST_VERSION: Final = (3, 10)

HOW_TO_CREATE: Final = "manage.py relay creates it."

#: A queue that does not exist: RabbitMQ drops and confirms a message for it.
NOWHERE: Final = "anybroker.nowhere"


class BlockedError(Exception):
    """Raised when RabbitMQ reports that it has blocked a connection."""


def inspect_version(properties: Mapping[str, Any]) -> Finding:
    """Check the version that the server sent when we connected."""
    product, version = properties.get("product", "RabbitMQ"), str(properties.get("version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if product == "RabbitMQ" and numbers < OLDEST_VERSION:
        return Finding("fail", "version", f"{product} {version} is too old.", "Upgrade to RabbitMQ 3.10 or newer.")
    return Finding("ok", "version", f"{product} {version}")


def inspect_queue(connection: Any, queue: Queue) -> Iterator[Finding]:
    """Check that `queue` exists with the attributes that we declare: quorum, delivery limit, dead letters."""
    try:
        # On a channel of its own: RabbitMQ closes a channel when it refuses a request.
        queue.queue_declare(passive=True, channel=connection.channel())
        # Declaring an existing queue again changes nothing: RabbitMQ compares the attributes.
        queue.queue_declare(channel=connection.channel())
    except NotFound:
        yield Finding("fail", f"queue {queue.name}", "does not exist.", HOW_TO_CREATE)
    except PreconditionFailed as error:
        cure = f"When it is empty, delete it (rabbitmqctl delete_queue {queue.name}). {HOW_TO_CREATE}"
        yield Finding("fail", f"queue {queue.name}", f"is not what it should be: {error.reply_text}.", cure)
    else:
        yield Finding("ok", f"queue {queue.name}", "exists as a durable quorum queue with dead letters.")


def inspect_dead_letters(connection: Any, queue: Queue) -> Iterator[Finding]:
    """Check that `queue`, which takes the dead letters, exists and is empty."""
    try:
        count = connection.channel().queue_declare(queue.name, passive=True).message_count
    except NotFound:
        message = "does not exist, so that dead letters vanish."
        yield Finding("fail", f"queue {queue.name}", message, HOW_TO_CREATE)
        return
    if count:
        yield Finding("warn", f"queue {queue.name}", f"holds {count} messages.", "Look at them, then purge the queue.")


def try_to_publish(channel: Any) -> Finding:
    """Publish two messages to NOWHERE. A server that is short of memory or disk takes the first and blocks the
    second."""
    connection = channel.connection
    connection.on_blocked = _raise_blocked
    try:
        for _ in range(2):
            channel.basic_publish(amqp.Message(""), routing_key=NOWHERE, confirm_timeout=STEP_SECONDS)
    except (BlockedError, TimeoutError):
        connection.collect()  # without a dialogue, which it would not answer
        message = "An alarm for memory or disk stops all publishers."
        return Finding("fail", "publishing", message, "See rabbitmq-diagnostics alarms; free memory or disk.")
    return Finding("ok", "publishing", "Messages are confirmed.")


def _raise_blocked(reason: str) -> None:
    raise BlockedError(reason)
