"""kombu's transports for Redis."""

from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.json import dumps, loads

from brokers.foreign import as_message, is_message
from brokers.redis.deliveries import LedgerQoS


class SlotFreeingQoS(redis.QoS):
    """Frees the place of a message in the worker even if acknowledging it fails.

    kombu frees the place only after Redis has answered (redis.py, `QoS.ack`). Each acknowledgement that a lost
    connection swallows then costs one place for ever, until the worker receives nothing any more.
    """

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)
            raise


class ClientKeepingChannel(redis.Channel):
    """Keeps its client as long as it keeps its pool of connections.

    kombu makes a new client for each command (redis.py, `conn_or_acquire`). That takes longer than the command: a
    worker does a third less work. The client that listens for messages is another one: kombu makes it once, and it owns
    its connection.
    """

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[misc]
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]
        return self._kept


class ForeignOnRedis(redis.Channel):
    """Reads every item of a list, also those that are no messages of kombu's."""

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)  # type: ignore[misc]
        client.set_response_callback("BRPOP", self._read)
        return client

    def _read(self, reply: list[bytes] | None) -> tuple[bytes, bytes | str] | None:
        if not reply:
            return None
        queue, item = reply
        try:
            readable = is_message(loads(item.decode()), self)
        except Exception:  # a garbled value may raise anything
            readable = False
        return queue, item if readable else dumps(as_message(item, queue.decode()))


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
