"""kombu's transports for RabbitMQ."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Final

from kombu.transport import pyamqp


class GroupingChannel(pyamqp.Channel):
    """Acknowledges many messages with one frame.

    AMQP can acknowledge all messages up to one. That is right only if all of them are to be acknowledged, so this
    channel remembers which messages are not acknowledged yet.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._outstanding: dict[int, None] = {}

    def message_to_python(self, raw_message: Any) -> Any:
        self._outstanding[raw_message.delivery_info["delivery_tag"]] = None
        return super().message_to_python(raw_message)

    def basic_ack(self, delivery_tag: int, *args: Any, **kwargs: Any) -> Any:
        self._outstanding.pop(delivery_tag, None)
        return super().basic_ack(delivery_tag, *args, **kwargs)

    def basic_reject(self, delivery_tag: int, *args: Any, **kwargs: Any) -> Any:
        self._outstanding.pop(delivery_tag, None)
        return super().basic_reject(delivery_tag, *args, **kwargs)

    def acknowledge_all(self, messages: Sequence[Any]) -> None:
        """Acknowledge messages of this channel, in one frame up to the first one that is still unacknowledged."""
        done = {each.delivery_tag for each in messages}
        first = list(takewhile(done.__contains__, self._outstanding))
        if len(first) > 1:
            for tag in first:
                del self._outstanding[tag]
            super().basic_ack(first[-1], multiple=True)
            done.difference_update(first)
        for tag in sorted(done):
            self.basic_ack(tag)
        for each in messages:
            each._state = "ACK"


class GroupingConnection(pyamqp.Connection):
    Channel = GroupingChannel


class BoundedTransport(pyamqp.Transport):
    """Limits every wait for RabbitMQ to the timeout for connecting.

    py-amqp does this for TLS, but removes the timeout of a plain socket once it is connected (amqp/transport.py,
    `_init_socket`). When RabbitMQ does not read, as during an alarm, closing the connection would then take for ever.
    """

    Connection = GroupingConnection

    def establish_connection(self) -> Any:
        connection = super().establish_connection()
        connection.transport.sock.settimeout(connection.connect_timeout)
        return connection


class EachHostVerifiedTransport(pyamqp.SSLTransport):
    """Verifies the certificate of every host against the name of that host.

    kombu writes the name of the first host into options that all hosts share (pyamqp.py, `establish_connection`). The
    certificates of all other hosts are then refused, because they are not for the first host's name.
    """

    Connection = GroupingConnection

    def establish_connection(self) -> Any:
        connection: Any = self.client
        shared: Final = connection.ssl
        if isinstance(shared, dict):
            connection.ssl = dict(shared)
        try:
            return super().establish_connection()
        finally:
            connection.ssl = shared
