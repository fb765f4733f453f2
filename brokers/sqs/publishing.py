"""Publishes a batch to SQS, in requests of ten messages."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from kombu.utils.json import dumps

from brokers.errors import PublishError
from brokers.wire import BODY, TaskMessage

#: The most messages that SQS takes in one request.
SQS_BATCH: Final = 10


def publish_to_sqs(client: Any, queue_url: str, queue: str, messages: Sequence[TaskMessage]) -> None:
    """Publish in requests of ten. Raises PublishError with the messages that SQS did not take."""
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
    """Return a message as kombu writes it to SQS: JSON with the body in base64, all of it in base64 again."""
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
