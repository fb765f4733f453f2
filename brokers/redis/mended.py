"""kombu's transports for Redis."""

from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.json import dumps, loads

from brokers.foreign import as_message, is_message
from brokers.redis.deliveries import LedgerQoS


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


class ForeignOnRedis(redis.Channel):
    """Reads whatever is in a list."""

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
        except Exception:  # types of our own, too, may be garbled
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
