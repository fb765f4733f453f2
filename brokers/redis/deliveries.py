"""Messages of the ledger need no second record in Redis of who has them.

kombu writes down every message that a worker takes, and crosses it out when it is acknowledged (redis.py, `QoS.append`
and `QoS.ack`): two of the three round trips that a message costs. What a killed worker had is then handed out again
after the visibility timeout. The ledger does the same sooner, so for its messages all of that is in vain.
"""

from typing import Any

from kombu.transport import redis, virtual

from brokers.wire import is_in_ledger


class LedgerQoS(redis.QoS):
    """Remembers in this process alone which messages of the ledger a worker has taken.

    Those that it has not begun when it ends in good order go back to their queue, as all others do.
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
