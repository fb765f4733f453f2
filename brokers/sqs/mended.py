"""kombu's transport for SQS."""

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from botocore.exceptions import ClientError
from kombu.asynchronous import set_event_loop
from kombu.asynchronous.aws.sqs.connection import AsyncSQSConnection
from kombu.transport import SQS

from brokers.foreign import as_message, is_message
from brokers.sqs.publishing import SQS_BATCH

logger = logging.getLogger(__name__)


class PatientSQSConnection(AsyncSQSConnection):
    """Treats a failed request for messages as an answer without messages, and logs a warning.

    For an answer of 4xx kombu raises a bare Exception (aws/connection.py, `_on_list_ready`), which ends the worker.
    """

    def _on_list_ready(self, parent: Any, markers: Any, operation: str, response: Any) -> Any:
        if response.status == self.STATUS_CODE_OK:
            return super()._on_list_ready(parent, markers, operation, response)  # type: ignore[misc]
        reason = response.reason or response.read()
        logger.warning("SQS does not hand out messages (%s, %s). Trying again.", response.status, reason)
        return []


class ForeignOnSQS(SQS.Channel):
    """Reads every message of a queue, also those that kombu has not written."""

    def _message_to_python(self, message: Any, queue_name: str, q_url: str) -> Any:
        try:
            payload = super()._message_to_python(message, queue_name, q_url)  # type: ignore[misc]
            payload["properties"]["delivery_info"].setdefault("exchange", "")
            payload["properties"]["delivery_info"].setdefault("routing_key", queue_name)
        except Exception:  # it may be anything
            payload = None
        if is_message(payload, self):
            return payload
        payload = as_message(message["Body"].encode(), queue_name, delivery_tag=message["ReceiptHandle"])
        payload["properties"]["delivery_info"] |= {"sqs_message": message, "sqs_queue": q_url}
        return payload


class PatientSQSChannel(ForeignOnSQS):
    """Asks again after a failed request for messages of a queue, after 1 s at first; other queues do not wait for it.

    For a failure kombu passes an empty list on, and then reads it as an answer (SQS/__init__.py, `_on_messages_ready`).
    That ends the worker.
    """

    #: Less than a heartbeat. The watchdog looks once per heartbeat, and must not take a worker that pauses for deaf.
    longest_pause_seconds = 8.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: By queue: how often in a row.
        self._failures: Counter[str] = Counter()

    def _on_messages_ready(self, queue: str, qname: str, messages: Any) -> Any:
        answered = isinstance(messages, dict)
        self._failures[qname] = 0 if answered else self._failures[qname] + 1
        return super()._on_messages_ready(queue, qname, messages if answered else {})  # type: ignore[misc]

    def _loop1(self, queue: str, messages_fetched: Any = None) -> None:
        if failures := self._failures[queue]:
            pause = min(2.0 ** (failures - 1), self.longest_pause_seconds)
            self.hub.call_later(pause, self._schedule_queue, queue)  # type: ignore[attr-defined]
        else:
            super()._loop1(queue, messages_fetched)  # type: ignore[misc]


class SQSChannel(PatientSQSChannel):
    """Acknowledges many messages with one request."""

    def acknowledge_all(self, messages: Sequence[Any]) -> None:
        """Delete messages, ten with each request; what SQS does not delete it hands out again.

        Whatever happens, none keeps its place among those that this channel may have.
        """
        for queue_url, found in groupby(messages, key=lambda each: each.delivery_info["sqs_queue"]):
            copies = list(found)
            for start in range(0, len(copies), SQS_BATCH):
                self._acknowledge(queue_url, copies[start : start + SQS_BATCH])

    def _acknowledge(self, queue_url: str, batch: Sequence[Any]) -> None:
        try:
            self._delete_batch(queue_url, batch)
        except ClientError as error:
            logger.warning("SQS deletes no messages (%s): they come again", error.response["Error"]["Code"])
        finally:
            for each in batch:
                super(SQS.Channel, self).basic_ack(each.delivery_tag)
                each._state = "ACK"

    def _delete_batch(self, queue_url: str, batch: Sequence[Any]) -> None:
        handles = [each.delivery_info["sqs_message"]["ReceiptHandle"] for each in batch]
        entries = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(handles)]
        queue = self.canonical_queue_name(batch[0].delivery_info["routing_key"])
        answer = self.sqs(queue=queue).delete_message_batch(QueueUrl=queue_url, Entries=entries)
        for failed in answer.get("Failed", ()):
            logger.warning("SQS has not deleted a message of %s (%s): it comes again", queue, failed["Code"])


class SQSTransport(SQS.Transport):
    """Asks for messages again after the worker has reconnected.

    Celery resets the event loop when a connection is lost, and kombu then forgets which loop is in use (hub.py,
    `_close`). A channel that is made after that has no loop and never asks for messages.
    """

    Channel = SQSChannel

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, loop)
        set_event_loop(loop)
        for channel in (*self._avail_channels, *self.channels):  # type: ignore[attr-defined, misc]
            channel.hub = loop


# kombu has no setting for this class. No connection to SQS is made before this module is imported.
SQS.AsyncSQSConnection = PatientSQSConnection  # type: ignore[attr-defined]
