"""Does not record in Redis which worker has a message of the ledger: the ledger knows.

kombu records every message that a worker takes, and deletes the record when it is acknowledged (redis.py, `QoS.append`
and `QoS.ack`). These are two of the three round trips that a message costs. They serve to redeliver the messages of a
killed worker after the visibility timeout. The ledger publishes its messages again sooner, so it does not need them.
"""

from typing import Any

from kombu.transport import redis, virtual

from brokers.wire import is_in_ledger


class LedgerQoS(redis.QoS):
    """Remembers the messages of the ledger that a worker has taken in this process only.

    When the worker stops in good order, the messages that it has not begun go back to their queue, like all others.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_ledger: set[str] = set()

    def append(self, message: Any, delivery_tag: str) -> None:
        if is_in_ledger(message.headers):
            self._in_ledger.add(delivery_tag)
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        if delivery_tag in self._in_ledger:
            self._in_ledger.remove(delivery_tag)
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if delivery_tag in self._in_ledger:
            if requeue:
                self.restore_by_tag(delivery_tag)
            self.ack(delivery_tag)
        else:
            super().reject(delivery_tag, requeue)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        if tag in self._in_ledger:
            virtual.Channel._restore(self.channel, self.get(tag))
        else:
            super().restore_by_tag(tag, client, leftmost)
