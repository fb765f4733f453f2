"""What RabbitMQ shows to a client, held against what our promises need. Nothing is changed by looking."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import amqp
from amqp.exceptions import NotFound, PreconditionFailed
from kombu import Queue

from brokers.base import STEP_SECONDS, Finding

#: The first with quorum queues that delay, expire and dead-letter messages as classic ones do.
OLDEST_VERSION: Final = (3, 10)

HOW_TO_CREATE: Final = "manage.py relay creates it."

#: A queue that nobody has: RabbitMQ drops what is sent there, and confirms having done so.
NOWHERE: Final = "anybroker.nowhere"


class BlockedError(Exception):
    """Raised when RabbitMQ says that it takes nothing more from a connection."""


def inspect_version(properties: Mapping[str, Any]) -> Finding:
    """Judge what the server said of itself when it was connected to."""
    product, version = properties.get("product", "RabbitMQ"), str(properties.get("version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if product == "RabbitMQ" and numbers < OLDEST_VERSION:
        return Finding("fail", "version", f"{product} {version} is too old.", "Upgrade to RabbitMQ 3.10 or newer.")
    return Finding("ok", "version", f"{product} {version}")


def inspect_queue(connection: Any, queue: Queue) -> Iterator[Finding]:
    """Say whether `queue` exists and is what we would make it: quorum, with its limit and its dead letters."""
    try:
        # Asked on a channel of its own, for RabbitMQ closes the channel of a question it answers with no.
        queue.queue_declare(passive=True, channel=connection.channel())
        # To declare again what exists changes nothing: it compares.
        queue.queue_declare(channel=connection.channel())
    except NotFound:
        yield Finding("fail", f"queue {queue.name}", "does not exist.", HOW_TO_CREATE)
    except PreconditionFailed as error:
        cure = f"When it is empty, delete it (rabbitmqctl delete_queue {queue.name}). {HOW_TO_CREATE}"
        yield Finding("fail", f"queue {queue.name}", f"is not what it should be: {error.reply_text}.", cure)
    else:
        yield Finding("ok", f"queue {queue.name}", "exists as a durable quorum queue with dead letters.")


def inspect_dead_letters(connection: Any, queue: Queue) -> Iterator[Finding]:
    """Say whether anything lies in `queue`, where messages go that could not be worked on."""
    try:
        count = connection.channel().queue_declare(queue.name, passive=True).message_count
    except NotFound:
        message = "does not exist, so that dead letters vanish."
        yield Finding("fail", f"queue {queue.name}", message, HOW_TO_CREATE)
        return
    if count:
        yield Finding("warn", f"queue {queue.name}", f"holds {count} messages.", "Look at them, then purge the queue.")


def try_to_publish(channel: Any) -> Finding:
    """Publish messages to nowhere. A server that is short of memory or disk takes one, and nothing more."""
    connection = channel.connection
    connection.on_blocked = _raise_blocked
    try:
        for _ in range(2):
            channel.basic_publish(amqp.Message(""), routing_key=NOWHERE, confirm_timeout=STEP_SECONDS)
    except (BlockedError, TimeoutError):
        connection.collect()  # it would not answer a good-bye
        message = "An alarm for memory or disk stops all publishers."
        return Finding("fail", "publishing", message, "See rabbitmq-diagnostics alarms; free memory or disk.")
    return Finding("ok", "publishing", "Messages are confirmed.")


def _raise_blocked(reason: str) -> None:
    raise BlockedError(reason)
