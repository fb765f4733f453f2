"""kombu's transports for Redis."""

import logging
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.json import dumps, loads
from redis.exceptions import ResponseError

from brokers.foreign import as_message, is_message
from brokers.redis.deliveries import LedgerQoS

logger = logging.getLogger(__name__)

#: What TYPE says of a queue, and of one that is empty.
LISTS = (b"list", b"none")

#: How often a key that was no list is looked at again.
LOOK_SECONDS = 1.0


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


class ListsOnlyChannel(redis.Channel):
    """Waits for messages of those queues only whose keys are lists.

    BRPOP fails for all its keys if one of them is of another type, and kombu passes the error on (redis.py,
    `_brpop_read`). That ends the worker; and the next one, when it asks how long the queue is (`_size`).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._others: frozenset[str] = frozenset()
        self._look_at = 0.0
        super().__init__(*args, **kwargs)

    @property
    def active_queues(self) -> list[str]:  # type: ignore[override]
        if monotonic() >= self._look_at:  # even if none is a list: who has no queue does not call `_brpop_start`
            return list(super().active_queues)
        return [queue for queue in super().active_queues if queue not in self._others]

    def _brpop_start(self, timeout: float | None = None) -> None:
        if self._others and monotonic() >= self._look_at:
            self._find_others()
        super()._brpop_start(timeout)  # type: ignore[misc]

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            self._find_others()
            raise Empty from error

    def _size(self, queue: str) -> int:
        try:
            return int(super()._size(queue))
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            return 0

    def _find_others(self) -> None:
        before, queues = self._others, list(super().active_queues)
        with self.conn_or_acquire() as client:
            types = [client.type(queue) for queue in queues]
        self._others = frozenset(queue for queue, kind in zip(queues, types, strict=True) if kind not in LISTS)
        self._look_at = monotonic() + LOOK_SECONDS
        self._update_queue_cycle()  # type: ignore[attr-defined]
        for queue in self._others - before:
            logger.error("Redis has a key %r that is no list, so nothing can be received from it. Delete it.", queue)


class RedisQoS(LedgerQoS, SlotFreeingQoS):
    pass


class RedisChannel(ListsOnlyChannel, ClientKeepingChannel, ForeignOnRedis):
    QoS = RedisQoS


class RedisTransport(redis.Transport):
    Channel = RedisChannel


class SentinelChannel(ListsOnlyChannel, ClientKeepingChannel, ForeignOnRedis, redis.SentinelChannel):
    QoS = RedisQoS


class SentinelTransport(redis.SentinelTransport):
    Channel = SentinelChannel
