"""Classes of kombu 5.7 that need mending. Each is to be deleted when its test fails, for then kombu has mended it."""

import logging
from typing import Any, Final

from kombu.asynchronous import set_event_loop
from kombu.asynchronous.aws.sqs.connection import AsyncSQSConnection
from kombu.transport import SQS, TRANSPORT_ALIASES, pyamqp, redis, virtual

from brokers.foreign import ForeignOnRedis, ForeignOnSQS
from brokers.redis_deliveries import LedgerQoS

logger = logging.getLogger(__name__)


class BoundedTransport(pyamqp.Transport):
    """Limits every wait for RabbitMQ to the time that connecting may take.

    py-amqp does so for TLS, but sets no limit on a plain socket once it is connected (amqp/transport.py,
    `_init_socket`). Closing a connection that RabbitMQ no longer reads, as in an alarm, then takes for ever.
    """

    def establish_connection(self) -> Any:
        connection = super().establish_connection()
        connection.transport.sock.settimeout(connection.connect_timeout)
        return connection


class EachHostVerifiedTransport(pyamqp.SSLTransport):
    """Expects of every host the certificate of that host.

    kombu writes the name of the first host it tries into options that all hosts share (pyamqp.py,
    `establish_connection`), so each further one is refused for not having the first one's name.
    """

    def establish_connection(self) -> Any:
        connection: Any = self.client
        shared: Final = connection.ssl
        if isinstance(shared, dict):
            connection.ssl = dict(shared)
        try:
            return super().establish_connection()
        finally:
            connection.ssl = shared


class SlotFreeingQoS(redis.QoS):
    """Frees the place of a message in the worker even when it could not be acknowledged.

    kombu does so only after Redis has answered (redis.py, `QoS.ack`): each acknowledgement that a lost connection
    swallows takes one place for ever, until the worker hears nothing any more.
    """

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)
            raise


class ClientKeepingChannel(redis.Channel):
    """Keeps its client for as long as the pool of connections that it is for.

    kombu makes a new one for each command (redis.py, `conn_or_acquire`), which takes longer than the command: a worker
    does a third less. (The other kind, which listens, it makes once; each of those owns a connection.)
    """

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[misc]
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]
        return self._kept


class PatientSQSConnection(AsyncSQSConnection):
    """Takes any failure of a request for messages as 'none just now', and says so in the log.

    kombu raises a bare Exception for the answers 4xx (aws/connection.py, `_on_list_ready`), which ends the worker.
    """

    def _on_list_ready(self, parent: Any, markers: Any, operation: str, response: Any) -> Any:
        if response.status == self.STATUS_CODE_OK:
            return super()._on_list_ready(parent, markers, operation, response)  # type: ignore[misc]
        reason = response.reason or response.read()
        logger.warning("SQS does not hand out messages (%s, %s). Trying again.", response.status, reason)
        return []


class PatientSQSChannel(ForeignOnSQS):
    """Asks again after a failed request for messages, at first after a second.

    kombu takes its own word for a failure, an empty list, for an answer (SQS/__init__.py, `_on_messages_ready`), which
    ends the worker.
    """

    #: Less than a heartbeat: the watchdog, which looks once per heartbeat, must not take a pause for deafness.
    longest_pause_seconds = 8.0
    _failures = 0

    def _on_messages_ready(self, queue: str, qname: str, messages: Any) -> Any:
        answered = isinstance(messages, dict)
        self._failures = 0 if answered else self._failures + 1
        return super()._on_messages_ready(queue, qname, messages if answered else {})  # type: ignore[misc]

    def _loop1(self, queue: str, messages_fetched: Any = None) -> None:
        if self._failures:
            pause = min(2.0 ** (self._failures - 1), self.longest_pause_seconds)
            self.hub.call_later(pause, self._schedule_queue, queue)  # type: ignore[attr-defined]
        else:
            super()._loop1(queue, messages_fetched)  # type: ignore[misc]


class RedisQoS(LedgerQoS, SlotFreeingQoS):
    pass


class RedisChannel(ClientKeepingChannel, ForeignOnRedis):
    QoS = RedisQoS


class RedisTransport(redis.Transport):
    Channel = RedisChannel


class SentinelChannel(ClientKeepingChannel, ForeignOnRedis, redis.SentinelChannel):
    QoS = RedisQoS


class SentinelTransport(redis.SentinelTransport):
    Channel = SentinelChannel


class SQSTransport(SQS.Transport):
    """Asks for messages again after the worker has reconnected.

    Celery resets the event loop when a connection is lost, and kombu then forgets which one is in use (hub.py,
    `_close`): a channel made after that has none, and never asks for anything.
    """

    Channel = PatientSQSChannel

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, loop)
        set_event_loop(loop)
        for channel in (*self._avail_channels, *self.channels):  # type: ignore[attr-defined, misc]
            channel.hub = loop


MENDED: Final = {
    "amqp": BoundedTransport,
    "amqps": EachHostVerifiedTransport,
    "redis": RedisTransport,
    "rediss": RedisTransport,
    "sentinel": SentinelTransport,
    "sqs": SQSTransport,
}


def install() -> None:
    """Make kombu use the classes above. Call before the first connection."""
    for scheme, transport in MENDED.items():
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{transport.__name__}"
    SQS.AsyncSQSConnection = PatientSQSConnection  # type: ignore[attr-defined]
