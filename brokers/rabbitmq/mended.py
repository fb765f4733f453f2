"""kombu's transports for RabbitMQ."""

from typing import Any, Final

from kombu.transport import pyamqp


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
