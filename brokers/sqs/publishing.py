"""Publishes a batch to SQS, in requests of up to ten messages."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from kombu.utils.json import dumps

from brokers.errors import PublishError
from brokers.wire import TaskMessage

#: The most messages that SQS takes in one request.
SQS_BATCH: Final = 10

#: How large a message, and a request, may be everywhere. AWS allows 1 MiB for queues that say so.
SAFE_BYTES: Final = 256 * 1024


def publish_to_sqs(
    client: Any, queue_url: str, queue: str, messages: Sequence[TaskMessage], *, most_bytes: int = SAFE_BYTES
) -> None:
    """Publish in requests of ten, or of so many bytes. Raises PublishError with the messages that SQS did not take."""
    refused: dict[UUID, str] = {}
    for batch in _requests([(each.id, sqs_body(queue, each)) for each in messages], most_bytes):
        entries = [{"Id": str(number), "MessageBody": body} for number, (_, body) in enumerate(batch)]
        answer = client.send_message_batch(QueueUrl=queue_url, Entries=entries)
        for failure in answer.get("Failed", []):
            refused[batch[int(failure["Id"])][0]] = failure.get("Message") or failure["Code"]
    if refused:
        raise PublishError(
            f"SQS did not take {len(refused)} of {len(messages)} messages for queue {queue} "
            f"({next(iter(refused.values()))}).",
            "They are sent again.",
            frozenset(refused),
        )


def _requests(bodies: Sequence[tuple[UUID, str]], most_bytes: int) -> Iterator[list[tuple[UUID, str]]]:
    batch: list[tuple[UUID, str]] = []
    for each in bodies:
        if batch and (len(batch) == SQS_BATCH or sum(len(body) for _, body in [*batch, each]) > most_bytes):
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


def size_problem(queue: str, message: TaskMessage, most_bytes: int) -> str:
    """Say that a message is too large; an empty text if it is not."""
    size = len(sqs_body(queue, message))
    cure = "Send a reference instead: the receiver can fetch the rest."
    return f"It has {size} bytes, and the queue {queue} takes {most_bytes}. {cure}" if size > most_bytes else ""


def sqs_body(queue: str, message: TaskMessage) -> str:
    """Return a message as kombu writes it to SQS: JSON with the body in base64, all of it in base64 again."""
    envelope: Mapping[str, Any] = {
        "body": _base64(message.body),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": message.headers,
        "properties": {
            "correlation_id": str(message.id),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": message.properties.get("priority", 0),
            "body_encoding": "base64",
            "delivery_tag": str(message.id),
        },
    }
    return _base64(dumps(envelope).encode())


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
